//! Uprobes and static probes on the live kernel: on the host and in containers of a real docker daemon.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::docker::{self, Container, docker};
use common::{Ig, Live, gadget_source, traced};
use serde_json::Value;
use tempfile::TempDir;

/// A gadget with one program for each section, which reports itself by the section's number.
fn gadget(sections: &[&str]) -> TempDir {
    let report = gadget_source("attach/report.h");
    let mut source = format!("#include {:?}\n", report.display().to_string());
    for (number, section) in sections.iter().enumerate() {
        source += &format!(
            "SEC(\"{section}\") int program_{number}(struct pt_regs *ctx) {{ return REPORT(ctx, \"{number}\"); }}\n"
        );
    }
    common::gadget(&(source + "char LICENSE[] SEC(\"license\") = \"GPL\";\n"))
}

/// Starts the gadget with the words of `flags`.
#[track_caller]
fn start(ig: &Ig, gadget: &TempDir, flags: &str) -> Live {
    let mut command = ig.command(["run".as_ref(), gadget.path().as_os_str()]);
    let live = Live::spawn(command.args(["-o", "json", "-v"]).args(flags.split_whitespace()));
    live.wait_running();
    live
}

/// Waits for a message with `text` on stderr, where quotes are escaped; returns it without the escapes.
#[track_caller]
fn wait_message(live: &Live, text: &str) -> String {
    live.wait_log(&text.replace('"', "\\\"")).replace('\\', "")
}

/// How many events in `output` are of the program with this number and fit.
fn count(output: &str, number: usize, fits: impl Fn(&Value) -> bool) -> usize {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["program"] == number.to_string().as_str() && fits(event))
        .count()
}

fn run(program: &Path, times: u32) {
    let status = Command::new(program).arg(times.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "{}", program.display());
}

#[test]
fn programs_of_the_host() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    traced::compile(&["-static"], &path("static"));
    traced::compile(&["-rdynamic", "-s"], &path("stripped"));
    traced::compile(&["-no-pie"], &path("fixed"));
    let target = |family: &str, file: &str, rest: &str| format!("{family}/{}:{rest}", path(file).display());
    let sections = [
        target("uprobe", "static", "traced_function"),
        target("uprobe", "stripped", "traced_function"),
        target("uretprobe", "fixed", "traced_local"),
        target("uprobe.multi", "fixed", "traced_*"),
        target("usdt", "stripped", "traced:place"),
        target("uprobe.s", "fixed", "traced_function"),
        target("uprobe", "stripped", "traced_local"),
    ];
    let gadget = gadget(&sections.each_ref().map(String::as_str));
    let live = start(&ig, &gadget, "--host --buffer-kind ring");
    let log = wait_message(&live, "is attached nowhere");
    assert!(log.contains("program \"program_6\""), "{log}");
    assert!(log.contains("symbol \"traced_local\" not found (in the host)"), "{log}");
    for name in ["static", "stripped", "fixed"] {
        run(&path(name), 3);
    }
    let output = live.stop().ok().stdout;
    for (number, comm, expected) in [
        (0, "static", 3),
        (1, "stripped", 3),
        (2, "fixed", 3),
        // Two functions, and two places of one probe.
        (3, "fixed", 6),
        (4, "stripped", 6),
        (5, "fixed", 3),
        (6, "stripped", 0),
    ] {
        let seen = count(&output, number, |event| event["proc"]["comm"] == comm);
        assert_eq!(seen, expected, "{}", sections[number]);
        assert_eq!(count(&output, number, |_| true), expected, "{}", sections[number]);
    }
}

#[test]
fn programs_of_go_without_symbols() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("gotraced");
    if !traced::compile_go("traced.go", &program) {
        return;
    }
    let entry = format!("uprobe/{}:main.traced", program.display());
    let on_return = format!("uretprobe/{}:main.traced", program.display());
    let gadget = gadget(&[&entry, &on_return]);
    let live = start(&ig, &gadget, "--host");
    live.wait_log("functions of Go have no return probes");
    run(&program, 4);
    let output = live.stop().ok().stdout;
    assert_eq!(count(&output, 0, |event| event["proc"]["comm"] == "gotraced"), 4);
    assert_eq!(count(&output, 1, |_| true), 0);
}

/// A docker image of a file system that is made here; removed when dropped.
struct Image {
    name: String,
}

impl Image {
    /// busybox, and what `fill` puts into the directory. No two images are of the same bytes: docker would give them one layer,
    /// and their files one inode.
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("bin")).expect("a directory");
        let rest = dir.path();
        let shell = docker(&["create", "busybox"]);
        let copied = Command::new("docker")
            .args(["cp", "-L", &format!("{shell}:/bin/busybox")])
            .arg(rest.join("bin/sh"))
            .output();
        docker(&["rm", &shell]);
        assert!(copied.is_ok_and(|output| output.status.success()));
        fill(rest);
        let name = docker::unique("traced");
        fs::write(rest.join("image"), &name).expect("a file");
        let archive = dir.path().with_extension("tar");
        let tar = Command::new("tar")
            .arg("-C")
            .arg(rest)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(tar.is_ok_and(|status| status.success()));
        docker(&["import", &archive.display().to_string(), &name]);
        fs::remove_file(archive).expect("the archive");
        Self { name }
    }

    /// A container in which nothing happens until it is told to.
    fn start(&self, name: &str) -> Container {
        let name = docker::unique(name);
        let wait = ["/bin/sh", "-c", "while :; do sleep 1000 || exit; done"];
        let mut args = vec!["run", "-d", "--network", "none", "--name", &name, &self.name];
        args.extend(wait);
        let id = docker(&args);
        Container { name, id }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "-f", &self.name]).output();
    }
}

fn with_static_program() -> Image {
    Image::new(|root| traced::compile(&["-static"], &root.join("traced")))
}

/// Runs the program in the container, `times` times its loop.
fn run_in(container: &Container, times: &str) {
    docker(&["exec", &container.id, "/traced", times]);
}

#[test]
fn containers_that_share_a_file_and_come_and_go() {
    let Some(ig) = Ig::with_docker() else { return };
    let (image, other_image) = (with_static_program(), with_static_program());
    let (one, two) = (image.start("one"), image.start("two"));
    let gadget = gadget(&["uprobe//traced:traced_function", "usdt//traced:traced:guarded"]);
    let live = start(&ig, &gadget, "");
    run_in(&one, "3");
    run_in(&two, "5");
    // Of an image of its own, so that nothing in it is traced yet.
    let late = other_image.start("late");
    for program in ["program_0", "program_1"] {
        wait_message(
            &live,
            &format!(
                "program \"{program}\": attached to /traced of container \"{}\"",
                late.name
            ),
        );
    }
    run_in(&late, "7");
    let names = [(one.name.clone(), 3), (two.name.clone(), 5), (late.name.clone(), 7)];
    // The file of the first image is let go of with the second of its containers.
    drop(one);
    run_in(&two, "2");
    drop(two);
    wait_message(&live, "program \"program_0\": detached from /traced");
    let output = live.stop().ok().stdout;
    for (index, (name, times)) in names.iter().enumerate() {
        let expected = times + if index == 1 { 2 } else { 0 };
        for number in [0, 1] {
            let seen = count(&output, number, |event| {
                event["runtime"]["containerName"] == name.as_str()
            });
            assert_eq!(seen, expected, "program {number} in {name}");
        }
    }
}

#[test]
fn libraries_by_the_containers_own_cache() {
    let Some(ig) = Ig::with_docker() else { return };
    let image = Image::new(|root| {
        traced::compile(&[], &root.join("traced"));
        let list = Command::new("ldd").arg(root.join("traced")).output().expect("ldd");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
            // Not where the linker looks by itself, so that only the cache tells.
            let at = match library.contains("libc.so") {
                true => "opt/odd/libc.so.6",
                false => &library[1..],
            };
            let at = root.join(at);
            fs::create_dir_all(at.parent().expect("a directory")).expect("a directory");
            fs::copy(library, at).expect("a copy");
        }
        fs::create_dir(root.join("etc")).expect("a directory");
        fs::write(root.join("etc/ld.so.conf"), "/opt/odd\n").expect("a file");
        let cache = Command::new("/sbin/ldconfig").arg("-r").arg(root).status();
        assert!(cache.is_ok_and(|status| status.success()));
    });
    let container = image.start("library");
    let gadget = gadget(&["uprobe/libc:strtol", "uprobe/libnosuch:f", "uprobe//traced:nothing"]);
    let live = start(&ig, &gadget, &format!("-c {}", container.name));
    for reason in [
        "library \"libnosuch\" not found",
        "/traced: symbol \"nothing\" not found",
    ] {
        wait_message(
            &live,
            &format!("is attached nowhere: {reason} (in container \"{}\")", container.name),
        );
    }
    live.wait_log("attached to /opt/odd/libc.so.6");
    run_in(&container, "1");
    let output = live.stop().ok().stdout;
    let seen = count(&output, 0, |event| {
        event["proc"]["comm"] == "traced" && event["runtime"]["containerName"] == container.name.as_str()
    });
    assert_eq!(seen, 1, "{output}");
}

#[test]
fn targets_that_make_no_sense_end_the_run() {
    let Some(ig) = Ig::new() else { return };
    for (section, expected) in [
        ("uprobe/libc", "invalid section name \"libc\""),
        (
            "uprobe/usr/bin/x:main",
            "section name must be either an absolute path or a library name: \"usr/bin/x\"",
        ),
        ("usdt/libc:probe", "invalid USDT section name: \"libc:probe\""),
    ] {
        let gadget = gadget(&[section]);
        let ran = ig.run(["run".as_ref(), gadget.path().as_os_str(), "--host".as_ref()]);
        ran.fails_with(&[expected]);
    }
}
