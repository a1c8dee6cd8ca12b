//! The language of `--filter-expr`, and that of texts computed from events.

use inspektor_gadget::expr::{Filter, Text};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let source = super::source();
    let elements = super::elements(&source);
    match Filter::compile(&text, &source) {
        Ok(mut filter) => {
            for id in filter.fields() {
                assert_eq!(source.children(*id).count(), 0, "only leaves are read");
            }
            // The present is not the same twice.
            let repeats = !text.contains("now");
            for element in &elements {
                let first = filter.matches(element).map_err(|error| super::assert_said(&error));
                if repeats {
                    let second = filter.matches(element).map_err(|_| ());
                    assert_eq!(first, second);
                }
            }
        }
        Err(error) => super::assert_said(&error),
    }
    match Text::compile(&text, &source) {
        Ok(mut text) => {
            let mut out = Vec::new();
            for element in &elements {
                if let Err(error) = text.eval(element, &mut out) {
                    super::assert_said(&error);
                }
            }
        }
        Err(error) => super::assert_said(&error),
    }
}
