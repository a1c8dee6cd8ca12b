//! What the kernel side can decide: terms that one of the gadget's own parameters stands for.
//!
//! Users' filters must mean the same with and without this, so a term is handed down only when the parameter looks at
//! exactly what the field shows: of a gadget with one data source of single events, for the one process that its events are about. The
//! term is asked in user space all the same; the kernel only spares it the events.

use super::term::Term;
use crate::Result;
use crate::data::{CodeWrites, DataSource, FieldId, SourceType};
use crate::metadata::params::{Param, ParamValues};
use crate::operators::Stream;
use crate::operators::local_manager;

/// What has to be known about a gadget's kernel side.
#[derive(Clone, Debug, Default)]
pub struct KernelSide {
    /// Whether it can be restricted to mount namespaces.
    pub filters_mntns: bool,
    /// Where its programs are attached: sections and targets.
    pub attached_to: Vec<String>,
    /// Whether code of the gadget's own takes part in packets.
    pub has_code: bool,
}

impl KernelSide {
    /// Which fields of `source` the gadget's own code writes.
    pub(super) fn writes(&self, source: &DataSource) -> Result<CodeWrites> {
        match self.has_code {
            true => CodeWrites::checked(source),
            false => Ok(CodeWrites::NOTHING),
        }
    }
}

/// Parameters of the object that every gadget with process filters has.
struct ProcessParam {
    /// Tag of the field that it filters by.
    tag: &'static str,
    /// Tag of the struct that the field is a member of.
    parent: &'static str,
    key: &'static str,
    /// The value with which it lets everything through.
    off: &'static str,
    /// Words in the names of kernel functions in which what it filters by changes: seen from a gadget that is attached there, it may
    /// be another one when the event is written than it was when the filter looked.
    changed_in: &'static [&'static str],
}

const PROCESS: &str = "type:gadget_process";
const CREDS: &str = "type:gadget_creds";
const EXEC: [&str; 2] = ["exec", "bprm"];
const IDS: [&str; 6] = ["exec", "bprm", "uid", "gid", "groups", "cred"];
const NAME: [&str; 5] = ["exec", "bprm", "prctl", "rename", "comm"];

const PROCESS_PARAMS: [ProcessParam; 5] = [
    ProcessParam {
        tag: "type:gadget_pid",
        parent: PROCESS,
        key: "pid",
        off: "0",
        changed_in: &[],
    },
    ProcessParam {
        tag: "type:gadget_tid",
        parent: PROCESS,
        key: "tid",
        off: "0",
        // A thread that executes a program becomes the first of its process.
        changed_in: &EXEC,
    },
    ProcessParam {
        tag: "type:gadget_uid",
        parent: CREDS,
        key: "uid",
        off: "4294967295",
        changed_in: &IDS,
    },
    ProcessParam {
        tag: "type:gadget_gid",
        parent: CREDS,
        key: "gid",
        off: "4294967295",
        changed_in: &IDS,
    },
    ProcessParam {
        tag: "type:gadget_comm",
        parent: PROCESS,
        key: "comm",
        off: "",
        changed_in: &NAME,
    },
];

/// Longest name of a command, without the NUL.
const MAX_COMM: usize = 15;

/// Sets the parameter that stands for `term`, if there is one that the user has not set, and returns its key.
pub(super) fn push_down(
    term: &Term,
    kernel: &KernelSide,
    streams: &[Stream],
    values: &mut ParamValues,
    params: &[Param],
) -> Option<String> {
    let [stream] = streams else { return None };
    let source = &stream.source;
    let writes = kernel.writes(source).ok()?;
    if source.source_type() != SourceType::Single || writes.may_change(source, term.field) {
        return None;
    }
    let (name, value) =
        container_name(term, kernel, source, &writes, values).or_else(|| process(term, kernel, source, params))?;
    let param = params.iter().find(|param| param.full_name() == name.full_name)?;
    let is_off = |value: &str| value == name.off;
    if !is_off(&param.default) || values.get(&name.full_name).is_some_and(|value| !is_off(value)) {
        return None;
    }
    values.set(name.full_name, value);
    Some(param.key.clone())
}

struct Target {
    full_name: String,
    off: &'static str,
}

fn container_name(
    term: &Term,
    kernel: &KernelSide,
    source: &DataSource,
    writes: &CodeWrites,
    values: &ParamValues,
) -> Option<(Target, String)> {
    // With the whole host in view nothing is selected by containers.
    let host = format!("{}host", local_manager::PARAM_PREFIX);
    if !kernel.filters_mntns || values.is_true(&host) || source.find("runtime.containerName") != Some(term.field) {
        return None;
    }
    // The name is that of the namespace in the record.
    let (namespace, _) = source.with_tag("type:gadget_mntns_id").next()?;
    if writes.may_change(source, namespace) {
        return None;
    }
    let value = std::str::from_utf8(term.text_equal()?).ok()?;
    // The parameter is a list in which a mark excludes.
    if value.is_empty() || value.starts_with('!') || value.contains(',') {
        return None;
    }
    let target = Target {
        full_name: format!("{}containername", local_manager::PARAM_PREFIX),
        off: "",
    };
    Some((target, value.to_owned()))
}

fn process(term: &Term, kernel: &KernelSide, source: &DataSource, params: &[Param]) -> Option<(Target, String)> {
    let known = PROCESS_PARAMS
        .iter()
        .find(|known| is_of_the_process(source, term.field, known))?;
    let changes = |attached: &String| {
        let attached = attached.to_lowercase();
        let anywhere = attached.contains("raw_syscalls")
            || attached.ends_with("/sys_enter")
            || attached.ends_with("/sys_exit")
            || attached.contains('*');
        !known.changed_in.is_empty() && (anywhere || known.changed_in.iter().any(|word| attached.contains(word)))
    };
    if kernel.attached_to.iter().any(changes) {
        return None;
    }
    let value = match term.unsigned_equal() {
        Some(number) => number.to_string(),
        None => {
            let text = term.text_equal().filter(|text| text.len() <= MAX_COMM)?;
            std::str::from_utf8(text).ok()?.to_owned()
        }
    };
    let is_text = known.tag == "type:gadget_comm";
    if value == known.off || is_text != term.text_equal().is_some() {
        return None;
    }
    let param = params
        .iter()
        .find(|param| param.key == known.key && param.tags.iter().any(|tag| tag == "group:Process"))?;
    let target = Target {
        full_name: param.full_name(),
        off: known.off,
    };
    Some((target, value))
}

/// Whether `field` is what `known` filters by, in the one process that the events of `source` are about.
fn is_of_the_process(source: &DataSource, field: FieldId, known: &ProcessParam) -> bool {
    let mut processes = source.with_tag(PROCESS);
    let (Some((process, record)), None) = (processes.next(), processes.next()) else {
        return false;
    };
    if record.parent().is_some() || !source.get(field).has_tag(known.tag) {
        return false;
    }
    let Some(parent) = source.get(field).parent() else {
        return false;
    };
    let is_member = source.get(parent).has_tag(known.parent);
    is_member && (parent == process || source.get(parent).parent() == Some(process))
}
