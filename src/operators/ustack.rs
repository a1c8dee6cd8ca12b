//! User stacks: the text fields below every `gadget_user_stack`.
//!
//! `addresses` are what the kernel found, `buildid` the files they are in as far as that was collected, and `symbols` the functions. The
//! fields exist for every gadget that declares a user stack, and are empty where none was collected.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::recorded_stacks::{RecordedStack, RecordedStacks, StackKey};
use super::stack_maps::{FrameFile, StackMaps, build_ids};
use super::{Context, Explanation, Instance, OperatorNote, priority};
use crate::containers::Host;
use crate::data::{Accessor, DataSource, Derivation, Element, FieldId, Flags, NewField, Scalar};
use crate::metadata::params::{Param, ParamValues};
use crate::symbols::{Process, Stack, UserSymbols, UserSymbolsOptions};
use crate::{Error, Result, places};

/// Prefix of the full names of the parameters.
pub const PARAM_PREFIX: &str = "operator.ustack.";

const SYMBOLIZERS: &str = "symbolizers";
const CACHE_PATH: &str = "debuginfod-cache-path";
const TEXTS: [&str; 3] = ["addresses", "buildid", "symbols"];
/// Texts that are kept; then all are made anew.
const MAX_KEPT: usize = 16_384;

/// The user stacks' part in one gadget.
#[derive(Debug)]
pub struct UserStacks {
    stacks: Vec<StackFields>,
    symbolizers: Symbolizers,
    proc: PathBuf,
    /// The pid namespace that `proc` shows.
    pid_namespace: Option<u64>,
}

/// Where symbols come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Symbolizers {
    symtab: bool,
    debuginfod_cache: Option<PathBuf>,
}

#[derive(Debug)]
struct StackFields {
    stream: usize,
    texts: [FieldId; 3],
    members: Members,
}

/// The members of a stack's struct that are read.
#[derive(Clone, Copy, Debug)]
struct Members {
    stack_id: Accessor,
    inode: Accessor,
    mtime_sec: Accessor,
    mtime_nsec: Accessor,
    base_addr_hash: Accessor,
    tgid_level0: Accessor,
    pid_level0: Accessor,
    pidns_level0: Accessor,
    pid_level1: Accessor,
    pidns_level1: Accessor,
}

impl Members {
    /// `None` if one is missing.
    fn find(source: &DataSource, stack: FieldId) -> Option<Self> {
        let parent = source.get(stack).full_name();
        let member = |name: &str| Some(source.accessor(source.field(&format!("{parent}.{name}")).ok()?.id()));
        Some(Self {
            stack_id: member("stack_id")?,
            inode: member("inode")?,
            mtime_sec: member("mtime_sec")?,
            mtime_nsec: member("mtime_nsec")?,
            base_addr_hash: member("base_addr_hash")?,
            tgid_level0: member("tgid_level0")?,
            pid_level0: member("pid_level0")?,
            pidns_level0: member("pidns_level0")?,
            pid_level1: member("pid_level1")?,
            pidns_level1: member("pidns_level1")?,
        })
    }
}

impl Members {
    /// Whether the element has a stack.
    #[inline]
    fn is_something(&self, element: &Element) -> bool {
        self.inode.bits(element) != 0
    }

    /// By what recordings know the stack of an element.
    fn key(&self, element: &Element) -> StackKey {
        let number = |member: &Accessor| member.bits(element) as u32;
        StackKey::User(
            number(&self.tgid_level0),
            number(&self.base_addr_hash),
            number(&self.stack_id),
        )
    }
}

impl UserStacks {
    /// Adds the text fields to the referenced data sources. `None` if no field is a user stack.
    pub fn instantiate(context: &mut Context, host: &Host) -> Result<Option<Self>> {
        let mut stacks = Vec::new();
        for (index, stream) in context.referenced() {
            let source = &mut stream.source;
            let found: Vec<_> = source.with_tag("type:gadget_user_stack").map(|(id, _)| id).collect();
            for stack in found {
                let Some(members) = Members::find(source, stack) else {
                    let name = source.get(stack).full_name();
                    tracing::warn!("field {name:?} lacks members of a user stack and is left as it is");
                    continue;
                };
                let mut add = |name: &str| {
                    let field = NewField::new(name, Scalar::String)
                        .flags(Flags::HIDDEN)
                        .tag(format!("name:{name}"))
                        .tag("operator:ustack");
                    source.add_sub_field(stack, field)
                };
                let [addresses, buildid, symbols] = TEXTS;
                let texts = [add(addresses)?, add(buildid)?, add(symbols)?];
                source.set_hidden(stack, true, true);
                stacks.push(StackFields {
                    stream: index,
                    texts,
                    members,
                });
            }
        }
        Ok((!stacks.is_empty()).then(|| Self {
            stacks,
            symbolizers: Symbolizers::default(),
            proc: host.proc_dir().to_owned(),
            pid_namespace: host.namespace(1, "pid").ok(),
        }))
    }
}

/// What `--symbolizers` says.
fn parse_symbolizers(text: &str, cache: &str) -> Result<Symbolizers> {
    let mut symbolizers = Symbolizers::default();
    if text == "none" || text.is_empty() {
        return Ok(symbolizers);
    }
    for name in text.split(',') {
        match name {
            "auto" if text == "auto" => symbolizers.symtab = true,
            "symtab" => symbolizers.symtab = true,
            "debuginfod-cache" => {
                symbolizers.debuginfod_cache = match cache {
                    "" => places::user_cache().map(|cache| cache.join("debuginfod_client")),
                    path => Some(path.into()),
                };
                if symbolizers.debuginfod_cache.is_none() {
                    return Err(
                        Error::invalid("symbolizer debuginfod-cache: neither HOME nor XDG_CACHE_HOME is set")
                            .with_hint("say where the cache is with --debuginfod-cache-path"),
                    );
                }
            }
            // There is no other machine that could have one.
            "debuginfod-cache-on-ig-server" => {}
            "otel-ebpf-profiler" => {
                return Err(Error::unsupported(
                    "symbolizer otel-ebpf-profiler is not in this version",
                ));
            }
            _ => return Err(Error::invalid(format!("invalid symbolizer: {name}"))),
        }
    }
    Ok(symbolizers)
}

impl Instance for UserStacks {
    fn name(&self) -> &'static str {
        "ustack"
    }

    fn priority(&self) -> i32 {
        priority::instance::USER_STACK
    }

    fn params(&self) -> Vec<Param> {
        let params = [
            Param::new(SYMBOLIZERS).default_value("auto").description(
                "Where the names of functions in user stacks come from: none, auto, or a list of symtab, debuginfod-cache, \
                 debuginfod-cache-on-ig-server",
            ),
            Param::new(CACHE_PATH).description("Directory of debuginfod's cache; empty is the user's own"),
        ];
        params
            .map(|param| Param {
                prefix: PARAM_PREFIX.to_owned(),
                ..param
            })
            .into()
    }

    fn configure(&mut self, values: &ParamValues, _context: &mut Context) -> Result<()> {
        let value = |key: &str| values.get(&format!("{PARAM_PREFIX}{key}"));
        self.symbolizers = parse_symbolizers(
            value(SYMBOLIZERS).unwrap_or("auto"),
            value(CACHE_PATH).unwrap_or_default(),
        )?;
        Ok(())
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let read = self.stacks.iter().any(|stack| {
            let demand = &context.streams[stack.stream].demand;
            stack.texts.iter().any(|text| demand.wants(*text))
        });
        let why = if read {
            "texts of user stacks are read"
        } else {
            "nobody reads texts of user stacks"
        };
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: read,
            why: why.to_owned(),
        });
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        let recorded = matches!(context.recorded_stacks, RecordedStacks::Described(_));
        let replayed = matches!(context.recorded_stacks, RecordedStacks::Known(_));
        let symbolizing = self.symbolizers != Symbolizers::default();
        let mut symbols = None;
        for StackFields { stream, texts, members } in std::mem::take(&mut self.stacks) {
            let position = stream;
            let stream = &mut context.streams[position];
            let wanted = texts.map(|text| stream.demand.wants(text));
            if (wanted[2] || recorded) && symbolizing && !replayed && symbols.is_none() {
                symbols = Some(UserSymbols::start(UserSymbolsOptions {
                    proc: self.proc.clone(),
                    symtab: self.symbolizers.symtab,
                    debuginfod_cache: self.symbolizers.debuginfod_cache.clone(),
                })?);
            }
            let texts_with = |symbols: Option<UserSymbols>| Texts {
                members,
                maps: context.stack_maps.clone(),
                symbols,
                pid_namespace: self.pid_namespace,
                kept: HashMap::new(),
            };
            if let RecordedStacks::Described(describers) = &mut context.recorded_stacks {
                let mut texts = texts_with(symbols.clone());
                describers.push((position, Box::new(move |element| texts.describe(element))));
            }
            if wanted == [false; 3] {
                continue;
            }
            let fields = texts.map(|text| stream.source.accessor(text));
            let pipeline = &mut stream.pipeline;
            if let RecordedStacks::Known(known) = &context.recorded_stacks {
                let known = known.clone();
                // Symbols are the last ones, and can be done without.
                let fields = fields[..if symbolizing { 3 } else { 2 }].to_vec();
                let derivation = Derivation::always(fields.clone(), move |element| {
                    if members.is_something(element) {
                        known.write(members.key(element), &fields, element);
                    }
                });
                pipeline.derive(priority::subscription::USER_STACK, derivation);
                continue;
            }
            let mut texts = texts_with(symbols.clone().filter(|_| wanted[2]));
            // The same stack of a process may have other symbols later.
            let derivation = Derivation::always(fields, move |element| {
                if let Some(texts) = texts.of(element) {
                    for (field, text) in fields.iter().zip(texts.iter()) {
                        field.write(element, |out| out.extend_from_slice(text.as_bytes()));
                    }
                }
            });
            pipeline.derive(priority::subscription::USER_STACK, derivation);
        }
        Ok(())
    }
}

/// Makes the texts of stacks, each once.
struct Texts {
    members: Members,
    maps: StackMaps,
    symbols: Option<UserSymbols>,
    pid_namespace: Option<u64>,
    /// By process, what it executes, and stack.
    kept: HashMap<(u32, u32, u32), Arc<[String; 3]>>,
}

impl Texts {
    /// The texts of an element's stack; `None` if it has none.
    fn of(&mut self, element: &Element) -> Option<Arc<[String; 3]>> {
        let (process, id) = self.stack(element)?;
        let key = (process.pid, process.image, id);
        match self.kept.get(&key) {
            Some(kept) => Some(Arc::clone(kept)),
            None => self.make(process, id),
        }
    }

    /// An element's stack with its texts, if it has one that has not been described before.
    fn describe(&mut self, element: &Element) -> Option<RecordedStack> {
        let (process, id) = self.stack(element)?;
        if self.kept.contains_key(&(process.pid, process.image, id)) {
            return None;
        }
        Some(RecordedStack {
            key: self.members.key(element),
            texts: self.make(process, id)?.to_vec(),
        })
    }

    /// The process of an element's stack, and the stack's id; `None` if it has none.
    fn stack(&self, element: &Element) -> Option<(Process, u32)> {
        let number = |member: &Accessor| member.bits(element);
        let small = |member: &Accessor| number(member) as u32;
        let members = &self.members;
        if !members.is_something(element) {
            return None;
        }
        if small(&members.pid_level0) == 0 || small(&members.pidns_level0) == 0 {
            tracing::debug!("a user stack without a process");
            return None;
        }
        // Processes are called what the /proc that is looked at calls them.
        let nested = self.pid_namespace.is_some_and(|namespace| {
            namespace != number(&members.pidns_level0) && namespace == number(&members.pidns_level1)
        });
        let pid = small(if nested {
            &members.pid_level1
        } else {
            &members.tgid_level0
        });
        let (image, id) = (small(&members.base_addr_hash), small(&members.stack_id));
        let process = Process {
            pid,
            image,
            changed: (number(&members.mtime_sec), small(&members.mtime_nsec)),
        };
        Some((process, id))
    }

    fn make(&mut self, process: Process, id: u32) -> Option<Arc<[String; 3]>> {
        let key = (process.pid, process.image, id);
        let addresses = self.maps.user_stack(id)?;
        let files = self.maps.frame_files(id);
        let mut texts = [String::new(), files_text(&files), String::new()];
        for address in &addresses {
            // Writing to a string cannot fail.
            let _ = write!(texts[0], "{address:#018x}; ");
        }
        if let Some(symbols) = &self.symbols {
            let stack = Stack {
                process,
                addresses,
                build_ids: build_ids(&files),
            };
            match symbols.text(stack) {
                Ok(text) => texts[2] = text,
                Err(error) => tracing::warn!("symbolizer: {error}"),
            }
        }
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        let texts = Arc::new(texts);
        self.kept.insert(key, Arc::clone(&texts));
        Some(texts)
    }
}

/// The files of frames: build id and offset, or the address.
fn files_text(files: &[FrameFile]) -> String {
    let mut text = String::new();
    for file in files {
        // Writing to a string cannot fail.
        let _ = match file {
            FrameFile::BuildId(id, offset) => {
                for byte in id {
                    let _ = write!(text, "{byte:02x}");
                }
                write!(text, " +{offset:x}; ")
            }
            FrameFile::Address(address) => write!(text, "{address:x}; "),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolizers_are_named() {
        let parse = |text: &str| parse_symbolizers(text, "/cache");
        for (text, symtab, cache) in [
            ("auto", true, false),
            ("", false, false),
            ("none", false, false),
            ("symtab,debuginfod-cache", true, true),
            ("debuginfod-cache-on-ig-server", false, false),
        ] {
            let symbolizers = parse(text).unwrap();
            let found = (symbolizers.symtab, symbolizers.debuginfod_cache.is_some());
            assert_eq!(found, (symtab, cache), "{text}");
        }
        for text in ["x", "symtab, debuginfod-cache", "none,symtab", "auto,symtab"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("invalid symbolizer: "), "{error}");
        }
        assert!(parse("otel-ebpf-profiler").is_err());
    }

    #[test]
    fn texts_of_files() {
        let files = [FrameFile::BuildId([0xab; 20], 0x1f0), FrameFile::Address(0x10)];
        assert_eq!(files_text(&files), format!("{} +1f0; 10; ", "ab".repeat(20)));
    }
}
