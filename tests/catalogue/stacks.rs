//! profile_cpu and trace_malloc, and what is made of their stacks.

use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::docker::Container;
use super::common::{Ig, eventually, skip, traced};
use super::{start, wait_element};

/// A process that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program that works, compiled with `flags`.
fn program(flags: &[&str]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("igwork");
    // Without optimization every function has a frame.
    let all = [&["-O0", "-fno-omit-frame-pointer"], flags].concat();
    traced::compile_source("work.c", &all, &path);
    (dir, path)
}

#[test]
fn a_profile_names_functions() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, path) = program(&[]);
    let burning = Killed(Command::new(&path).arg("burn").spawn().unwrap());
    let pid = burning.0.id();
    let live = start(
        &ig,
        "profile_cpu",
        &format!("--host --collect-ustack --collect-build-id --pid {pid}"),
    );
    let row = wait_element(&live, "a sample", |row| {
        row["user_stack_raw"]["symbols"]
            .as_str()
            .is_some_and(|symbols| symbols.starts_with("burn_leaf; burn_outer; main; "))
    });
    assert_eq!(
        (&row["proc"]["comm"], &row["proc"]["pid"]),
        (&json!("igwork"), &json!(pid))
    );
    assert!(row["samples"].as_u64() > Some(0));
    let stack = &row["user_stack_raw"];
    let frames = |key: &str| stack[key].as_str().unwrap().matches("; ").count();
    assert!(frames("addresses") > 2, "{stack}");
    assert_eq!(frames("buildid"), frames("addresses"), "{stack}");
    let first = stack["addresses"]
        .as_str()
        .unwrap()
        .split("; ")
        .next()
        .unwrap()
        .to_owned();
    assert!(first.len() == 18 && first.starts_with("0x"), "{first}");
    let first = stack["buildid"]
        .as_str()
        .unwrap()
        .split("; ")
        .next()
        .unwrap()
        .to_owned();
    let (id, offset) = first.split_once(" +").unwrap_or_else(|| panic!("{first}"));
    assert!(id.len() == 40 && u64::from_str_radix(offset, 16).is_ok(), "{first}");
    let ran = live.stop().ok();
    // Most samples are of user mode, where there is no kernel stack, and that is nothing to complain about.
    assert!(ran.stdout.contains("\"kern_stack\":\"\""), "{}", ran.stdout);
    assert!(!ran.stderr.contains("is lost"), "{}", ran.stderr);
}

#[test]
fn recordings_know_the_stacks_of_what_is_gone() {
    let Some(ig) = Ig::new() else { return };
    let (dir, path) = program(&[]);
    let burning = Killed(Command::new(&path).arg("burn").spawn().unwrap());
    let file = dir.path().join("cpu.igrec");
    let file = file.to_str().unwrap();
    // The run itself reads no stack.
    let flags = format!(
        "--host --collect-ustack --collect-build-id --pid {} --fields proc.comm --record {file}",
        burning.0.id()
    );
    let live = start(&ig, "profile_cpu", &flags);
    for what in ["a sample", "another"] {
        wait_element(&live, what, |row| row["proc"]["comm"] == "igwork");
    }
    live.stop().ok();
    drop(burning);
    std::fs::remove_file(&path).unwrap();
    let folded = ig.line(&format!("replay {file} -o folded")).ok().stdout;
    assert!(folded.contains("main;burn_outer;burn_leaf"), "{folded}");
    let stacks = |flags: &str| -> Vec<Value> {
        let rows = ig.line(&format!("replay {file} -o json {flags}")).ok().stdout;
        rows.lines()
            .flat_map(|line| serde_json::from_str::<Vec<Value>>(line).unwrap())
            .map(|mut row| row["user_stack_raw"].take())
            .collect()
    };
    let without_symbols = stacks("--symbolizers none");
    assert!(without_symbols.iter().any(|stack| stack["addresses"] != ""));
    assert!(without_symbols.iter().all(|stack| stack["symbols"] == ""));
    let stacks = stacks("");
    let known = stacks.iter().find(|stack| {
        let begins = |key: &str, text: &str| stack[key].as_str().is_some_and(|found| found.starts_with(text));
        begins("symbols", "burn_leaf; burn_outer; main; ") && begins("addresses", "0x")
    });
    let build_id = known.unwrap_or_else(|| panic!("{stacks:?}"))["buildid"]
        .as_str()
        .unwrap();
    assert!(
        build_id.split_once(" +").is_some_and(|(id, _)| id.len() == 40),
        "{build_id}"
    );
}

/// Waits until a profile of what `flags` select has a user stack that begins so.
fn wait_stack(ig: &Ig, flags: &str, begins: &str) -> Value {
    let live = start(ig, "profile_cpu", &format!("--collect-ustack {flags}"));
    let row = wait_element(&live, begins, |row| {
        row["user_stack_raw"]["symbols"]
            .as_str()
            .is_some_and(|symbols| symbols.starts_with(begins))
    });
    live.stop().ok();
    row
}

#[test]
fn inlined_functions_have_frames_of_their_own() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, path) = program(&["-g"]);
    let burning = Killed(Command::new(&path).arg("burn").spawn().unwrap());
    let flags = format!("--host --pid {}", burning.0.id());
    wait_stack(&ig, &flags, "burn_inlined; burn_leaf; burn_outer; main; ");
}

#[test]
fn files_of_containers_are_found_through_their_roots() {
    let Some(ig) = Ig::new() else { return };
    let (dir, _path) = program(&["-static"]);
    let volume = format!("{}:/only-in-the-container", dir.path().display());
    let container = Container::start_with("stacks", &["-v", &volume], "exec /only-in-the-container/igwork burn");
    let row = wait_stack(&ig, &format!("-c {}", container.name), "burn_leaf; burn_outer; main; ");
    assert_eq!(row["runtime"]["containerName"], *container.name);
}

#[test]
fn stripped_go_programs_know_their_functions() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("igwork");
    if !traced::compile_go("work.go", &path) {
        return;
    }
    let burning = Killed(Command::new(&path).spawn().unwrap());
    let flags = format!("--host --pid {}", burning.0.id());
    wait_stack(&ig, &flags, "main.burnLeaf; runtime.main; ");
}

#[test]
fn kernel_stacks_have_the_kernels_names() {
    let Some(ig) = Ig::new() else { return };
    let script = "while :; do cat /proc/self/status; done >/dev/null";
    let _reading = Killed(Command::new("sh").args(["-c", script]).spawn().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cat.igrec");
    let flags = format!("--host --kernel-stacks-only --comm cat --record {}", file.display());
    let live = start(&ig, "profile_cpu", &flags);
    let is_call = |stack: &str| stack.contains("do_syscall_64; ") || stack.contains("el0t_64_sync_handler; ");
    let row = wait_element(&live, "a sample in a system call", |row| {
        row["kern_stack"].as_str().is_some_and(is_call)
    });
    assert!(row["kernel_ip"].as_u64() > Some(1 << 63), "{row}");
    assert!(!row["kern_stack"].as_str().unwrap().contains("[unknown]"), "{row}");
    assert_eq!(row["user_stack_raw"]["symbols"], "");
    live.stop().ok();
    let replayed = ig.line(&format!("replay {} -o json", file.display())).ok().stdout;
    assert!(is_call(&replayed), "{replayed}");
}

#[test]
fn without_symbolizers_there_are_addresses() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, path) = program(&[]);
    let burning = Killed(Command::new(&path).arg("burn").spawn().unwrap());
    let flags = format!("--host --collect-ustack --symbolizers none --pid {}", burning.0.id());
    let live = start(&ig, "profile_cpu", &flags);
    let row = wait_element(&live, "a sample", |row| {
        row["user_stack_raw"]["addresses"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    });
    assert_eq!(
        (&row["user_stack_raw"]["symbols"], &row["user_stack_raw"]["buildid"]),
        (&json!(""), &json!(""))
    );
    live.stop().ok();
    ig.line("run profile_cpu --pull never --host --symbolizers nosuch")
        .fails_with(&["invalid symbolizer: nosuch"]);
}

#[test]
fn allocations_of_all_kinds() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, path) = program(&[]);
    let live = start(&ig, "trace_malloc", "--host --comm igwork --collect-ustack");
    let mut child = Command::new(&path).arg("alloc").spawn().unwrap();
    let unmapped = live.wait_event("the last call", |event| {
        event["operation"] == "munmap" && event["proc"]["pid"] == child.id()
    });
    child.wait().unwrap();
    let ran = live.stop().ok();
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |operation: &str, size: u64| {
        // They can be one function with two names.
        let is = |found: &Value| match operation {
            "aligned_alloc" | "memalign" => found == "aligned_alloc" || found == "memalign",
            _ => found == operation,
        };
        let found = events
            .iter()
            .find(|event| is(&event["operation"]) && event["size"] == size);
        found.unwrap_or_else(|| panic!("no {operation} of {size}: {}", ran.stdout))
    };
    for (operation, size) in [
        ("malloc", 54321),
        ("realloc", 65432),
        ("calloc", 33333),
        ("posix_memalign", 22222),
        ("aligned_alloc", 64 * 333),
        ("memalign", 44444),
        ("valloc", 55555),
        ("mmap", 8192 * 5),
    ] {
        let event = of(operation, size);
        assert!(event["addr"].as_u64() > Some(0), "{event}");
        let symbols = event["ustack"]["symbols"].as_str().unwrap();
        assert!(symbols.contains("alloc_all; main; "), "{operation}: {symbols}");
    }
    // What realloc was given is what malloc gave, and what it gave is freed.
    let (given, moved) = (of("malloc", 54321), of("realloc", 65432));
    let freed: Vec<&Value> = events
        .iter()
        .filter(|event| event["operation"] == "free")
        .map(|event| &event["addr"])
        .collect();
    assert!(
        events
            .iter()
            .any(|event| event["operation"] == "realloc_free" && event["addr"] == given["addr"])
    );
    assert!(freed.contains(&&moved["addr"]));
    assert_eq!(unmapped["addr"], of("mmap", 8192 * 5)["addr"]);
}

/// A click on a function makes it as wide as the picture.
fn opens_in_a_browser(picture: &str) {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
    else {
        return skip("a browser: chromium");
    };
    let click = "<script>\
        var box = Array.prototype.find.call(document.querySelectorAll(\"#boxes > g\"), function (g) { \
            return g.textContent.indexOf(\"burn_leaf (\") === 0; });\
        box.dispatchEvent(new MouseEvent(\"click\", { bubbles: true }));\
        var width = box.querySelector(\"rect\").getBoundingClientRect().width;\
        document.documentElement.setAttribute(\"data-width\", width);\
        </script></svg>";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile.svg");
    std::fs::write(&path, picture.replace("</svg>", &click.replace(" > ", " &gt; "))).unwrap();
    // Browsers have their own reasons to fail: on a busy machine one may give up before it has drawn anything.
    eventually("the picture in a browser", || {
        let output = Command::new("timeout")
            .args(["60", browser, "--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--dump-dom"])
            .arg(format!("--user-data-dir={}", dir.path().join("browser").display()))
            .arg(format!("file://{}", path.display()))
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        shown.contains("data-width=\"1200\"").then_some(())
    });
}

#[test]
fn profiles_become_pictures() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, path) = program(&[]);
    let burning = Killed(Command::new(&path).arg("burn").spawn().unwrap());
    let pid = burning.0.id();
    let run = |mode: &str| {
        let line = format!("run profile_cpu --pull never --host --collect-ustack --pid {pid} --timeout 3 -o {mode}");
        ig.command(line.split_whitespace()).output().unwrap()
    };
    let folded = String::from_utf8(run("folded").stdout).unwrap();
    let line = folded
        .lines()
        .find(|line| line.contains("main;burn_outer;burn_leaf"))
        .unwrap_or_else(|| panic!("{folded}"));
    assert!(line.starts_with("igwork;"), "{line}");
    assert!(line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap() > 10, "{line}");
    let picture = String::from_utf8(run("flamegraph").stdout).unwrap();
    assert!(
        picture.starts_with("<?xml ") && picture.ends_with("</svg>\n"),
        "{picture}"
    );
    assert!(
        picture.contains("<title>burn_leaf (") && picture.contains("<title>process_cpu ("),
        "{picture}"
    );
    opens_in_a_browser(&picture);
    let profile = run("pprof").stdout;
    let mut message = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&profile[..]), &mut message).unwrap();
    let has = |text: &str| message.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(
        ["burn_leaf", "proc.comm", "igwork", "process_cpu", "samples"]
            .into_iter()
            .all(has)
    );
    ig.line("run trace_open --pull never --host -o flamegraph")
        .fails_with(&["output mode \"flamegraph\""]);
}
