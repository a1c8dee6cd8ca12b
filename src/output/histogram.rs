//! Histograms as text: a line per interval with its count and a bar.

use std::fmt::Write;

use super::columns::Table;
use super::fields::Selection;
use super::terminal;
use crate::Result;
use crate::data::{Accessor, DataSource, Element, FieldId, Kind, Scalar};

/// The output mode that shows histograms as text.
pub const MODE: &str = "histogram";

/// The modes in which what is summed up is JSON with units and bounds.
pub const JSON_MODES: [&str; 2] = ["json", "jsonpretty"];

/// Fields of these types are the counts of a histogram.
const SLOTS: [&str; 2] = ["type:gadget_histogram_slot__u32", "type:gadget_histogram_slot__u64"];

/// How many values lay between `start` and `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The smallest value.
    pub start: u64,
    /// The largest value.
    pub end: u64,
    /// How many there were.
    pub count: u64,
}

/// Characters of the longest bar.
const BAR: u64 = 40;

/// 2 to the power of `exponent`, if that is a number of 64 bits.
pub fn power_of_two(exponent: usize) -> Option<u64> {
    u32::try_from(exponent)
        .ok()
        .and_then(|exponent| 1u64.checked_shl(exponent))
}

/// The counts in the bytes of an array of this kind: of 32 or else of 64 bits.
pub fn counts(kind: Kind, bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (narrow, wide) = match kind {
        Kind::Array(Scalar::Uint32) => (bytes, &[][..]),
        _ => (&[][..], bytes),
    };
    let narrow = narrow.as_chunks::<4>().0.iter();
    let wide = wide.as_chunks::<8>().0.iter();
    narrow
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .chain(wide.map(|word| u64::from_ne_bytes(*word)))
}

/// What a slot counts whose widths double: slot `i` the values from 2^i to 2^(i+1) - 1, the first one 0, too.
pub fn interval(slot: usize, count: u64) -> Interval {
    Interval {
        start: if slot == 0 {
            0
        } else {
            power_of_two(slot).unwrap_or(u64::MAX)
        },
        end: power_of_two(slot + 1).map_or(u64::MAX, |next| next - 1),
        count,
    }
}

/// The intervals of `slots`. Empty slots at the end are left out, but not the first slot.
pub fn exponential(slots: &[u64]) -> Vec<Interval> {
    let used = slots.iter().rposition(|count| *count > 0).map_or(1, |last| last + 1);
    let used = slots.iter().take(used).enumerate();
    used.map(|(slot, count)| interval(slot, *count)).collect()
}

/// Appends the text of `intervals`, whose values are in `unit`; nothing if there are none.
pub fn append(unit: &str, intervals: &[Interval], out: &mut String) {
    let Some(max) = intervals.iter().map(|interval| interval.count).max() else {
        return;
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "        {unit:<16} : count    distribution");
    for Interval { start, end, count } in intervals {
        let stars = u128::from(*count) * u128::from(BAR) / u128::from(max.max(1));
        let bar = "*".repeat(usize::try_from(stars).unwrap_or_default());
        let _ = writeln!(out, "{start:>10} -> {end:<10} : {count:<8} |{bar:<40}|");
    }
}

/// Shows elements that have histograms: their other fields as a table of one row, then each histogram.
#[derive(Debug)]
pub struct Encoder {
    /// `None` where an element has nothing but its histograms.
    table: Option<Table>,
    histograms: Vec<Histogram>,
    slots: Vec<u64>,
    text: String,
}

#[derive(Debug)]
struct Histogram {
    field: FieldId,
    name: String,
    unit: String,
    accessor: Accessor,
}

impl Encoder {
    /// `None` if `source` has no histograms. `selection` says which of its fields are in the table.
    ///
    /// # Errors
    ///
    /// An annotation that makes no sense for columns.
    pub fn new(source: &DataSource, selection: &Selection) -> Result<Option<Self>> {
        let histograms: Vec<Histogram> = source
            .fields()
            .filter(|(_, field)| SLOTS.iter().any(|tag| field.has_tag(tag)))
            .filter(|(_, field)| matches!(field.kind(), Kind::Array(Scalar::Uint32 | Scalar::Uint64)))
            .map(|(id, field)| Histogram {
                field: id,
                name: field.full_name().to_owned(),
                unit: field.annotation("metrics.unit").unwrap_or_default().to_owned(),
                accessor: source.accessor(id),
            })
            .collect();
        if histograms.is_empty() {
            return Ok(None);
        }
        let table = Table::new(source, selection, None)?;
        Ok(Some(Self {
            table: (!table.fields().is_empty()).then_some(table),
            histograms,
            slots: Vec::new(),
            text: String::new(),
        }))
    }

    /// The fields that are read.
    pub fn fields(&self) -> Vec<FieldId> {
        let of_table = self.table.iter().flat_map(Table::fields);
        of_table.chain(self.histograms.iter().map(|h| h.field)).collect()
    }

    /// Appends the text of one element, with an empty line after it.
    pub fn encode(&mut self, element: &Element, out: &mut Vec<u8>) {
        if let Some(table) = &mut self.table {
            table.header(out);
            out.push(b'\n');
            table.row(element, out);
            out.push(b'\n');
        }
        let several = self.histograms.len() > 1;
        for histogram in &self.histograms {
            self.text.clear();
            if several {
                let _ = writeln!(self.text, "{}", histogram.name);
            }
            histogram.slots(element, &mut self.slots);
            append(&histogram.unit, &exponential(&self.slots), &mut self.text);
            // The unit is the gadget's word.
            terminal::append_lines(self.text.as_bytes(), out);
        }
        out.push(b'\n');
    }
}

impl Histogram {
    fn slots(&self, element: &Element, slots: &mut Vec<u64>) {
        slots.clear();
        slots.extend(counts(self.accessor.kind(), self.accessor.bytes(element)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SourceType, StaticField};

    #[test]
    fn elements_are_a_row_and_a_histogram() {
        let mut source = DataSource::new("latency", SourceType::Array, None);
        let mut slots = StaticField::new("slots", Kind::Array(Scalar::Uint32), 4, 12);
        slots.tags.push(SLOTS[0].to_owned());
        slots
            .annotations
            .insert("metrics.unit".to_owned(), "\x1b[2Jµs".to_owned());
        slots.annotations.insert("columns.hidden".to_owned(), "true".to_owned());
        let key = StaticField::new("dev", Kind::One(Scalar::Uint32), 0, 4);
        source.add_static_fields(16, &[key, slots]).unwrap();
        let mut encoder = Encoder::new(&source, &Selection::default_of(&source)).unwrap().unwrap();
        assert_eq!(encoder.fields().len(), 2);
        let mut element = Element::new(source.layout());
        let record: Vec<u8> = [7u32, 1, 0, 3].iter().flat_map(|word| word.to_ne_bytes()).collect();
        element.reset(source.layout(), &record);
        let mut out = Vec::new();
        encoder.encode(&element, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0].trim(), lines[1].trim()), ("DEV", "7"));
        assert!(
            lines[2].contains("\\x1b[2Jµs") && lines[2].contains("count    distribution"),
            "{text}"
        );
        assert!(
            lines[5].starts_with("         4 -> 7          : 3        |****"),
            "{text}"
        );
        assert_eq!((lines.len(), lines[6]), (7, ""));
        let plain = DataSource::new("plain", SourceType::Array, None);
        assert!(Encoder::new(&plain, &Selection::default_of(&plain)).unwrap().is_none());
    }

    fn text(unit: &str, slots: &[u64]) -> String {
        let mut out = String::new();
        append(unit, &exponential(slots), &mut out);
        out
    }

    #[test]
    fn e1_bars_are_shares_of_the_largest() {
        let expected = format!(
            "        µs               : count    distribution\n\
             \u{20}        0 -> 1          : 1        |*************{}|\n\
             \u{20}        2 -> 3          : 0        |{}|\n\
             \u{20}        4 -> 7          : 3        |{}|\n",
            " ".repeat(27),
            " ".repeat(40),
            "*".repeat(40)
        );
        assert_eq!(text("µs", &[1, 0, 3]), expected);
        assert_eq!(text("µs", &[1, 0, 3, 0, 0]), expected, "empty slots at the end");
    }

    #[test]
    fn nothing_and_zeroes() {
        assert_eq!(text("ns", &[]), "");
        let zero = text("ns", &[0, 0]);
        assert_eq!(zero.lines().count(), 2);
        assert!(zero.ends_with(&format!("|{}|\n", " ".repeat(40))), "{zero}");
    }

    #[test]
    fn the_largest_numbers_fit() {
        let slots = [u64::MAX; 65];
        let intervals = exponential(&slots);
        assert_eq!((intervals[63].start, intervals[63].end), (1 << 63, u64::MAX));
        assert_eq!(intervals[64].start, u64::MAX);
        assert!(text("x", &slots).contains(&format!("|{}|", "*".repeat(40))));
    }
}
