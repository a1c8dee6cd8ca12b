//! snapshot_file, top_file and top_blockio.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use serde_json::{Value, json};

use super::common::docker::Container;
use super::common::{Ig, Live, eventually};
use super::{array, assert_only_of, mount_namespace, start, start_for, wait_element};

/// A file in a directory that is no memory file system.
fn file_on_disk() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = dir.path().join("a file of this test");
    (dir, path)
}

#[test]
fn open_files_of_the_host() {
    let Some(ig) = Ig::new() else { return };
    let (dir, path) = file_on_disk();
    let file = File::create(&path).unwrap();
    let directory = File::open(dir.path()).unwrap();
    let (pipe, _write) = nix::unistd::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let us = std::process::id();
    let live = start(
        &ig,
        "snapshot_file",
        &format!("--host --pid {us} --paths --type-mask 511"),
    );
    let files = live.wait("an array", |line| Some(array(line)));
    live.stop().ok();
    let of = |fd: i32| -> &Value {
        let fits = |file: &&Value| file["fd"] == fd && file["tid"] == us;
        files.iter().find(fits).unwrap_or_else(|| panic!("no {fd}: {files:?}"))
    };
    for (fd, kind, number, at) in [
        (file.as_raw_fd(), "REGULAR", 0, path.to_str().unwrap()),
        (directory.as_raw_fd(), "DIRECTORY", 4, dir.path().to_str().unwrap()),
        (null.as_raw_fd(), "CHAR_DEV", 5, "/dev/null"),
        (pipe.as_raw_fd(), "PIPE", 2, ""),
        (socket.as_raw_fd(), "SOCKET", 1, "UDP"),
    ] {
        let found = of(fd);
        assert_eq!(
            (&found["type"], &found["type_raw"]),
            (&json!(kind), &json!(number)),
            "{found}"
        );
        assert_eq!(found["path"], at);
        assert_eq!(
            (&found["pid"], &found["mntns_id"]),
            (&json!(us), &json!(mount_namespace("self")))
        );
    }
    assert_eq!(of(file.as_raw_fd())["inode"], file.metadata().unwrap().ino());
    let flags = of(file.as_raw_fd())["flags"].as_str().unwrap().to_owned();
    assert!(flags.contains("O_WRONLY") && !of(null.as_raw_fd())["flags"].as_str().unwrap().contains("O_WRONLY"));

    // By default files and directories, with their names.
    let live = start(&ig, "snapshot_file", &format!("--host --pid {us}"));
    let files = live.wait("an array", |line| Some(array(line)));
    live.stop().ok();
    let fds: Vec<&Value> = files.iter().map(|file| &file["fd"]).collect();
    assert!(fds.contains(&&json!(file.as_raw_fd())) && fds.contains(&&json!(directory.as_raw_fd())));
    assert!(
        files
            .iter()
            .all(|file| ["REGULAR", "DIRECTORY"].contains(&file["type"].as_str().unwrap()))
    );
    let found = files.iter().find(|found| found["fd"] == file.as_raw_fd()).unwrap();
    assert_eq!(found["path"], "a file of this test");
    let live = start(&ig, "snapshot_file", "--host --comm no-such-comm");
    assert!(live.wait("an array", |line| Some(array(line))).is_empty());
    live.stop().ok();
}

#[test]
fn open_files_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("files", "exec tail -f /etc/passwd");
    let _host = File::open("/etc/passwd").unwrap();
    let live = start_for(
        &ig,
        &container,
        "snapshot_file",
        "--paths --annotate files:fetch-interval=50ms,files:fetch-count=0",
    );
    let file = wait_element(&live, "the open file", |file| file["path"] == "/etc/passwd");
    assert_eq!(
        (&file["comm"], &file["type"], &file["pid"]),
        (&json!("tail"), &json!("REGULAR"), &json!(container.pid()))
    );
    assert_eq!(file["mntns_id"], mount_namespace(container.pid()));
    assert_only_of(&container, &live.stop().ok().stdout);
}

#[test]
fn files_that_are_read_and_written() {
    let Some(ig) = Ig::new() else { return };
    let (_dir, path) = file_on_disk();
    let mut file = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let us = std::process::id();
    let live = start(
        &ig,
        "top_file",
        &format!("--host --pid {us} --map-fetch-interval 100ms"),
    );
    file.write_all(&[1; 10_240]).unwrap();
    file.write_all_at(&[2; 100], 5).unwrap();
    let mut some = [0; 4000];
    file.read_exact_at(&mut some, 0).unwrap();
    // At the end of the file: what was asked for counts.
    assert_eq!(file.read(&mut some).unwrap(), 0);
    let inode = file.metadata().unwrap().ino();
    // The calls may be in two reports, but no call is in both.
    let sum = |key: &str| -> u64 {
        let lines = live.lines();
        let elements = lines.iter().flat_map(|line| array(line));
        let of_file = elements.filter(|element| element["inode"] == inode);
        of_file.map(|element| element[key].as_u64().unwrap()).sum()
    };
    eventually("all calls", || (sum("reads") == 2 && sum("writes") == 2).then_some(()));
    assert_eq!((sum("wbytes_raw"), sum("rbytes_raw")), (10_340, 8_000));
    let element = wait_element(&live, "the file", |element| element["inode"] == inode);
    assert_eq!((&element["file"], &element["dev"]), (&json!(path), &json!(0)));
    assert_eq!((&element["t"], &element["t_raw"]), (&json!("R"), &json!(0)));
    assert_eq!(element["proc"]["pid"], us);
    assert_eq!(element["proc"]["mntns_id"], mount_namespace("self"));
    let ran = live.stop().ok();
    for element in ran.stdout.lines().flat_map(array) {
        assert_eq!(
            (&element["t"], &element["proc"]["pid"]),
            (&json!("R"), &json!(us)),
            "{element}"
        );
    }
}

#[test]
fn other_files_if_asked_for() {
    let Some(ig) = Ig::new() else { return };
    let us = std::process::id();
    let live = start(
        &ig,
        "top_file",
        &format!("--host --pid {us} --all-files --map-fetch-interval 50ms"),
    );
    let mut null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let (read, write) = std::os::unix::net::UnixStream::pair().unwrap();
    nix::unistd::write(&write, &[7; 77]).unwrap();
    null.write_all(&[0; 33]).unwrap();
    let element = wait_element(&live, "the device", |element| {
        element["file"] == "/dev/null" && element["writes"] == 1
    });
    assert_eq!((&element["t"], &element["wbytes"]), (&json!("O"), &json!("33 B")));
    assert_eq!(element["dev"], 1 << 20 | 3, "the kernel's number of device 1:3");
    let element = wait_element(&live, "the socket", |element| {
        element["t"] == "S" && element["wbytes_raw"] == 77
    });
    assert_eq!(element["writes"], 1);
    drop(read);
    live.stop().ok();
}

#[test]
fn files_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::start("top-file", "while true; do echo -n foo >/bar; usleep 100000; done");
    let live = start_for(&ig, &container, "top_file", "");
    let element = wait_element(&live, "the file", |element| element["file"] == "/bar");
    let writes = element["writes"].as_u64().unwrap();
    assert_eq!(element["wbytes_raw"], writes * 3);
    assert_eq!((&element["reads"], &element["rbytes"]), (&json!(0), &json!("0 B")));
    assert_eq!((&element["proc"]["comm"], &element["t"]), (&json!("sh"), &json!("R")));
    assert_only_of(&container, &live.stop().ok().stdout);
}

/// What `dd` wrote and then read past the page cache, in blocks of 64 KiB, until both were reported.
fn direct_io(live: &Live, path: &std::path::Path, run: impl Fn(&str)) -> [Value; 2] {
    let path = path.display();
    // A report may come between what is read of the file system's own blocks and the first block of the file.
    let found = |direction: &str, least: u64| {
        let lines = live.lines();
        let mut elements = lines.iter().flat_map(|line| array(line));
        elements.find(|element| {
            element["rw"] == direction && element["proc"]["comm"] == "dd" && element["bytes"].as_u64() >= Some(least)
        })
    };
    eventually("what dd does", || {
        run(&format!(
            "dd if=/dev/zero of='{path}' bs=65536 count=8 oflag=direct 2>/dev/null"
        ));
        run(&format!(
            "dd if='{path}' of=/dev/null bs=65536 iflag=direct 2>/dev/null"
        ));
        Some([found("write", 1)?, found("read", 65_536)?])
    })
}

#[test]
fn block_devices() {
    let Some(ig) = Ig::new() else { return };
    let (dir, path) = file_on_disk();
    let device = dir.path().metadata().unwrap().dev();
    let live = start(&ig, "top_blockio", "--host --comm dd --map-fetch-interval 100ms");
    let elements = direct_io(&live, &path, |script| {
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
    });
    for (element, direction) in elements.iter().zip([1, 0]) {
        assert_eq!(element["rw_raw"], direction);
        assert!(element["io"].as_u64().unwrap() > 0 && element["us"].as_u64().unwrap() > 0);
        assert_eq!(element["bytes"].as_u64().unwrap() % 4096, 0);
        assert_eq!(element["proc"]["mntns_id"], mount_namespace("self"));
        // The disk, of which the file system's device is one partition.
        assert_eq!(element["major"], nix::sys::stat::major(device));
    }
    // The file system's own blocks are read, too.
    let read = &elements[1];
    assert!(read["bytes"].as_u64().unwrap() >= 65_536, "{read}");
    let ran = live.stop().ok();
    assert!(!ran.stderr.contains("left out"), "{}", ran.stderr);
    for element in ran.stdout.lines().flat_map(array) {
        assert_eq!(element["proc"]["comm"], "dd", "{element}");
    }
}

#[test]
fn block_devices_of_a_container() {
    let Some(ig) = Ig::with_docker() else { return };
    let (dir, _) = file_on_disk();
    let volume = format!("{}:/disk", dir.path().display());
    let container = Container::start_with("blockio", &["-v", &volume], "sleep 100000");
    let live = start_for(&ig, &container, "top_blockio", "--map-fetch-interval 100ms");
    let elements = direct_io(&live, std::path::Path::new("/disk/file"), |script| {
        container.exec(script);
    });
    assert_eq!(elements[0]["proc"]["mntns_id"], mount_namespace(container.pid()));
    assert_only_of(&container, &live.stop().ok().stdout);
}

#[test]
fn only_file_systems_whose_functions_are_known() {
    let Some(ig) = Ig::new() else { return };
    ig.line("run trace_fsslower --pull never --host --filesystem vfat")
        .fails_with(&["gadgetPreStart", "not supported; there are btrfs, ext4, fuse"]);
}
