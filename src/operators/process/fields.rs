//! The fields of the data source, and which of a process's values each holds.

use crate::data::{NewField, Scalar};

/// A value of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Pid,
    ParentPid,
    Comm,
    Priority,
    Nice,
    CpuUsage,
    CpuUsageRelative,
    MemoryRss,
    MemoryVirtual,
    MemoryShared,
    MemoryRelative,
    ThreadCount,
    State,
    Uid,
    StartTime,
    StartTimeText,
    CpuTime,
    CpuTimeText,
    MountNamespace,
}

/// A field that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) field: NewField,
    pub(super) value: Value,
}

/// What is shown when the metadata does not say.
const DEFAULT: [&str; 15] = [
    "ppid",
    "comm",
    "priority",
    "nice",
    "cpuUsage",
    "cpuUsageRelative",
    "memoryRSS",
    "memoryVirtual",
    "memoryShared",
    "memoryRelative",
    "threadCount",
    "state",
    "uid",
    "startTime",
    "cpuTime",
];

const RIGHT: (&str, &str) = ("columns.alignment", "right");
const HIDDEN: (&str, &str) = ("columns.hidden", "true");
const PERCENT: [(&str, &str); 3] = [("columns.precision", "1"), RIGHT, ("columns.maxwidth", "8")];
const STATES: &str = "R,S,D,Z,T,t,W,X,x,K,W,P,I";

/// The fields for the names in `listed`, in their order; unknown names are nothing. The pid comes first and the mount namespace
/// last, always.
pub(super) fn columns(listed: &[String]) -> Vec<Column> {
    let mut columns = vec![column("pid", Scalar::Int32, Value::Pid, &[("template", "pid")])];
    if listed.is_empty() {
        DEFAULT.iter().for_each(|name| add(name, &mut columns));
    } else {
        listed.iter().for_each(|name| add(name, &mut columns));
    }
    let mut mntns = column(
        "mountnsid",
        Scalar::Uint64,
        Value::MountNamespace,
        &[("template", "mntns_id")],
    );
    mntns.field = mntns.field.tag("type:gadget_mntns_id");
    columns.push(mntns);
    columns
}

fn add(name: &str, columns: &mut Vec<Column>) {
    let described = |text: &'static str| [RIGHT, ("description", text)];
    let mut push = |name: &str, kind: Scalar, value: Value, annotations: &[(&str, &str)]| {
        columns.push(column(name, kind, value, annotations));
    };
    match name {
        "ppid" => push(name, Scalar::Int32, Value::ParentPid, &[("template", "ppid")]),
        "comm" => push(name, Scalar::String, Value::Comm, &[("template", "comm")]),
        "priority" => {
            let annotations =
                described("Scheduling priority: 20 plus the nice value, negative for real-time processes");
            push(name, Scalar::Int8, Value::Priority, &annotations);
        }
        "nice" => push(
            name,
            Scalar::Int8,
            Value::Nice,
            &described("Nice value, from -20 (first) to 19 (last)"),
        ),
        "cpuUsage" => push(name, Scalar::Float64, Value::CpuUsage, &PERCENT),
        "cpuUsageRelative" => push(name, Scalar::Float64, Value::CpuUsageRelative, &PERCENT),
        "memoryRSS" => columns.push(bytes("memoryRSS_raw", Value::MemoryRss)),
        "memoryVirtual" => columns.push(bytes("memoryVirtual_raw", Value::MemoryVirtual)),
        "memoryShared" => columns.push(bytes("memoryShared_raw", Value::MemoryShared)),
        "memoryRelative" => push(name, Scalar::Float64, Value::MemoryRelative, &PERCENT),
        "threadCount" => push(
            name,
            Scalar::Int32,
            Value::ThreadCount,
            &[RIGHT, ("columns.maxwidth", "11")],
        ),
        "state" => {
            let annotations = [("columns.maxwidth", "5"), ("value.one-of", STATES)];
            push(name, Scalar::String, Value::State, &annotations);
        }
        "uid" => push(name, Scalar::Uint32, Value::Uid, &[("template", "uid")]),
        "startTime" | "startTimeStr" => {
            push("startTime", Scalar::Uint64, Value::StartTime, &[HIDDEN]);
            let annotations = [("columns.ellipsis", "start"), ("columns.maxwidth", "25")];
            push("startTimeStr", Scalar::String, Value::StartTimeText, &annotations);
        }
        "cpuTime" => {
            push("cpuTime", Scalar::Int64, Value::CpuTime, &[HIDDEN]);
            let annotations = [RIGHT, ("columns.maxwidth", "12")];
            push("cpuTimeStr", Scalar::String, Value::CpuTimeText, &annotations);
        }
        _ => {}
    }
}

fn column(name: &str, kind: Scalar, value: Value, annotations: &[(&str, &str)]) -> Column {
    Column {
        field: NewField::new(name, kind).annotations(annotations.iter().copied()),
        value,
    }
}

/// A number of bytes, of which the formatters make a text.
fn bytes(name: &str, value: Value) -> Column {
    let mut column = column(name, Scalar::Uint64, value, &[RIGHT]);
    column.field = column.field.tag("type:gadget_bytes");
    column
}
