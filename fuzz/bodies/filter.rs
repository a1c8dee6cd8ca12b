//! The grammar of `--filter`.

use inspektor_gadget::operators::filter::Terms;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let source = super::source();
    match Terms::parse(&text, &source) {
        Ok(mut terms) => {
            for id in terms.fields() {
                assert!(id.index() < source.len());
            }
            for element in &super::elements(&source) {
                // Deciding twice must not differ.
                assert_eq!(terms.matches(element), terms.matches(element));
            }
        }
        Err(error) => super::assert_said(&error),
    }
}
