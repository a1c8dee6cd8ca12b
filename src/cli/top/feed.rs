//! From elements to rows: on the thread that fetches, so that the screen's only arranges them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::view::{Column, Report, Row};
use crate::Result;
use crate::data::{Accessor, DataSource, Element, Field, FieldId, Flow, Kind, Scalar};
use crate::operators::{Context, Instance, priority};
use crate::output::columns::Table;
use crate::output::fields::Selection;

/// What a map's programs count from one report to the next has keys with this tag.
const KEY: &str = "role:key";

/// Templates of fields that name a thing and measure nothing.
const NAMES: [&str; 11] = [
    "pid",
    "ppid",
    "tid",
    "ptid",
    "uid",
    "gid",
    "ns",
    "mntns_id",
    "netns_id",
    "containerPid",
    "syscall",
];

/// The newest report of each data source. Older ones that nobody took are gone.
#[derive(Debug)]
pub(super) struct Board {
    places: Vec<Mutex<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    /// How many reports there have been.
    number: u64,
    report: Option<Report>,
}

impl Board {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| Mutex::default()).collect(),
        }
    }

    /// The report in place `at` if it is newer than number `seen`, which becomes its number.
    pub(super) fn newer(&self, at: usize, seen: &mut u64) -> Option<Report> {
        let mut place = self.place(at)?;
        if place.number == *seen {
            return None;
        }
        *seen = place.number;
        place.report.take()
    }

    fn put(&self, at: usize, report: Report) {
        if let Some(mut place) = self.place(at) {
            place.number += 1;
            place.report = Some(report);
        }
    }

    fn place(&self, at: usize) -> Option<MutexGuard<'_, Place>> {
        // A report is whole or not there, whoever panicked.
        Some(self.places.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes rows of the elements of one data source.
#[derive(Debug)]
pub(super) struct Feed {
    stream: usize,
    table: Table,
    /// For each column, where its number is.
    numbers: Vec<Option<Number>>,
    columns: Vec<Column>,
    /// What makes a row the same thing in the next report.
    identity: Vec<(FieldId, Accessor)>,
    counts_per_interval: bool,
}

/// A field with a number.
#[derive(Clone, Copy, Debug)]
struct Number {
    field: FieldId,
    accessor: Accessor,
}

impl Number {
    /// Of `field`, or of the field from which its text is made.
    fn of(source: &DataSource, field: FieldId) -> Option<Self> {
        let number = |field: FieldId| {
            let accessor = source.accessor(field);
            let is_number = matches!(accessor.kind(), Kind::One(scalar) if scalar.is_integer() || is_float(scalar));
            is_number.then_some(Self { field, accessor })
        };
        let raw = || source.find(&format!("{}_raw", source.get(field).full_name()));
        number(field).or_else(|| number(raw()?))
    }

    fn read(&self, element: &Element) -> f64 {
        match self.accessor.kind() {
            Kind::One(scalar) if is_float(scalar) => self.accessor.f64(element),
            Kind::One(scalar) if scalar.is_signed() => self.accessor.i64(element) as f64,
            _ => self.accessor.bits(element) as f64,
        }
    }
}

fn is_float(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Float32 | Scalar::Float64)
}

/// Whether the field's number is a name, as that of a process.
fn is_name(field: &Field) -> bool {
    field.has_tag(KEY)
        || field
            .annotation("template")
            .is_some_and(|template| NAMES.contains(&template))
}

/// Whether the field says which process an element is about.
fn is_process(field: &Field) -> bool {
    let template = field.annotation("template");
    template.is_some_and(|template| ["pid", "tid"].contains(&template))
        || ["pid", "tid"]
            .iter()
            .any(|name| field.has_tag(&format!("type:gadget_{name}")))
}

impl Feed {
    /// Of stream number `stream`, whose data source is `source`, the selected columns.
    pub(super) fn new(stream: usize, source: &DataSource, selection: &Selection) -> Result<Self> {
        let table = Table::new(source, selection, None)?;
        let mut numbers = Vec::new();
        let mut columns = Vec::new();
        for head in table.heads() {
            let field = source.get(head.source);
            let number = Number::of(source, head.source);
            // Numbers of an enum are shown by name; they are names.
            let is_measure = number.is_some_and(|number| {
                let raw = source.get(number.field);
                !is_name(field)
                    && !is_name(raw)
                    && raw.annotation("value.one-of").is_none()
                    && field.annotation("value.one-of").is_none()
            });
            columns.push(Column {
                header: head.header.to_owned(),
                right: head.right || is_measure,
                is_number: number.is_some(),
                is_measure,
                is_share: number
                    .is_some_and(|number| matches!(number.accessor.kind(), Kind::One(scalar) if is_float(scalar))),
            });
            numbers.push(number);
        }
        let readable = |(_, field): &(FieldId, &Field)| !field.is_empty() && !field.is_unreferenced();
        let of = |is: fn(&Field) -> bool| -> Vec<(FieldId, Accessor)> {
            let fields = source.fields().filter(readable).filter(|(_, field)| is(field));
            fields.map(|(id, _)| (id, source.accessor(id))).collect()
        };
        let keys = of(|field| field.has_tag(KEY));
        let counts_per_interval = !keys.is_empty();
        let identity = if counts_per_interval { keys } else { of(is_process) };
        Ok(Self {
            stream,
            table,
            numbers,
            columns,
            identity,
            counts_per_interval,
        })
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    /// Whether the numbers are what happened since the report before, and not how things stand.
    pub(super) fn counts_per_interval(&self) -> bool {
        self.counts_per_interval
    }

    /// The fields that are read.
    fn fields(&self) -> Vec<FieldId> {
        let numbers = self.numbers.iter().flatten().map(|number| number.field);
        let identity = self.identity.iter().map(|(id, _)| *id);
        self.table.fields().into_iter().chain(numbers).chain(identity).collect()
    }

    fn report(&mut self, elements: &[Element]) -> Report {
        let mut text = Vec::new();
        let rows = elements.iter().map(|element| self.row(element, &mut text)).collect();
        Report {
            at: Instant::now(),
            rows,
        }
    }

    fn row(&mut self, element: &Element, text: &mut Vec<u8>) -> Row {
        let mut cells = Vec::with_capacity(self.columns.len());
        for at in 0..self.columns.len() {
            text.clear();
            self.table.text(at, element, text);
            cells.push(String::from_utf8_lossy(text).into_owned().into_boxed_str());
        }
        let numbers = self.numbers.iter();
        let numbers = numbers
            .map(|number| number.map_or(f64::NAN, |number| number.read(element)))
            .collect();
        let mut hasher = DefaultHasher::new();
        if self.identity.is_empty() {
            let texts = cells.iter().zip(&self.columns).filter(|(_, column)| !column.is_measure);
            texts.for_each(|(cell, _)| cell.hash(&mut hasher));
        }
        for (_, accessor) in &self.identity {
            accessor.bytes(element).hash(&mut hasher);
        }
        Row {
            cells,
            numbers,
            identity: hasher.finish(),
        }
    }
}

/// The feeds of a gadget as an operator.
#[derive(Debug)]
pub(super) struct Feeds {
    feeds: Vec<Feed>,
    board: Arc<Board>,
}

impl Feeds {
    /// Feed number N fills place number N of `board`.
    pub(super) fn new(feeds: Vec<Feed>, board: Arc<Board>) -> Self {
        Self { feeds, board }
    }
}

impl Instance for Feeds {
    fn name(&self) -> &'static str {
        "top"
    }

    fn priority(&self) -> i32 {
        priority::instance::SINK
    }

    fn demand(&self, context: &mut Context) {
        for feed in &self.feeds {
            if let Some(stream) = context.streams.get_mut(feed.stream) {
                feed.fields().into_iter().for_each(|field| stream.demand.add(field));
            }
        }
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for (at, mut feed) in self.feeds.drain(..).enumerate() {
            let Some(stream) = context.streams.get_mut(feed.stream) else {
                continue;
            };
            let board = Arc::clone(&self.board);
            stream
                .pipeline
                .subscribe_array(priority::subscription::SINK, move |elements| {
                    board.put(at, feed.report(elements));
                    Ok(Flow::Continue)
                });
        }
        Ok(())
    }
}
