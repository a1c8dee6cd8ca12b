//! Expressions (`--filter-expr`) as the operator uses them: what fails is said, and discards the element.

use crate::Result;
use crate::data::{DataSource, Element, FieldId};
use crate::expr::Filter;

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    filter: Filter,
    failures: u64,
}

impl Expression {
    pub(super) fn compile(text: &str, source: &DataSource) -> Result<Self> {
        Ok(Self {
            filter: Filter::compile(text, source)?,
            failures: 0,
        })
    }

    pub(super) fn fields(&self) -> &[FieldId] {
        self.filter.fields()
    }

    #[inline]
    pub(super) fn matches(&mut self, element: &Element) -> bool {
        self.filter.matches(element).unwrap_or_else(|error| {
            self.failures += 1;
            // An expression that fails for one event fails for many: the 1st, 2nd, 4th, 8th … is told.
            if self.failures.is_power_of_two() {
                tracing::error!("filter expression, failure {}: {error}", self.failures);
            }
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{NewField, Scalar, SourceType};

    #[test]
    fn what_fails_discards_the_element() {
        let mut source = DataSource::new("connect", SourceType::Single, None);
        let addr = source.add_field(NewField::new("addr", Scalar::String)).unwrap();
        let mut expression = Expression::compile("addr in cidr('10.0.0.0/8')", &source).unwrap();
        assert_eq!(expression.fields(), [addr]);
        let mut element = Element::new(source.layout());
        for (value, expected, failures) in [
            ("10.0.0.1", true, 0),
            ("x", false, 1),
            ("11.0.0.1", false, 1),
            ("y", false, 2),
        ] {
            source.accessor(addr).set(&mut element, value.as_bytes()).unwrap();
            assert_eq!(expression.matches(&element), expected, "{value}");
            assert_eq!(expression.failures, failures);
        }
    }
}
