//! Lines in a JSON stream that say how many events were lost where they stand.

use super::json::append_string;
use super::number;
use crate::data::LossPlace;

/// How losses of one data source are written.
#[derive(Clone, Debug)]
pub struct LossLine {
    source: Option<String>,
    pretty: bool,
}

impl LossLine {
    /// `{"lost":N,"reason":"…"}`; with `source`, a member `datasource` names it. `pretty` is indented by two spaces.
    pub fn new(source: Option<&str>, pretty: bool) -> Self {
        Self {
            source: source.map(str::to_owned),
            pretty,
        }
    }

    /// Appends the line for `count` events that stayed at `place`.
    pub fn append(&self, place: LossPlace, count: u64, out: &mut Vec<u8>) {
        let (open, colon, comma, close): (&[u8], &[u8], &[u8], &[u8]) = if self.pretty {
            (b"{\n  ", b": ", b",\n  ", b"\n}\n")
        } else {
            (b"{", b":", b",", b"}\n")
        };
        let member = |name: &[u8], out: &mut Vec<u8>| {
            append_string(name, false, out);
            out.extend_from_slice(colon);
        };
        out.extend_from_slice(open);
        if let Some(source) = &self.source {
            member(b"datasource", out);
            append_string(source.as_bytes(), false, out);
            out.extend_from_slice(comma);
        }
        member(b"lost", out);
        number::append_u64(count, out);
        out.extend_from_slice(comma);
        member(b"reason", out);
        append_string(place.name().as_bytes(), false, out);
        out.extend_from_slice(close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &LossLine) -> String {
        let mut out = Vec::new();
        line.append(LossPlace::Buffer, 12, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        assert_eq!(
            line(&LossLine::new(None, false)),
            "{\"lost\":12,\"reason\":\"buffer\"}\n"
        );
        assert_eq!(
            line(&LossLine::new(Some("open"), false)),
            "{\"datasource\":\"open\",\"lost\":12,\"reason\":\"buffer\"}\n"
        );
        assert_eq!(
            line(&LossLine::new(None, true)),
            "{\n  \"lost\": 12,\n  \"reason\": \"buffer\"\n}\n"
        );
    }
}
