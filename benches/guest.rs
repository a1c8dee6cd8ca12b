//! What a gadget's own code costs: calls of host functions, events, and loading.
//!
//! `cargo bench --bench guest [-- [--rounds COUNT] [--module FILE]]` prints, beside a bare embedding of wasmer with the same compiler and the
//! same means of interruption:
//!
//! | Line | What is measured |
//! |---|---|
//! | `host call` | a function of the host that checks a handle, called in a loop of the guest |
//! | `event` | an element that is emitted to a guest which makes five calls: four numbers read, one written |
//! | `load` | from a module's bytes to the end of its `gadgetInit`: compiled, then from the cache. The module is that of the Go gadget in `tests/gadgets/lab_open/4`, which is built; another one with `--module` must be able to work on its data source |
//!
//! The bare embedding does what must be done at the least: its functions find the memory behind a number that they are given, and read or
//! write it. Rounds are interleaved, and the best counts.

mod common;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use inspektor_gadget::build::{BuildOptions, build_gadget};
use inspektor_gadget::data::{DataSource, Element, Emitter, NewField, Scalar, SourceType, Stream};
use inspektor_gadget::metadata::params::ParamValues;
use inspektor_gadget::operators::Context;
use inspektor_gadget::wasm::{Guest, GuestOptions};
use inspektor_gadget::{Error, Result};
use wasmer::sys::{Cranelift, CraneliftOptLevel, Features, NativeEngineExt, Target};
use wasmer::{Engine, Function, FunctionEnv, FunctionEnvMut, Imports, Instance, Module, Store, TypedFunction};

/// Calls of the host in one call of the guest.
const CALLS: u32 = 200_000;
/// Events in a round.
const EVENTS: u32 = 100_000;
const UINT32: u32 = 8;

/// Both embeddings run this, with other imports for the same names.
const GUEST: &str = r#"
    (import "ig" "fieldGetScalar" (func $get (param i32 i32 i32 i32) (result i64)))
    (import "ig" "fieldSet" (func $set (param i32 i32 i32 i64) (result i32)))
    (import "ig" "dataSourceIsReferenced" (func $is (param i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "host") (data (i32.const 8) "foo")
    (global $foo (mut i32) (i32.const 1)) (global $ds (mut i32) (i32.const 1))
    (func (export "gadgetStart") (result i32) (local $n i32)
        (loop $more
            (drop (call $is (global.get $ds)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const @CALLS@))))
        (i32.const 0))
    (func (export "dataSourceCallback") (param $id i64) (param $source i32) (param $data i32)
        (drop (call $set (global.get $foo) (local.get $data) (i32.const 8)
            (i64.add
                (i64.add
                    (call $get (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0))
                    (call $get (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0)))
                (i64.add
                    (call $get (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0))
                    (call $get (global.get $foo) (local.get $data) (i32.const 8) (i32.const 0)))))))
"#;

/// What only a gadget's guest needs.
const OF_GADGETS: &str = r#"
    (import "ig" "getDataSource" (func $source (param i64) (result i32)))
    (import "ig" "dataSourceGetField" (func $field (param i32 i64) (result i32)))
    (import "ig" "dataSourceSubscribe" (func $subscribe (param i32 i32 i32 i64) (result i32)))
"#;
const OF_GADGETS_TOO: &str = r#"
    (func (export "gadgetAPIVersion") (result i64) i64.const 1)
    (func (export "gadgetInit") (result i32)
        (global.set $ds (call $source (i64.const 0x400000000)))
        (global.set $foo (call $field (global.get $ds) (i64.const 0x300000008)))
        (call $subscribe (global.get $ds) (i32.const 1) (i32.const 0) (i64.const 7)))
"#;

fn module(before: &str, after: &str) -> Result<Vec<u8>> {
    let body = GUEST.replace("@CALLS@", &CALLS.to_string());
    wat::parse_str(format!("(module {before} {body} {after})")).map_err(|error| Error::invalid(error.to_string()))
}

/// A gadget's guest with one data source.
struct Ours {
    guest: Guest,
    emitter: Emitter,
    element: Element,
}

impl Ours {
    fn new() -> Result<Self> {
        let mut source = DataSource::new("host", SourceType::Single, None);
        source.add_field(NewField::new("foo", Scalar::Uint32))?;
        let mut context = Context::default();
        context.streams.push(Stream::new(source));
        let module = module(OF_GADGETS, OF_GADGETS_TOO)?;
        let mut guest = Guest::instantiate(&module, &GuestOptions::default(), &mut context, &ParamValues::new())?;
        guest.pre_start(&mut context)?;
        guest.adopt(&mut context);
        let stream = context.streams.first_mut().ok_or_else(|| Error::invalid("no stream"))?;
        let emitter = stream.emitter();
        let element = emitter.element();
        Ok(Self {
            guest,
            emitter,
            element,
        })
    }

    fn calls(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.guest.start(Vec::new(), None)?;
        Ok(start.elapsed())
    }

    fn events(&mut self) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..EVENTS {
            self.emitter.emit(black_box(&mut self.element))?;
        }
        Ok(start.elapsed())
    }
}

/// What the functions of the bare embedding work on.
struct State {
    element: Vec<u8>,
    kind: u32,
}

/// The least that embeds wasmer.
struct Bare {
    store: Store,
    start: TypedFunction<(), u32>,
    callback: TypedFunction<(u64, u32, u32), ()>,
    /// What a watchdog looks at.
    turns: AtomicU64,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::invalid(error.to_string())
}

fn get(env: FunctionEnvMut<'_, State>, _field: u32, _data: u32, kind: u32, _error: u32) -> u64 {
    let state = env.data();
    match state.element.first_chunk() {
        Some(bytes) if kind == state.kind => u64::from(u32::from_le_bytes(*bytes)),
        _ => 0,
    }
}

fn set(mut env: FunctionEnvMut<'_, State>, _field: u32, _data: u32, kind: u32, value: u64) -> u32 {
    let state = env.data_mut();
    match state.element.first_chunk_mut() {
        Some(bytes) if kind == state.kind => {
            *bytes = (value as u32).to_le_bytes();
            0
        }
        _ => 1,
    }
}

fn is_referenced(env: FunctionEnvMut<'_, State>, source: u32) -> u32 {
    u32::from(source == 1 && !env.data().element.is_empty())
}

impl Bare {
    fn new() -> Result<Self> {
        let mut compiler = Cranelift::new();
        compiler.opt_level(CraneliftOptLevel::Speed);
        let engine = <Engine as NativeEngineExt>::new(Box::new(compiler), Target::default(), Features::default());
        let module = Module::new(&engine, module("", "")?).map_err(failed)?;
        let mut store = Store::new(engine);
        // Code that can be interrupted is what it is whether somebody does or not.
        black_box(store.interrupter());
        let state = State {
            element: vec![0; 4],
            kind: UINT32,
        };
        let env = FunctionEnv::new(&mut store, state);
        let mut imports = Imports::new();
        imports.define(
            "ig",
            "fieldGetScalar",
            Function::new_typed_with_env(&mut store, &env, get),
        );
        imports.define("ig", "fieldSet", Function::new_typed_with_env(&mut store, &env, set));
        let is = Function::new_typed_with_env(&mut store, &env, is_referenced);
        imports.define("ig", "dataSourceIsReferenced", is);
        let instance = Instance::new(&mut store, &module, &imports).map_err(failed)?;
        let start = instance
            .exports
            .get_typed_function(&store, "gadgetStart")
            .map_err(failed)?;
        let callback = instance
            .exports
            .get_typed_function(&store, "dataSourceCallback")
            .map_err(failed)?;
        Ok(Self {
            store,
            start,
            callback,
            turns: AtomicU64::new(0),
        })
    }

    fn calls(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.start.call(&mut self.store).map_err(failed)?;
        Ok(start.elapsed())
    }

    fn events(&mut self) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..EVENTS {
            self.turns.fetch_add(1, Ordering::Release);
            self.callback.call(&mut self.store, 7, 1, 2).map_err(failed)?;
            self.turns.fetch_add(1, Ordering::Release);
        }
        Ok(start.elapsed())
    }
}

/// A module and the data source that it works on.
fn go_module(given: Option<&Path>) -> Result<Vec<u8>> {
    if let Some(path) = given {
        return Ok(std::fs::read(path)?);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gadgets/lab_open/4");
    let built = build_gadget(&BuildOptions::for_path(source), &mut |_| {})?;
    built.wasm.ok_or_else(|| Error::invalid("the gadget has no module"))
}

fn load(module: &[u8], cache: &Path) -> Result<Duration> {
    let mut source = DataSource::new("open", SourceType::Single, None);
    source.add_field(NewField::new("flags", Scalar::Int32))?;
    let mut context = Context::default();
    context.streams.push(Stream::new(source));
    let options = GuestOptions {
        cache: Some(cache.to_owned()),
        ..GuestOptions::default()
    };
    let start = Instant::now();
    let guest = Guest::instantiate(module, &options, &mut context, &ParamValues::new())?;
    let time = start.elapsed();
    drop(guest);
    Ok(time)
}

fn main() -> ExitCode {
    common::exit(run())
}

fn run() -> Result<()> {
    let mut rounds = 30;
    let mut given: Option<PathBuf> = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| Error::invalid(format!("{word} needs a value")))
        };
        match word.as_str() {
            // What cargo says to every bench.
            "--bench" => {}
            "--rounds" => {
                rounds = value()?
                    .parse()
                    .map_err(|_| Error::invalid("--rounds needs a number"))?
            }
            "--module" => given = Some(value()?.into()),
            _ => return Err(Error::invalid(format!("unknown argument {word}"))),
        }
    }
    let (mut ours, mut bare) = (Ours::new()?, Bare::new()?);
    let mut best = [Duration::MAX; 4];
    for _ in 0..rounds.max(1) {
        for (best, time) in best
            .iter_mut()
            .zip([ours.calls()?, bare.calls()?, ours.events()?, bare.events()?])
        {
            *best = time.min(*best);
        }
    }
    let [calls, bare_calls, events, bare_events] = best;
    let line = |what: &str, ours: Duration, bare: Duration, count: u32| {
        let each = |time: Duration| time.as_nanos() as f64 / f64::from(count);
        let (ours, bare) = (each(ours), each(bare));
        println!(
            "{what:10} {ours:8.1} ns   bare {bare:8.1} ns   ratio {:.2}",
            ours / bare
        );
    };
    line("host call", calls, bare_calls, CALLS);
    line("event", events, bare_events, EVENTS);

    let module = go_module(given.as_deref())?;
    let mut cold = Duration::MAX;
    let mut cached = Duration::MAX;
    let place = tempfile::tempdir()?;
    for round in 0..3 {
        let cache = place.path().join(round.to_string());
        cold = cold.min(load(&module, &cache)?);
        for _ in 0..rounds.max(1) {
            cached = cached.min(load(&module, &cache)?);
        }
    }
    println!(
        "load       {:8.1} ms   cached {:6.1} ms   ({:.1} MB)",
        cold.as_secs_f64() * 1e3,
        cached.as_secs_f64() * 1e3,
        module.len() as f64 / 1e6
    );
    Ok(())
}
