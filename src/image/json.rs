//! The exact JSON text of manifests and indexes.
//!
//! Digests are computed over this text, so it is part of the image format: compact, and with the characters that are unsafe in
//! HTML escaped, as the tools that defined the format write it.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::{Error, ErrorKind, Result};

/// `value` as the bytes that are stored and digested.
pub(crate) fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut text, HtmlSafe(CompactFormatter)))
        .map_err(|e| Error::from_source(ErrorKind::Other, e).context("encoding JSON"))?;
    Ok(text)
}

struct HtmlSafe(CompactFormatter);

impl Formatter for HtmlSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut start = 0;
        for (at, c) in fragment.char_indices() {
            let escape = match c {
                '<' => "\\u003c",
                '>' => "\\u003e",
                '&' => "\\u0026",
                '\u{2028}' => "\\u2028",
                '\u{2029}' => "\\u2029",
                _ => continue,
            };
            self.0.write_string_fragment(writer, &fragment[start..at])?;
            writer.write_all(escape.as_bytes())?;
            start = at + c.len_utf8();
        }
        self.0.write_string_fragment(writer, &fragment[start..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_like_the_format_demands() {
        let text = to_vec(&"a<b>&c\u{2028}\u{2029} é\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}").unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "\"a\\u003cb\\u003e\\u0026c\\u2028\\u2029 é\\\"\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}\""
        );
    }
}
