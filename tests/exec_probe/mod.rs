use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use libbpf_rs::{Link, MapCore, MapHandle, ObjectBuilder, RingBuffer, RingBufferBuilder};

/// An exec as the kernel saw it.
#[derive(Clone, Debug)]
pub(crate) struct Exec {
    pub(crate) mntns: u64,
    pub(crate) timestamp: u64,
    pub(crate) pid: u32,
    pub(crate) in_filter: bool,
    pub(crate) comm: String,
}

/// The attached program.
pub(crate) struct ExecProbe {
    _link: Link,
    ring: RingBuffer<'static>,
    execs: Arc<Mutex<Vec<Exec>>>,
}

impl ExecProbe {
    /// Compiles and attaches the program with `filter` in place of its own map, as a gadget is loaded.
    pub(crate) fn attach(filter: &MapHandle) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let object = dir.path().join("exec_probe.bpf.o");
        compile(&object);
        let mut open = ObjectBuilder::default().open_file(&object).expect("the probe opens");
        open.maps_mut()
            .find(|map| map.name() == "filter")
            .expect("the probe's filter map")
            .reuse_fd(filter.as_fd())
            .expect("the filter is compatible with a gadget's map");
        let loaded = open.load().expect("the probe loads");
        let program = loaded
            .progs_mut()
            .find(|program| program.name() == "on_exec")
            .expect("the probe's program");
        let link = program.attach().expect("the probe attaches");
        let execs = Arc::new(Mutex::new(Vec::new()));
        let map = loaded
            .maps()
            .find(|map| map.name() == "execs")
            .expect("the probe's ring");
        let mut builder = RingBufferBuilder::new();
        let sink = execs.clone();
        builder
            .add(&map, move |bytes| {
                sink.lock().expect("no panic").push(decode(bytes));
                0
            })
            .expect("a ring");
        let ring = builder.build().expect("a ring");
        Self {
            _link: link,
            ring,
            execs,
        }
    }

    /// The execs since the last call.
    pub(crate) fn take(&self) -> Vec<Exec> {
        self.ring.consume().expect("the ring can be read");
        std::mem::take(&mut *self.execs.lock().expect("no panic"))
    }
}

fn decode(bytes: &[u8]) -> Exec {
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    Exec {
        mntns: u64_at(0),
        timestamp: u64_at(8),
        pid: u32_at(16),
        in_filter: u32_at(20) != 0,
        comm: String::from_utf8_lossy(&bytes[24..40])
            .trim_end_matches('\0')
            .to_owned(),
    }
}

fn compile(object: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exec_probe/exec_probe.bpf.c");
    let names = std::iter::once("clang".to_owned()).chain((11..=30).rev().map(|version| format!("clang-{version}")));
    let candidates = std::env::var("CLANG").into_iter().chain(names);
    for clang in candidates {
        let mut command = Command::new(&clang);
        command
            .args(["-g", "-O2", "-target", "bpf", "-c", source, "-o"])
            .arg(object);
        // Debian keeps <asm/types.h> below the architecture's name.
        command.arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH));
        match command.output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => panic!("{clang}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => {}
        }
    }
    panic!("clang is needed for this test");
}
