//! The arguments of a static probe, as a binary of a container says them.

use inspektor_gadget::ebpf::attach::parsers;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parsers::arguments(&text) {
        Ok(count) => assert!(count <= text.matches('@').count()),
        Err(error) => super::assert_said(&error),
    }
}
