//! `--fields` and `--output`.

use inspektor_gadget::output::columns::Table;
use inspektor_gadget::output::fields::Fields;
use inspektor_gadget::output::mode::Modes;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let source = super::source();
    let fields = Fields::parse(&text);
    if let Err(error) = fields.check(&[source.name()]) {
        super::assert_said(&error);
    }
    match fields.select(&source) {
        Ok(selection) => {
            for terminal in [None, Some(1), Some(80)] {
                let mut table = Table::new(&source, &selection, terminal).expect("no annotation is there to be wrong");
                let mut out = Vec::new();
                table.header(&mut out);
                for element in &super::elements(&source) {
                    table.row(element, &mut out);
                }
                super::assert_harmless(&out);
            }
        }
        Err(error) => super::assert_said(&error),
    }
    match Modes::parse(&text).and_then(|modes| modes.resolve(&[&source])) {
        Ok(modes) => assert_eq!(modes.len(), 1),
        Err(error) => super::assert_said(&error),
    }
}
