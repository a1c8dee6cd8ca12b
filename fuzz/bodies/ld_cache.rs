//! The `ld.so.cache` of a container.

use inspektor_gadget::ebpf::attach::parsers;

pub fn run(data: &[u8]) {
    for name in ["libc", "libssl.so.3", ""] {
        match parsers::libraries(data, name) {
            Ok(paths) => assert!(paths.iter().all(|path| path.len() < data.len() && !path.contains(&0))),
            Err(error) => super::assert_said(&error),
        }
    }
}
