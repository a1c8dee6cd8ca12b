//! The cases: gadgets whose programs are of one kind, and what must be seen of them.

use std::ffi::OsString;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::socket::sockopt;

use super::common::traced::{self, TRACED};
use super::common::{Ig, Live, gadget_source};
use super::denied;

/// Begins a line of the table kernel × program × buffer.
pub(crate) const CELL: &str = "CELL";

/// Programs of one kind.
struct Case {
    /// Directory under `tests/gadgets/attach`.
    gadget: &'static str,
    /// What its programs report themselves as.
    programs: &'static [&'static str],
    /// The first of the kernels that can run all of them; Debian's 6.1 has no fprobes for kprobe.multi.
    since: (u32, u32),
    /// Whether the kernel lets them write to perf buffers.
    perf: bool,
    flags: &'static [&'static str],
    /// Makes them run.
    provoke: fn(),
}

impl Case {
    const fn new(gadget: &'static str, programs: &'static [&'static str]) -> Self {
        Self {
            gadget,
            programs,
            since: (5, 8),
            perf: true,
            flags: &["--host"],
            provoke: remove_a_file,
        }
    }
}

/// Whether this is one of the kernels that can do everything of their version.
pub(crate) fn in_vm() -> bool {
    std::env::var_os("IG_TEST_IN_VM").is_some()
}

/// Major and minor version of the running kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let name = nix::sys::utsname::uname().expect("a kernel");
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("unexpected release {release:?}"),
    }
}

/// Builds all gadgets of the cases and returns an archive of their images.
pub(crate) fn images(ig: &Ig) -> PathBuf {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(gadget_source("attach")).expect("the gadgets") {
        let entry = entry.expect("a directory");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let name = format!("attach_{}", entry.file_name().to_string_lossy());
            ig.build(&name, &entry.path());
            names.push(name);
        }
    }
    for other in [
        "older/print_perf",
        "older/print_ring",
        "older/stats",
        "older/hist",
        "count_calls",
        "walk_map",
        "no_ring_buffers",
    ] {
        let name = other.replace('/', "_");
        ig.build(&name, &gadget_source(other));
        names.push(name);
    }
    let archive = ig.store().parent().expect("a directory").join("images.tar");
    let mut args = vec!["image".to_owned(), "export".to_owned()];
    args.extend(names);
    args.push(archive.to_string_lossy().into_owned());
    ig.run(args).ok();
    archive
}

/// `ig` with the images of all cases.
pub(crate) fn ig() -> Option<&'static Ig> {
    static IG: OnceLock<Option<Ig>> = OnceLock::new();
    IG.get_or_init(|| {
        let ig = Ig::new()?;
        match std::env::var_os("IG_TEST_IMAGES") {
            Some(archive) => {
                ig.run(["image".as_ref(), "import".as_ref(), archive.as_os_str()]).ok();
            }
            None => {
                images(&ig);
                traced::compile(&["-static"], Path::new(TRACED));
            }
        }
        denied::begin(&ig);
        Some(ig)
    })
    .as_ref()
}

/// A process called `rm` removes a file.
fn remove_a_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let status = Command::new("rm").arg(&file).status().expect("rm");
    assert!(status.success());
}

/// A connection to a port where nobody listens.
fn connect() {
    let _ = TcpStream::connect("127.0.0.1:9");
}

/// A process computes for a moment.
fn compute() {
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let _ = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).status();
}

/// Two functions of the C library.
fn call_libc() {
    // SAFETY: they return constants.
    unsafe {
        libc::gnu_get_libc_version();
        gnu_get_libc_release();
    }
}

unsafe extern "C" {
    fn gnu_get_libc_release() -> *const libc::c_char;
}

/// The program that has static probes.
fn run_traced() {
    assert!(Command::new(TRACED).status().is_ok_and(|status| status.success()));
}

fn nothing() {}

/// Packets whose way is chosen by what is in them: two sockets share what comes in.
fn fan_out() {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let sockets: Vec<OwnedFd> = (0..2)
        .map(|_| {
            let arguments = (libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol));
            // SAFETY: numbers; the descriptor is new if there is one.
            let socket = unsafe {
                let fd = libc::socket(arguments.0, arguments.1, arguments.2);
                assert!(fd >= 0, "a packet socket");
                OwnedFd::from_raw_fd(fd)
            };
            // By hash; the group's number is ours.
            let fanout = (std::process::id() & 0xffff) as libc::c_int;
            // SAFETY: an int of the size that is said.
            let joined = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_FANOUT,
                    (&raw const fanout).cast(),
                    size_of_val(&fanout) as libc::socklen_t,
                )
            };
            assert_eq!(joined, 0, "{}", std::io::Error::last_os_error());
            socket
        })
        .collect();
    connect();
    drop(sockets);
}

/// Bytes from one end of a connection to the other, through the port that the gadget looks at.
fn talk() {
    let Ok(listener) = TcpListener::bind("127.0.0.1:19473") else {
        return;
    };
    let mut near = TcpStream::connect("127.0.0.1:19473").expect("a connection");
    let (mut far, _) = listener.accept().expect("a connection");
    for _ in 0..3 {
        near.write_all(b"question").expect("it is read");
        far.write_all(b"answer").expect("it is read");
    }
    drop(near);
    drop(far);
}

/// A socket with the congestion control of the gadget.
fn control_congestion() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let socket = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let name = OsString::from("ig_test");
    nix::sys::socket::setsockopt(&socket, sockopt::TcpCongestion, &name).expect("it is registered");
}

fn check(case: &Case) {
    let Some(ig) = ig() else { return };
    for buffer in denied::buffers() {
        let cell = run(ig, case, buffer);
        println!(
            "{CELL}\t{}\t{}\t{}",
            case.gadget,
            denied::kind(buffer),
            cell.as_ref().map_or_else(String::as_str, |()| "pass")
        );
        if let Err(limitation) = cell {
            let refused = buffer == "ring" && denied::is_on();
            assert!(!refused || limitation.contains("no ring buffers"), "{limitation}");
            let expected = refused || !in_vm() || kernel() < case.since || (buffer != "ring" && !case.perf);
            assert!(expected, "{} with {buffer} buffers: {limitation}", case.gadget);
        }
    }
}

/// Runs the gadget until each of its programs was seen. The error is the reason why it cannot run here.
fn run(ig: &Ig, case: &Case, buffer: &str) -> Result<(), String> {
    let name = format!("attach_{}", case.gadget);
    let kind = format!("--buffer-kind={buffer}");
    let mut args = vec![
        "run",
        &name,
        "--verify-image=false",
        "--pull=never",
        "-o",
        "json",
        "-v",
        &kind,
    ];
    args.extend(case.flags);
    let live = Live::spawn(&mut ig.command(args));
    if let Err(log) = live.running_or_failed() {
        return Err(limitation(&log));
    }
    // What is attached in places, of which the host is one here, is tried before it runs.
    let log = live.log();
    if let Some(line) = log.lines().find(|line| line.contains("is not attached everywhere")) {
        let message = line.split_once("msg=").map_or(line, |(_, message)| message);
        let message = message.replace("\\\"", "\"");
        live.stop().ok();
        return Err(message.trim_matches('"').to_owned());
    }
    for program in case.programs {
        let sought = format!("\"program\":\"{program}\"");
        let mut tries = 0;
        while !live.has_line(&sought) {
            assert!(tries < 100, "{program} did not report; {}", live.log());
            (case.provoke)();
            std::thread::sleep(std::time::Duration::from_millis(100));
            tries += 1;
        }
    }
    live.stop().ok();
    Ok(())
}

/// What `ig` gave as the reason why it cannot: the error, the kernel's own last word about it, and the way out.
pub(crate) fn limitation(log: &str) -> String {
    let mut lines = log.lines().skip_while(|line| !line.starts_with("Error: "));
    let error = lines.next().unwrap_or(log);
    assert!(error.contains(": "), "{error}");
    let mut text = error.to_owned();
    for line in lines.map(str::trim) {
        if line.contains("unknown func")
            || line.contains("cannot use helper")
            || line.starts_with("hint: ") && !line.contains("`-v`")
        {
            text += &format!("; {}", line.trim_start_matches("hint: "));
        }
    }
    text
}

macro_rules! cases {
    ($($name:ident: $case:expr;)*) => {$(
        #[test]
        fn $name() {
            check(&$case);
        }
    )*};
}

cases! {
    tracepoint: Case::new("tracepoint", &["tracepoint"]);
    raw_tracepoint: Case::new("raw_tracepoint", &["raw_tracepoint", "raw_tp.w"]);
    tp_btf: Case::new("tp_btf", &["tp_btf"]);
    kprobe: Case::new("kprobe", &["kprobe", "kretprobe"]);
    kprobe_multi: Case { since: (6, 12), ..Case::new("kprobe_multi", &["kprobe.multi", "kretprobe.multi"]) };
    ksyscall: Case::new("ksyscall", &["ksyscall"]);
    fentry: Case::new("fentry", &["fentry", "fexit"]);
    fmod_ret: Case::new("fmod_ret", &["fmod_ret"]);
    lsm: Case::new("lsm", &["lsm"]);
    sleepable: Case { since: (5, 11), perf: false, ..Case::new("sleepable", &["lsm.s"]) };
    perf_event: Case { provoke: compute, ..Case::new("perf_event", &["perf_event"]) };
    uprobe: Case { provoke: call_libc, ..Case::new("uprobe", &["uprobe", "uretprobe"]) };
    uprobe_multi: Case { provoke: call_libc, ..Case::new("uprobe_multi", &["uprobe.multi", "uretprobe.multi"]) };
    usdt: Case { provoke: run_traced, ..Case::new("usdt", &["usdt"]) };
    usdt_args: Case { since: (5, 15), provoke: run_traced, ..Case::new("usdt_args", &["memory", "constants", "guarded"]) };
    syscall: Case { since: (5, 14), perf: false, flags: &["--host", "--include-self"], provoke: nothing, ..Case::new("syscall", &["syscall"]) };
    cgroup: Case { provoke: connect, ..Case::new("cgroup", &["cgroup_skb", "sockops", "cgroup/connect4"]) };
    socket: Case { provoke: connect, ..Case::new("socket", &["socket"]) };
    flow_dissector: Case { perf: false, provoke: fan_out, ..Case::new("flow_dissector", &["flow_dissector"]) };
    sk_lookup: Case { since: (5, 9), provoke: connect, ..Case::new("sk_lookup", &["sk_lookup"]) };
    netfilter: Case { since: (6, 4), perf: false, provoke: connect, ..Case::new("netfilter", &["netfilter"]) };
    // Before tcx links the kernel needs modules, which the virtual machine does not have.
    classifier: Case { since: (6, 6), provoke: connect, ..Case::new("classifier", &["ingress", "egress", "tc"]) };
    xdp: Case { since: (5, 9), provoke: connect, ..Case::new("xdp", &["xdp"]) };
    sockmap: Case { perf: false, provoke: talk, ..Case::new("sockmap", &["sk_msg", "sk_skb"]) };
    struct_ops: Case { perf: false, provoke: control_congestion, ..Case::new("struct_ops", &["struct_ops"]) };
    freplace: Case::new("freplace", &["replaced"]);
    kprobe_session: Case { since: (6, 12), ..Case::new("kprobe_session", &["entry", "return"]) };
    uprobe_session: Case { since: (6, 13), provoke: call_libc, ..Case::new("uprobe_session", &["entry", "return"]) };
    lsm_hooks: Case::new("lsm_hooks", &["inode_unlink"]);
}

/// Of several ways to the same end, the first that the kernel can go.
#[test]
fn alternatives() {
    let ways: [(&str, &'static [&'static str]); 3] = [
        ("fentry", &["fentry"]),
        ("kprobe", &["kprobe"]),
        ("tracepoint", &["tracepoint"]),
    ];
    for (gadget, programs) in ways {
        assert!(!in_vm() || gadget == "fentry", "these kernels can do fentry");
        if runs_here(gadget) {
            return check(&Case::new("alternatives", programs));
        }
    }
    panic!("no kernel is without tracepoints");
}

/// Whether this kernel can do what the gadget of this name does.
fn runs_here(gadget: &str) -> bool {
    let Some(ig) = ig() else { return true };
    let name = format!("attach_{gadget}");
    ig.run(["doctor", &name, "--verify-image=false", "--pull=never"]).status == Some(0)
}

/// The bundled gadgets, which need nothing but tracepoints.
#[test]
fn catalogue() {
    let Some(ig) = ig() else { return };
    for buffer in denied::buffers() {
        if buffer == "ring" && denied::is_on() {
            continue;
        }
        let kind = format!("--buffer-kind={buffer}");
        let live = Live::spawn(&mut ig.command(["run", "trace_open", "--host", "-o", "json", "-v", &kind]));
        live.wait_running();
        let path = Path::new("/tmp/a file that only this test opens");
        std::fs::write(path, "").expect("a file");
        live.wait_line("a file that only this test opens");
        live.stop().ok();
        let live = Live::spawn(&mut ig.command(["run", "trace_exec", "--host", "-o", "json", "-v", &kind]));
        live.wait_running();
        remove_a_file();
        live.wait_line("\"comm\":\"rm\"");
        live.stop().ok();
        println!("{CELL}\ttrace_open, trace_exec\t{}\tpass", denied::kind(buffer));
    }
}
