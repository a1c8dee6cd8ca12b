use std::os::unix::fs::PermissionsExt;

use super::*;

/// A source directory, a cache directory, and a compiler that is a file.
struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let room = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(room.path("source")).unwrap();
        fs::create_dir(room.path("headers")).unwrap();
        room.write("compiler", "#!/bin/sh\n");
        room.write("source/p.bpf.c", "#include \"own.h\"\n#include <gadget/types.h>\n");
        room.write("source/own.h", "int own;\n");
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn open(&self) -> Option<Cache> {
        Cache::open(&self.path("cache"), &self.path("compiler"), &self.path("source"))
    }

    fn key(&self) -> Key {
        self.open().unwrap().key(Target::Amd64, Path::new("p.bpf.c"))
    }

    fn find(&self) -> Option<Compiled> {
        self.open().unwrap().find(&self.key())
    }

    /// Keeps an answer as after a compilation that began at `started`.
    fn keep_at(&self, started: SystemTime) {
        let headers = self.path("headers");
        let list = format!("object: p.bpf.c own.h {}/gadget/types.h\n", headers.display());
        self.write("list.d", &list);
        let cache = self.open().unwrap();
        cache.keep(&self.key(), &answer(), &self.path("list.d"), &headers, started);
    }

    fn keep(&self) {
        self.keep_at(SystemTime::now() + Duration::from_secs(60));
    }

    fn entries(&self) -> Vec<PathBuf> {
        let listing = fs::read_dir(self.path("cache")).unwrap();
        listing.map(|file| file.unwrap().path()).collect()
    }
}

fn answer() -> Compiled {
    Compiled {
        object: b"\x7fELF\n\0object".to_vec(),
        diagnostics: "p.bpf.c:1: warning: ü\n".to_owned(),
    }
}

#[test]
fn an_answer_is_found_again() {
    let room = Room::new();
    assert_eq!(room.find(), None);
    room.keep();
    assert_eq!(room.find(), Some(answer()));
    let cache = room.open().unwrap();
    assert_eq!(cache.find(&cache.key(Target::Arm64, Path::new("p.bpf.c"))), None);
    assert_eq!(fs::metadata(room.path("cache")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn any_change_of_what_was_read_counts() {
    let changes: [fn(&Room); 6] = [
        |room| room.write("source/own.h", "int OWN;\n"),
        |room| room.write("source/p.bpf.c", ""),
        |room| fs::remove_file(room.path("source/own.h")).unwrap(),
        |room| {
            fs::remove_file(room.path("source/own.h")).unwrap();
            nix::unistd::mkfifo(&room.path("source/own.h"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        },
        // Another compiler of the same name.
        |room| room.write("compiler", "#!/bin/bash\n"),
        // A header that would now be found before the one that was read.
        |room| {
            fs::create_dir(room.path("source/gadget")).unwrap();
            room.write("source/gadget/types.h", "");
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let room = Room::new();
        room.keep();
        assert!(room.find().is_some(), "{number}");
        change(&room);
        assert_eq!(room.find(), None, "{number}");
    }
}

#[test]
fn what_was_changed_meanwhile_is_not_kept() {
    let room = Room::new();
    room.keep_at(SystemTime::now());
    assert_eq!(room.find(), None);
}

#[test]
fn damage_at_any_byte_is_noticed() {
    let room = Room::new();
    room.keep();
    let [entry] = &room.entries()[..] else {
        panic!("one entry")
    };
    let good = fs::read(entry).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(entry, &bad).unwrap();
        assert_eq!(room.find(), None, "flipped at {at}");
        fs::write(entry, &good[..at]).unwrap();
        assert_eq!(room.find(), None, "cut at {at}");
    }
    room.keep();
    assert_eq!(room.find(), Some(answer()));
}

#[test]
fn a_directory_that_others_can_write_to_is_not_trusted() {
    let room = Room::new();
    room.keep();
    let set_mode = |mode| fs::set_permissions(room.path("cache"), fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o770, 0o707, 0o1777] {
        set_mode(mode);
        assert!(room.open().is_none(), "{mode:o}");
    }
    set_mode(0o755);
    assert!(room.open().is_some());
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(room.path("cache"), Some(4242), None).unwrap();
        assert!(room.open().is_none());
    }
    // A link could lead anywhere.
    fs::rename(room.path("cache"), room.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(room.path("elsewhere"), room.path("cache")).unwrap();
    assert!(room.open().is_none());
}

#[test]
fn the_oldest_entries_go_first() {
    let room = Room::new();
    room.keep();
    let cache = room.open().unwrap();
    let now = SystemTime::now();
    let age = |name: &str, seconds: u64| {
        let path = room.path("cache").join(name);
        fs::write(&path, [0; 100]).unwrap();
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(now - Duration::from_secs(seconds)).unwrap();
    };
    age("a.entry", 10);
    age("b.entry", 20);
    age("c.entry", 5000);
    age(".new-dead", 5000);
    age(".new-alive", 0);
    age("other", 5000);
    cache.tidy_up(3, MAX_BYTES);
    let names = || {
        let mut names: Vec<String> = room
            .entries()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name.len() < 64)
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), [".new-alive", "a.entry", "b.entry", "other"]);
    let newest = fs::metadata(cache.path(&room.key())).unwrap().len();
    cache.tidy_up(3, newest + 100);
    assert_eq!(names(), [".new-alive", "a.entry", "other"]);
    assert!(room.find().is_some());
}
