//! The functions that addresses of processes are in.
//!
//! One thread does the work and keeps what it has learned: what processes have mapped, the symbols of their files, the names of
//! addresses. A process that has ended is known as long as that is kept; after that by the build ids of its files, if they were
//! collected.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

use super::elf::binary::Binary;
use super::elf::gopclntab::GoFunctions;
use super::maps::{self, Mapping};
use super::slim;
use crate::{Error, ErrorKind, Result, ResultExt};

/// What nobody has asked for so long is forgotten.
const KEPT: Duration = Duration::from_secs(60);
/// Files and processes that are kept at most.
const MAX_FILES: usize = 512;
const MAX_PROCESSES: usize = 4096;
/// Names of one file that are kept at most.
const MAX_NAMES: usize = 1 << 20;
/// Names are cut to so many bytes.
const MAX_NAME: usize = 4096;
/// Where distributions put files with debugging information.
const DEBUG_DIRECTORY: &str = "/usr/lib/debug/.build-id";

/// A build id, and an offset in the file that has it.
pub type BuildIds = Vec<Option<([u8; 20], u64)>>;

/// Where names are looked for.
#[derive(Clone, Debug)]
pub struct UserSymbolsOptions {
    /// The `/proc` in which processes are found.
    pub proc: PathBuf,
    /// Whether the files that processes have mapped are looked into.
    pub symtab: bool,
    /// A directory with what `debuginfod-find` has fetched: `BUILDID/debuginfo`.
    pub debuginfod_cache: Option<PathBuf>,
}

/// A process at the time of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id in the `/proc` that is looked at.
    pub pid: u32,
    /// Changes when it executes another program.
    pub image: u32,
    /// When its executable was changed last: seconds and nanoseconds.
    pub changed: (u64, u32),
}

/// A stack of a process.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Whose it is.
    pub process: Process,
    /// The addresses, the innermost first.
    pub addresses: Vec<u64>,
    /// For each address what is known of its file, as far as that was collected.
    pub build_ids: BuildIds,
}

/// Finds the names. Clones share what is known.
#[derive(Clone, Debug)]
pub struct UserSymbols {
    requests: Sender<Request>,
}

#[derive(Debug)]
struct Request {
    stack: Stack,
    reply: SyncSender<String>,
}

impl UserSymbols {
    /// Starts the thread, which ends when all clones are dropped.
    pub fn start(options: UserSymbolsOptions) -> Result<Self> {
        let (requests, asked) = channel::<Request>();
        std::thread::Builder::new()
            .name("ig-symbols".to_owned())
            .spawn(move || {
                let mut worker = Worker::new(options);
                loop {
                    match asked.recv_timeout(KEPT) {
                        Ok(Request { stack, reply }) => {
                            // Binaries are anybody's: what they make of a parser must not end the run.
                            let text = catch_unwind(AssertUnwindSafe(|| worker.text(&stack))).unwrap_or_else(|_| {
                                tracing::warn!("symbols of process {}: a parser panicked", stack.process.pid);
                                worker.forget();
                                unresolved(&stack.addresses)
                            });
                            // Whoever asked may have gone.
                            let _ = reply.send(text);
                        }
                        Err(RecvTimeoutError::Timeout) => worker.forget(),
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
            .context("starting the thread for symbols")?;
        Ok(Self { requests })
    }

    /// The text of a stack: the name of each address's function, or the address if there is none, each with `; ` behind it.
    /// Functions that were inlined come before those that they are part of.
    pub fn text(&self, stack: Stack) -> Result<String> {
        let ended = || Error::new(ErrorKind::Other, "the thread for symbols has ended");
        let (reply, answer) = sync_channel(1);
        self.requests.send(Request { stack, reply }).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())
    }
}

fn unresolved(addresses: &[u64]) -> String {
    let mut text = String::new();
    for address in addresses {
        // Writing to a string cannot fail.
        let _ = write!(text, "{address:#x}; ");
    }
    text
}

/// What a file is told by: device, inode, size, and when it was changed.
type FileKey = (u64, u64, u64, i64, i64);

struct KnownProcess {
    mappings: Vec<Mapping>,
    /// The files of mappings, by where they begin; `None` if there is nothing to find in it.
    files: HashMap<u64, Option<Rc<SymbolFile>>>,
    /// Whether it is still the process that was asked about.
    alive: bool,
}

/// Address, offset in the file, and size there.
type CodeSegment = (u64, u64, u64);
/// Names by offset in the file.
type Names = RefCell<HashMap<u64, Option<Arc<str>>>>;

/// The copy of a file that has symbols.
struct SymbolFile {
    /// Where blazesym finds it, as long as the file is open.
    source: Source<'static>,
    _copy: File,
    /// Functions of a Go program, and where offsets are mapped.
    go: Option<(GoFunctions, Vec<CodeSegment>)>,
    /// By offset in the file.
    names: Names,
}

struct Worker {
    options: UserSymbolsOptions,
    symbolizer: Symbolizer,
    processes: HashMap<(u32, u32), KnownProcess>,
    files: HashMap<FileKey, Option<Rc<SymbolFile>>>,
    by_build_id: HashMap<[u8; 20], Option<Rc<SymbolFile>>>,
}

impl Worker {
    fn new(options: UserSymbolsOptions) -> Self {
        Self {
            options,
            symbolizer: symbolizer(),
            processes: HashMap::new(),
            files: HashMap::new(),
            by_build_id: HashMap::new(),
        }
    }

    fn forget(&mut self) {
        self.processes.clear();
        self.files.clear();
        self.by_build_id.clear();
        self.symbolizer = symbolizer();
    }

    fn text(&mut self, stack: &Stack) -> String {
        if self.files.len() > MAX_FILES || self.by_build_id.len() > MAX_FILES || self.processes.len() > MAX_PROCESSES {
            self.forget();
        }
        let places: Vec<Option<(Rc<SymbolFile>, u64)>> = (0..stack.addresses.len())
            .map(|index| self.place(stack, index))
            .collect();
        self.look_up(&places);
        let mut text = String::new();
        for (address, place) in stack.addresses.iter().zip(&places) {
            let name = place
                .as_ref()
                .and_then(|(file, offset)| file.names.borrow().get(offset).cloned().flatten());
            // Writing to a string cannot fail.
            let _ = match name {
                Some(name) => write!(text, "{name}; "),
                None => write!(text, "{address:#x}; "),
            };
        }
        text
    }

    /// The file that an address is in, and the offset there.
    fn place(&mut self, stack: &Stack, index: usize) -> Option<(Rc<SymbolFile>, u64)> {
        let address = *stack.addresses.get(index)?;
        // Of all but the innermost the address is where the call returns to, which may be behind the function's end.
        let back = u64::from(index > 0);
        if self.options.symtab
            && let Some((file, offset)) = self.mapped(&stack.process, address)
        {
            return Some((file, offset - back.min(offset)));
        }
        let (id, offset) = (*stack.build_ids.get(index)?)?;
        let file = self.with_build_id(id)?;
        Some((file, offset - back.min(offset)))
    }

    fn mapped(&mut self, process: &Process, address: u64) -> Option<(Rc<SymbolFile>, u64)> {
        let key = (process.pid, process.image);
        let proc = self.options.proc.clone();
        let known = self
            .processes
            .entry(key)
            .or_insert_with(|| KnownProcess::read(&proc, process));
        let mut mapping = maps::find(&known.mappings, address).cloned();
        if mapping.is_none() && known.alive {
            known.refresh(&proc, process);
            mapping = maps::find(&known.mappings, address).cloned();
        }
        let mapping = mapping?;
        let file = match known.files.get(&mapping.start) {
            Some(file) => file.clone(),
            None => {
                let file = maps::open(&proc, process.pid, &mapping)
                    .and_then(|file| load(file, &mut self.files, &mut self.by_build_id))
                    .unwrap_or_else(|error| {
                        tracing::debug!("symbols of {}: {error}", mapping.path.display());
                        None
                    });
                known.files.insert(mapping.start, file.clone());
                file
            }
        };
        Some((file?, address - mapping.start + mapping.offset))
    }

    /// The file of a build id: one that was seen, or one that is kept somewhere for that.
    fn with_build_id(&mut self, id: [u8; 20]) -> Option<Rc<SymbolFile>> {
        if let Some(known) = self.by_build_id.get(&id) {
            return known.clone();
        }
        let hex: String = id.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let cached = self
            .options
            .debuginfod_cache
            .as_ref()
            .map(|cache| cache.join(&hex).join("debuginfo"));
        let (first, rest) = hex.split_at(2);
        let installed = Path::new(DEBUG_DIRECTORY).join(first).join(format!("{rest}.debug"));
        let mut found = None;
        for path in cached.iter().chain([&installed]) {
            let loaded = File::open(path)
                .map_err(Error::from)
                .and_then(|file| load(file, &mut self.files, &mut self.by_build_id));
            match loaded {
                Ok(Some(file)) => {
                    found = Some(file);
                    break;
                }
                Ok(None) => tracing::warn!("{} has no symbols; remove it to have it fetched again", path.display()),
                Err(error) => tracing::debug!("{}: {error}", path.display()),
            }
        }
        if found.is_none()
            && let Some(cache) = &self.options.debuginfod_cache
        {
            tracing::warn!(
                "no debugging information for build id {hex}; DEBUGINFOD_CACHE_PATH={} DEBUGINFOD_URLS=https://debuginfod.elfutils.org \
                 debuginfod-find debuginfo {hex} fetches it",
                cache.display()
            );
        }
        self.by_build_id.insert(id, found.clone());
        found
    }

    /// Finds the names of all places that have none yet, file by file.
    fn look_up(&self, places: &[Option<(Rc<SymbolFile>, u64)>]) {
        for (first, (file, _)) in places
            .iter()
            .enumerate()
            .filter_map(|(index, place)| Some((index, place.as_ref()?)))
        {
            let mut offsets: Vec<u64> = places
                .iter()
                .skip(first)
                .flatten()
                .filter(|(other, offset)| Rc::ptr_eq(other, file) && !file.names.borrow().contains_key(offset))
                .map(|(_, offset)| *offset)
                .collect();
            offsets.sort_unstable();
            offsets.dedup();
            if !offsets.is_empty() {
                file.look_up(&self.symbolizer, &offsets);
            }
        }
    }
}

impl KnownProcess {
    fn read(proc: &Path, process: &Process) -> Self {
        let mut known = Self {
            mappings: Vec::new(),
            files: HashMap::new(),
            alive: true,
        };
        known.refresh(proc, process);
        known
    }

    fn refresh(&mut self, proc: &Path, process: &Process) {
        let read = maps::executable_changed(proc, process.pid).and_then(|changed| {
            if changed != process.changed {
                return Err(Error::not_found("it executes another program by now"));
            }
            maps::read(proc, process.pid)
        });
        match read {
            Ok(mappings) => {
                // What is mapped now where something else was is another file.
                let same = |mapping: &Mapping| self.mappings.contains(mapping);
                let kept: Vec<u64> = mappings.iter().filter(|m| same(m)).map(|m| m.start).collect();
                self.files.retain(|start, _| kept.contains(start));
                self.mappings = mappings;
            }
            Err(error) => {
                tracing::debug!("symbols of process {}: {error}", process.pid);
                self.alive = false;
            }
        }
    }
}

/// The symbols of `file`, if it has any. They are known by its build id from now on.
fn load(
    file: File,
    files: &mut HashMap<FileKey, Option<Rc<SymbolFile>>>,
    by_build_id: &mut HashMap<[u8; 20], Option<Rc<SymbolFile>>>,
) -> Result<Option<Rc<SymbolFile>>> {
    let status = file.metadata()?;
    let key = (
        status.dev(),
        status.ino(),
        status.size(),
        status.mtime(),
        status.mtime_nsec(),
    );
    if let Some(known) = files.get(&key) {
        return Ok(known.clone());
    }
    let loaded = SymbolFile::load(file);
    let found = loaded.as_ref().ok().map(|(_, file)| Rc::clone(file));
    if let Ok((Some(id), file)) = &loaded {
        by_build_id.insert(*id, Some(Rc::clone(file)));
    }
    files.insert(key, found);
    loaded.map(|(_, file)| Some(file))
}

impl SymbolFile {
    fn load(file: File) -> Result<(Option<[u8; 20]>, Rc<Self>)> {
        let binary = Binary::parse(file)?;
        let id = build_id(&binary);
        let copy = slim::copy(&binary)?;
        let mut elf = Elf::new(format!("/proc/self/fd/{}", copy.file.as_raw_fd()));
        elf.debug_syms = copy.has_debugging;
        let go = GoFunctions::load(&binary).unwrap_or_else(|error| {
            tracing::debug!("functions of Go: {error}");
            None
        });
        let segments = binary.code_segments().collect();
        Ok((
            id,
            Rc::new(Self {
                source: Source::Elf(elf),
                _copy: copy.file,
                go: go.map(|go| (go, segments)),
                names: Default::default(),
            }),
        ))
    }

    fn look_up(&self, symbolizer: &Symbolizer, offsets: &[u64]) {
        let mut names = self.names.borrow_mut();
        if names.len() > MAX_NAMES {
            names.clear();
        }
        let found = symbolizer
            .symbolize(&self.source, Input::FileOffset(offsets))
            .unwrap_or_else(|error| {
                tracing::debug!("symbols: {error:#}");
                Vec::new()
            });
        for (index, offset) in offsets.iter().enumerate() {
            let name = match found.get(index) {
                Some(Symbolized::Sym(sym)) => {
                    let inlined = sym.inlined.iter().rev().map(|inlined| &*inlined.name);
                    let all: Vec<&str> = inlined.chain([&*sym.name]).map(cut).collect();
                    Some(Arc::from(all.join("; ")))
                }
                _ => self.go_name(*offset),
            };
            names.insert(*offset, name);
        }
    }

    fn go_name(&self, offset: u64) -> Option<Arc<str>> {
        let (functions, segments) = self.go.as_ref()?;
        let (address, begin, _) = segments
            .iter()
            .find(|(_, begin, size)| offset.checked_sub(*begin).is_some_and(|within| within < *size))?;
        let name = functions.at(address.checked_add(offset - begin)?)?;
        Some(Arc::from(cut(&String::from_utf8_lossy(name))))
    }
}

/// The beginning of a name, as much as is shown.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

fn symbolizer() -> Symbolizer {
    Symbolizer::builder()
        .enable_auto_reload(false)
        // Without it inlined functions are left out, too.
        .enable_code_info(true)
        .enable_inlined_fns(true)
        .build()
}

/// The build id in a binary's notes.
fn build_id(binary: &Binary<File>) -> Option<[u8; 20]> {
    const MAX_NOTE: u64 = 4096;
    let section = binary.section_named(".note.gnu.build-id")?;
    let note = binary.content(&section, MAX_NOTE).ok()?;
    // Sizes of name and content, type; then the name.
    note.get(12..16).filter(|name| *name == b"GNU\0")?;
    note.get(16..36)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_stack(addresses: Vec<u64>, image: u32) -> Stack {
        let changed = maps::executable_changed(Path::new("/proc"), std::process::id()).unwrap();
        Stack {
            process: Process {
                pid: std::process::id(),
                image,
                changed,
            },
            addresses,
            build_ids: Vec::new(),
        }
    }

    fn symbols() -> UserSymbols {
        UserSymbols::start(UserSymbolsOptions {
            proc: "/proc".into(),
            symtab: true,
            debuginfod_cache: None,
        })
        .unwrap()
    }

    #[unsafe(no_mangle)]
    #[inline(never)]
    extern "C" fn ig_test_function_with_a_name(value: u64) -> u64 {
        std::hint::black_box(value).wrapping_mul(3)
    }

    #[test]
    fn functions_of_our_own_have_names() {
        let symbols = symbols();
        let here = ig_test_function_with_a_name as extern "C" fn(u64) -> u64 as usize as u64;
        let text = symbols.text(own_stack(vec![here, 0x10, here + 1], 1)).unwrap();
        assert_eq!(
            text,
            "ig_test_function_with_a_name; 0x10; ig_test_function_with_a_name; "
        );
        // The address behind a call belongs to the function that was called from, also at that one's end.
        let text = symbols.text(own_stack(vec![here, here], 1)).unwrap();
        assert!(
            text.starts_with("ig_test_function_with_a_name; ") && !text.ends_with("ig_test_function_with_a_name; "),
            "{text}"
        );
    }

    #[test]
    fn a_process_that_is_another_one_has_addresses() {
        let symbols = symbols();
        let here = ig_test_function_with_a_name as extern "C" fn(u64) -> u64 as usize as u64;
        let mut other = own_stack(vec![here], 2);
        other.process.changed = (1, 1);
        assert_eq!(symbols.text(other).unwrap(), format!("{here:#x}; "));
        let mut gone = own_stack(vec![0x1234], 3);
        gone.process.pid = u32::MAX;
        assert_eq!(symbols.text(gone).unwrap(), "0x1234; ");
    }

    #[test]
    fn build_ids_stand_for_files_that_were_seen() {
        let Some(id) = build_id(&Binary::parse(File::open("/proc/self/exe").unwrap()).unwrap()) else {
            // Not every linker writes one.
            return;
        };
        let here = ig_test_function_with_a_name as extern "C" fn(u64) -> u64 as usize as u64;
        let mappings = maps::read(Path::new("/proc"), std::process::id()).unwrap();
        let mapping = maps::find(&mappings, here).unwrap();
        let symbols = symbols();
        symbols.text(own_stack(vec![here], 1)).unwrap();
        let mut gone = own_stack(vec![here], 4);
        gone.process.pid = u32::MAX;
        gone.build_ids = vec![Some((id, here - mapping.start + mapping.offset))];
        assert_eq!(symbols.text(gone).unwrap(), "ig_test_function_with_a_name; ");
    }
}
