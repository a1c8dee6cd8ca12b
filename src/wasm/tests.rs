//! The acceptance checks of the interface, by number. The guests here export the host's functions, so that a check can call each
//! with any arguments.

mod checks;
mod flows;
mod kernel;

use wasmer::{AsStoreRef, RuntimeError, Type, Value};

use super::events::Live;
use super::host::Inside;
use super::lines::Lines;
use super::phases::{Guest, GuestOptions};
use crate::data::{DataSource, NewField, Scalar, SourceType, StaticField, Stream};
use crate::operators::Context;

/// A range that no guest's memory has: 17 MiB.
const BAD: u64 = 17_825_792 << 32;

/// All functions of module `ig`, with their parameters and result.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("gadgetLog", "i32 i64", ""),
    ("gadgetShouldLog", "i32", "i32"),
    ("newDataSource", "i64 i32", "i32"),
    ("getDataSource", "i64", "i32"),
    ("dataSourceSubscribe", "i32 i32 i32 i64", "i32"),
    ("dataSourceGetField", "i32 i64", "i32"),
    ("dataSourceAddField", "i32 i64 i32", "i32"),
    ("dataSourceNewPacketSingle", "i32", "i32"),
    ("dataSourceNewPacketArray", "i32", "i32"),
    ("dataSourceEmitAndRelease", "i32 i32", "i32"),
    ("dataSourceRelease", "i32 i32", "i32"),
    ("dataSourceUnreference", "i32", "i32"),
    ("dataSourceIsReferenced", "i32", "i32"),
    ("dataArrayNew", "i32", "i32"),
    ("dataArrayAppend", "i32 i32", "i32"),
    ("dataArrayRelease", "i32 i32", "i32"),
    ("dataArrayLen", "i32", "i32"),
    ("dataArrayGet", "i32 i32", "i32"),
    ("fieldGetScalar", "i32 i32 i32 i32", "i64"),
    ("fieldGetBuffer", "i32 i32 i32 i64", "i32"),
    ("fieldSet", "i32 i32 i32 i64", "i32"),
    ("fieldAddTag", "i32 i64", "i32"),
    ("getParamValue", "i64 i64", "i32"),
    ("setConfig", "i64 i64 i32", "i32"),
    ("newMap", "i64 i32 i32 i32 i32", "i32"),
    ("getMap", "i64", "i32"),
    ("mapLookup", "i32 i64 i64", "i32"),
    ("mapUpdate", "i32 i64 i64 i64", "i32"),
    ("mapDelete", "i32 i64", "i32"),
    ("mapRelease", "i32", "i32"),
    ("releaseHandle", "i32", "i32"),
    ("getSyscallName", "i32 i64", "i32"),
    ("getSyscallID", "i64", "i32"),
    ("getSyscallDeclaration", "i64 i64", "i32"),
    ("newPerfReader", "i32 i32 i32", "i32"),
    ("perfReaderPause", "i32", "i32"),
    ("perfReaderResume", "i32", "i32"),
    ("perfReaderRead", "i32 i64", "i32"),
    ("perfReaderClose", "i32", "i32"),
    ("kallsymsSymbolExists", "i64", "i32"),
    ("shouldDiscardMntnsID", "i64", "i32"),
];

/// The text of a module with the functions `body` that imports, and exports again, all functions of the host.
fn module(body: &str) -> Vec<u8> {
    let mut text = String::from("(module\n");
    for (name, params, result) in FUNCTIONS {
        let result = if result.is_empty() {
            String::new()
        } else {
            format!("(result {result})")
        };
        text.push_str(&format!(
            "(import \"ig\" \"{name}\" (func ${name} (param {params}) {result}))\n"
        ));
    }
    for (name, _, _) in FUNCTIONS {
        text.push_str(&format!("(export \"{name}\" (func ${name}))\n"));
    }
    text.push_str("(memory (export \"memory\") 4)\n");
    if !body.contains("gadgetAPIVersion") {
        text.push_str("(func (export \"gadgetAPIVersion\") (result i64) i64.const 1)\n");
    }
    text.push_str(body);
    text.push(')');
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A callback that does nothing.
const CALLBACK: &str = "(func (export \"dataSourceCallback\") (param i64 i32 i32))";

fn guest(body: &str, context: &mut Context) -> crate::Result<Guest> {
    Guest::instantiate(&module(body), &GuestOptions::default(), context, &Default::default())
}

/// A guest, with the data sources of `context` as in functions before the start.
struct Bench {
    guest: Guest,
    /// Where in the guest's memory the next text goes.
    at: u64,
}

impl Bench {
    fn new(body: &str, mut context: Context) -> Self {
        let guest = guest(body, &mut context).unwrap();
        {
            let mut live = guest.shared.lock();
            let mut inside = live.inside();
            let host = inside.host();
            host.lines = Lines::borrow(&mut context.streams);
            host.config = Some(context.config);
        }
        Self { guest, at: 4096 }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.guest.shared.lock()
    }

    /// Calls a function of the host.
    fn try_call(&mut self, name: &str, args: &[u64]) -> Result<u64, RuntimeError> {
        let function = self.guest.instance.exports.get_function(name).unwrap().clone();
        let mut live = self.live();
        let mut inside: Inside<'_> = live.inside();
        let kinds = function.ty(&inside);
        assert_eq!(kinds.params().len(), args.len(), "{name}");
        let values: Vec<Value> = kinds
            .params()
            .iter()
            .zip(args)
            .map(|(kind, arg)| match kind {
                Type::I32 => Value::I32(*arg as i32),
                _ => Value::I64(*arg as i64),
            })
            .collect();
        let results = function.call(&mut inside.store, &values)?;
        Ok(match results.first() {
            Some(Value::I32(value)) => u64::from(*value as u32),
            Some(Value::I64(value)) => *value as u64,
            _ => 0,
        })
    }

    fn call(&mut self, name: &str, args: &[u64]) -> u64 {
        self.try_call(name, args).unwrap()
    }

    /// Puts bytes into the guest's memory.
    fn bytes(&mut self, bytes: &[u8]) -> u64 {
        let at = self.at;
        self.write(at, bytes);
        self.at += (bytes.len() as u64).next_multiple_of(8) + 8;
        ((bytes.len() as u64) << 32) | at
    }

    fn text(&mut self, text: &str) -> u64 {
        self.bytes(text.as_bytes())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut live = self.live();
        let mut inside = live.inside();
        let memory = inside.host().memory.clone().unwrap();
        memory.view(&inside.store.as_store_ref()).write(at, bytes).unwrap();
    }

    fn read(&mut self, range: u64) -> Vec<u8> {
        let mut live = self.live();
        let mut inside = live.inside();
        let memory = inside.host().memory.clone().unwrap();
        let mut bytes = vec![0; (range >> 32) as usize];
        memory
            .view(&inside.store.as_store_ref())
            .read(range & 0xffff_ffff, &mut bytes)
            .unwrap();
        bytes
    }

    fn source(&mut self, name: &str, kind: u64) -> u64 {
        let name = self.text(name);
        self.call("newDataSource", &[name, kind])
    }

    fn field(&mut self, source: u64, name: &str, kind: u64) -> u64 {
        let name = self.text(name);
        self.call("dataSourceAddField", &[source, name, kind])
    }

    fn scalar(&mut self, field: u64, data: u64, kind: u64) -> Result<u64, u32> {
        let error = self.bytes(&[0; 4]);
        let value = self.call("fieldGetScalar", &[field, data, kind, error & 0xffff_ffff]);
        match u32::from_le_bytes(self.read(error).try_into().unwrap()) {
            0 => Ok(value),
            error => Err(error),
        }
    }
}

/// A context with the data source that the host has in these tests.
fn context_with(name: &str, source_type: SourceType) -> Context {
    let mut context = Context::default();
    context.streams.push(Stream::new(host_source(name, source_type)));
    context
}

/// A struct of a `char[8]` and a `char[16]`, and a `u32` that the host has added.
fn host_source(name: &str, source_type: SourceType) -> DataSource {
    let mut source = DataSource::new(name, source_type, None);
    let member = |name: &str, offset, size| StaticField::new(name, Scalar::CString, offset, size);
    let members = [member("short", 0, 8), member("long", 8, 16)];
    source.add_static_fields(24, &members).unwrap();
    source.add_field(NewField::new("foo", Scalar::Uint32)).unwrap();
    source
}
