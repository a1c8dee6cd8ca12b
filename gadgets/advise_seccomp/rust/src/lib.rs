//! Makes a seccomp profile of the system calls that each container has made.

use api::datasources::{Data, DataArray, DataSource, DataSourceError, DataSourceType, Field, FieldKind, PacketSingle};
use api::filter::should_discard_mntns_id;
use api::syscall::get_syscall_name;
use api::{errorf, warnf};

use std::sync::OnceLock;

/// Numbers that the eBPF program looks at; behind them is a state of its own.
const SYSCALLS: usize = 500;
/// No name of a container is longer.
const NAME: u32 = 4096;
/// When everybody else has seen the elements.
const PRIORITY: u32 = 9999;

#[derive(Clone, Copy)]
struct Advise {
    source: DataSource,
    text: Field,
}

/// What [`gadgetInit`] has made, for the functions after it.
static ADVISE: OnceLock<Advise> = OnceLock::new();

#[derive(Clone, Copy)]
struct Fields {
    syscalls: Field,
    mntns_id: Field,
    k8s_name: Field,
    runtime_name: Field,
}

type Result<T> = api::datasources::Result<T>;

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    end(init())
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetPreStart() -> i32 {
    end(pre_start())
}

fn end(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            errorf!("advise_seccomp: {error}");
            1
        }
    }
}

fn init() -> Result<()> {
    let source = DataSource::new_datasource("advise".to_string(), DataSourceType::Single)?;
    let text = source.add_field("text", FieldKind::String)?;
    ADVISE.get_or_init(|| Advise { source, text });
    Ok(())
}

fn pre_start() -> Result<()> {
    let advise = *ADVISE.get().ok_or(DataSourceError::GeneralError)?;
    let syscalls = DataSource::get_datasource("syscalls".to_string())?;
    let fields = Fields {
        syscalls: syscalls.get_field("syscalls")?,
        mntns_id: syscalls.get_field("mntns_id_raw")?,
        // Added by who knows the containers.
        k8s_name: syscalls.get_field("k8s.containerName")?,
        runtime_name: syscalls.get_field("runtime.containerName")?,
    };
    syscalls.subscribe_array(
        move |_, array| {
            give_advice(&advise, &fields, array);
            Ok(())
        },
        PRIORITY,
    )
}

fn give_advice(advise: &Advise, fields: &Fields, array: DataArray) {
    for element in array.iter() {
        let text = match profile_of(fields, element) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(error) => {
                warnf!("advise_seccomp: {error}");
                continue;
            }
        };
        let emit = |packet: PacketSingle| {
            let set = advise.text.set_string(Data::from(packet), &text);
            advise.source.emit_and_release(packet.into()).map_err(|error| error.to_string()).and(set)
        };
        let packet = advise.source.new_packet_single().map_err(|error| error.to_string());
        if let Err(error) = packet.and_then(emit) {
            warnf!("advise_seccomp: {error}");
        }
    }
}

/// The text for an element; `None` if its container is not asked for.
fn profile_of(fields: &Fields, element: Data) -> std::result::Result<Option<String>, String> {
    if should_discard_mntns_id(fields.mntns_id.u64(element)?) {
        return Ok(None);
    }
    let mut called = [0; SYSCALLS + 1];
    fields.syscalls.bytes(element, &mut called)?;
    let mut name = fields.k8s_name.string(element, NAME)?;
    if name.is_empty() {
        name = fields.runtime_name.string(element, NAME)?;
    }
    let mut names = Vec::new();
    for (number, _) in (0..).zip(&called[..SYSCALLS]).filter(|(_, called)| **called != 0) {
        names.push(get_syscall_name(number)?);
    }
    names.sort();
    Ok(Some(profile(&name, &names, architectures(&get_syscall_name(0)?))))
}

/// The architectures of a machine whose first system call has this name.
fn architectures(first: &str) -> &'static [&'static str] {
    match first {
        "io_setup" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    }
}

/// The profile that allows the system calls with these names, behind a comment with the name of the container.
fn profile(container: &str, names: &[String], architectures: &[&str]) -> String {
    let list = |indent: usize, items: &[&str]| {
        let lines: Vec<_> = items.iter().map(|item| format!("{:indent$}\"{item}\"", "", indent = indent + 2)).collect();
        match lines.is_empty() {
            true => "[]".to_string(),
            false => format!("[\n{}\n{:indent$}]", lines.join(",\n"), ""),
        }
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!(
        "// {container}\n{{\n  \"defaultAction\": \"SCMP_ACT_ERRNO\",\n  \"architectures\": {},\n  \"syscalls\": [\n    {{\n      \
         \"names\": {},\n      \"action\": \"SCMP_ACT_ALLOW\"\n    }}\n  ]\n}}\n",
        list(2, architectures),
        list(6, &names)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_indented_json() {
        let text = profile("web", &["close".to_string(), "openat".to_string()], architectures("read"));
        let expected = r#"// web
{
  "defaultAction": "SCMP_ACT_ERRNO",
  "architectures": [
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32"
  ],
  "syscalls": [
    {
      "names": [
        "close",
        "openat"
      ],
      "action": "SCMP_ACT_ALLOW"
    }
  ]
}
"#;
        assert_eq!(text, expected);
        assert!(profile("", &[], architectures("io_setup")).contains("\"names\": [],"));
        assert_eq!(architectures("io_setup")[0], "SCMP_ARCH_AARCH64");
    }
}
