//! A guest that calls any functions of the host with any arguments. The input is its script, 48 bytes per call:
//!
//! | Bytes | |
//! |---|---|
//! | 1 | the function, by its position below, counted from 1; anything else ends the script |
//! | 5 | for each argument: odd if it is the result of an earlier call |
//! | 2 | nothing |
//! | 5 × 8 | the arguments; of one that is a result its number, modulo 16 |
//!
//! Whatever the guest does, the host goes on.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use inspektor_gadget::data::{DataSource, NewField, Scalar, SourceType, Stream};
use inspektor_gadget::metadata::params::ParamValues;
use inspektor_gadget::operators::Context;
use inspektor_gadget::wasm::limits::TimeLimits;
use inspektor_gadget::wasm::{Guest, GuestOptions};

/// Name, parameters (`i` for 32 bits, `l` for 64), result.
const FUNCTIONS: [(&str, &str, &str); 41] = [
    ("gadgetLog", "il", ""),
    ("gadgetShouldLog", "i", "i"),
    ("newDataSource", "li", "i"),
    ("getDataSource", "l", "i"),
    ("dataSourceSubscribe", "iiil", "i"),
    ("dataSourceGetField", "il", "i"),
    ("dataSourceAddField", "ili", "i"),
    ("dataSourceNewPacketSingle", "i", "i"),
    ("dataSourceNewPacketArray", "i", "i"),
    ("dataSourceEmitAndRelease", "ii", "i"),
    ("dataSourceRelease", "ii", "i"),
    ("dataSourceUnreference", "i", "i"),
    ("dataSourceIsReferenced", "i", "i"),
    ("dataArrayNew", "i", "i"),
    ("dataArrayAppend", "ii", "i"),
    ("dataArrayRelease", "ii", "i"),
    ("dataArrayLen", "i", "i"),
    ("dataArrayGet", "ii", "i"),
    ("fieldGetScalar", "iiii", "l"),
    ("fieldGetBuffer", "iiil", "i"),
    ("fieldSet", "iiil", "i"),
    ("fieldAddTag", "il", "i"),
    ("getParamValue", "ll", "i"),
    ("setConfig", "lli", "i"),
    ("newMap", "liiii", "i"),
    ("getMap", "l", "i"),
    ("mapLookup", "ill", "i"),
    ("mapUpdate", "illl", "i"),
    ("mapDelete", "il", "i"),
    ("mapRelease", "i", "i"),
    ("releaseHandle", "i", "i"),
    ("getSyscallName", "il", "i"),
    ("getSyscallID", "l", "i"),
    ("getSyscallDeclaration", "ll", "i"),
    ("newPerfReader", "iii", "i"),
    ("perfReaderPause", "i", "i"),
    ("perfReaderResume", "i", "i"),
    ("perfReaderRead", "il", "i"),
    ("perfReaderClose", "i", "i"),
    ("kallsymsSymbolExists", "l", "i"),
    ("shouldDiscardMntnsID", "l", "i"),
];

const CALL: usize = 48;
/// Longer scripts are cut.
const SCRIPT: usize = 32 << 10;

fn kinds(letters: &str) -> String {
    let kinds = letters
        .chars()
        .map(|letter| if letter == 'i' { "i32 " } else { "i64 " });
    kinds.collect()
}

/// The guest: it gets its script as a parameter, in hexadecimal digits, and runs it.
fn module() -> Vec<u8> {
    let mut text = String::from("(module\n");
    for (name, params, result) in FUNCTIONS {
        text += &format!(
            "(import \"ig\" \"{name}\" (func ${name} (param {}) (result {})))\n",
            kinds(params),
            kinds(result)
        );
    }
    text = text.replace("(result )", "");
    text += "(memory (export \"memory\") 4)
        (data (i32.const 0) \"script\") (data (i32.const 16) \"host\") (data (i32.const 24) \"foo\")
        (global $at (mut i32) (i32.const 0)) (global $calls (mut i32) (i32.const 0))
        (func (export \"gadgetAPIVersion\") (result i64) i64.const 1)
        (func (export \"dataSourceCallback\") (param i64 i32 i32) (drop (call $releaseHandle (local.get 2))))
        (func $digit (param i32) (result i32) (local $c i32)
            (local.set $c (i32.load8_u (local.get 0)))
            (if (result i32) (i32.gt_u (local.get $c) (i32.const 57))
                (then (i32.sub (local.get $c) (i32.const 87))) (else (i32.sub (local.get $c) (i32.const 48)))))
        (func $argument (param i32) (result i64) (local $v i64)
            (local.set $v (i64.load (i32.add (global.get $at) (i32.add (i32.const 8) (i32.shl (local.get 0) (i32.const 3))))))
            (if (i32.and (i32.const 1) (i32.load8_u (i32.add (global.get $at) (i32.add (i32.const 1) (local.get 0)))))
                (then (local.set $v (i64.load (i32.add (i32.const 1024)
                    (i32.shl (i32.and (i32.wrap_i64 (local.get $v)) (i32.const 15)) (i32.const 3)))))))
            (local.get $v))
        (func $keep (param i64)
            (i64.store (i32.add (i32.const 1024) (i32.shl (i32.and (global.get $calls) (i32.const 15)) (i32.const 3))) (local.get 0))
            (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
        (func (export \"gadgetInit\") (result i32) (local $i i32)
            ;; The digits from 131072 on become bytes from 65536 on.
            (drop (call $getParamValue (i64.const 0x600000000) (i64.const 0x1000000020000)))
            (loop $bytes
                (i32.store8 (i32.add (i32.const 65536) (local.get $i)) (i32.add
                    (i32.shl (call $digit (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 1)))) (i32.const 4))
                    (call $digit (i32.add (i32.const 131073) (i32.shl (local.get $i) (i32.const 1))))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $bytes (i32.lt_u (local.get $i) (i32.const 32768))))
            (global.set $at (i32.const 65536))
            (loop $calls (block $next\n";
    let labels: String = (0..FUNCTIONS.len()).rev().map(|i| format!("(block $f{i} ")).collect();
    let targets: String = (0..FUNCTIONS.len()).map(|i| format!("$f{i} ")).collect();
    text += &format!(
        "(block $end {labels} (br_table {targets} $end (i32.sub (i32.load8_u (global.get $at)) (i32.const 1)))\n"
    );
    for (name, params, result) in FUNCTIONS {
        let arguments: String = params
            .chars()
            .enumerate()
            .map(|(at, kind)| match kind {
                'i' => format!("(i32.wrap_i64 (call $argument (i32.const {at})))"),
                _ => format!("(call $argument (i32.const {at}))"),
            })
            .collect();
        let call = format!("(call ${name} {arguments})");
        let kept = match result {
            "i" => format!("(call $keep (i64.extend_i32_u {call}))"),
            "l" => format!("(call $keep {call})"),
            _ => call,
        };
        // The block of the function ends before what it is to do.
        text += &format!(") {kept} (br $next)\n");
    }
    text += ") (return (i32.const 0)))
            (global.set $at (i32.add (global.get $at) (i32.const 48)))
            (br_if $calls (i32.lt_u (global.get $at) (i32.const 98256))))
            (i32.const 0)))";
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

static MODULE: LazyLock<Vec<u8>> = LazyLock::new(module);

/// Where the guest is kept compiled, for this process.
static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("ig-fuzz-guest-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
});

pub fn run(data: &[u8]) {
    let script = &data[..data.len().min(SCRIPT / CALL * CALL)];
    let mut digits = String::with_capacity(2 * SCRIPT);
    script.iter().for_each(|byte| digits.push_str(&format!("{byte:02x}")));
    digits.extend(std::iter::repeat_n('0', 2 * SCRIPT - digits.len()));
    let mut values = ParamValues::new();
    values.set("operator.oci.wasm.script", digits);
    let mut context = Context::default();
    // A reader of the guest's must not wait for a program that is not there.
    context.stop.request();
    for (name, source_type) in [("host", SourceType::Single), ("hosts", SourceType::Array)] {
        let mut source = DataSource::new(name, source_type, None);
        source
            .add_field(NewField::new("foo", Scalar::Uint32))
            .expect("it is the first");
        context.streams.push(Stream::new(source));
    }
    let options = GuestOptions {
        cache: Some(CACHE.clone()),
        limits: TimeLimits {
            phase: Duration::from_secs(2),
            callback: Duration::from_secs(1),
        },
        ..GuestOptions::default()
    };
    let Ok(mut guest) = Guest::instantiate(&MODULE, &options, &mut context, &values) else {
        return;
    };
    assert!(
        context.streams.len() >= 2,
        "the data sources of the host are still there"
    );
    if guest.pre_start(&mut context).is_ok() {
        guest.adopt(&mut context);
        let _ = guest.start(Vec::new(), None);
        let mut emitter = context.streams[0].emitter();
        let mut element = emitter.element();
        let _ = emitter.emit(&mut element);
        let _ = guest.stop();
        let _ = guest.post_stop();
        let _ = emitter.emit(&mut element);
    }
}
