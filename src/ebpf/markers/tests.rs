use super::super::btf::testing::Builder;
use super::*;

fn parts() -> Parts {
    let map = |class, type_name: &str, key_size, value_size| DeclaredMap {
        class,
        type_name: type_name.to_owned(),
        key_size,
        value_size,
    };
    let maps = [
        ("events", map(MapClass::RingBuffer, "RingBuf", 0, 0)),
        ("perf", map(MapClass::PerfEventArray, "PerfEventArray", 4, 4)),
        ("hash", map(MapClass::Hash, "Hash", 4, 8)),
        ("numbers", map(MapClass::Hash, "Hash", 4, 8)),
        ("typedefs", map(MapClass::Hash, "Hash", 4, 8)),
        ("wide", map(MapClass::Hash, "Hash", 8, 8)),
        ("lru", map(MapClass::Other, "LruHash", 4, 8)),
        ("sockets", map(MapClass::Sockets, "Sockhash", 4, 4)),
    ];
    let programs = [
        ("it1", "iter/task"),
        ("it2", "iter/task"),
        ("sleepable", "iter.s/task"),
        ("probe", "kprobe/x"),
        ("elem", "iter/bpf_map_elem"),
        ("parser", "sk_skb/stream_parser"),
    ];
    Parts {
        maps: maps.map(|(name, map)| (name.to_owned(), map)).into(),
        programs: programs
            .map(|(name, section)| (name.to_owned(), section.to_owned()))
            .into(),
    }
}

/// The BTF of an object with these markers, and maps whose keys and values are of various types.
fn object(markers: &[&str]) -> Vec<u8> {
    let mut b = Builder::default();
    let int = b.int("int", 4, 1);
    let long = b.int("long", 8, 1);
    b.structure("event", 4, &[("a", int, 0)]);
    b.structure("nothing", 0, &[]);
    let key = b.structure("key", 4, &[("k", int, 0)]);
    let value = b.structure("value", 8, &[("v", long, 0)]);
    let alias = b.typedef("key_t", key);
    for (name, key, value) in [
        ("hash", key, value),
        ("wide", key, value),
        ("lru", key, value),
        ("numbers", key, long),
        ("typedefs", alias, value),
    ] {
        let (key, value) = (b.pointer(key), b.pointer(value));
        let declaration = b.structure("", 16, &[("key", key, 0), ("value", value, 64)]);
        b.variable(name, declaration, 1);
    }
    for marker in markers {
        b.marker(marker);
    }
    b.build()
}

fn discover(markers: &[&str]) -> Result<Markers> {
    let bytes = object(markers);
    Markers::discover(&Btf::parse(&bytes).unwrap(), &parts())
}

fn names(found: &Markers) -> Vec<&str> {
    found.sources.iter().map(Declared::name).collect()
}

#[test]
fn finds_data_sources_params_and_buffers_in_order() {
    let found = discover(&[
        "gadget_tracer_open___events___event",
        "gadget_map_tracer_events",
        "gadget_mapiter_counts___hash",
        "gadget_param_targ_pid",
        "gadget_param_targ_pid",
        "gadget_iter_ps___event___it1___it2",
        "gadget_tracer_second___perf___event",
        "gadget_mntns_filter_map",
        "__gadget_tracer_type_open",
    ])
    .unwrap();
    assert_eq!(names(&found), ["open", "counts", "ps", "second"]);
    assert_eq!(found.params, ["targ_pid"]);
    assert_eq!(found.buffers, ["events"]);
    assert!(found.filters_mntns);
    let Declared::Iterator(iterator) = &found.sources[2] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (iterator.element.as_str(), &iterator.programs[..]),
        ("event", &["it1".to_owned(), "it2".to_owned()][..])
    );
    let Declared::MapIterator(iterator) = &found.sources[1] else {
        panic!("{found:?}")
    };
    let bytes = object(&[]);
    let btf = Btf::parse(&bytes).unwrap();
    let name = |id| btf.name(&btf.get(id).unwrap()).to_owned();
    assert_eq!(
        (iterator.map.as_str(), name(iterator.key), name(iterator.value)),
        ("hash", "key".to_owned(), "value".to_owned())
    );
}

#[test]
fn of_two_tracers_with_one_name_the_later_counts_of_two_iterators_the_earlier() {
    let found = discover(&[
        "gadget_tracer_a___events___event",
        "gadget_tracer_a___perf___event",
        "gadget_iter_ps___event___it1",
        "gadget_iter_ps___event___it2",
    ])
    .unwrap();
    assert_eq!(names(&found), ["a", "ps"]);
    let Declared::Tracer(tracer) = &found.sources[0] else {
        panic!("{found:?}")
    };
    assert_eq!(tracer.map, "perf");
    let Declared::Iterator(iterator) = &found.sources[1] else {
        panic!("{found:?}")
    };
    assert_eq!(iterator.programs, ["it1"]);
}

#[test]
fn the_old_name_of_iterators_and_sleepable_ones_are_known() {
    let found = discover(&[
        "gadget_snapshotter_old___event___it1",
        "gadget_iter_s___event___sleepable",
    ])
    .unwrap();
    assert_eq!(names(&found), ["old", "s"]);
}

#[test]
fn maps_of_map_element_iterators() {
    let found = discover(&["gadget_mapelem_iter_target_elem___lru"]).unwrap();
    assert_eq!(found.iterated_maps, [("elem".to_owned(), "lru".to_owned())]);
}

#[test]
fn what_a_marker_refers_to_must_exist_and_fit() {
    for (markers, expected) in [
        (
            &["gadget_tracer_open___events"][..],
            "invalid tracer info: \"open___events\"",
        ),
        (
            &["gadget_tracer_a___nosuch___event"],
            "map \"nosuch\" not found in eBPF object",
        ),
        (
            &["gadget_tracer_a___hash___event"],
            "trace map is invalid: map \"hash\" has a wrong type",
        ),
        (&["gadget_tracer_a___events___nosuch"], "finding struct \"nosuch\""),
        (&["gadget_map_tracer_nosuch"], "map \"nosuch\" not found"),
        (
            &["gadget_iter_a___event"],
            "<name>___<structName>___<program1>___...___<programN>",
        ),
        (&["gadget_iter_a"], "<name>___<structName>"),
        (&["gadget_iter_a___event___"], "empty program name"),
        (
            &["gadget_iter_a___event___nosuch"],
            "program \"nosuch\" not found in eBPF object",
        ),
        (
            &["gadget_iter_a___event___probe"],
            "invalid program \"probe\": expecting type",
        ),
        (&["gadget_iter_a___nosuch___it1"], "finding struct \"nosuch\""),
        (
            &["gadget_iter_a___nothing___it1"],
            "struct \"nothing\" of iterator \"a\" is empty",
        ),
        (
            &["gadget_tracer_a___events___event", "gadget_iter_a___event___it1"],
            "data source \"a\" is declared twice",
        ),
        (&["gadget_mapiter_m"], "invalid name for gadget_mapiter type: \"m\""),
        (&["gadget_mapiter_m___nosuch"], "map \"nosuch\" not found"),
        (&["gadget_mapiter_m___lru"], "map \"lru\" is not a hash map"),
        (&["gadget_mapiter_m___numbers"], "map \"numbers\" value is not a struct"),
        (&["gadget_mapiter_m___typedefs"], "map \"typedefs\" key is not a struct"),
        (
            &["gadget_mapiter_m___wide"],
            "key/value sizes of map \"wide\" does not match size of structs",
        ),
        (
            &["gadget_mapiter_m___hash", "gadget_mapiter_m___hash"],
            "duplicate map iterator \"m___hash\"",
        ),
        (
            &["gadget_mapelem_iter_target_elem"],
            "invalid iter target map: \"elem\"",
        ),
        (
            &["gadget_mapelem_iter_target_it1___hash"],
            "expecting section iter/bpf_map_elem",
        ),
        (
            &["gadget_mapelem_iter_target_elem___nosuch"],
            "map \"nosuch\" not found",
        ),
        (
            &[
                "gadget_mapelem_iter_target_elem___hash",
                "gadget_mapelem_iter_target_elem___lru",
            ],
            "duplicate iter target map for program \"elem\"",
        ),
    ] {
        let error = discover(markers).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("handling type by prefix"), "{error}");
    }
}

#[test]
fn only_global_const_void_pointers_are_markers() {
    let mut b = Builder::default();
    let int = b.int("int", 4, 1);
    let constant = b.constant(0);
    let pointer = b.pointer(constant);
    let plain = b.pointer(0);
    b.variable("gadget_tracer_static", pointer, 0);
    b.variable("gadget_tracer_plain", plain, 1);
    b.variable("gadget_tracer_int", int, 1);
    b.typedef("gadget_tracer_typedef", int);
    let bytes = b.build();
    assert_eq!(
        Markers::discover(&Btf::parse(&bytes).unwrap(), &parts()).unwrap(),
        Markers::default()
    );
}

#[test]
fn socket_maps_belong_to_programs() {
    let found = discover(&["gadget_sk_prog_target_parser___sockets"]).unwrap();
    assert_eq!(found.socket_maps, [("parser".to_owned(), "sockets".to_owned())]);
    for (markers, expected) in [
        (
            &["gadget_sk_prog_target_parser"][..],
            "invalid sk target map: \"parser\"",
        ),
        (
            &["gadget_sk_prog_target_probe___sockets"],
            "expecting section sk_skb/... or sk_msg",
        ),
        (&["gadget_sk_prog_target_parser___hash"], "is not a socket map"),
        (&["gadget_sk_prog_target_parser___nothing"], "map \"nothing\" not found"),
        (
            &["gadget_sk_prog_target_other___sockets"],
            "program \"other\" not found",
        ),
    ] {
        let error = discover(markers).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
