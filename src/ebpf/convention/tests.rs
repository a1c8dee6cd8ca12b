use super::super::btf::testing::Builder;
use super::*;

/// An object with one map of this name and type, whose key and value are of the types that `types` makes.
fn object(name: &str, map_type: u32, types: impl Fn(&mut Builder) -> (TypeId, TypeId)) -> Vec<u8> {
    let mut b = Builder::default();
    let (key, value) = types(&mut b);
    let int = b.int("int", 4, 1);
    let number = b.array(int, map_type);
    let mut members = vec![("type", b.pointer(number), 0)];
    for (member, of) in [("key", key), ("value", value)] {
        if of != 0 {
            members.push((member, b.pointer(of), 0));
        }
    }
    let declaration = b.structure("", 24, &members);
    let map = b.variable(name, declaration, 1);
    b.section(".maps", &[(map, 24)]);
    b.build()
}

fn discovered(name: &str, map_type: u32, types: impl Fn(&mut Builder) -> (TypeId, TypeId)) -> Result<Vec<Declared>> {
    let bytes = object(name, map_type, types);
    discover(&Btf::parse(&bytes).unwrap())
}

fn event(b: &mut Builder) -> (TypeId, TypeId) {
    let int = b.int("unsigned int", 4, 0);
    let event = b.structure("event", 4, &[("pid", int, 0)]);
    (0, b.typedef("event_t", event))
}

fn counts(b: &mut Builder) -> (TypeId, TypeId) {
    let int = b.int("unsigned int", 4, 0);
    let slots = b.array(int, 27);
    (int, b.structure("hist", 108, &[("slots", slots, 0)]))
}

#[test]
fn names_tell_what_a_map_is() {
    for map_type in [MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY] {
        let tracer = Declared::Tracer(Tracer {
            name: "open".to_owned(),
            map: "print_open".to_owned(),
            event: "event".to_owned(),
        });
        assert_eq!(discovered("print_open", map_type, event).unwrap(), [tracer]);
    }
    let rows = discovered("stats_file", MAP_TYPE_HASH, counts).unwrap();
    assert!(
        matches!(&rows[..], [Declared::MapIterator(map)] if map.name == "file" && map.shape == MapShape::Rows),
        "{rows:?}"
    );
    for map_type in [MAP_TYPE_HASH, MAP_TYPE_ARRAY] {
        let histograms = discovered("hist_io", map_type, counts).unwrap();
        assert!(
            matches!(&histograms[..], [Declared::MapIterator(map)] if map.shape == MapShape::Histograms),
            "{histograms:?}"
        );
    }
    assert_eq!(discovered("events", MAP_TYPE_RINGBUF, event).unwrap(), []);
}

#[test]
fn what_a_name_promises_is_checked() {
    let nothing = |_: &mut Builder| (0, 0);
    for (name, map_type, types, expected) in [
        (
            "print_x",
            MAP_TYPE_HASH,
            event as fn(&mut Builder) -> _,
            "a ring buffer or perf event array, but it is of type Hash",
        ),
        (
            "print_x",
            MAP_TYPE_RINGBUF,
            nothing,
            "the type of its value is not known",
        ),
        (
            "print_x",
            MAP_TYPE_RINGBUF,
            |b| (0, b.int("int", 4, 1)),
            "not a struct with a name",
        ),
        (
            "print_x",
            MAP_TYPE_RINGBUF,
            |b| (0, b.structure("", 4, &[])),
            "not a struct with a name",
        ),
        ("stats_x", MAP_TYPE_ARRAY, counts, "a hash map, but it is of type Array"),
        ("stats_x", MAP_TYPE_HASH, event, "the type of its key is not known"),
        (
            "hist_x",
            MAP_TYPE_RINGBUF,
            counts,
            "a hash map or an array, but it is of type RingBuf",
        ),
        (
            "hist_x",
            MAP_TYPE_HASH,
            |b| (b.int("int", 4, 1), b.int("long", 8, 1)),
            "no member `__u32 slots[N]`",
        ),
        (
            "stats_",
            MAP_TYPE_HASH,
            counts,
            "no name of a data source after the prefix",
        ),
    ] {
        let error = discovered(name, map_type, types).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
}

#[test]
fn rows_are_keys_and_values_whatever_their_types() {
    let bytes = object("stats_x", MAP_TYPE_HASH, |b| {
        let int = b.int("unsigned int", 4, 0);
        (b.structure("key", 8, &[("pid", int, 0), ("fd", int, 32)]), int)
    });
    let btf = Btf::parse(&bytes).unwrap();
    let sources = discover(&btf).unwrap();
    assert_eq!(member_names(&btf, &sources[0]).unwrap(), ["pid", "fd", "value"]);
}

#[test]
fn counts_are_marked_and_no_column() {
    let bytes = object("hist_x", MAP_TYPE_HASH, |b| {
        let int = b.int("unsigned int", 4, 0);
        (int, b.array(int, 8))
    });
    let btf = Btf::parse(&bytes).unwrap();
    let sources = discover(&btf).unwrap();
    let [Declared::MapIterator(map)] = &sources[..] else {
        panic!("{sources:?}")
    };
    let value = value_of(&btf, map).unwrap();
    assert_eq!((value.size, value.fields.len()), (32, 1));
    assert_eq!(value.fields[0].name, "slots");
    assert!(
        value.fields[0]
            .tags
            .contains(&"type:gadget_histogram_slot__u32".to_owned())
    );
    assert_eq!(value.fields[0].annotations["columns.hidden"], "true");
}

#[test]
fn constants_are_parameters() {
    let mut b = Builder::default();
    let int = b.int("int", 4, 1);
    let character = b.int("char", 1, 1);
    let volatile_character = b.volatile(character);
    let constant_character = b.constant(volatile_character);
    let text = b.array(constant_character, 16);
    let volatile = b.volatile(int);
    let constant = b.constant(volatile);
    let folded = b.constant(int);
    let structure = b.structure("s", 4, &[("a", int, 0)]);
    let volatile_structure = b.volatile(structure);
    let constant_structure = b.constant(volatile_structure);
    b.variable("min_ms", constant, 1);
    b.variable("comm", text, 1);
    b.variable("folded", folded, 1);
    b.variable("changes", volatile, 1);
    b.variable("internal", constant, 0);
    b.variable("struct_value", constant_structure, 1);
    b.variable(MNTNS_FILTER_SWITCH, constant, 1);
    let bytes = b.build();
    assert_eq!(parameters(&Btf::parse(&bytes).unwrap()), ["min_ms", "comm"]);
}
