//! Trailing data: what follows the struct that a record begins with, as a field.

use super::accessor::Accessor;
use super::element::Element;
use crate::{Error, Result};

/// Where the trailing data of a record goes, and how much of it there is.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// Bytes of the struct.
    pub size: usize,
    /// The field that gets what follows.
    pub field: Accessor,
    /// The field that says how many bytes it gets; without one, all.
    pub len: Option<Accessor>,
}

impl Rest {
    /// Fills the field of `element`, which holds the struct of `record` already. Empty if the record is not longer than the
    /// struct.
    ///
    /// # Errors
    ///
    /// A length field that is not 4 bytes wide, or that says more than there is.
    pub(super) fn fill(&self, element: &mut Element, record: &[u8]) -> Result<()> {
        let Some(rest) = record.get(self.size..).filter(|rest| !rest.is_empty()) else {
            return Ok(());
        };
        let len = match self.len {
            None => rest.len(),
            Some(len) => match *len.bytes(element) {
                [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]) as usize,
                ref bytes => {
                    return Err(Error::invalid(format!(
                        "getting rest length: invalid field length, expected 4, got {}",
                        bytes.len()
                    )));
                }
            },
        };
        let rest = rest.get(..len).ok_or_else(|| {
            let (data, event) = (record.len(), self.size);
            Error::invalid(format!(
                "rest length {len} is larger than data length {data} - event size {event}"
            ))
        })?;
        self.field.write(element, |out| out.extend_from_slice(rest));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataSource, NewField, Scalar, SourceType, StaticField};
    use super::*;

    /// Acceptance check 23.10 of the eBPF specification.
    #[test]
    fn what_follows_the_struct() {
        let mut source = DataSource::new("packets", SourceType::Single, None);
        let fields = [
            StaticField::new("n", Scalar::Uint32, 0, 4),
            StaticField::new("short", Scalar::Uint16, 4, 2),
        ];
        source.add_static_fields(16, &fields).unwrap();
        let payload = source.add_field(NewField::new("payload", Scalar::Bytes)).unwrap();
        let payload = source.accessor(payload);
        let accessor = |name: &str| source.accessor(source.field(name).unwrap().id());
        let filled = |len: Option<&str>, n: u32, extra: usize| {
            let rest = Rest {
                size: 16,
                field: payload,
                len: len.map(accessor),
            };
            let mut record = n.to_ne_bytes().to_vec();
            record.resize(16, 0);
            record.extend((1..).take(extra));
            let mut element = Element::new(source.layout());
            element.reset(source.layout(), &record);
            rest.fill(&mut element, &record)
                .map(|()| payload.bytes(&element).to_vec())
        };
        assert_eq!(filled(None, 0, 4).unwrap(), [1, 2, 3, 4]);
        assert!(filled(None, 0, 0).unwrap().is_empty());
        assert_eq!(filled(Some("n"), 3, 4).unwrap(), [1, 2, 3]);
        assert_eq!(
            filled(Some("n"), 5, 4).unwrap_err().to_string(),
            "rest length 5 is larger than data length 20 - event size 16"
        );
        assert_eq!(
            filled(Some("short"), 1, 4).unwrap_err().to_string(),
            "getting rest length: invalid field length, expected 4, got 2"
        );
    }
}
