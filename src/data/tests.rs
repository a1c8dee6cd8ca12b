//! The acceptance checks of the data source model.

use std::sync::{Arc, Mutex};

use super::*;

fn source() -> DataSource {
    DataSource::new("test", SourceType::Single, None)
}

fn add(ds: &mut DataSource, name: &str, kind: Scalar) -> Accessor {
    let id = ds.add_field(NewField::new(name, kind)).unwrap();
    ds.accessor(id)
}

#[test]
fn d1_refuses_an_unknown_type() {
    assert_eq!(
        SourceType::from_wire(100).unwrap_err().to_string(),
        "invalid data source type: 100"
    );
}

#[test]
fn d2_refuses_a_second_field_of_the_same_name() {
    let mut ds = source();
    ds.add_field(NewField::new("foo", Scalar::Uint32)).unwrap();
    let error = ds.add_field(NewField::new("foo", Scalar::Uint32)).unwrap_err();
    assert_eq!(error.to_string(), "field \"foo\" already exists");
}

#[test]
fn d3_refuses_a_member_outside_its_struct_and_adds_nothing() {
    let mut ds = source();
    let good = StaticField::new("good", Scalar::Uint32, 0, 4);
    let bad = StaticField::new("bad", Scalar::Uint64, 4, 8);
    let error = ds.add_static_fields(10, &[good, bad]).unwrap_err();
    assert!(error.to_string().contains("exceeds size of container"), "{error}");
    assert!(ds.is_empty());
    let wraps = StaticField::new("wraps", Scalar::Uint64, u32::MAX - 3, 8);
    assert!(ds.add_static_fields(10, &[wraps]).is_err());
}

#[test]
fn d4_and_d5_static_text_is_padded_and_never_cut() {
    let mut ds = source();
    ds.add_static_fields(8, &[StaticField::new("s", Scalar::CString, 0, 8)])
        .unwrap();
    let s = ds.accessor(ds.find("s").unwrap());
    let mut element = Element::new(ds.layout());
    s.set(&mut element, b"abc").unwrap();
    assert_eq!(s.bytes(&element), b"abc\0\0\0\0\0");
    assert_eq!(s.text(&element), b"abc");
    let error = s.set(&mut element, b"123456789").unwrap_err();
    assert_eq!(error.to_string(), "invalid field length, expected 8, got 9");
}

#[test]
fn d6_subscribers_run_by_priority_then_in_order() {
    let mut pipeline = Pipeline::default();
    let calls = Arc::new(Mutex::new(Vec::new()));
    for (priority, name) in [(10, "10"), (5, "5"), (5, "5'"), (-1, "-1")] {
        let calls = Arc::clone(&calls);
        pipeline.subscribe(priority, move |_| {
            calls.lock().unwrap().push(name);
            Ok(Flow::Continue)
        });
    }
    pipeline.emit(&mut Element::default()).unwrap();
    assert_eq!(*calls.lock().unwrap(), ["-1", "5", "5'", "10"]);
}

#[test]
fn d7_discarding_an_element_of_an_array_keeps_the_others() {
    let mut ds = DataSource::new("a", SourceType::Array, None);
    let id = ds.add_field(NewField::new("n", Scalar::Uint32)).unwrap();
    let n = ds.accessor(id);
    let mut elements: Vec<Element> = (1..=3)
        .map(|i| {
            let mut element = Element::new(ds.layout());
            n.set_bits(&mut element, i);
            element
        })
        .collect();
    let mut pipeline = Pipeline::default();
    pipeline.subscribe(0, move |e| {
        Ok(if n.bits(e) == 2 { Flow::Discard } else { Flow::Continue })
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    pipeline.subscribe_array(1, move |array| {
        sink.lock().unwrap().extend(array.iter().map(|e| n.bits(e)));
        Ok(Flow::Continue)
    });
    pipeline.emit_array(&mut elements).unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 3]);
}

#[test]
fn d8_an_array_only_shrinks() {
    let mut elements = vec![Element::default(); 3];
    let error = resize(&mut elements, 5).unwrap_err();
    assert_eq!(error.to_string(), "resizing to a larger size is not supported");
    assert_eq!(elements.len(), 3);
    resize(&mut elements, 3).unwrap();
    resize(&mut elements, 1).unwrap();
    assert_eq!(elements.len(), 1);
}

#[test]
fn d9_a_large_unsigned_saturates_as_signed() {
    let mut ds = source();
    let id = ds.add_field(NewField::new("n", Scalar::Uint64)).unwrap();
    let n = ds.accessor(id);
    let mut element = Element::new(ds.layout());
    n.set_bits(&mut element, u64::MAX);
    assert_eq!(n.i64(&element), i64::MAX);
    assert_eq!(n.bits(&element), u64::MAX);
}

struct Hide;

impl Settings for Hide {
    fn annotations(&self) -> Annotations {
        [("a".to_owned(), "b".to_owned())].into()
    }
    fn tags(&self) -> Vec<String> {
        vec!["t".to_owned()]
    }
    fn field(&self, full_name: &str) -> Option<FieldSettings> {
        let annotations = match full_name {
            "foo" => [("columns.hidden".to_owned(), "true".to_owned())].into(),
            "pid" => [
                ("template".to_owned(), "pid".to_owned()),
                ("columns.minwidth".to_owned(), "9".to_owned()),
            ]
            .into(),
            _ => return None,
        };
        Some(FieldSettings {
            tags: vec!["said".to_owned()],
            annotations,
        })
    }
}

#[test]
fn d10_metadata_is_laid_over_the_defaults() {
    let mut ds = DataSource::new("test", SourceType::Single, Some(Arc::new(Hide)));
    assert_eq!(ds.annotation("a"), Some("b"));
    assert_eq!(ds.tags(), ["t"]);
    let foo = ds.add_field(NewField::new("foo", Scalar::Uint32)).unwrap();
    assert!(ds.get(foo).is_hidden());
    assert_eq!(ds.get(foo).annotations().len(), 4);
    assert_eq!(ds.get(foo).annotation("columns.width"), Some("16"));
    let pid = ds.add_field(NewField::new("pid", Scalar::Uint32)).unwrap();
    assert_eq!(
        ds.get(pid).annotation("columns.minwidth"),
        Some("9"),
        "explicit beats template"
    );
    assert_eq!(
        ds.get(pid).annotation("columns.alignment"),
        Some("right"),
        "template beats default"
    );
    assert_eq!(ds.get(pid).tags(), ["said"]);
}

#[test]
fn d12_look_up_falls_back_to_any_case() {
    let mut ds = source();
    let id = ds.add_field(NewField::new("A", Scalar::Uint32)).unwrap();
    assert_eq!(ds.find("a"), Some(id));
    assert_eq!(ds.find("b"), None);
}

#[test]
fn a_later_field_moves_no_value() {
    let mut ds = source();
    ds.add_static_fields(4, &[StaticField::new("n", Scalar::Uint32, 0, 4)])
        .unwrap();
    let n = ds.accessor(ds.find("n").unwrap());
    let text = ds.add_field(NewField::new("text", Scalar::String)).unwrap();
    let text = ds.accessor(text);
    let flag = ds.add_field(NewField::new("flag", Scalar::Bool)).unwrap();
    let flag = ds.accessor(flag);
    let mut element = Element::default();
    element.reset(ds.layout(), &7u32.to_ne_bytes());
    text.write(&mut element, |buffer| buffer.extend_from_slice(b"hello"));
    flag.set_bits(&mut element, 1);
    assert_eq!(
        (n.bits(&element), text.text(&element), flag.bool(&element)),
        (7, &b"hello"[..], true)
    );
    element.reset(ds.layout(), &[1]);
    assert_eq!(
        (n.bits(&element), text.text(&element), flag.bool(&element)),
        (1, &b""[..], false)
    );
}

#[test]
fn static_members_rank_before_added_fields() {
    let mut ds = source();
    let mut child = StaticField::new("child", Scalar::Uint32, 0, 4);
    child.parent = Some(0);
    ds.add_static_fields(4, &[StaticField::new("parent", Scalar::Bytes, 0, 4), child])
        .unwrap();
    let added = ds.add_field(NewField::new("added", Scalar::String)).unwrap();
    let first = ds.add_field(NewField::new("first", Scalar::String).order(-5)).unwrap();
    let sub = ds.add_sub_field(added, NewField::new("sub", Scalar::String)).unwrap();
    assert_eq!(ds.get(added).order(), 2);
    assert_eq!(ds.get(sub).order(), 0);
    assert_eq!(ds.get(sub).full_name(), "added.sub");
    let names: Vec<&str> = ds
        .default_columns()
        .into_iter()
        .map(|id| ds.get(id).full_name())
        .collect();
    assert_eq!(names, ["first", "parent", "parent.child", "added.sub", "added"]);
    ds.remove_reference(added, true);
    ds.set_hidden(first, true, false);
    assert_eq!(ds.default_columns().len(), 2);
    assert_eq!(ds.find("added.sub"), None);
    ds.add_field(NewField::new("added", Scalar::String)).unwrap();
}

#[test]
fn typed_accessors_check_the_kind() {
    let mut ds = source();
    ds.add_field(NewField::new("n", Scalar::Uint32)).unwrap();
    assert!(ds.field("n").unwrap().str().is_err());
    assert!(ds.field("n").unwrap().u32().is_ok());
    assert_eq!(
        ds.field("m").unwrap_err().to_string(),
        "field \"m\" not found in datasource test"
    );
}

#[test]
fn bitfields_are_cut_out_of_the_bytes_they_share() {
    let mut ds = source();
    let mut low = StaticField::new("low", Scalar::Uint32, 0, 4);
    low.bits = Some((0, 3));
    let mut high = StaticField::new("high", Scalar::Int32, 0, 2);
    high.bits = Some((3, 5));
    let mut flag = StaticField::new("flag", Scalar::Bool, 1, 1);
    flag.bits = Some((0, 1));
    ds.add_static_fields(4, &[low, high, flag]).unwrap();
    let mut element = Element::default();
    element.reset(ds.layout(), &[0b1111_0101, 0b1111_1111]);
    let read = |name: &str| ds.field(name).unwrap().any();
    assert_eq!(read("low").bits(&element), 0b101);
    assert_eq!(read("high").i64(&element), -2);
    assert!(read("flag").bool(&element));
    assert_eq!(ds.field("low").unwrap().u32().unwrap().get(&element), 0b101);
}

#[test]
fn numbers_are_stored_as_they_are_loaded() {
    let mut ds = source();
    let [four, eight, signed] = [("a", Scalar::Uint32), ("b", Scalar::Int64), ("c", Scalar::Int32)]
        .map(|(name, kind)| add(&mut ds, name, kind));
    let mut element = Element::new(ds.layout());
    assert!(four.store(&mut element, u64::MAX) && eight.store(&mut element, u64::MAX - 1));
    assert_eq!(four.load(&element), Some(u64::from(u32::MAX)), "the low bytes");
    assert_eq!(eight.load(&element), Some(u64::MAX - 1));
    assert!(!signed.store(&mut element, 1) && signed.load(&element).is_none() && signed.bits(&element) == 0);
    let mut short = Element::default();
    assert!(!four.store(&mut short, 1) && four.load(&short).is_none());
}

#[test]
fn footprints_tell_sameness() {
    let mut ds = source();
    ds.add_static_fields(
        12,
        &["a", "b", "c"].map(|name| {
            let offset = (name.as_bytes()[0] - b'a') as u32 * 4;
            StaticField::new(name, Scalar::Uint32, offset, 4)
        }),
    )
    .unwrap();
    let text = ds.add_field(NewField::new("text", Scalar::String)).unwrap();
    let of = |name: &str| ds.field(name).unwrap().any();
    let footprint = Footprint::of(&[of("a"), of("b"), of("text")], &[]);
    let mut element = Element::new(ds.layout());
    let mut saved = Saved::default();
    assert!(!footprint.matches(&element, &saved), "nothing was saved yet");
    ds.accessor(text).write(&mut element, |out| out.extend_from_slice(b"x"));
    footprint.save(&element, &mut saved);
    assert!(footprint.matches(&element, &saved));
    of("c").set_bits(&mut element, 1);
    assert!(footprint.matches(&element, &saved), "c is no part of it");
    of("b").set_bits(&mut element, 1);
    assert!(!footprint.matches(&element, &saved));
    of("b").set_bits(&mut element, 0);
    ds.accessor(text)
        .write(&mut element, |out| out.extend_from_slice(b"xy"));
    assert!(!footprint.matches(&element, &saved));
}

#[test]
fn footprints_are_of_their_fields_and_of_nothing_else() {
    let mut ds = source();
    // Some lie in others.
    let places = [(0, 1), (1, 2), (5, 8), (13, 3), (20, 16), (21, 1), (24, 3), (38, 2)];
    let names: Vec<String> = places.iter().map(|(offset, _)| format!("f{offset}")).collect();
    let fields: Vec<StaticField> = names
        .iter()
        .zip(places)
        .map(|(name, (offset, len))| StaticField::new(name, Scalar::Bytes, offset, len))
        .collect();
    let container = ds.add_static_fields(40, &fields).unwrap();
    let accessors: Vec<Accessor> = names.iter().map(|name| ds.field(name).unwrap().any()).collect();
    let footprint = Footprint::of(&accessors, &[]);
    let mut element = Element::new(ds.layout());
    let mut saved = Saved::default();
    footprint.save(&element, &mut saved);
    for byte in 0..40 {
        let mut record = [0; 40];
        record[byte as usize] = 1;
        element.set_container(container, &record);
        let counts = places
            .iter()
            .any(|(offset, len)| (*offset..offset + len).contains(&byte));
        assert_eq!(footprint.matches(&element, &saved), !counts, "{byte}");
    }
}

#[test]
fn footprints_of_texts_end_with_them() {
    let mut ds = source();
    let fields = [
        StaticField::new("before", Scalar::Uint32, 0, 4),
        StaticField::new("text", Scalar::CString, 4, 36),
    ];
    let container = ds.add_static_fields(40, &fields).unwrap();
    let accessors = ["before", "text"].map(|name| ds.field(name).unwrap().any());
    let footprint = Footprint::of(&accessors, &[]);
    let element = |text: &[u8]| {
        let mut element = Element::new(ds.layout());
        element.set_container(container, &[&[0; 4], text].concat());
        element
    };
    let mut saved = Saved::default();
    for (text, same, others) in [
        (&b"abc\0"[..], &b"abc\0garbage"[..], [&b"abcd"[..], b"ab\0", b""]),
        (b"", b"\0garbage", [b"a", b"\x01", b"\xff"]),
        (
            b"as many characters as there is room ",
            b"as many characters as there is room ",
            [
                b"as many characters as there is room\0",
                b"as many characters as there is rooms",
                b"As many characters as there is room ",
            ],
        ),
    ] {
        footprint.save(&element(text), &mut saved);
        assert!(footprint.matches(&element(same), &saved));
        for other in others {
            assert!(!footprint.matches(&element(other), &saved), "{text:?} {other:?}");
        }
    }
}

#[test]
fn values_that_were_put_are_told_apart_by_that() {
    let mut ds = source();
    let mut text = |name: &str| ds.add_field(NewField::new(name, Scalar::String)).unwrap();
    let ids = ["before", "a", "b", "c", "after"].map(&mut text);
    let all = ids.map(|id| ds.accessor(id));
    let [before, a, b, c, after] = all;
    let footprint = Footprint::of(&all, &[]);
    let set = |accessor: &Accessor, element: &mut Element, text: &str| accessor.set(element, text.as_bytes()).unwrap();
    let values = |of: &[Accessor], text: &str| {
        let mut element = Element::new(ds.layout());
        of.iter().for_each(|accessor| set(accessor, &mut element, text));
        Values::take(of, &element)
    };
    let with = |values: &Values| {
        let mut element = Element::new(ds.layout());
        set(&before, &mut element, "x");
        values.put(&mut element);
        set(&after, &mut element, "y");
        element
    };
    let (one, other) = (values(&[a, b, c], "one"), values(&[a, b, c], "other"));
    let mut saved = Saved::default();
    footprint.save(&with(&one), &mut saved);
    assert!(footprint.matches(&with(&one), &saved) && footprint.matches(&with(&one).clone(), &saved));
    assert!(!footprint.matches(&with(&other), &saved));
    for changed in all {
        let mut element = with(&one);
        set(&changed, &mut element, "two");
        assert!(!footprint.matches(&element, &saved));
        let mut element = with(&one);
        changed.set_raw(&mut element, 1, |target| target.fill(b'z')).unwrap();
        assert!(!footprint.matches(&element, &saved));
    }
    let mut element = with(&one);
    set(&b, &mut element, "two");
    one.put(&mut element);
    assert!(footprint.matches(&element, &saved));
    element.reset(ds.layout(), &[]);
    assert!(!footprint.matches(&element, &saved), "nothing is there any more");
    // Between these there is a value of somebody else's.
    let (apart, others) = (values(&[a, c], "one"), values(&[a, c], "other"));
    let between = |text: &str| {
        let mut element = Element::new(ds.layout());
        set(&b, &mut element, text);
        apart.put(&mut element);
        element
    };
    footprint.save(&between("b"), &mut saved);
    assert!(footprint.matches(&between("b"), &saved) && !footprint.matches(&between("B"), &saved));
    assert!(!footprint.matches(&with(&others), &saved));
}

#[test]
fn footprints_compare_values_wherever_they_lie() {
    let mut ds = source();
    let mut text = |name: &str| ds.add_field(NewField::new(name, Scalar::String)).unwrap();
    let ids = ["a", "b", "c", "d"].map(&mut text);
    let others = ["other", "another"].map(&mut text);
    let [of, others] =
        [ids.to_vec(), others.to_vec()].map(|ids| ids.iter().map(|id| ds.accessor(*id)).collect::<Vec<_>>());
    let footprint = Footprint::of(&of, &[]);
    // What else is written before and in between is no part of it.
    let element = |order: [usize; 4], values: [&[u8]; 4], before: [&[u8]; 2]| {
        let mut element = Element::new(ds.layout());
        others[0].set(&mut element, before[0]).unwrap();
        for (number, index) in order.into_iter().enumerate() {
            if number == 2 {
                others[1].set(&mut element, before[1]).unwrap();
            }
            if !values[index].is_empty() {
                of[index].set(&mut element, values[index]).unwrap();
            }
        }
        element
    };
    let values: [&[u8]; 4] = [b"one", b"", b"three", b"x"];
    let mut saved = Saved::default();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        footprint.save(&element(order, values, [b"", b"in between"]), &mut saved);
        for before in [[&b""[..], b"in between"], [b"before", b""], [b"", b"between"]] {
            // Values that lay side by side may have to.
            if !before[1].is_empty() {
                assert!(footprint.matches(&element(order, values, before), &saved), "{order:?}");
            }
            for other_order in [order, [0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
                // The same bytes, cut elsewhere, and other bytes of the same lengths.
                for other in [
                    [&b"on"[..], b"e", b"three", b"x"],
                    [b"one", b"t", b"hree", b"x"],
                    [b"one", b"", b"three", b"y"],
                    [b"two", b"", b"three", b"x"],
                    [b"one", b"", b"three", b""],
                    [b"", b"", b"", b""],
                ] {
                    let element = element(other_order, other, before);
                    assert!(
                        !footprint.matches(&element, &saved),
                        "{order:?} {other_order:?} {other:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn fingerprints_are_others_when_values_are() {
    let mut ds = source();
    let fields = ["a", "b"].map(|name| StaticField::new(name, Scalar::Uint64, if name == "a" { 0 } else { 8 }, 8));
    ds.add_static_fields(16, &fields).unwrap();
    let added = add(&mut ds, "added", Scalar::Uint32);
    let texts = ["name", "pod"].map(|name| add(&mut ds, name, Scalar::String));
    let [a, b] = ["a", "b"].map(|name| ds.field(name).unwrap().any());
    let different = |footprint: &Footprint, changes: &[&dyn Fn(&mut Element)]| {
        let numbers = changes.iter().map(|change| {
            let mut element = Element::new(ds.layout());
            change(&mut element);
            footprint.number(&element) >> 32
        });
        let numbers: std::collections::HashSet<u64> = numbers.collect();
        numbers.len()
    };
    let of_numbers: [&dyn Fn(&mut Element); 6] = [
        &|_| (),
        &|element| a.set_bits(element, 1),
        &|element| a.set_bits(element, 2),
        &|element| b.set_bits(element, 1),
        &|element| added.set_bits(element, 1),
        &|element| added.set_bits(element, 1 << 31),
    ];
    assert_eq!(different(&Footprint::of(&[], &[a, b, added, texts[0]]), &of_numbers), 6);
    assert_eq!(different(&Footprint::of(&[a, texts[0]], &[a]), &of_numbers), 3);
    assert_eq!(different(&Footprint::of(&[], &[]), &of_numbers), 1);
    // Names of the same length that begin alike.
    let of_texts: [&dyn Fn(&mut Element); 5] = [
        &|_| (),
        &|element| texts[0].set(element, b"container-1").unwrap(),
        &|element| texts[0].set(element, b"container-2").unwrap(),
        &|element| texts[1].set(element, b"container-1").unwrap(),
        &|element| texts[1].set(element, b"web").unwrap(),
    ];
    assert_eq!(different(&Footprint::of(&texts, &texts), &of_texts), 5);
}

#[test]
fn footprints_of_long_parts() {
    let mut ds = source();
    let names: Vec<String> = (0..20).map(|index| format!("f{index}")).collect();
    let fields: Vec<StaticField> = (0..20)
        .map(|index| StaticField::new(&names[index], Scalar::Uint64, 8 * index as u32, 8))
        .collect();
    ds.add_static_fields(160, &fields).unwrap();
    let text = ds.add_field(NewField::new("text", Scalar::String)).unwrap();
    let accessors: Vec<Accessor> = names
        .iter()
        .chain([&"text".to_owned()])
        .map(|name| ds.field(name).unwrap().any())
        .collect();
    let footprint = Footprint::of(&accessors, &[]);
    let mut element = Element::new(ds.layout());
    ds.accessor(text).set(&mut element, b"text").unwrap();
    let mut saved = Saved::default();
    footprint.save(&element, &mut saved);
    assert!(footprint.matches(&element, &saved));
    for accessor in &accessors[..20] {
        accessor.set_bits(&mut element, 1 << 40);
        assert!(!footprint.matches(&element, &saved));
        accessor.set_bits(&mut element, 0);
        assert!(footprint.matches(&element, &saved));
    }
    ds.accessor(text).set(&mut element, b"test").unwrap();
    assert!(!footprint.matches(&element, &saved));
}

#[test]
fn values_move_from_one_element_to_another() {
    let mut ds = source();
    let [n, small, left_out, large] = [
        ("n", Scalar::Uint32),
        ("small", Scalar::Uint8),
        ("left_out", Scalar::Uint16),
        ("large", Scalar::Uint64),
    ]
    .map(|(name, kind)| add(&mut ds, name, kind));
    let [a, b] = ["a", "b"].map(|name| add(&mut ds, name, Scalar::String));
    let mut from = Element::new(ds.layout());
    for (number, accessor) in [n, small, left_out, large].iter().enumerate() {
        accessor.set_bits(&mut from, number as u64 + 7);
    }
    a.set(&mut from, b"hello").unwrap();
    b.set(&mut from, b"world").unwrap();
    let values = Values::take([&n, &small, &large, &b], &from);
    let mut to = Element::new(ds.layout());
    a.set(&mut to, b"kept").unwrap();
    left_out.set_bits(&mut to, 1);
    values.announce(&mut to);
    let footprint = Footprint::of(&[n, b], &[]);
    let mut saved = Saved::default();
    values.put(&mut to);
    footprint.save(&to, &mut saved);
    let mut announced = Element::new(ds.layout());
    values.announce(&mut announced);
    assert!(
        values.can_wait() && footprint.matches(&announced, &saved),
        "known before they are there"
    );
    b.set(&mut announced, b"other").unwrap();
    assert!(!footprint.matches(&announced, &saved));
    // An element that has no values at all, though they look the same until they are there.
    let of_text = Footprint::of(&[b], &[]);
    of_text.save(&Element::new(ds.layout()), &mut saved);
    let mut announced = Element::new(ds.layout());
    assert!(of_text.matches(&announced, &saved));
    values.announce(&mut announced);
    assert!(!of_text.matches(&announced, &saved), "announced is not empty");
    assert_eq!(
        [n, small, left_out, large].map(|accessor| accessor.bits(&to)),
        [7, 8, 1, 10]
    );
    assert_eq!((a.text(&to), b.text(&to)), (&b"kept"[..], &b"world"[..]));
}

#[test]
fn a_copy_of_a_source_can_get_fields_of_its_own() {
    let mut original = source();
    original.annotate("k", "v");
    let number = original.add_field(NewField::new("number", Scalar::Uint32)).unwrap();
    let text = original.add_field(NewField::new("text", Scalar::String)).unwrap();
    let mut copy = original.copy_as("copy");
    let more = copy.add_field(NewField::new("more", Scalar::Uint64)).unwrap();
    let note = copy.add_field(NewField::new("note", Scalar::String)).unwrap();
    assert_eq!(
        (copy.name(), copy.annotation("k"), copy.payloads()),
        ("copy", Some("v"), 4)
    );
    let mut element = Element::new(original.layout());
    original.accessor(number).set_bits(&mut element, 7);
    original.accessor(text).set(&mut element, b"words").unwrap();
    let mut copied = element.copied(original.layout(), copy.layout());
    copy.accessor(note).set(&mut copied, b"added").unwrap();
    assert_eq!(copy.accessor(number).bits(&copied), 7);
    assert_eq!(copy.accessor(text).bytes(&copied), b"words");
    assert_eq!(copy.accessor(more).bits(&copied), 0);
    assert_eq!(copy.accessor(note).bytes(&copied), b"added");
}
