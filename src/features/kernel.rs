//! The kernel itself, and what this process may do with it.

use std::fs;

use nix::sys::utsname::uname;

use super::{Fact, Status};
use crate::ebpf::btf::{KernelBtf, Origin};

const AREA: &str = "kernel";
const PRIVILEGES: &str = "privileges";

/// Capabilities that loading and attaching need, by bit. Before Linux 5.8 the first two were parts of the third.
const CAPABILITIES: [(&str, u32, &str); 6] = [
    ("CAP_BPF", 39, "loading programs and creating maps"),
    ("CAP_PERFMON", 38, "tracing programs"),
    ("CAP_SYS_ADMIN", 21, "everything that has no capability of its own"),
    ("CAP_NET_ADMIN", 12, "programs of network interfaces"),
    ("CAP_SYS_PTRACE", 19, "looking into processes of others"),
    (
        "CAP_SYS_RESOURCE",
        24,
        "locking memory, which old kernels count maps as",
    ),
];

pub(super) fn facts() -> Vec<Fact> {
    let mut facts = Vec::new();
    match uname() {
        Ok(name) => facts.push(Fact::new(AREA, "release", Status::Info).detail(format!(
            "{} {}",
            name.release().to_string_lossy(),
            name.machine().to_string_lossy()
        ))),
        Err(error) => facts.push(Fact::new(AREA, "release", Status::Unknown).detail(error.to_string())),
    }
    facts.push(btf());
    facts.push(lockdown());
    facts.push(security_modules());
    facts.extend(capabilities());
    facts.push(memlock());
    facts
}

fn btf() -> Fact {
    let fact = match KernelBtf::running() {
        Ok(Some(btf)) => {
            let place = match btf.origin() {
                Origin::File(path) => path.display().to_string(),
                Origin::Kernel | Origin::Memory => KernelBtf::PATH.to_owned(),
            };
            Fact::new(AREA, "BTF", Status::Yes).detail(format!("{place}, {} KiB", btf.len() / 1024))
        }
        Ok(None) => Fact::new(AREA, "BTF", Status::No).detail(KernelBtf::missing().to_string()),
        Err(error) => Fact::new(AREA, "BTF", Status::No).detail(error.to_string()),
    };
    fact.remedy(KernelBtf::missing().hint().unwrap_or_default().to_owned())
}

fn lockdown() -> Fact {
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(text) => {
            let level = text
                .split_whitespace()
                .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
                .unwrap_or("none")
                .to_owned();
            let what = match level.as_str() {
                "none" => "",
                "confidentiality" => ": reading kernel memory from programs is refused",
                _ => ": writing kernel memory is refused, and with it kprobes on some kernels",
            };
            Fact::new(AREA, "lockdown", Status::Info).detail(format!("{level}{what}"))
        }
        Err(_) => Fact::new(AREA, "lockdown", Status::Unknown).detail("securityfs is not mounted"),
    }
}

fn security_modules() -> Fact {
    match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(list) => {
            let bpf = list.trim().split(',').any(|module| module == "bpf");
            Fact::new(AREA, "BPF security module", Status::of(bpf))
                .detail(list.trim().to_owned())
                .remedy("start the kernel with lsm=…,bpf (needed by lsm programs only)")
        }
        Err(_) => Fact::new(AREA, "BPF security module", Status::Unknown).detail("securityfs is not mounted"),
    }
}

fn capabilities() -> Vec<Fact> {
    let effective = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    CAPABILITIES
        .into_iter()
        .map(|(name, bit, what)| {
            let status = effective.map_or(Status::Unknown, |set| Status::of(set >> bit & 1 == 1));
            Fact::new(PRIVILEGES, name, status).detail(what).remedy("run as root")
        })
        .collect()
}

fn memlock() -> Fact {
    let fact = Fact::new(PRIVILEGES, "locked memory", Status::Info);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))
        .and_then(|line| line.split_whitespace().next());
    match soft {
        None => fact.detail("unknown"),
        Some("unlimited") => fact.detail("unlimited"),
        Some(bytes) => fact.detail(format!("{bytes} bytes (counts before Linux 5.11 only)")),
    }
}
