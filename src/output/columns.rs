//! Columns: one line per element, one cell per shown field.
//!
//! Into a pipe, every column has exactly its configured width. On a terminal the widths share the line (`width`). A cell
//! never contains anything that a terminal acts on (`cell`).

mod cell;
mod width;

use std::collections::HashMap;

use cell::{Align, Ellipsis, Shape};
use width::Extent;

use super::fields::Selection;
use super::json;
use super::number;
use super::repeats::Repeats;
use crate::data::{Accessor, DataSource, Element, Field, FieldId, Kind, Lazy, Scalar};
use crate::{Error, Result};

/// Writes elements of one data source as lines of a table.
#[derive(Debug)]
pub struct Table {
    shown: Vec<Column>,
    left_out: Vec<String>,
    made: Vec<Made>,
    repeats: Repeats,
}

/// What there is to know about a column.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// What stands above the cells.
    pub header: &'a str,
    /// The field that is read, which may be another.
    pub source: FieldId,
    /// Whether the cells are aligned at their right edge.
    pub right: bool,
}

/// Appends the text of a number.
type Write = Box<dyn FnMut(u64, &mut Vec<u8>) + Send>;

/// A text that is made for columns only.
struct Made {
    write: Write,
    text: Vec<u8>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Made")
    }
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    header: String,
    source: FieldId,
    accessor: Accessor,
    content: Content,
    extent: Extent,
    align: Align,
    ellipsis: Ellipsis,
    /// Current width in characters.
    width: usize,
}

/// How a cell's text is made.
#[derive(Clone, Copy, Debug)]
enum Content {
    Unsigned,
    Signed,
    UnsignedHex,
    SignedHex,
    Bool,
    Float {
        precision: i32,
    },
    Text {
        until_nul: bool,
    },
    /// What the table makes of the number, at this place of its list.
    Made(usize),
    /// `<N bytes>`.
    Size,
}

impl Table {
    /// The table of the selected fields. `terminal` is the width of the terminal, `None` for a pipe or a file.
    ///
    /// On a terminal on which the *default* columns do not fit readably, the least important ones are left out; see
    /// [`left_out`](Self::left_out). Fields that the user named are always all shown.
    ///
    /// # Errors
    ///
    /// An annotation of any field of the data source that makes no sense for columns.
    pub fn new(source: &DataSource, selection: &Selection, terminal: Option<usize>) -> Result<Self> {
        let mut names = HashMap::new();
        for (_, field) in columns_of(source) {
            if names.insert(field.full_name().to_lowercase(), ()).is_some() {
                return Err(Error::invalid(format!("duplicate column name {:?}", field.full_name())));
            }
        }
        let mut columns: HashMap<FieldId, Column> = HashMap::new();
        for (id, _) in columns_of(source) {
            columns.insert(id, Column::new(source, id)?);
        }
        let shown: Vec<Column> = selection
            .fields()
            .iter()
            .filter_map(|id| columns.get(id).cloned())
            .collect();
        let mut table = Self {
            shown,
            left_out: Vec::new(),
            made: Vec::new(),
            repeats: Repeats::new(0, std::iter::empty()),
        };
        if let Some(total) = terminal {
            if selection.is_default() {
                table.leave_out(total);
            }
            table.rescale(total);
        }
        table.settle();
        Ok(table)
    }

    /// The full names of the default columns that were left out because the terminal is too narrow for them.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The fields that are read.
    pub fn fields(&self) -> Vec<FieldId> {
        self.shown.iter().map(|column| column.source).collect()
    }

    /// Has columns that show `text` show what `write` makes of the number in field `from` instead. Whether there are such columns.
    pub fn make(
        &mut self,
        source: &DataSource,
        text: FieldId,
        from: FieldId,
        write: impl FnMut(u64, &mut Vec<u8>) + Send + 'static,
    ) -> bool {
        let content = Content::Made(self.made.len());
        let mut found = false;
        for column in self.shown.iter_mut().filter(|column| column.source == text) {
            column.source = from;
            column.accessor = source.accessor(from);
            column.content = content;
            found = true;
        }
        self.made.push(Made {
            write: Box::new(write),
            text: Vec::new(),
        });
        self.settle();
        found
    }

    /// Shares the width of a terminal between the columns.
    pub fn rescale(&mut self, total: usize) {
        let mut positions: HashMap<&str, usize> = HashMap::new();
        let mut extents = Vec::new();
        let indices: Vec<usize> = self
            .shown
            .iter()
            .map(|column| {
                *positions.entry(&column.name).or_insert_with(|| {
                    extents.push(column.extent);
                    extents.len() - 1
                })
            })
            .collect();
        let widths = width::scale(&extents, &indices, total);
        let mut changed = false;
        for (column, index) in self.shown.iter_mut().zip(indices) {
            changed |= column.width != widths[index];
            column.width = widths[index];
        }
        if changed {
            self.repeats.forget();
        }
    }

    /// The columns are what they are now.
    fn settle(&mut self) {
        let values = self.shown.iter().map(|column| column.accessor).enumerate();
        self.repeats = Repeats::new(self.shown.len(), values);
    }

    /// Appends the header without a line break.
    pub fn header(&self, out: &mut Vec<u8>) {
        for (i, column) in self.shown.iter().enumerate() {
            if i > 0 {
                out.push(b' ');
            }
            let shape = Shape {
                ellipsis: Ellipsis::End,
                ..column.shape()
            };
            cell::append_text(column.header.as_bytes(), false, shape, out);
        }
    }

    /// Appends the row of one element without a line break.
    pub fn row(&mut self, element: impl Lazy, out: &mut Vec<u8>) {
        let (shown, made) = (&self.shown, &mut self.made);
        self.repeats.append(element, out, |columns, element, out| {
            let first = columns.start;
            for (i, column) in shown[columns].iter().enumerate() {
                if first + i > 0 {
                    out.push(b' ');
                }
                if let Content::Made(at) = column.content
                    && let Some(made) = made.get_mut(at)
                {
                    made.text.clear();
                    (made.write)(column.accessor.bits(element), &mut made.text);
                    cell::append_text(&made.text, false, column.shape(), out);
                } else {
                    column.append(element, out);
                }
            }
        });
    }

    /// The columns, for who arranges cells otherwise.
    pub fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        self.shown.iter().map(|column| Head {
            header: &column.header,
            source: column.source,
            right: column.align == Align::Right,
        })
    }

    /// Appends the text of one element in the column number `at`, escaped like a cell, but neither padded nor cut to a width.
    pub fn text(&mut self, at: usize, element: &Element, out: &mut Vec<u8>) {
        let Some(column) = self.shown.get(at) else { return };
        match column.content {
            Content::Made(made) => {
                if let Some(made) = self.made.get_mut(made) {
                    made.text.clear();
                    (made.write)(column.accessor.bits(element), &mut made.text);
                    cell::append_bare(&made.text, false, out);
                }
            }
            Content::Text { until_nul } => cell::append_bare(column.accessor.bytes(element), until_nul, out),
            _ => column.append_bare(element, out),
        }
    }

    fn leave_out(&mut self, total: usize) {
        let headers: Vec<&str> = self.shown.iter().map(|column| column.header.as_str()).collect();
        let extents: Vec<Extent> = self.shown.iter().map(|column| column.extent).collect();
        let keep = width::fit(&headers, &extents, total);
        let mut keep = keep.iter();
        let left_out = &mut self.left_out;
        self.shown.retain(|column| {
            let keep = keep.next().copied().unwrap_or(true);
            if !keep {
                left_out.push(column.name.clone());
            }
            keep
        });
    }
}

/// The fields that have a column, shown or not.
pub(super) fn columns_of(source: &DataSource) -> impl Iterator<Item = (FieldId, &Field)> {
    source
        .fields()
        .filter(|(_, field)| !field.is_empty() && !field.is_unreferenced())
}

impl Column {
    fn new(source: &DataSource, id: FieldId) -> Result<Self> {
        let field = source.get(id);
        let name = field.full_name();
        let origin = match field.annotation("columns.replace").filter(|name| !name.is_empty()) {
            Some(other) => source
                .fields()
                .find(|(_, field)| !field.is_unreferenced() && field.full_name() == other)
                .map(|(id, _)| id)
                .ok_or_else(|| Error::invalid(format!("replacement field {other:?} not found")))?,
            None => id,
        };
        let accessor = source.accessor(origin);
        let kind = accessor.kind();
        let align = match field.annotation("columns.alignment") {
            None | Some("left") => Align::Left,
            Some("right") => Align::Right,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "invalid alignment type for column {name:?}: {other}"
                )));
            }
        };
        let ellipsis = match field.annotation("columns.ellipsis") {
            None | Some("") => Ellipsis::None,
            Some("start") => Ellipsis::Start,
            Some("middle") => Ellipsis::Middle,
            Some("end") => Ellipsis::End,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "invalid ellipsis type for column {name:?}: {other}"
                )));
            }
        };
        let precision = match field.annotation("columns.precision") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|error| Error::invalid(format!("invalid precision {text:?} for column {name:?}: {error}")))?,
        };
        let is = |key| field.annotation(key) == Some("true");
        let extent = extent(field, kind, is("columns.fixed"))?;
        let alias = field.annotation("columns.alias").filter(|alias| !alias.is_empty());
        Ok(Self {
            name: name.to_owned(),
            header: alias.unwrap_or(name).to_uppercase(),
            source: origin,
            accessor,
            content: Content::of(kind, is("columns.hex"), precision),
            extent,
            align,
            ellipsis,
            width: extent.width,
        })
    }

    fn shape(&self) -> Shape {
        Shape {
            width: self.width,
            align: self.align,
            ellipsis: self.ellipsis,
        }
    }

    #[inline]
    fn append(&self, element: &Element, out: &mut Vec<u8>) {
        let shape = self.shape();
        if let Content::Text { until_nul } = self.content {
            cell::append_text(self.accessor.bytes(element), until_nul, shape, out);
            return;
        }
        let start = out.len();
        self.append_bare(element, out);
        let characters = out.len() - start;
        cell::finish(start, characters, shape, out);
    }

    /// Appends what is no text, without padding.
    #[inline]
    fn append_bare(&self, element: &Element, out: &mut Vec<u8>) {
        match self.content {
            Content::Unsigned => number::append_u64(self.accessor.bits(element), out),
            Content::Signed => number::append_i64(self.accessor.bits(element) as i64, out),
            Content::UnsignedHex => append_upper_hex(false, self.accessor.bits(element), out),
            Content::SignedHex => {
                let value = self.accessor.bits(element) as i64;
                append_upper_hex(value < 0, value.unsigned_abs(), out);
            }
            Content::Bool => out.extend_from_slice(if self.accessor.bool(element) { b"true" } else { b"false" }),
            Content::Float { precision } => json::float(&self.accessor, element).append_fixed(precision, out),
            Content::Size | Content::Text { .. } | Content::Made(_) => {
                out.push(b'<');
                number::append_u64(self.accessor.bytes(element).len() as u64, out);
                out.extend_from_slice(b" bytes>");
            }
        }
    }
}

fn append_upper_hex(negative: bool, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(if negative { b"0x-" } else { b"0x" });
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
    for shift in (0..digits).rev() {
        out.push(b"0123456789ABCDEF"[(value >> (shift * 4) & 15) as usize]);
    }
}

impl Content {
    fn of(kind: Kind, hex: bool, precision: i32) -> Self {
        match kind {
            Kind::One(Scalar::Bool) => Content::Bool,
            Kind::One(Scalar::Float32 | Scalar::Float64) => Content::Float { precision },
            Kind::One(Scalar::String) => Content::Text { until_nul: false },
            Kind::One(Scalar::CString) => Content::Text { until_nul: true },
            Kind::One(scalar) if scalar.is_integer() => match (scalar.is_signed(), hex) {
                (true, true) => Content::SignedHex,
                (true, false) => Content::Signed,
                (false, true) => Content::UnsignedHex,
                (false, false) => Content::Unsigned,
            },
            _ => Content::Size,
        }
    }
}

const DEFAULT_WIDTH: usize = 16;
/// Wider columns are no use to anybody, and sums of widths must not overflow.
const MAX_WIDTH: usize = u16::MAX as usize;

fn extent(field: &Field, kind: Kind, fixed: bool) -> Result<Extent> {
    let widest = widest(kind);
    let width_of = |key: &str| -> Result<Option<usize>> {
        let Some(text) = field.annotation(key) else {
            return Ok(None);
        };
        if text != "type" {
            let width: i64 = text
                .parse()
                .map_err(|error| Error::invalid(format!("invalid width {text:?}: {error}")).context(context(field)))?;
            return Ok(Some(usize::try_from(width).unwrap_or(0).min(MAX_WIDTH)));
        }
        let only = match kind {
            _ if widest.is_some() => return Ok(widest),
            Kind::One(Scalar::String | Scalar::CString | Scalar::Float32 | Scalar::Float64) => "integer and bool types",
            _ => "fields with a reflect type",
        };
        Err(Error::invalid(format!("special value \"type\" is only available for {only}")).context(context(field)))
    };
    let mut extent = Extent {
        width: width_of("columns.width")?.unwrap_or(DEFAULT_WIDTH),
        min: width_of("columns.minwidth")?.unwrap_or(0),
        max: width_of("columns.maxwidth")?.unwrap_or(0),
        fixed,
    };
    if let Some(widest) = widest {
        if extent.max == 0 {
            extent.max = widest;
        }
        if extent.width == 0 {
            extent.width = widest;
        }
    } else if kind.is_text() && extent.width == 0 {
        extent.width = DEFAULT_WIDTH;
    }
    Ok(extent)
}

fn context(field: &Field) -> String {
    format!("column {:?}", field.full_name())
}

/// Length of the longest value of a kind that has one.
fn widest(kind: Kind) -> Option<usize> {
    Some(match kind {
        Kind::One(Scalar::Uint8) => 3,
        Kind::One(Scalar::Int8) => 4,
        Kind::One(Scalar::Uint16) => 5,
        Kind::One(Scalar::Int16) => 6,
        Kind::One(Scalar::Uint32) => 10,
        Kind::One(Scalar::Int32) => 11,
        Kind::One(Scalar::Uint64 | Scalar::Int64) => 20,
        Kind::One(Scalar::Bool) => 5,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
