//! An ELF file of a container: symbols, static probes, the table of a Go program. The names that are looked for are those of the corpus.

use inspektor_gadget::ebpf::attach::parsers;

pub fn run(data: &[u8]) {
    let end = data.len() as u64;
    let check = |offsets: Vec<u64>| assert!(offsets.iter().all(|offset| *offset < end), "{offsets:?} in {end} bytes");
    for (name, on_return) in [("main", false), ("main.main", true), ("*", false), ("f?", true)] {
        match parsers::functions(data, name, on_return) {
            Ok(offsets) => check(offsets),
            Err(error) => super::assert_said(&error),
        }
    }
    match parsers::static_probes(data, "app", "start") {
        Ok(probes) => {
            for (offset, arguments) in probes {
                check(vec![offset]);
                let _ = parsers::arguments(&arguments);
            }
        }
        Err(error) => super::assert_said(&error),
    }
    match parsers::go_function(data, "main.main") {
        Ok(offset) => check(offset.into_iter().collect()),
        Err(error) => super::assert_said(&error),
    }
}
