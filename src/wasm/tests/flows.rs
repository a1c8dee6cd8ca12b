//! Section 18.3: packets, phases, limits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::data::{CODE_WRITES, Element, Emitter, Flow};
use crate::metadata::config::Config;
use crate::metadata::params::ParamValues;
use crate::wasm::limits::TimeLimits;

fn error_of(body: &str) -> String {
    guest(body, &mut Context::default()).unwrap_err().to_string()
}

fn started(body: &str, context: &mut Context) -> Guest {
    let mut guest = guest(body, context).unwrap();
    guest.pre_start(context).unwrap();
    guest.adopt(context);
    guest.start(Vec::new(), None).unwrap();
    guest
}

/// Data segments with the texts that the guests here need.
const TEXTS: &str = "(data (i32.const 0) \"host\") (data (i32.const 8) \"foo\") (data (i32.const 16) \"new_ds\") (data (i32.const 24) \"bar\")";
const HOST: &str = "(i64.const 0x400000000)";
const FOO: &str = "(i64.const 0x300000008)";
const NEW: &str = "(i64.const 0x600000010)";
const BAR: &str = "(i64.const 0x300000018)";

/// Subscribes to `host` as `kind`, and keeps field `foo` in `$foo`.
fn subscriber(kind: u32, callback: &str) -> String {
    format!(
        "{TEXTS} (global $foo (mut i32) (i32.const 0))
        (func (export \"gadgetInit\") (result i32) (local $ds i32)
            (local.set $ds (call $getDataSource {HOST}))
            (global.set $foo (call $dataSourceGetField (local.get $ds) {FOO}))
            (call $dataSourceSubscribe (local.get $ds) (i32.const {kind}) (i32.const 0) (i64.const 7)))
        (func (export \"dataSourceCallback\") (param $id i64) (param $ds i32) (param $data i32) {callback})"
    )
}

fn element(source: &DataSource, foo: u32) -> Element {
    let mut element = Element::new(source.layout());
    source
        .field("foo")
        .unwrap()
        .any()
        .set(&mut element, &foo.to_le_bytes())
        .unwrap();
    element
}

/// Collects the values of a field from now on.
fn collect(context: &mut Context, source: &str, field: &str) -> Arc<Mutex<Vec<u32>>> {
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let stream = context.streams.iter_mut().find(|s| s.source.name() == source).unwrap();
    let accessor = stream.source.field(field).unwrap().any();
    let values = Arc::clone(&seen);
    stream.pipeline.subscribe(50_000, move |element| {
        values.lock().unwrap().push(accessor.bits(element) as u32);
        Ok(Flow::Continue)
    });
    seen
}

fn emitter(context: &mut Context, name: &str) -> Emitter {
    context
        .streams
        .iter_mut()
        .find(|s| s.source.name() == name)
        .unwrap()
        .emitter()
}

#[test]
fn f1_a_guest_adds_fields_and_fills_them() {
    let mut context = context_with("host", SourceType::Single);
    let double = "(drop (call $fieldSet (global.get $foo) (local.get $data) (i32.const 8)
        (i64.mul (i64.const 2) (call $fieldGetScalar (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0)))))";
    let mut guest = guest(&subscriber(1, double), &mut context).unwrap();
    let seen = collect(&mut context, "host", "foo");
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let mut emitter = emitter(&mut context, "host");
    let mut first = element(&context.streams[0].source, 21);
    emitter.emit(&mut first).unwrap();
    assert_eq!(*seen.lock().unwrap(), [42]);
}

#[test]
fn f2_a_guest_changes_arrays_and_appends() {
    let mut context = context_with("host", SourceType::Array);
    // Element i becomes i times what it is; then five more are appended, with what they would have become.
    let body = "(local $i i32) (local $e i32)
        (loop $each
            (local.set $e (call $dataArrayGet (local.get $data) (local.get $i)))
            (drop (call $fieldSet (global.get $foo) (local.get $e) (i32.const 8)
                (i64.mul (i64.extend_i32_u (local.get $i))
                    (call $fieldGetScalar (global.get $foo) (local.get $e) (i32.const 8) (i32.const 0)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $each (i32.lt_u (local.get $i) (call $dataArrayLen (local.get $data)))))
        (loop $more
            (local.set $e (call $dataArrayNew (local.get $data)))
            (drop (call $fieldSet (global.get $foo) (local.get $e) (i32.const 8)
                (i64.mul (i64.extend_i32_u (local.get $i)) (i64.const 424143))))
            (drop (call $dataArrayAppend (local.get $data) (local.get $e)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 15))))";
    let mut guest = guest(&subscriber(2, body), &mut context).unwrap();
    let seen = collect(&mut context, "host", "foo");
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let mut emitter = emitter(&mut context, "host");
    let mut elements = (0..10).map(|_| element(&context.streams[0].source, 424_143)).collect();
    emitter.emit_array(&mut elements).unwrap();
    let expected: Vec<u32> = (0..15).map(|i| 424_143 * i).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(elements.len(), 15);
}

#[test]
fn f3_a_guest_makes_events_of_events() {
    let mut context = context_with("host", SourceType::Array);
    let body = format!(
        "{TEXTS} (global $foo (mut i32) (i32.const 0)) (global $new (mut i32) (i32.const 0)) (global $bar (mut i32) (i32.const 0))
        (func (export \"gadgetInit\") (result i32) (local $ds i32)
            (local.set $ds (call $getDataSource {HOST}))
            (global.set $foo (call $dataSourceGetField (local.get $ds) {FOO}))
            (global.set $new (call $newDataSource {NEW} (i32.const 1)))
            (global.set $bar (call $dataSourceAddField (global.get $new) {BAR} (i32.const 8)))
            (call $dataSourceSubscribe (local.get $ds) (i32.const 1) (i32.const 0) (i64.const 7)))
        (func (export \"dataSourceCallback\") (param $id i64) (param $ds i32) (param $data i32) (local $v i64) (local $p i32)
            (local.set $v (call $fieldGetScalar (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0)))
            (if (i64.eqz (i64.and (local.get $v) (i64.const 1))) (then
                (local.set $p (call $dataSourceNewPacketSingle (global.get $new)))
                (drop (call $fieldSet (global.get $bar) (local.get $p) (i32.const 8) (i64.mul (local.get $v) (i64.const 5))))
                (drop (call $dataSourceEmitAndRelease (global.get $new) (local.get $p))))))"
    );
    let mut guest = guest(&body, &mut context).unwrap();
    let seen = collect(&mut context, "new_ds", "bar");
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let mut emitter = emitter(&mut context, "host");
    let source = &context.streams[0].source;
    emitter
        .emit_array(&mut vec![element(source, 1), element(source, 2)])
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), [10]);
}

#[test]
fn e10_element_handles_work_after_many_events() {
    let mut context = context_with("host", SourceType::Array);
    let body = "(drop (call $fieldSet (global.get $foo) (call $dataArrayGet (local.get $data) (i32.const 1)) (i32.const 8)
        (i64.add (i64.const 1) (call $fieldGetScalar (global.get $foo) (call $dataArrayGet (local.get $data) (i32.const 1))
            (i32.const 8) (i32.const 0)))))";
    started(&subscriber(2, body), &mut context);
    let guest = started(&subscriber(2, body), &mut context_with("host", SourceType::Array));
    drop(guest);
    let mut context = context_with("host", SourceType::Array);
    let _guest = started(&subscriber(2, body), &mut context);
    let mut emitter = emitter(&mut context, "host");
    let source = &context.streams[0].source;
    let foo = source.field("foo").unwrap().any();
    for i in 0..70_000 {
        let mut elements = vec![element(source, 0), element(source, i)];
        emitter.emit_array(&mut elements).unwrap();
        assert_eq!(foo.bits(&elements[1]), u64::from(i) + 1, "event {i}");
    }
}

#[test]
fn f4_parameters() {
    let body = "(func (export \"read\") (result i32) (i32.const 0))";
    let mut context = Context {
        config: Arc::new(
            Config::parse(
                b"params: {wasm: {x: {key: param-key, description: d, defaultValue: v, typeHint: string, title: t, alias: p, isMandatory: true}}}",
            )
            .unwrap(),
        ),
        ..Context::default()
    };
    let mut values = ParamValues::new();
    values.set("operator.oci.wasm.param-key", "param-value");
    let guest = Guest::instantiate(&module(body), &GuestOptions::default(), &mut context, &values).unwrap();
    let params: Vec<_> = guest.params().collect();
    assert_eq!(params.len(), 1);
    let param = &params[0];
    assert_eq!(param.full_name(), "operator.oci.wasm.param-key");
    assert_eq!(
        (param.description.as_str(), param.default.as_str(), param.title.as_str()),
        ("d", "v", "t")
    );
    assert_eq!((param.alias, param.mandatory), (Some('p'), true));
    let mut b = Bench { guest, at: 4096 };
    let (key, unknown, to) = (b.text("param-key"), b.text("other"), b.bytes(&[0; 16]));
    assert_eq!(b.call("getParamValue", &[key, to]), 0);
    assert_eq!(&b.read(to)[..12], b"param-value\0");
    assert_eq!(b.call("getParamValue", &[unknown, to]), 1);
    assert_eq!(b.call("getParamValue", &[key, (3 << 32) | (to & 0xffff_ffff)]), 1);
}

#[test]
fn f8_a_guest_is_called_within_its_own_emission() {
    let body = format!(
        "{TEXTS} (global $ds (mut i32) (i32.const 0)) (global $calls (mut i32) (i32.const 0))
        (func (export \"gadgetInit\") (result i32)
            (global.set $ds (call $newDataSource {NEW} (i32.const 1)))
            (call $dataSourceSubscribe (global.get $ds) (i32.const 1) (i32.const 0) (i64.const 0)))
        (func (export \"gadgetStart\") (result i32)
            (if (call $dataSourceEmitAndRelease (global.get $ds) (call $dataSourceNewPacketSingle (global.get $ds)))
                (then (return (i32.const 1))))
            ;; It ran before the emission returned, and what it emitted once more was delivered after it.
            (i32.ne (global.get $calls) (i32.const 2)))
        (func (export \"dataSourceCallback\") (param i64 i32 i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (if (i32.eq (global.get $calls) (i32.const 1)) (then
                (drop (call $dataSourceEmitAndRelease (global.get $ds) (call $dataSourceNewPacketSingle (global.get $ds)))))))"
    );
    started(&body, &mut Context::default());
}

#[test]
fn a_guest_that_emits_from_every_callback_of_its_own_source_is_ended() {
    let body = format!(
        "{TEXTS} (global $ds (mut i32) (i32.const 0))
        (func $emit (result i32) (call $dataSourceEmitAndRelease (global.get $ds) (call $dataSourceNewPacketSingle (global.get $ds))))
        (func (export \"gadgetInit\") (result i32)
            (global.set $ds (call $newDataSource {NEW} (i32.const 1)))
            (call $dataSourceSubscribe (global.get $ds) (i32.const 1) (i32.const 0) (i64.const 0)))
        (func (export \"gadgetStart\") (result i32) (call $emit))
        (func (export \"dataSourceCallback\") (param i64 i32 i32) (drop (call $emit)))"
    );
    let mut context = Context::default();
    let mut guest = guest(&body, &mut context).unwrap();
    guest.adopt(&mut context);
    assert_eq!(
        guest.start(Vec::new(), None).unwrap_err().to_string(),
        "gadgetStart failed"
    );
}

#[test]
fn f9_a_callback_that_traps_changes_nothing() {
    let mut context = context_with("host", SourceType::Single);
    let trap = "(if (i64.eq (i64.const 1) (call $fieldGetScalar (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0)))
            (then unreachable))
        (drop (call $fieldSet (global.get $foo) (local.get $data) (i32.const 8) (i64.const 99)))";
    let mut guest = guest(&subscriber(3, trap), &mut context).unwrap();
    let seen = collect(&mut context, "host", "foo");
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let mut emitter = emitter(&mut context, "host");
    for foo in [1, 2, 1, 3] {
        let mut element = element(&context.streams[0].source, foo);
        emitter.emit(&mut element).unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [1, 99, 1, 99]);
    guest.stop().unwrap();
    let mut late = element(&context.streams[0].source, 5);
    emitter.emit(&mut late).unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [1, 99, 1, 99, 5],
        "after the stop nobody calls the guest"
    );
}

#[test]
fn f10_a_start_that_fails_has_no_stop() {
    let body = "(func (export \"gadgetStart\") (result i32) (i32.const 1)) (func (export \"gadgetStop\") (result i32) unreachable)";
    let mut guest = guest(body, &mut Context::default()).unwrap();
    assert_eq!(
        guest.start(Vec::new(), None).unwrap_err().to_string(),
        "gadgetStart failed"
    );
    guest.stop().unwrap();
    guest.post_stop().unwrap();
}

#[test]
fn f11_f12_what_the_host_does_not_have_is_said() {
    let version = |body: &str| format!("(func (export \"gadgetAPIVersion\") {body})");
    assert_eq!(
        error_of(&version("(result i64) i64.const 2")),
        "initializing wasm: unsupported gadget API version: 2, expected: 1"
    );
    assert_eq!(
        error_of(&version("")),
        "initializing wasm: version returned wrong number of values"
    );
    guest(&version("(result i32) i32.const 1"), &mut Context::default()).unwrap();
    let raw = |text: &str| {
        let wasm = wat::parse_str(text).unwrap();
        let error = Guest::instantiate(
            &wasm,
            &GuestOptions::default(),
            &mut Context::default(),
            &Default::default(),
        );
        error.unwrap_err().to_string()
    };
    assert_eq!(
        raw("(module)"),
        "initializing wasm: wasm module doesn't export gadgetAPIVersion"
    );
    let text = raw("(module (import \"ig\" \"doesNotExist\" (func)))");
    assert!(
        text.starts_with("initializing wasm: instantiating wasm: ") && text.contains("doesNotExist"),
        "{text}"
    );
    let text = raw("(module (import \"ig\" \"gadgetLog\" (func (param i32))))");
    assert!(text.contains("gadgetLog"), "{text}");
    let text = raw("(module (import \"env\" \"memory\" (memory 1)))");
    assert!(text.starts_with("initializing wasm: instantiating wasm: "), "{text}");
    for wasm in [b"".as_slice(), b"\0asm", b"\0asm\x01\0\0\0\x01\xff", b"\0asm\x02\0\0\0"] {
        let error = Guest::instantiate(
            wasm,
            &GuestOptions::default(),
            &mut Context::default(),
            &Default::default(),
        );
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("initializing wasm: instantiating wasm: "), "{text}");
    }
}

#[test]
fn failures_of_the_life_cycle_name_the_function() {
    let function = |name: &str, body: &str| format!("(func (export \"{name}\") (result i32) {body})");
    assert_eq!(
        error_of(&function("gadgetInit", "i32.const 1")),
        "initializing wasm: initializing wasm guest: gadgetInit failed"
    );
    assert_eq!(
        error_of(&function("gadgetInit", "unreachable")),
        "initializing wasm: initializing wasm guest: calling gadgetInit: unreachable"
    );
    let text = error_of("(func (export \"gadgetInit\") (result i32) (call 42))");
    assert!(text.ends_with("call stack exhausted"), "{text}");
    let mut context = Context::default();
    let mut failing = guest(&function("gadgetPreStart", "i32.const 7"), &mut context).unwrap();
    assert_eq!(
        failing.pre_start(&mut context).unwrap_err().to_string(),
        "gadgetPreStart failed"
    );
    let mut failing = started(&function("gadgetStop", "i32.const 1"), &mut context);
    assert_eq!(
        failing.stop().unwrap_err().to_string(),
        "stopping operator \"wasm\": gadgetStop failed"
    );
    // What has no result has nothing to complain about; what is no function is not there.
    started("(func (export \"gadgetStart\"))", &mut context);
    started("(global (export \"gadgetStart\") i32 (i32.const 1))", &mut context);
}

#[test]
fn f13_memory_is_limited() {
    let with_memory = |memory: &str, body: &str| {
        let text = format!(
            "(module {memory} (func (export \"gadgetAPIVersion\") (result i64) i64.const 1)
             (func (export \"gadgetInit\") (result i32) {body}))"
        );
        let wasm = wat::parse_str(text).unwrap();
        Guest::instantiate(
            &wasm,
            &GuestOptions::default(),
            &mut Context::default(),
            &Default::default(),
        )
    };
    let text = with_memory("(memory 257)", "i32.const 0").unwrap_err().to_string();
    assert!(text.contains("257") && text.contains("256"), "{text}");
    let grow = "(if (i32.ne (memory.grow (i32.const 255)) (i32.const 1)) (then (return (i32.const 2))))
        (i32.ne (memory.grow (i32.const 1)) (i32.const -1))";
    with_memory("(memory 1 1000)", grow).unwrap();
    with_memory("(memory 1)", grow).unwrap();
    let table = with_memory("(table 2000000 funcref) (memory 1)", "i32.const 0")
        .unwrap_err()
        .to_string();
    assert!(table.contains("2000000"), "{table}");
}

fn short_limits() -> GuestOptions {
    GuestOptions {
        limits: TimeLimits {
            phase: Duration::from_millis(100),
            callback: Duration::from_millis(100),
        },
        ..GuestOptions::default()
    }
}

#[test]
fn f14_a_function_that_never_ends_is_ended() {
    for function in ["gadgetInit", "_initialize", "gadgetAPIVersion"] {
        let result = match function {
            "gadgetInit" => "(result i32)",
            "gadgetAPIVersion" => "(result i64)",
            _ => "",
        };
        let body = format!("(func (export \"{function}\") {result} (loop $l (br $l)) unreachable)");
        let error = Guest::instantiate(
            &module(&body),
            &short_limits(),
            &mut Context::default(),
            &Default::default(),
        );
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("it ran for more than 100ms"), "{function}: {text}");
    }
    let body = "(func (export \"gadgetStop\") (result i32) (loop $l (br_if $l (call $gadgetShouldLog (i32.const 0))) (br $l)) unreachable)";
    let mut context = Context::default();
    let mut guest = Guest::instantiate(&module(body), &short_limits(), &mut context, &Default::default()).unwrap();
    guest.start(Vec::new(), None).unwrap();
    let text = guest.stop().unwrap_err().to_string();
    assert_eq!(
        text,
        "stopping operator \"wasm\": calling gadgetStop: it ran for more than 100ms"
    );
}

#[test]
fn a_callback_that_never_ends_is_ended_and_the_gadget_goes_on() {
    let mut context = context_with("host", SourceType::Single);
    let body = format!(
        "{} (func (export \"gadgetStop\") (result i32) i32.const 0)",
        subscriber(1, "(loop $l (br $l))")
    );
    let mut guest = Guest::instantiate(&module(&body), &short_limits(), &mut context, &Default::default()).unwrap();
    let seen = collect(&mut context, "host", "foo");
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let mut emitter = emitter(&mut context, "host");
    for foo in [1, 2, 3] {
        let mut element = element(&context.streams[0].source, foo);
        emitter.emit(&mut element).unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
    let text = guest.stop().unwrap_err().to_string();
    assert!(text.contains("dataSourceCallback ran for more than 100ms"), "{text}");
}

#[test]
fn f15_callbacks_of_all_threads_take_turns() {
    let mut context = context_with("host", SourceType::Single);
    context
        .streams
        .push(Stream::new(host_source("other", SourceType::Single)));
    let body = format!(
        "{TEXTS} (data (i32.const 32) \"other\") (global $n (mut i64) (i64.const 0))
        (func (export \"gadgetInit\") (result i32)
            (drop (call $dataSourceSubscribe (call $getDataSource {HOST}) (i32.const 1) (i32.const 0) (i64.const 0)))
            (call $dataSourceSubscribe (call $getDataSource (i64.const 0x500000020)) (i32.const 1) (i32.const 0) (i64.const 0)))
        (func (export \"dataSourceCallback\") (param i64 i32 i32) (local $i i32) (local $was i64)
            (local.set $was (global.get $n))
            (loop $wait (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $wait (i32.lt_u (local.get $i) (i32.const 50))))
            (global.set $n (i64.add (local.get $was) (i64.const 1))))
        (global (export \"limit\") i32 (i32.const 20000))
        (func (export \"gadgetStop\") (result i32) (i64.ne (global.get $n) (i64.const 20000)))"
    );
    let mut guest = started(&body, &mut context);
    let source = context.streams[0].source.clone();
    let emitters = [emitter(&mut context, "host"), emitter(&mut context, "other")];
    std::thread::scope(|scope| {
        for mut emitter in emitters {
            let source = &source;
            scope.spawn(move || {
                let mut element = element(source, 1);
                for _ in 0..10_000 {
                    emitter.emit(&mut element).unwrap();
                }
            });
        }
    });
    guest.stop().unwrap();
}

#[test]
fn events_emitted_in_gadget_stop_arrive() {
    let body = format!(
        "{TEXTS} (global $ds (mut i32) (i32.const 0))
        (func (export \"gadgetInit\") (result i32)
            (global.set $ds (call $newDataSource {NEW} (i32.const 1)))
            (drop (call $dataSourceAddField (global.get $ds) {BAR} (i32.const 8))) (i32.const 0))
        (func (export \"gadgetStop\") (result i32)
            (call $dataSourceEmitAndRelease (global.get $ds) (call $dataSourceNewPacketSingle (global.get $ds))))
        (func (export \"gadgetPostStop\") (result i32) (call $newDataSource {NEW} (i32.const 1)))"
    );
    let mut context = Context::default();
    let mut guest = guest(&body, &mut context).unwrap();
    let seen = collect(&mut context, "new_ds", "bar");
    let flushes = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&flushes);
    context.streams[0].pipeline.on_flush(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let before = flushes.load(Ordering::Relaxed);
    guest.stop().unwrap();
    assert_eq!(*seen.lock().unwrap(), [0]);
    assert!(
        flushes.load(Ordering::Relaxed) > before,
        "sinks are told that there is nothing more"
    );
    guest.post_stop().unwrap();
}

#[test]
fn packets_have_their_priority_among_others() {
    let order = Arc::new(AtomicU64::new(0));
    let mut context = context_with("host", SourceType::Single);
    let foo = context.streams[0].source.field("foo").unwrap().any();
    let seen = Arc::clone(&order);
    context.streams[0].pipeline.subscribe(-5, move |element| {
        seen.store(foo.bits(element), Ordering::Relaxed);
        Ok(Flow::Continue)
    });
    let body = subscriber(
        1,
        "(drop (call $fieldSet (global.get $foo) (local.get $data) (i32.const 8) (i64.const 5)))",
    )
    .replace("(i32.const 0) (i64.const 7)", "(i32.const -10) (i64.const 7)");
    let _guest = started(&body, &mut context);
    let mut emitter = emitter(&mut context, "host");
    let mut first = element(&context.streams[0].source, 1);
    emitter.emit(&mut first).unwrap();
    assert_eq!(order.load(Ordering::Relaxed), 5, "priorities are signed");
}

#[test]
fn a_module_without_packets_leaves_pipelines_alone() {
    let wasm = wat::parse_str(
        "(module (func (export \"gadgetAPIVersion\") (result i64) i64.const 1) (func (export \"gadgetPreStart\") (result i32) i32.const 0))",
    )
    .unwrap();
    let mut context = context_with("host", SourceType::Single);
    let mut guest = Guest::instantiate(&wasm, &GuestOptions::default(), &mut context, &Default::default()).unwrap();
    guest.pre_start(&mut context).unwrap();
    guest.adopt(&mut context);
    assert!(context.streams[0].shared.is_none());
}

/// Where the metadata says what the guest writes, it can do nothing else: filters have been asked before it.
#[test]
fn what_is_not_declared_is_refused() {
    let run = |declared: &str, kind: u32, callback: &str| {
        let source_type = [SourceType::Single, SourceType::Array][kind as usize / 2];
        let mut context = context_with("host", source_type);
        context.streams[0].source.annotate(CODE_WRITES, declared);
        let mut guest = guest(&subscriber(kind, callback), &mut context).unwrap();
        let seen = collect(&mut context, "host", "foo");
        guest.adopt(&mut context);
        guest.start(Vec::new(), None).unwrap();
        let mut emitter = emitter(&mut context, "host");
        let source = &context.streams[0].source;
        match source_type {
            SourceType::Single => emitter.emit(&mut element(source, 1)).unwrap(),
            SourceType::Array => emitter.emit_array(&mut vec![element(source, 1); 2]).unwrap(),
        }
        let seen = seen.lock().unwrap().clone();
        (seen, guest.stop().map_err(|error| error.to_string()))
    };
    let set = "(drop (call $fieldSet (global.get $foo) (local.get $data) (i32.const 8) (i64.const 7)))";
    assert_eq!(run("foo", 1, set), (vec![7], Ok(())));
    let (seen, result) = run("short,long", 1, set);
    assert_eq!(seen, [1]);
    assert_eq!(
        result.unwrap_err(),
        "stopping operator \"wasm\": the module was refused once: writing field \"foo\" of data source \"host\", which is not declared"
    );
    let (_, result) = run("", 1, &[set, set, set].concat());
    assert!(result.unwrap_err().contains("refused 3 times, first: writing field"));
    // An element that is made here has passed no filter.
    let append = "(drop (call $dataArrayAppend (local.get $data) (call $dataArrayNew (local.get $data))))";
    let (seen, result) = run("foo", 2, append);
    assert_eq!(seen, [1, 1]);
    assert!(result.unwrap_err().contains("making elements of data source \"host\""));
    let emit =
        "(drop (call $dataSourceEmitAndRelease (local.get $ds) (call $dataSourceNewPacketSingle (local.get $ds))))";
    let (seen, result) = run("foo", 1, emit);
    assert_eq!(seen, [1]);
    assert!(result.unwrap_err().contains("making elements of data source \"host\""));
}

#[test]
fn what_a_guest_adds_is_its_own() {
    let mut context = context_with("host", SourceType::Single);
    context.streams[0].source.annotate(CODE_WRITES, "");
    // The field that it has added, also when it looks it up; a packet of a data source that it has made.
    let body = format!(
        "{TEXTS} (global $made (mut i32) (i32.const 0)) (global $mine (mut i32) (i32.const 0))
        (func (export \"gadgetInit\") (result i32) (local $ds i32)
            (global.set $made (call $newDataSource {NEW} (i32.const 1)))
            (local.set $ds (call $getDataSource {HOST}))
            (drop (call $dataSourceAddField (local.get $ds) {BAR} (i32.const 8)))
            (global.set $mine (call $dataSourceGetField (local.get $ds) {BAR}))
            (call $dataSourceSubscribe (local.get $ds) (i32.const 1) (i32.const 0) (i64.const 7)))
        (func (export \"dataSourceCallback\") (param $id i64) (param $ds i32) (param $data i32)
            (drop (call $fieldSet (global.get $mine) (local.get $data) (i32.const 8) (i64.const 5)))
            (drop (call $dataSourceEmitAndRelease (global.get $made) (call $dataSourceNewPacketSingle (global.get $made)))))"
    );
    let mut guest = guest(&body, &mut context).unwrap();
    let seen = collect(&mut context, "host", "bar");
    guest.adopt(&mut context);
    guest.start(Vec::new(), None).unwrap();
    let mut emitter = emitter(&mut context, "host");
    emitter.emit(&mut element(&context.streams[0].source, 1)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [5]);
    guest.stop().unwrap();
}
