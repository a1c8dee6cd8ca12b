use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::data::{NewField, Stream};

fn source() -> DataSource {
    let mut source = DataSource::new("rows", SourceType::Array, None);
    for (name, kind) in [
        ("a", Scalar::Int32),
        ("b", Scalar::String),
        ("u", Scalar::Uint64),
        ("f", Scalar::Float64),
        ("flag", Scalar::Bool),
        ("raw", Scalar::Bytes),
    ] {
        source.add_field(NewField::new(name, kind)).unwrap();
    }
    source
}

fn context() -> Context {
    Context {
        streams: vec![
            Stream::new(source()),
            Stream::new(DataSource::new("single", SourceType::Single, None)),
        ],
        ..Context::default()
    }
}

fn sort(value: &str, context: &mut Context) -> Result<Sort> {
    let mut sort = Sort::instantiate(context).expect("an array");
    let mut values = ParamValues::new();
    values.set("operator.sort.sort", value);
    sort.configure(&values, context)?;
    Ok(sort)
}

fn array_only(mut context: Context) -> Context {
    context.streams.truncate(1);
    context
}

fn elements(source: &DataSource, rows: &[(i32, &str)]) -> Vec<Element> {
    let accessor = |name: &str| source.accessor(source.find(name).unwrap());
    let (a, b) = (accessor("a"), accessor("b"));
    rows.iter()
        .map(|(number, text)| {
            let mut element = Element::new(source.layout());
            a.set(&mut element, &number.to_ne_bytes()).unwrap();
            b.set(&mut element, text.as_bytes()).unwrap();
            element
        })
        .collect()
}

/// Rows of `a` and `b`, sorted through the pipeline.
fn sorted(value: &str, rows: &[(i32, &str)]) -> Vec<(i32, String)> {
    let mut context = array_only(context());
    sort(value, &mut context).unwrap().prepare(&mut context).unwrap();
    let stream = &mut context.streams[0];
    let mut elements = elements(&stream.source, rows);
    let mut emitter = stream.emitter();
    emitter.emit_array(&mut elements).unwrap();
    let source = source();
    let accessor = |name: &str| source.accessor(source.find(name).unwrap());
    let (a, b) = (accessor("a"), accessor("b"));
    elements
        .iter()
        .map(|element| {
            (
                a.i64(element) as i32,
                String::from_utf8_lossy(b.text(element)).into_owned(),
            )
        })
        .collect()
}

fn text(rows: &[(i32, String)]) -> String {
    rows.iter().map(|(a, b)| format!("{a}{b} ")).collect()
}

#[test]
fn the_acceptance_rows() {
    let rows = [(1, "x"), (1, "y"), (2, "x"), (2, "y")];
    for (value, expected) in [
        ("a,-b", "1y 1x 2y 2x "),
        ("-a,b", "2y 2x 1y 1x "),
        ("a", "1x 1y 2x 2y "),
        ("-a", "2y 2x 1y 1x "),
        ("b", "1x 2x 1y 2y "),
        ("rows:-b,-a", "1y 2y 1x 2x "),
        ("a;-b", "1y 1x 2y 2x "),
        ("A", "1x 1y 2x 2y "),
        ("", "1x 1y 2x 2y "),
    ] {
        assert_eq!(text(&sorted(value, &rows)), expected, "{value:?}");
    }
}

#[test]
fn rules_as_upstream_reads_them() {
    assert_eq!(rules("a,-b;c").unwrap(), [(None, vec!["a", "-b"]), (None, vec!["c"])]);
    assert_eq!(
        rules("x:a;x:b;y:c").unwrap(),
        [(Some("x"), vec!["a"]), (Some("x"), vec!["b"]), (Some("y"), vec!["c"])]
    );
    assert_eq!(rules("a:b:c").unwrap(), [(None, vec!["a"])]);
    for empty in ["", ";", ",a", "x:", "x:,a"] {
        assert_eq!(rules(empty).unwrap(), [], "{empty:?}");
    }
    assert_eq!(rules(",a,b").unwrap(), [(None, vec!["", "a", "b"])]);
}

#[test]
fn errors_read_like_upstream() {
    for (value, expected) in [
        ("rows:nosuch", "field nosuch not found"),
        ("rows:-flga", "field flga not found"),
        ("rows:flag", "field flag cannot be used for sorting"),
        ("rows:raw", "field raw cannot be used for sorting"),
        ("a", "sort can only be used on array data sources"),
        ("single:a", "sort can only be used on array data sources"),
        (
            "a;rows:b",
            "mixing sorting rules with and without specifying data source",
        ),
    ] {
        let mut context = context();
        if value == "a" {
            // The array alone is fine; with a single data source beside it the rule is for that, too.
            assert!(sort(value, &mut array_only(self::context())).is_ok());
        }
        let error = sort(value, &mut context).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("pre-starting operators: pre-starting operator \"sort\": {expected}")
        );
    }
    let error = sort("rows:aa", &mut context()).unwrap_err();
    assert!(error.hint().unwrap().starts_with("did you mean `a`"));
    assert!(sort("nosuch:x", &mut context()).is_ok(), "ignored, with a warning");
}

#[test]
fn only_gadgets_with_arrays_have_the_parameter() {
    let mut context = context();
    context.streams.remove(0);
    assert!(Sort::instantiate(&mut context).is_none());
}

#[test]
fn the_parameter_as_recorded() {
    let [param] = &Sort::instantiate(&mut context()).unwrap().params()[..] else {
        panic!("one parameter")
    };
    assert_eq!(param.full_name(), "operator.sort.sort");
    assert_eq!((&*param.default, &*param.title, param.alias), ("", "Sort By", None));
    assert_eq!(param.tags, ["group:Data Filtering"]);
}

#[test]
fn reads_only_what_it_sorts_by() {
    let mut context = array_only(context());
    let sort = sort("-b", &mut context).unwrap();
    sort.demand(&mut context);
    let stream = &context.streams[0];
    let wanted: HashSet<&str> = stream
        .source
        .fields()
        .filter(|(id, _)| stream.demand.wants(*id))
        .map(|(_, field)| field.full_name())
        .collect();
    assert_eq!(wanted, HashSet::from(["b"]));
    let mut explanation = Explanation::default();
    sort.explain(&context, &mut explanation);
    assert_eq!(explanation.operators[0].why, "rows by -b");
    assert!(explanation.operators[0].on);
}

#[test]
fn numbers_are_compared_by_value() {
    let source = source();
    let key = |name: &str| Key::new(&source, name).unwrap();
    let with = |name: &str, bytes: &[u8]| {
        let mut element = Element::new(source.layout());
        source
            .accessor(source.find(name).unwrap())
            .set(&mut element, bytes)
            .unwrap();
        element
    };
    let int = |n: i32| with("a", &n.to_ne_bytes());
    assert_eq!(key("a").compare(&int(-1), &int(1)), Ordering::Less);
    let uint = |n: u64| with("u", &n.to_ne_bytes());
    assert_eq!(key("u").compare(&uint(u64::MAX), &uint(1)), Ordering::Greater);
    let float = |n: f64| with("f", &n.to_ne_bytes());
    assert_eq!(key("f").compare(&float(-0.5), &float(2.0)), Ordering::Less);
    assert_eq!(key("f").compare(&float(f64::NAN), &float(2.0)), Ordering::Greater);
    assert_eq!(key("f").compare(&float(f64::NAN), &float(f64::NAN)), Ordering::Equal);
}

proptest! {
    /// The order of the specification: stable passes from the last key to the first, a descending one reversed as a whole.
    #[test]
    fn one_go_is_like_pass_after_pass(
        rows in prop::collection::vec((0i32..3, "[xyz]"), 0..24),
        keys in prop::collection::vec(prop::sample::select(vec!["a", "-a", "b", "-b"]), 1..4),
    ) {
        let rows: Vec<(i32, &str)> = rows.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let mut expected = rows.clone();
        for key in keys.iter().rev() {
            match key.trim_start_matches('-') {
                "a" => expected.sort_by_key(|row| row.0),
                _ => expected.sort_by_key(|row| row.1),
            }
            if key.starts_with('-') {
                expected.reverse();
            }
        }
        let expected: Vec<(i32, String)> = expected.iter().map(|(a, b)| (*a, (*b).to_owned())).collect();
        prop_assert_eq!(sorted(&keys.join(","), &rows), expected);
    }

    #[test]
    fn parsing_never_panics(value in "[ab,;:\\- ]{0,20}") {
        if let Ok(rules) = rules(&value) {
            prop_assert!(rules.iter().all(|(_, fields)| !fields.is_empty()));
        }
    }
}

#[test]
fn the_buffer_is_used_again() {
    let source = source();
    let mut sorter = Sorter {
        keys: vec![Key::new(&source, "a").unwrap()],
        order: Vec::new(),
    };
    let rows: Vec<(i32, &str)> = (0..100).map(|n| (100 - n, "")).collect();
    let mut batch = elements(&source, &rows);
    sorter.sort(&mut batch);
    let buffer = (sorter.order.as_ptr(), sorter.order.capacity());
    sorter.sort(&mut elements(&source, &rows));
    assert_eq!((sorter.order.as_ptr(), sorter.order.capacity()), buffer);
    let a = source.accessor(source.find("a").unwrap());
    assert!(batch.windows(2).all(|pair| a.bits(&pair[0]) <= a.bits(&pair[1])));
}
