//! A whole `--filter`, for whoever has elements to filter without a gadget.

use super::grammar::{Condition, conditions};
use super::term::Term;
use crate::Result;
use crate::data::{DataSource, Element, FieldId};

/// Conditions all of which must hold.
///
/// ```
/// use inspektor_gadget::data::{DataSource, Element, NewField, Scalar, SourceType};
/// use inspektor_gadget::operators::filter::Terms;
///
/// let mut exec = DataSource::new("exec", SourceType::Single, None);
/// let pid = exec.add_field(NewField::new("pid", Scalar::Uint32)).unwrap();
/// let mut terms = Terms::parse("pid>=10,pid!=11", &exec).unwrap();
/// let mut event = Element::new(exec.layout());
/// for (value, expected) in [(9, false), (10, true), (11, false)] {
///     exec.accessor(pid).set_bits(&mut event, value);
///     assert_eq!(terms.matches(&event), expected);
/// }
/// ```
#[derive(Debug)]
pub struct Terms {
    terms: Vec<Term>,
}

impl Terms {
    /// Compiles the value of `--filter` for elements of `source`.
    ///
    /// # Errors
    ///
    /// A condition that is none, a field that does not exist or cannot be compared so, a value that is not of its kind.
    pub fn parse(filter: &str, source: &DataSource) -> Result<Self> {
        let terms = conditions(filter)
            .iter()
            .map(|text| Term::compile(&Condition::parse(text)?, source))
            .collect::<Result<_>>()?;
        Ok(Self { terms })
    }

    /// The fields that are compared, in the order of the conditions.
    pub fn fields(&self) -> impl Iterator<Item = FieldId> {
        self.terms.iter().map(|term| term.field)
    }

    /// Whether all conditions hold for `element`.
    pub fn matches(&mut self, element: &Element) -> bool {
        self.terms.iter_mut().all(|term| term.matches(element))
    }
}
