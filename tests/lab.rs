//! The lab, as its text has it: from an empty directory to a shared image, while real containers work.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::docker::{Container, docker};
use common::registry::Registry;
use common::{Ig, Live, gadget_source, skip};
use serde_json::Value;

/// Opens a file again and again.
const BUSY: &str = "while true; do cat /etc/passwd >/dev/null; usleep 100000; done";

/// Builds the lab's source of that stage as `open` from the directory that it is in.
fn build(ig: &Ig, stage: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mygadget = dir.path().join("mygadget");
    copy_tree(&gadget_source("lab_open").join(stage), &mygadget);
    let mut command = ig.command(["image", "build", "-t", "open", "."]);
    let ran = common::Ran::from(command.current_dir(&mygadget).output().unwrap()).ok();
    let digest = ran
        .stderr
        .strip_prefix("Successfully built ghcr.io/inspektor-gadget/gadget/open:latest@sha256:")
        .and_then(|rest| rest.strip_suffix('\n'))
        .unwrap_or_else(|| panic!("{}", ran.stderr));
    assert!(
        digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()),
        "{digest}"
    );
    assert_eq!(ran.stdout, "");
    format!("sha256:{digest}")
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn header(live: &Live) -> Vec<String> {
    let line = live.wait("the header", |line| Some(line.to_owned()));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn stage_1_timestamps() {
    let Some(ig) = Ig::with_docker() else { return };
    build(&ig, "1");
    let live = ig.start("run open --verify-image=false --fields +timestamp");
    let _container = Container::start("lab1", BUSY);
    assert_eq!(header(&live), ["TIMESTAMP"]);
    let mut earlier = jiff::Timestamp::UNIX_EPOCH;
    for _ in 0..2 {
        let text = live.wait("a later timestamp", |line| {
            let time: jiff::Timestamp = line.trim().parse().ok()?;
            (time > earlier).then(|| line.trim().to_owned())
        });
        // Nanoseconds, all nine digits of them, in UTC.
        assert!(
            text.len() == "2026-11-21T10:25:55.369572210Z".len() && text.ends_with('Z'),
            "{text}"
        );
        earlier = text.parse().unwrap();
        let now = jiff::Timestamp::now();
        assert!(
            now.duration_since(earlier).as_secs().abs() < 120,
            "{text} and now it is {now}"
        );
    }
    let ran = live.stop().ok();
    assert!(
        ran.stderr.contains("gadget signature verification is disabled"),
        "{}",
        ran.stderr
    );
}

#[test]
fn stage_2_processes_and_containers() {
    let Some(ig) = Ig::with_docker() else { return };
    build(&ig, "2");
    let live = ig.start("run open --verify-image=false");
    let container = Container::start("lab2", BUSY);
    // The column of the parent's thread has the same name as that of the thread, as it always had.
    assert_eq!(header(&live), ["RUNTIME.CONTAINERNAME", "COMM", "PID", "TID", "TID"]);
    live.wait("the container's cat", |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let named = words.first().is_some_and(|name| {
            // Long names end in an ellipsis.
            container.name.starts_with(name.trim_end_matches('…')) && name.starts_with("ig-test-")
        });
        let pid = words.get(2)?.parse::<u32>().ok()?;
        (named && words[1] == "cat" && pid > 1 && words[2] == words[3]).then_some(())
    });
    live.stop().ok();
}

#[test]
fn stage_3_files_of_one_container() {
    let Some(ig) = Ig::with_docker() else { return };
    build(&ig, "3");
    let wanted = Container::start("wanted", BUSY);
    let other = Container::start("other", BUSY);
    let columns = "runtime.containerName,proc.comm,filename,flags";
    let line = format!(
        "run open --verify-image=false --annotate open.runtime.containerName:columns.width=60 --fields {columns}"
    );
    let all = ig.start(&line);
    let one = ig.start(&format!("{line} -c {}", wanted.name));
    assert_eq!(header(&one), ["RUNTIME.CONTAINERNAME", "COMM", "FILENAME", "FLAGS"]);
    let of = |container: &Container| {
        let start = container.name.clone();
        move |line: &str| line.starts_with(&start).then(|| line.to_owned())
    };
    // Both are traced; one of them is selected.
    all.wait("the other container", of(&other));
    all.wait("the wanted container", of(&wanted));
    let is_cat = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1..) == Some(&["cat", "/etc/passwd", "0"])).then_some(())
    };
    one.wait("the file's name and flags", is_cat);
    all.stop().ok();
    let ran = one.stop().ok();
    assert!(ran.stdout.lines().count() > 1);
    for line in ran.stdout.lines().skip(1) {
        assert!(line.starts_with(&wanted.name), "not of the selected container: {line}");
    }
}

#[test]
fn every_field_is_in_json_and_docker_agrees() {
    let Some(ig) = Ig::with_docker() else { return };
    build(&ig, "3");
    let container = Container::start("json", BUSY);
    for mode in ["json", "jsonpretty"] {
        let live = ig.start(&format!(
            "run open --verify-image=false -c {} -o {mode}",
            container.name
        ));
        let event = if mode == "json" {
            live.wait_event("an open of cat", |event| event["filename"] == "/etc/passwd")
        } else {
            let mut text = String::new();
            live.wait("a whole event", |line| {
                text.push_str(line);
                text.push('\n');
                if line != "}" {
                    return None;
                }
                let event: Value = serde_json::from_str(&std::mem::take(&mut text)).expect("an object ends here");
                (event["filename"] == "/etc/passwd").then_some(event)
            })
        };
        live.stop().ok();
        check_event(&event, &container);
    }
}

fn check_event(event: &Value, container: &Container) {
    let inspected = container.inspect();
    let pid = inspected["State"]["Pid"].as_u64().unwrap();
    let started: jiff::Timestamp = inspected["State"]["StartedAt"].as_str().unwrap().parse().unwrap();
    let digests = docker(&[
        "inspect",
        "-f",
        "{{json .RepoDigests}}",
        inspected["Image"].as_str().unwrap(),
    ]);
    let digests: Vec<String> = serde_json::from_str(&digests).unwrap();
    let digest = digests
        .first()
        .and_then(|digest| digest.split('@').nth(1))
        .unwrap_or_default();
    // The start of the container's process: docker writes down a moment that is a little later.
    let at = event["runtime"]["containerStartedAt"].as_i64().unwrap();
    let process_started = jiff::Timestamp::from_nanosecond(at.into()).unwrap();
    assert!(
        started.duration_since(process_started).as_secs().abs() < 60,
        "{process_started} is not {started}"
    );
    assert_eq!(
        event["runtime"],
        serde_json::json!({
            "containerId": container.id,
            "containerImageDigest": digest,
            "containerImageName": "busybox",
            "containerName": container.name,
            "containerPid": pid,
            "containerStartedAt": at,
            "runtimeName": "docker",
        })
    );
    let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let process = &event["proc"];
    assert_eq!(
        namespace.to_str().unwrap(),
        format!("mnt:[{}]", process["mntns_id"]),
        "the container's mount namespace"
    );
    assert_eq!(process["comm"], "cat");
    assert_eq!(process["creds"]["user"], "root");
    assert_eq!(process["creds"]["group"], "root");
    assert_eq!(
        (&process["creds"]["uid"], &process["creds"]["gid"]),
        (&0.into(), &0.into())
    );
    assert_eq!(process["parent"]["comm"], "sh");
    assert_eq!(process["parent"]["pid"], pid);
    assert!(process["pid"].as_u64().unwrap() > 1);
    assert_eq!(event["flags"], 0);
    assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(event["timestamp_raw"].as_u64().unwrap() > 1_700_000_000_000_000_000);
    let keys: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "filename",
            "flags",
            "k8s",
            "proc",
            "runtime",
            "timestamp",
            "timestamp_raw"
        ]
    );
}

/// Opens for writing, creating and truncating, as a shell's redirection does.
const WRITES: &str = "while true; do echo hello >/tmp/written; usleep 100000; done";

#[test]
fn stage_4_go_code_decodes_the_flags() {
    let Some(ig) = Ig::with_docker() else { return };
    build(&ig, "4");
    let container = Container::start("lab4", WRITES);
    let of_it = format!("run open --verify-image=false -c {}", container.name);

    let live = ig.start(&format!("{of_it} --fields filename,flags_decoded"));
    assert_eq!(header(&live), ["FILENAME", "FLAGS_DECODED"]);
    live.wait("the flags in a column", |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words == ["/tmp/written", "O_WRONLY|O_CREAT|O_TRUNC"]).then_some(())
    });
    live.stop().ok();

    let live = ig.start(&format!("{of_it} -o json"));
    let event = live.wait_event("the flags in JSON", |event| event["filename"] == "/tmp/written");
    assert_eq!(event["flags_decoded"], "O_WRONLY|O_CREAT|O_TRUNC");
    assert_eq!(event["flags"], 0o1101);
    live.stop().ok();
}

#[test]
fn shared_through_a_registry() {
    let Some(ig) = Ig::with_docker() else { return };
    let Some(registry) = Registry::start() else { return };
    let digest = build(&ig, "3");
    let (host, shared) = (&registry.host, format!("{}/me/open:v1", registry.host));

    let ran = ig.run(["image", "tag", "open", &shared]).ok();
    assert_eq!(ran.stderr, format!("Successfully tagged with {shared}@{digest}\n"));
    let push = ["image", "push", &shared, "--insecure-registries", host];
    let ran = ig.run(push).ok();
    assert_eq!(
        ran.stderr,
        format!("Pushing {shared}...\nSuccessfully pushed {shared}@{digest}\n")
    );
    skopeo_reads(&shared, &digest);

    for name in ["open", &*shared] {
        let ran = ig.run(["image", "remove", name]).ok();
        assert_eq!(ran.stderr, format!("Successfully removed {name}\n"));
    }
    assert_eq!(
        ig.line("image list").ok().stdout.lines().count(),
        1,
        "only the header is left"
    );

    // A store that has never seen it.
    let elsewhere = Ig::new().expect("this is root");
    let refused = elsewhere.run(["run", &shared, "--insecure-registries", host]);
    refused.fails_with(&["verifying image", "--verify-image=false", "hint: "]);
    let line = format!("run {shared} --verify-image=false --insecure-registries {host} -o json");
    let live = elsewhere.start(&line);
    let container = Container::start("pulled", BUSY);
    live.wait_event("the container's open", |event| {
        event["runtime"]["containerName"] == *container.name && event["filename"] == "/etc/passwd"
    });
    live.stop().ok();
    let list = elsewhere.line("image list").ok().stdout;
    assert!(list.contains(&format!("{host}/me/open v1 {digest} ")), "{list}");
}

/// Copies the image with skopeo, which checks each blob against its digest.
fn skopeo_reads(reference: &str, digest: &str) {
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("skopeo")
        .args(["copy", "--all", "--preserve-digests", "--src-tls-verify=false"])
        .arg(format!("docker://{reference}"))
        .arg(format!("oci:{}:v1", dir.path().display()))
        .output();
    let Ok(copied) = copied else {
        return skip("skopeo (package skopeo)");
    };
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let read = |path: &str| -> Value { serde_json::from_slice(&fs::read(dir.path().join(path)).unwrap()).unwrap() };
    let layout = read("index.json");
    assert_eq!(layout["manifests"][0]["digest"], digest);
    let index = read(&digest.replace("sha256:", "blobs/sha256/"));
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[test]
fn what_nobody_vouches_for_is_refused() {
    let Some(ig) = Ig::new() else { return };
    let digest = build(&ig, "1");
    ig.line("run open").fails_with(&[
        "no signature was verified for ghcr.io/inspektor-gadget/gadget/open:latest@",
        &digest,
        "hint: ",
        "--verify-image=false",
        "ig run ./path",
    ]);
}

#[test]
fn a_container_that_starts_later_is_selected_by_its_name() {
    let Some(ig) = Ig::with_docker() else { return };
    build(&ig, "3");
    let name = common::docker::unique("later");
    let live = ig.start(&format!("run open --verify-image=false -c {name} -o json"));
    let _other = Container::start("not-it", BUSY);
    docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--name",
        &name,
        "busybox",
        "cat",
        "/etc/group",
    ]);
    let event = live.wait_event("the open", |event| event["filename"] == "/etc/group");
    assert_eq!(event["runtime"]["containerName"], *name);
    let ran = live.stop().ok();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["runtime"]["containerName"], *name);
    }
}
