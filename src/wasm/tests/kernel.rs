//! Sections 18.4 and 18.5: what needs a kernel that lets us make maps.

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::*;

/// Whether maps can be made here; without privileges there is nothing to check.
fn can_make_maps() -> bool {
    nix::unistd::geteuid().is_root()
}

fn kernel_map(map_type: MapType, name: &str, key: u32, value: u32, entries: u32) -> MapHandle {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    MapHandle::create(map_type, Some(name), key, value, entries, &options).unwrap()
}

fn bench(maps: Vec<(&str, MapHandle)>) -> Bench {
    let bench = Bench::new("", Context::default());
    let mut live = bench.live();
    live.inside().host().maps = maps.into_iter().map(|(name, map)| (name.to_owned(), map)).collect();
    drop(live);
    bench
}

#[test]
fn m_hash_maps() {
    if !can_make_maps() {
        return;
    }
    let mut b = bench(Vec::new());
    let name = b.text("test_map");
    assert_eq!(b.call("getMap", &[name]), 0, "M1: before the start");
    let mut b = bench(vec![("test_map", kernel_map(MapType::Hash, "test_map", 12, 4, 1))]);
    let name = b.text("test_map");
    let map = b.call("getMap", &[name]);
    assert_ne!(map, 0, "M1");
    let key = b.bytes(&[42, 0, 0, 0, 43, 0, 0, 0, 44, 0, 0, 0]);
    let (v42, v43, to) = (
        b.bytes(&42u32.to_le_bytes()),
        b.bytes(&43u32.to_le_bytes()),
        b.bytes(&[0; 4]),
    );
    assert_eq!(b.call("mapUpdate", &[map, key, v42, 0]), 0, "M2");
    assert_eq!(b.call("mapLookup", &[map, key, to]), 0, "M2");
    assert_eq!(b.read(to), 42u32.to_le_bytes(), "M2");
    assert_eq!(b.call("mapUpdate", &[map, key, v43, 2]), 0, "M2");
    assert_eq!(b.call("mapLookup", &[map, key, to]), 0, "M2");
    assert_eq!(b.read(to), 43u32.to_le_bytes(), "M2");
    assert_eq!(b.call("mapDelete", &[map, key]), 0, "M2");
    assert_eq!(b.call("mapUpdate", &[map, key, v42, 0]), 0, "M3");
    assert_eq!(b.call("mapUpdate", &[map, key, v42, 1]), 1, "M3");
    assert_eq!(b.call("mapUpdate", &[map, key, v42, 2]), 0, "M3");
    assert_eq!(b.call("mapDelete", &[map, key]), 0, "M3");
    assert_eq!(b.call("mapDelete", &[map, key]), 1, "M3");
    let pattern = b.bytes(&[0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(b.call("mapLookup", &[map, key, pattern]), 0, "M4");
    assert_eq!(b.read(pattern), [0xde, 0xad, 0xbe, 0xef], "M4");
    for flags in [5, 8, u64::MAX] {
        assert_eq!(b.call("mapUpdate", &[map, BAD, BAD, flags]), 1, "M7");
    }
    assert_eq!(b.call("mapUpdate", &[map, BAD, BAD, 0]), 1, "M8");
    assert_eq!(b.call("mapUpdate", &[map, key, BAD, 0]), 1, "M8");
    assert_eq!(b.call("mapLookup", &[map, BAD, 0]), 1, "M8");
    assert_eq!(b.call("mapDelete", &[map, BAD]), 1, "M8");
    assert_eq!(b.call("mapUpdate", &[0, key, v42, 0]), 1, "M9");
    assert_eq!(b.call("mapLookup", &[0, key, to]), 1, "M9");
    assert_eq!(b.call("mapDelete", &[0, key]), 1, "M9");
    assert_eq!(b.call("getMap", &[BAD]), 0, "M9");
    let short = b.bytes(&[0; 8]);
    assert_eq!(b.call("mapLookup", &[map, short, to]), 1, "a key of another size");
    assert_eq!(b.call("mapUpdate", &[map, key, short, 0]), 1, "a value of another size");
    assert_eq!(b.call("mapRelease", &[map]), 1, "M5");
    assert_eq!(b.call("releaseHandle", &[map]), 0, "M5");
}

#[test]
fn m_maps_of_the_guests_own() {
    if !can_make_maps() {
        return;
    }
    let mut b = bench(vec![("events", kernel_map(MapType::PerfEventArray, "events", 4, 4, 1))]);
    let name = b.text("map_test");
    let map = b.call("newMap", &[name, 1, 4, 4, 1]);
    assert_ne!(map, 0, "M6");
    let (one, two) = (b.bytes(&1u32.to_le_bytes()), b.bytes(&2u32.to_le_bytes()));
    assert_eq!(b.call("mapUpdate", &[map, one, one, 0]), 0, "M6");
    assert_eq!(b.call("mapUpdate", &[map, two, one, 0]), 1, "M6: full");
    assert_eq!(b.call("mapRelease", &[map]), 0, "M6");
    assert_eq!(b.call("mapLookup", &[map, one, two]), 1, "M6");
    assert_eq!(b.call("mapRelease", &[map]), 1, "M6");
    let events = b.text("events");
    let events = b.call("getMap", &[events]);
    assert_eq!(b.call("mapLookup", &[events, one, two]), 1, "M10");
    for kind in [34, 12, 13, u64::from(u32::MAX)] {
        assert_eq!(b.call("newMap", &[name, kind, 4, 4, 1]), 0, "M11");
    }
    let long = b.text("perf_buffer_4026531840");
    let perf = b.call("newMap", &[long, 4, 4, 4, 0]);
    assert_ne!(perf, 0, "M14");
    let cpus = libbpf_rs::num_possible_cpus().unwrap();
    {
        let mut live = b.live();
        let mut inside = live.inside();
        let Some(crate::wasm::handles::Object::Map(map)) = inside.host().handles.get(perf as u32) else {
            panic!("it is a map");
        };
        assert_eq!(map.map.max_entries() as usize, cpus, "M14");
        assert_eq!(map.map.name(), "perf_buffer_402", "M14");
    }
    assert_eq!(b.call("newMap", &[long, 4, 8, 4, 0]), 0);
    let per_cpu = b.call("newMap", &[name, 6, 4, 4, 1]);
    let zero = b.bytes(&0u32.to_le_bytes());
    let image = b.bytes(&vec![0; 8 * cpus]);
    assert_eq!(b.call("mapLookup", &[per_cpu, zero, image]), 0, "M15");
    let short = image - (1 << 32);
    assert_eq!(b.call("mapLookup", &[per_cpu, zero, short]), 1, "M15");
    let values: Vec<u8> = (0..cpus as u64).flat_map(|cpu| (cpu + 7).to_le_bytes()).collect();
    let values = b.bytes(&values);
    assert_eq!(b.call("mapUpdate", &[per_cpu, zero, values, 0]), 0, "a whole image");
    assert_eq!(b.call("mapLookup", &[per_cpu, zero, image]), 0);
    assert_eq!(b.read(image)[..4], 7u32.to_le_bytes());
}

#[test]
fn m_maps_of_maps() {
    if !can_make_maps() {
        return;
    }
    let template = kernel_map(MapType::Hash, "inner", 4, 4, 8);
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        inner_map_fd: std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&template)) as u32,
        ..Default::default()
    };
    let outer = MapHandle::create(MapType::HashOfMaps, Some("outer"), 12, 4, 4, &options).unwrap();
    let mut b = bench(vec![("outer", outer)]);
    let (name, own) = (b.text("outer"), b.text("own"));
    let outer = b.call("getMap", &[name]);
    let inner = b.call("newMap", &[own, 1, 4, 4, 8]);
    let key = b.bytes(&[1; 12]);
    let value = b.bytes(&(inner as u32).to_le_bytes());
    assert_eq!(b.call("mapUpdate", &[outer, key, value, 0]), 0, "M12");
    let to = b.bytes(&[0; 8]);
    assert_eq!(b.call("mapLookup", &[outer, key, to]), 0, "M12");
    let found = u64::from(u32::from_le_bytes(b.read(to)[..4].try_into().unwrap()));
    assert!(found != 0 && found != inner, "M12");
    let (k, v) = (b.bytes(&42u32.to_le_bytes()), b.bytes(&43u32.to_le_bytes()));
    assert_eq!(b.call("mapUpdate", &[found, k, v, 0]), 0, "M12");
    let seen = b.bytes(&[0; 4]);
    assert_eq!(b.call("mapLookup", &[inner, k, seen]), 0, "M12");
    assert_eq!(b.read(seen), 43u32.to_le_bytes(), "M12: they are the same map");
    assert_eq!(b.call("mapRelease", &[found]), 1, "M12");
    assert_eq!(b.call("releaseHandle", &[found]), 0, "M12");
    let mut wide = (inner as u32).to_le_bytes().to_vec();
    wide.extend([1, 0, 0, 0]);
    let wide = b.bytes(&wide);
    assert_eq!(b.call("mapUpdate", &[outer, key, wide, 0]), 0, "M13");
    let narrow = b.bytes(&[1, 0]);
    assert_eq!(b.call("mapUpdate", &[outer, key, narrow, 0]), 1);
    assert_eq!(b.call("mapDelete", &[outer, key]), 0, "M12");
    assert_eq!(b.call("mapLookup", &[outer, key, to]), 1, "a key that is not there");
}

#[test]
fn f6_the_filter_of_mount_namespaces() {
    if !can_make_maps() {
        return;
    }
    let mut b = bench(Vec::new());
    for id in [555, 777] {
        assert_eq!(b.call("shouldDiscardMntnsID", &[id]), 0, "without a filter");
    }
    let filter = kernel_map(MapType::Hash, "filter", 8, 4, 4);
    filter
        .update(&777u64.to_ne_bytes(), &0u32.to_ne_bytes(), MapFlags::ANY)
        .unwrap();
    b.live().inside().host().mntns_filter = Some(filter);
    assert_eq!(b.call("shouldDiscardMntnsID", &[555]), 1);
    assert_eq!(b.call("shouldDiscardMntnsID", &[777]), 0);
}

#[test]
fn f7_kernel_symbols() {
    let mut b = bench(Vec::new());
    let names = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    for name in ["socket_file_ops", "vfs_read"] {
        let known = b.text(name);
        let named = |line: &&str| line.split_whitespace().nth(2) == Some(name);
        let there = names.lines().filter(named).count();
        assert_eq!(
            b.call("kallsymsSymbolExists", &[known]),
            u64::from(there == 1),
            "{name}"
        );
    }
    let unknown = b.text("abcde_bad_name");
    assert_eq!(b.call("kallsymsSymbolExists", &[unknown]), 0);
    assert_eq!(b.call("kallsymsSymbolExists", &[BAD]), 0);
}

#[test]
fn p_perf_readers() {
    if !can_make_maps() {
        return;
    }
    let cpus = libbpf_rs::num_possible_cpus().unwrap() as u32;
    let mut b = bench(vec![(
        "events",
        kernel_map(MapType::PerfEventArray, "events", 4, 4, cpus),
    )]);
    let name = b.text("events");
    let events = b.call("getMap", &[name]);
    assert_eq!(b.call("newPerfReader", &[events, 0, 1]), 0, "P7");
    assert_eq!(b.call("newPerfReader", &[42, 4096, 1]), 0);
    let reader = b.call("newPerfReader", &[events, 4096, 1]);
    assert_ne!(reader, 0, "P1");
    let to = b.bytes(&[0; 4096]);
    assert_eq!(b.call("perfReaderRead", &[reader, to]), 1, "P2");
    assert_eq!(b.call("perfReaderPause", &[reader]), 0);
    assert_eq!(
        (
            b.call("perfReaderRead", &[reader, to]),
            b.call("perfReaderRead", &[reader, to])
        ),
        (2, 2),
        "P4"
    );
    assert_eq!(b.call("perfReaderResume", &[reader]), 0, "P5");
    assert_eq!(
        (
            b.call("perfReaderClose", &[reader]),
            b.call("perfReaderClose", &[reader])
        ),
        (0, 1),
        "P5"
    );
}

#[test]
fn s7_declarations_of_system_calls() {
    if crate::ebpf::tracefs().is_none() {
        return;
    }
    let mut b = bench(Vec::new());
    let (name, to) = (b.text("execve"), b.bytes(&[0xff; 252]));
    assert_eq!(b.call("getSyscallDeclaration", &[name, to]), 0, "S7");
    let bytes = b.read(to);
    assert_eq!((bytes[32], &bytes[33..36]), (3, [0; 3].as_slice()), "S7");
    assert_eq!(&bytes[36..45], b"filename\0", "S7");
    assert_eq!(bytes[68], 1, "S7");
    assert!(bytes[144..].iter().all(|byte| *byte == 0), "S7");
    assert_eq!(
        b.call("getSyscallDeclaration", &[name, (126 << 32) | (to & 0xffff_ffff)]),
        1,
        "S8"
    );
}
