//! A flight recorder of system calls for each container: makes the buffers when containers come, and reads them in the end.

mod calls;
mod errno;
mod quote;
mod records;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use api::datasources::{Data, DataSource, DataSourceType, Field, FieldKind, DATA_SOURCE_CONTAINERS};
use api::map::{Map, MapSpec, MapType, MapUpdateFlags};
use api::params::get_param_value;
use api::perf::{PerfReader, ReadError};
use api::syscall::{get_syscall_declaration, get_syscall_id, get_syscall_name, SyscallDeclaration, MAX_SYSCALL_LENGTH};
use api::{errorf, warnf};

use calls::Call;
use records::{Content, Record, RECORD};

/// Bytes of a buffer on each CPU: a power of two pages.
const BUFFER: u32 = 64 * 4096;
/// Containers that are gone of which the records are kept.
const MAX_GONE: usize = 64;
/// Records of one container that are looked at; all have to fit into the memory of this module.
const MAX_RECORDS: usize = 32_768;
const MAX_FILTERS: usize = 16;
/// No text of a data source's field `event_type` is longer.
const EVENT_TYPE: u32 = 64;

type Result<T> = std::result::Result<T, String>;

/// What an argument of a system call points to.
#[derive(Clone, Copy)]
enum PointsTo {
    /// A text up to a NUL.
    Text,
    /// As many bytes as another argument says.
    Argument(u64),
    /// As many bytes as the call returns, as soon as it has.
    Returned,
    /// A text up to a NUL, as soon as the call has returned.
    TextAtExit,
}

impl PointsTo {
    /// The number by which the eBPF program knows it.
    fn code(self) -> u64 {
        const TEXT: u64 = 0x0fff_ffff_ffff_ffff;
        const RETURNED: u64 = 0x0fff_ffff_ffff_fffe;
        const ARGUMENT: u64 = 0x0fff_ffff_ffff_fff0;
        const AT_EXIT: u64 = 0xf000_0000_0000_0000;
        match self {
            Self::Text => TEXT,
            Self::Argument(index) => ARGUMENT + index,
            Self::Returned => RETURNED | AT_EXIT,
            Self::TextAtExit => TEXT | AT_EXIT,
        }
    }
}

/// The arguments that point to something that is shown, of those system calls that the machine has.
const CONTENTS: [(&str, &[(usize, PointsTo)]); 25] = {
    use PointsTo::{Argument, Returned, Text, TextAtExit};
    [
        ("execve", &[(0, Text)]),
        ("access", &[(0, Text)]),
        ("open", &[(0, Text)]),
        ("mkdir", &[(0, Text)]),
        ("chdir", &[(0, Text)]),
        ("umount2", &[(0, Text)]),
        ("sethostname", &[(0, Text)]),
        ("statfs", &[(0, Text)]),
        ("stat", &[(0, Text)]),
        ("lstat", &[(0, Text)]),
        ("openat", &[(1, Text)]),
        ("statx", &[(1, Text)]),
        ("fgetxattr", &[(1, Text)]),
        ("newfstatat", &[(1, Text)]),
        ("pivot_root", &[(0, Text), (1, Text)]),
        ("mount", &[(0, Text), (1, Text), (2, Text)]),
        ("lgetxattr", &[(0, Text), (1, Text)]),
        ("getxattr", &[(0, Text), (1, Text)]),
        ("read", &[(1, Returned)]),
        ("pread64", &[(1, Returned)]),
        ("write", &[(1, Argument(2))]),
        ("connect", &[(1, Argument(2))]),
        ("getcwd", &[(0, TextAtExit)]),
        ("mkdirat", &[(1, Text)]),
        ("unlinkat", &[(1, Text)]),
    ]
};

#[derive(Clone, Copy)]
struct Shown {
    source: DataSource,
    mntns_id: Field,
    cpu: Field,
    pid: Field,
    comm: Field,
    syscall: Field,
    parameters: Field,
    ret: Field,
}

/// What [`gadgetInit`] has made, for the functions after it.
static SHOWN: OnceLock<Shown> = OnceLock::new();

/// The buffer of one container. As long as programs may write to it, its map is in the map of maps.
struct Recorder {
    mntns: u64,
    // Closed before the map that it reads.
    reader: PerfReader,
    _map: Map,
}

#[derive(Default)]
struct Recorders {
    running: HashMap<u64, Recorder>,
    /// Of containers that are gone, the oldest first.
    gone: VecDeque<Recorder>,
}

static RECORDERS: Mutex<Option<Recorders>> = Mutex::new(None);

fn recorders() -> MutexGuard<'static, Option<Recorders>> {
    RECORDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    end(init())
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetStart() -> i32 {
    end(start())
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetStop() -> i32 {
    end(stop())
}

fn end(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            errorf!("traceloop: {error}");
            1
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn init() -> Result<()> {
    let source = DataSource::new_datasource("traceloop".to_string(), DataSourceType::Single).map_err(text)?;
    let add = |name: &str, kind| source.add_field(name, kind).map_err(text);
    let mntns_id = add("mntns_id", FieldKind::Uint64)?;
    mntns_id.add_tag("type:gadget_mntns_id")?;
    let shown = Shown {
        source,
        mntns_id,
        cpu: add("cpu", FieldKind::Uint16)?,
        pid: add("pid", FieldKind::Uint32)?,
        comm: add("comm", FieldKind::String)?,
        syscall: add("syscall", FieldKind::String)?,
        parameters: add("parameters", FieldKind::String)?,
        ret: add("ret", FieldKind::String)?,
    };
    SHOWN.get_or_init(|| shown);
    Ok(())
}

fn start() -> Result<()> {
    say_what_to_read()?;
    filter(&get_param_value("syscall-filters".to_string(), 1 << 16)?)?;
    let outer = Map::get("map_of_perf_buffers")?;
    *recorders() = Some(Recorders::default());
    let containers = DataSource::get_datasource(DATA_SOURCE_CONTAINERS.to_string()).map_err(text)?;
    let get = |name: &str| containers.get_field(name).map_err(text);
    let (event_type, mntns_id) = (get("event_type")?, get("mntns_id")?);
    let follow = move |_: DataSource, data: Data| {
        let mntns = mntns_id.u64(data);
        let result = event_type.string(data, EVENT_TYPE).and_then(|kind| match kind.as_str() {
            "CREATED" => begin(&outer, mntns?),
            "DELETED" => finish(&outer, mntns?),
            _ => Ok(()),
        });
        if let Err(error) = result {
            warnf!("traceloop: {error}");
        }
    };
    containers.subscribe(follow, 0).map_err(text)
}

/// Which names these are here; systems lack some, and asking for them would be a complaint each.
fn known_names() -> HashMap<String, u64> {
    let numbers = 0..512_u16;
    numbers.filter_map(|number| Some((get_syscall_name(number).ok()?, u64::from(number)))).collect()
}

fn say_what_to_read() -> Result<()> {
    let syscalls = Map::get("syscalls")?;
    let known = known_names();
    for (name, contents) in CONTENTS {
        let Some(number) = known.get(name) else { continue };
        let mut lengths = [0_u64; 6];
        for (index, points_to) in contents {
            lengths[*index] = points_to.code();
        }
        syscalls.put(number, &lengths)?;
    }
    Ok(())
}

/// Restricts what is recorded to these names, if there are any.
fn filter(names: &str) -> Result<()> {
    let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(());
    }
    if names.len() > MAX_FILTERS {
        return Err(format!("syscall-filters: {} names are more than {MAX_FILTERS}", names.len()));
    }
    let filters = Map::get("syscall_filters")?;
    for name in names {
        let number = match name.len() < MAX_SYSCALL_LENGTH {
            true => get_syscall_id(name),
            false => Err(format!("there is no system call {name:?}")),
        };
        let number = number.map_err(|error| format!("syscall-filters: {error}"))?;
        filters.put(&(number as u64), &1_u8)?;
    }
    Map::get("syscall_enable_filters")?.put(&0_u32, &1_u8)
}

/// Makes the buffer of a container, and lets programs write to it.
fn begin(outer: &Map, mntns: u64) -> Result<()> {
    let mut guard = recorders();
    let recorders = guard.as_mut().ok_or("it has not been started")?;
    // Several containers may share a namespace.
    if mntns == 0 || recorders.running.contains_key(&mntns) {
        return Ok(());
    }
    let map = Map::new(&MapSpec {
        name: format!("perf_buffer_{mntns}"),
        typ: MapType::PerfEventArray,
        key_size: 4,
        value_size: 4,
        max_entries: 0,
    })?;
    let reader = PerfReader::new(&map, BUFFER, true)?;
    outer.update(&mntns, &map, MapUpdateFlags::UpdateNoExist)?;
    recorders.running.insert(mntns, Recorder { mntns, reader, _map: map });
    Ok(())
}

/// Keeps what a container has done.
fn finish(outer: &Map, mntns: u64) -> Result<()> {
    let mut guard = recorders();
    let recorders = guard.as_mut().ok_or("it has not been started")?;
    let Some(recorder) = recorders.running.remove(&mntns) else {
        return Ok(());
    };
    recorders.gone.push_back(recorder);
    if recorders.gone.len() > MAX_GONE {
        recorders.gone.pop_front();
    }
    outer.delete(&mntns)
}

fn stop() -> Result<()> {
    let Some(recorders) = recorders().take() else {
        return Ok(());
    };
    let mut shown = Show::new(*SHOWN.get().ok_or("it has not been initialized")?);
    for recorder in recorders.gone.into_iter().chain(recorders.running.into_values()) {
        // What one container has done is no reason to say nothing of the others.
        if let Err(error) = shown.recorder(&recorder) {
            warnf!("traceloop: {error}");
        }
    }
    Ok(())
}

/// Reads everything, the newest of each CPU first.
fn read(reader: &PerfReader) -> Result<Vec<Record>> {
    reader.pause()?;
    let mut records = Vec::new();
    let mut bytes = [0; RECORD];
    let result = loop {
        match reader.read(&mut bytes) {
            Ok(()) => records.extend(Record::decode(&bytes)),
            Err(ReadError::Drained) => break Ok(()),
            Err(error) => break Err(text(error)),
        }
        if records.len() >= MAX_RECORDS {
            warnf!("traceloop: only {MAX_RECORDS} records of a container are shown");
            break Ok(());
        }
    };
    reader.resume()?;
    result.map(|()| records)
}

/// What is known of a system call, asked for once.
#[derive(Clone)]
struct Known {
    name: String,
    declaration: Option<SyscallDeclaration>,
}

struct Show {
    to: Shown,
    known: HashMap<u16, Known>,
}

impl Show {
    fn new(to: Shown) -> Self {
        Self { to, known: HashMap::new() }
    }

    fn known(&mut self, id: u16) -> Known {
        let make = || {
            let name = get_syscall_name(id).unwrap_or_else(|_| format!("syscall_{id:x}"));
            let declaration = get_syscall_declaration(&name).ok();
            Known { name, declaration }
        };
        self.known.entry(id).or_insert_with(make).clone()
    }

    fn recorder(&mut self, recorder: &Recorder) -> Result<()> {
        for call in calls::join(read(&recorder.reader)?) {
            let known = self.known(call.id);
            self.call(recorder.mntns, &known, &call)?;
        }
        Ok(())
    }

    fn call(&self, mntns: u64, known: &Known, call: &Call) -> Result<()> {
        let to = &self.to;
        let packet = to.source.new_packet_single().map_err(text)?;
        let data = Data::from(packet);
        let fill = || {
            to.mntns_id.set_u64(data, mntns)?;
            to.cpu.set_u16(data, call.cpu)?;
            to.pid.set_u32(data, call.pid)?;
            to.comm.set_string(data, &call.comm)?;
            to.syscall.set_string(data, &known.name)?;
            to.parameters.set_string(data, &parameters(known, call))?;
            to.ret.set_string(data, &call.result(&known.name))
        };
        let filled = fill();
        to.source.emit_and_release(packet.into()).map_err(text).and(filled)
    }
}

/// The arguments as they are shown. Those of a call whose beginning has been overwritten are not known.
fn parameters(known: &Known, call: &Call) -> String {
    let (Some(args), Some(declaration)) = (&call.args, &known.declaration) else {
        return String::new();
    };
    let mut text = String::new();
    for (index, (param, value)) in declaration.params.iter().zip(args).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&param.name);
        text.push('=');
        text.push_str(&match call.contents.get(&(index as u8)) {
            Some(content) => content_text(&known.name, &param.name, content),
            None if param.is_pointer => format!("{value:#x}"),
            // Negative ones are more often meant than numbers beyond the other half.
            None => (*value as i64).to_string(),
        });
    }
    text
}

fn content_text(syscall: &str, param: &str, content: &Content) -> String {
    match content {
        Content::Unreadable => "\"(Failed to dereference pointer)\"".to_string(),
        Content::Bytes { bytes, .. } if syscall == "connect" && param == "uservaddr" => quote::address(bytes),
        Content::Bytes { bytes, is_whole } => {
            let mut text = quote::quoted(bytes);
            if !is_whole {
                text.push_str("...");
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::syscall::SyscallParam;

    fn known(name: &str, params: &[(&str, bool)]) -> Known {
        let params = params.iter().map(|(name, is_pointer)| SyscallParam {
            name: (*name).to_string(),
            is_pointer: *is_pointer,
        });
        Known {
            name: name.to_string(),
            declaration: Some(SyscallDeclaration {
                name: name.to_string(),
                params: params.collect(),
            }),
        }
    }

    #[test]
    fn arguments_have_their_names() {
        let openat = known("openat", &[("dfd", false), ("filename", true), ("flags", false), ("mode", false)]);
        let mut call = Call {
            args: Some([-100_i64 as u64, 0x7f00, 0x8000, 0, 0, 0]),
            ..Call::default()
        };
        assert_eq!(parameters(&openat, &call), "dfd=-100, filename=0x7f00, flags=32768, mode=0");
        let path = Content::Bytes {
            bytes: b"/etc/passwd".to_vec(),
            is_whole: true,
        };
        call.contents.insert(1, path);
        assert_eq!(parameters(&openat, &call), "dfd=-100, filename=\"/etc/passwd\", flags=32768, mode=0");
        call.contents.insert(1, Content::Unreadable);
        assert!(parameters(&openat, &call).contains("filename=\"(Failed to dereference pointer)\","));
        call.args = None;
        assert_eq!(parameters(&openat, &call), "");
    }

    #[test]
    fn what_is_cut_off_is_marked_and_addresses_are_written_as_such() {
        let bytes = |bytes: &[u8], is_whole| Content::Bytes {
            bytes: bytes.to_vec(),
            is_whole,
        };
        assert_eq!(content_text("write", "buf", &bytes(b"a\n", false)), "\"a\\n\"...");
        let address = bytes(b"\x02\0\x00\x35\x7f\0\0\x01\0\0\0\0\0\0\0\0", true);
        assert_eq!(content_text("connect", "uservaddr", &address), "127.0.0.1:53");
    }

    #[test]
    fn codes_are_those_of_the_ebpf_program() {
        assert_eq!(PointsTo::Text.code(), 0x0fff_ffff_ffff_ffff);
        assert_eq!(PointsTo::Argument(2).code(), 0x0fff_ffff_ffff_fff2);
        assert_eq!(PointsTo::Returned.code(), 0xffff_ffff_ffff_fffe);
        assert_eq!(PointsTo::TextAtExit.code(), u64::MAX);
    }
}
