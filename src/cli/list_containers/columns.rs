//! The table of containers: its columns and how its lines are laid out.

use std::io::{self, Write};

use super::timestamp_ns;
use crate::containers::{Container, ContainerEventKind};
use crate::text::printable;

pub(super) struct Column {
    pub(super) name: &'static str,
    /// Shown unless columns are chosen.
    pub(super) visible: bool,
    /// Only events have it.
    pub(super) event: bool,
    value: fn(&Row) -> String,
}

pub(super) struct Row<'a> {
    pub(super) timestamp: &'a str,
    pub(super) kind: ContainerEventKind,
    pub(super) container: &'a Container,
}

/// All columns, in the order of the table.
pub(super) static COLUMNS: [Column; 17] = {
    const fn column(name: &'static str, visible: bool, value: fn(&Row) -> String) -> Column {
        Column {
            name,
            visible,
            event: false,
            value,
        }
    }
    [
        Column {
            event: true,
            ..column("timestamp", true, |row| row.timestamp.to_owned())
        },
        Column {
            event: true,
            ..column("event", true, |row| row.kind.as_str().to_owned())
        },
        column("runtime.runtimeName", true, |row| {
            row.container.runtime.runtime_name.clone()
        }),
        column("runtime.containerId", true, |row| {
            row.container.runtime.container_id.clone()
        }),
        column("runtime.containerName", true, |row| {
            row.container.runtime.container_name.clone()
        }),
        column("runtime.containerPid", true, |row| {
            row.container.runtime.container_pid.to_string()
        }),
        column("runtime.containerImageName", true, |row| {
            short_image_name(&row.container.runtime.image_name)
        }),
        column("runtime.containerImageID", true, |row| {
            row.container.runtime.image_id.clone()
        }),
        column("runtime.containerImageDigest", true, |row| {
            row.container.runtime.image_digest.clone()
        }),
        column("runtime.containerStartedAt", true, |row| {
            timestamp_ns(row.container.runtime.started_at)
        }),
        column("k8s.namespace", false, |row| row.container.k8s.namespace.clone()),
        column("k8s.podName", false, |row| row.container.k8s.pod_name.clone()),
        column("k8s.labels", false, |row| row.container.k8s.pod_labels_text()),
        column("k8s.containerName", false, |row| {
            row.container.k8s.container_name.clone()
        }),
        column("mntns", false, |row| row.container.mntns.to_string()),
        column("netns", false, |row| row.container.netns.to_string()),
        column("hostNetwork", false, |row| row.container.host_network.to_string()),
    ]
};

fn short_image_name(name: &str) -> String {
    if !name.contains("sha256") {
        return name.to_owned();
    }
    let digits = name.split_once(':').map_or(name, |(_, digits)| digits);
    digits.chars().take(12).collect()
}

pub(super) fn cells(columns: &[&Column], row: &Row) -> Vec<String> {
    columns.iter().map(|column| printable(&(column.value)(row))).collect()
}

pub(super) fn header(columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|column| column.name.to_uppercase()).collect()
}

/// Writes a line, each cell but the last padded to its width; in a pipe there are no widths.
pub(super) fn write_line(out: &mut impl Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut line = String::new();
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            line.push(' ');
        }
        line.push_str(cell);
        let missing = widths.get(i).copied().unwrap_or(0).saturating_sub(cell.chars().count());
        if i + 1 < cells.len() {
            line.extend(std::iter::repeat_n(' ', missing));
        }
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}

pub(super) fn widths<'a>(rows: impl IntoIterator<Item = &'a Vec<String>>) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}
