//! The image store as other processes see it: on disk, under concurrency, after crashes, with damage.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use inspektor_gadget::ErrorKind;
use inspektor_gadget::image::{
    Arch, GadgetImage, MetadataAnnotations, PackInput, PackedImage, Reference, Store, archive, pack,
};

fn input(seed: &str) -> PackInput {
    let metadata = format!("name: {seed}\n").into_bytes();
    PackInput {
        objects: Arch::ALL
            .map(|arch| (arch, format!("{arch} object of {seed}").into_bytes()))
            .into(),
        annotations: MetadataAnnotations::from_yaml(&metadata).unwrap(),
        metadata: Some(metadata),
        builder_version: concat!("v", env!("CARGO_PKG_VERSION")).into(),
        created: "1970-01-01T00:00:00Z".into(),
        ..PackInput::default()
    }
}

/// An image whose content depends on `seed`: six blobs.
fn image(seed: &str) -> PackedImage {
    pack(input(seed)).unwrap()
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("a/store"));
        Self { dir, store }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.store.dir().join(below)
    }

    fn blobs(&self) -> BTreeSet<String> {
        files(&self.path("blobs/sha256"))
    }

    fn index(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("index.json")).unwrap()).unwrap()
    }

    fn listed(&self) -> Vec<String> {
        self.store
            .list()
            .unwrap()
            .iter()
            .map(|image| image.reference.to_string())
            .collect()
    }

    fn age_blobs(&self) {
        for blob in self.blobs() {
            age(&self.path("blobs/sha256").join(blob));
        }
    }
}

fn files(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Makes a file as old as what a crash left behind long ago.
fn age(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
}

fn overwrite(path: &Path, content: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn is_an_oci_layout() {
    let f = Fixture::new();
    let image = image("one");
    f.store.add(&image, Some(&name("one"))).unwrap();

    assert_eq!(
        fs::read(f.path("oci-layout")).unwrap(),
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    assert_eq!(mode(f.store.dir()), 0o700);
    assert_eq!(mode(&f.path("index.json.lock")), 0o600);
    assert!(files(&f.path("ingest")).is_empty());
    assert_eq!(f.blobs().len(), 6);
    for blob in f.blobs() {
        assert_eq!(mode(&f.path("blobs/sha256").join(blob)), 0o444);
    }

    let index = f.index();
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(
        entries.len(),
        3,
        "the index and, without names, the manifests of two architectures"
    );
    let tagged: Vec<_> = entries
        .iter()
        .filter(|entry| entry["annotations"].get("org.opencontainers.image.ref.name").is_some())
        .collect();
    assert_eq!(tagged.len(), 1);
    assert_eq!(
        tagged[0]["annotations"]["org.opencontainers.image.ref.name"],
        "ghcr.io/inspektor-gadget/gadget/one:latest"
    );
    assert_eq!(tagged[0]["annotations"]["org.opencontainers.image.title"], "one");
    assert_eq!(tagged[0]["digest"], image.digest().to_string());
    let architectures: BTreeSet<_> = entries
        .iter()
        .filter_map(|entry| entry["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(architectures, BTreeSet::from(["amd64", "arm64"]));
}

#[test]
fn skopeo_reads_it() {
    let f = Fixture::new();
    let image = image("one");
    f.store.add(&image, Some(&name("one"))).unwrap();
    let output = Command::new("skopeo")
        .args(["inspect", "--raw"])
        .arg(format!("oci:{}:{}", f.store.dir().display(), name("one")))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(e) if std::env::var_os("IG_TEST_ALLOW_SKIP").is_some() => {
            println!("SKIPPED: skopeo: {e}");
            return;
        }
        Err(e) => panic!("this test needs skopeo (package skopeo): {e}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, image.index.content);
}

#[test]
fn looking_creates_nothing() {
    let f = Fixture::new();
    assert!(f.store.list().unwrap().is_empty());
    let error = f.store.resolve(&name("x")).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "not found")
    );
    assert_eq!(
        f.store.remove(&name("x")).unwrap_err().to_string(),
        "resolving image: not found"
    );
    assert_eq!(
        f.store.tag(&name("x"), &name("y")).unwrap_err().to_string(),
        "resolving src: not found"
    );
    assert!(!f.dir.path().join("a").exists());
}

#[test]
fn tag_list_and_remove() {
    let f = Fixture::new();
    let (one, two) = (image("one"), image("two"));
    f.store.add(&one, Some(&name("reg.com/repo1:tag1"))).unwrap();
    f.store.add(&two, Some(&name("two"))).unwrap();
    let tagged = f
        .store
        .tag(&name("reg.com/repo1:tag1"), &name("localhost:5000/repo1:tag1"))
        .unwrap();
    assert_eq!(&tagged.digest, one.digest());
    assert_eq!(
        f.listed(),
        [
            "ghcr.io/inspektor-gadget/gadget/two:latest",
            "localhost:5000/repo1:tag1",
            "reg.com/repo1:tag1"
        ]
    );
    let listed = &f.store.list().unwrap()[0];
    assert_eq!(&listed.digest, two.digest());
    assert_eq!(listed.created.as_deref(), Some("1970-01-01T00:00:00Z"));

    f.store.remove(&name("reg.com/repo1:tag1")).unwrap();
    assert_eq!(f.blobs().len(), 12, "the other name keeps the blobs");
    f.store.remove(&name("localhost:5000/repo1:tag1")).unwrap();
    assert_eq!(f.blobs().len(), 6);
    assert_eq!(f.listed(), ["ghcr.io/inspektor-gadget/gadget/two:latest"]);
    GadgetImage::from_store(&f.store, &name("two")).unwrap();

    f.store.remove(&name("two")).unwrap();
    assert!(f.blobs().is_empty());
    assert_eq!(f.index()["manifests"].as_array().unwrap().len(), 0);
}

#[test]
fn shared_blobs_stay() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    let later = PackInput {
        created: "1971-01-01T00:00:00Z".into(),
        ..input("one")
    };
    f.store.add(&pack(later).unwrap(), Some(&name("later"))).unwrap();
    assert_eq!(f.blobs().len(), 9, "objects and metadata are shared");
    f.store.remove(&name("one")).unwrap();
    assert_eq!(f.blobs().len(), 6);
    GadgetImage::from_store(&f.store, &name("later")).unwrap();
}

#[test]
fn a_moved_tag_leaves_its_image_until_the_next_removal() {
    let f = Fixture::new();
    f.store.add(&image("old"), Some(&name("x"))).unwrap();
    f.store.add(&image("new"), Some(&name("x"))).unwrap();
    f.store.add(&image("untagged"), None).unwrap();
    assert_eq!(f.blobs().len(), 18);
    assert_eq!(f.listed().len(), 1);
    assert_eq!(
        GadgetImage::from_store(&f.store, &name("x")).unwrap().metadata(),
        b"name: new\n"
    );
    f.store.remove(&name("x")).unwrap();
    assert!(f.blobs().is_empty());
}

#[test]
fn a_damaged_blob_is_named_and_repaired_by_the_next_add() {
    let f = Fixture::new();
    let one = image("one");
    f.store.add(&one, Some(&name("one"))).unwrap();
    for (damage, cause) in [(&b"amd"[..], "3 bytes instead of"), (b"", "0 bytes instead of")] {
        for blob in &one.blobs {
            overwrite(&f.path("blobs/sha256").join(blob.descriptor.digest.hex()), damage);
        }
        let error = GadgetImage::from_store(&f.store, &name("one")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("getting manifest: getting content from descriptor: blob sha256:"),
            "{text}"
        );
        assert!(text.contains("is damaged") && text.contains(cause), "{text}");
        assert!(error.hint().unwrap().contains("pull or build the image again"));
        f.store.add(&one, Some(&name("one"))).unwrap();
        GadgetImage::from_store(&f.store, &name("one")).unwrap();
    }

    // Same size, other content.
    let object = one
        .blobs
        .iter()
        .find(|blob| blob.content.ends_with(b"object of one"))
        .unwrap();
    let mut content = object.content.clone();
    content[0] ^= 1;
    overwrite(&f.path("blobs/sha256").join(object.descriptor.digest.hex()), &content);
    let error = f.store.read_blob(&object.descriptor).unwrap_err().to_string();
    assert!(error.contains("its digest is sha256:"), "{error}");
    f.store.add(&one, None).unwrap();
    assert_eq!(f.store.read_blob(&object.descriptor).unwrap(), object.content);
}

#[test]
fn missing_blobs_are_tolerated_by_everyone_who_does_not_need_them() {
    let f = Fixture::new();
    let one = image("one");
    f.store.add(&one, Some(&name("one"))).unwrap();
    f.store.add(&image("two"), Some(&name("two"))).unwrap();
    fs::remove_file(f.path("blobs/sha256").join(one.digest().hex())).unwrap();
    assert_eq!(f.listed(), ["ghcr.io/inspektor-gadget/gadget/two:latest"]);
    let error = GadgetImage::from_store(&f.store, &name("one")).unwrap_err();
    assert!(error.to_string().contains("is missing from image store"), "{error}");
    f.store.remove(&name("one")).unwrap();
    assert_eq!(f.blobs().len(), 6);
    GadgetImage::from_store(&f.store, &name("two")).unwrap();
}

#[test]
fn damage_elsewhere_does_not_cost_blobs() {
    let f = Fixture::new();
    let one = image("one");
    f.store.add(&one, Some(&name("one"))).unwrap();
    f.store.add(&image("two"), Some(&name("two"))).unwrap();
    overwrite(&f.path("blobs/sha256").join(one.digest().hex()), b"{}");
    let blobs = f.blobs();
    f.store.remove(&name("two")).unwrap();
    assert_eq!(f.blobs(), blobs, "what a damaged index needs is unknown");
    f.store.add(&one, Some(&name("one"))).unwrap();
    GadgetImage::from_store(&f.store, &name("one")).unwrap();
}

#[test]
fn a_damaged_index_is_an_error_and_not_an_empty_store() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    let intact = fs::read(f.path("index.json")).unwrap();
    for damaged in [&intact[..intact.len() / 2], b"", b"[]", b"null", b"\0\0\0\0"] {
        fs::write(f.path("index.json"), damaged).unwrap();
        for error in [
            f.store.list().unwrap_err(),
            f.store.resolve(&name("one")).unwrap_err(),
            f.store.add(&image("two"), Some(&name("two"))).unwrap_err(),
            f.store.remove(&name("one")).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("index.json is damaged: "), "{text}");
            assert!(error.hint().unwrap().contains("mv "), "{error:?}");
        }
        assert_eq!(
            fs::read(f.path("index.json")).unwrap(),
            damaged,
            "nothing is lost silently"
        );
    }
    // The way out works.
    fs::rename(f.path("index.json"), f.path("index.json.bad")).unwrap();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    assert_eq!(f.listed().len(), 1);
}

#[test]
fn a_layout_of_another_version_is_refused_and_a_torn_one_repaired() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    fs::write(f.path("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    let error = f.store.add(&image("two"), None).unwrap_err().to_string();
    assert!(error.contains("unsupported layout version \"2.0.0\""), "{error}");
    fs::write(f.path("oci-layout"), r#"{"imageLay"#).unwrap();
    f.store.add(&image("two"), None).unwrap();
    assert_eq!(
        fs::read(f.path("oci-layout")).unwrap(),
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
}

#[test]
fn leftovers_of_a_crash_go_when_they_are_old() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    f.store.add(&image("two"), Some(&name("two"))).unwrap();
    let hex = "ab".repeat(32);
    let (old_temp, new_temp) = (f.path(&format!("ingest/{hex}_1")), f.path(&format!("ingest/{hex}_2")));
    let old_orphan = f.path(&format!("blobs/sha256/{hex}"));
    let new_orphan = f.path(&format!("blobs/sha256/{}", "cd".repeat(32)));
    let foreign = f.path("blobs/sha256/README");
    for path in [&old_temp, &new_temp, &old_orphan, &new_orphan, &foreign] {
        fs::write(path, "left").unwrap();
    }
    for path in [&old_temp, &old_orphan, &foreign] {
        age(path);
    }
    assert_eq!(f.listed().len(), 2, "leftovers disturb nobody");
    f.store.remove(&name("two")).unwrap();
    assert!(!old_temp.exists() && !old_orphan.exists());
    assert!(
        new_temp.exists() && new_orphan.exists(),
        "these may belong to a process that is still at it"
    );
    assert!(foreign.exists());
    GadgetImage::from_store(&f.store, &name("one")).unwrap();
}

#[test]
fn old_blobs_of_stored_images_stay() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    f.store.add(&image("two"), Some(&name("two"))).unwrap();
    f.age_blobs();
    f.store.remove(&name("two")).unwrap();
    assert_eq!(f.blobs().len(), 6);
    GadgetImage::from_store(&f.store, &name("one")).unwrap();
}

#[test]
fn a_lock_held_by_another_program_is_waited_for() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    let lock = fs::File::open(f.path("index.json.lock")).unwrap();
    lock.lock().unwrap();
    let store = f.store.clone();
    let other = std::thread::spawn(move || store.tag(&name("one"), &name("two")).map(drop));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!other.is_finished());
    drop(lock);
    other.join().unwrap().unwrap();
    assert_eq!(f.listed().len(), 2);
}

#[test]
fn a_removal_while_somebody_adds_deletes_no_blobs() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    let adding = fs::File::open(f.path("ingest.lock")).unwrap();
    adding.lock_shared().unwrap();
    f.store.remove(&name("one")).unwrap();
    assert!(f.listed().is_empty());
    assert_eq!(f.blobs().len(), 6);
    drop(adding);
    f.store.add(&image("two"), Some(&name("two"))).unwrap();
    f.age_blobs();
    f.store.remove(&name("two")).unwrap();
    assert!(f.blobs().is_empty(), "a later removal catches up");
}

/// Adds and removes images of its own, rebuilds one that all workers share, and checks that nothing of it gets lost.
fn work(store: &Store, worker: u32, rounds: u32) {
    let (own, passing) = (format!("own{worker}"), format!("passing{worker}"));
    for round in 0..rounds {
        store.add(&image(&own), Some(&name(&own))).unwrap();
        store.add(&image("shared"), Some(&name("shared"))).unwrap();
        store
            .add(&image(&format!("{passing}.{}", round % 2)), Some(&name(&passing)))
            .unwrap();
        let image = GadgetImage::from_store(store, &name(&own)).unwrap();
        assert_eq!(image.metadata(), format!("name: {own}\n").as_bytes());
        GadgetImage::from_store(store, &name("shared")).unwrap();
        store.remove(&name(&passing)).unwrap();
    }
}

fn check_after_work(f: &Fixture, workers: u32) {
    let mut expected: Vec<String> = (0..workers)
        .map(|worker| name(&format!("own{worker}")).to_string())
        .collect();
    expected.push(name("shared").to_string());
    assert_eq!(f.listed(), expected);
    for image in f.store.list().unwrap() {
        GadgetImage::from_store(&f.store, &image.reference).unwrap();
    }
    assert!(files(&f.path("ingest")).is_empty());
    f.age_blobs();
    f.store.remove(&name("shared")).unwrap();
    assert_eq!(
        f.blobs().len(),
        6 * workers as usize,
        "nothing is left of what was removed"
    );
}

#[test]
fn threads_add_and_remove_at_once() {
    let f = Fixture::new();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let store = f.store.clone();
            scope.spawn(move || work(&store, worker, 12));
        }
    });
    check_after_work(&f, 8);
}

/// Not a test of its own: what `processes_…` start, told by the environment where the store is.
#[test]
fn helper_process() {
    let Some(dir) = std::env::var_os("IG_TEST_STORE") else {
        return;
    };
    let worker = std::env::var("IG_TEST_WORKER").unwrap().parse().unwrap();
    let rounds = std::env::var("IG_TEST_ROUNDS").unwrap().parse().unwrap();
    work(&Store::open(dir), worker, rounds);
}

fn helper(f: &Fixture, worker: u32, rounds: u32) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_process", "--test-threads=1"])
        .env("IG_TEST_STORE", f.store.dir())
        .env("IG_TEST_WORKER", worker.to_string())
        .env("IG_TEST_ROUNDS", rounds.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn processes_add_and_remove_at_once() {
    let f = Fixture::new();
    let children: Vec<_> = (0..4).map(|worker| helper(&f, worker, 10)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    check_after_work(&f, 4);
}

#[test]
fn processes_killed_at_any_moment_leave_the_store_readable() {
    let f = Fixture::new();
    let kept = image("kept");
    f.store.add(&kept, Some(&name("kept"))).unwrap();
    for round in 0..12 {
        let mut children = [helper(&f, 0, 100_000), helper(&f, 1, 100_000)];
        std::thread::sleep(Duration::from_millis(20 + 13 * round));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(f.listed().contains(&name("kept").to_string()));
        for image in f.store.list().unwrap() {
            GadgetImage::from_store(&f.store, &image.reference).unwrap();
        }
    }
    work(&f.store, 0, 1);
    assert_eq!(
        GadgetImage::from_store(&f.store, &name("kept")).unwrap().index_digest(),
        kept.digest()
    );
}

#[test]
fn a_read_only_store_can_be_read_and_is_not_touched() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    let before = (files(f.store.dir()), fs::read(f.path("index.json")).unwrap());
    let store = Store::open_read_only(f.store.dir());
    assert!(store.is_read_only());
    assert_eq!(store.list().unwrap().len(), 1);
    GadgetImage::from_store(&store, &name("one")).unwrap();
    for error in [
        store.add(&image("two"), None).map(drop).unwrap_err(),
        store.tag(&name("one"), &name("two")).map(drop).unwrap_err(),
        store.remove(&name("one")).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("is open for reading only"), "{error}");
    }
    assert_eq!((files(f.store.dir()), fs::read(f.path("index.json")).unwrap()), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_with_a_cause() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(file.join("store"))
        .add(&image("one"), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("creating image store ") && error.contains("Not a directory"),
        "{error}"
    );
    // What permissions forbid to others, root may do; proc is a directory where even root may not create anything.
    let error = Store::open("/proc/store")
        .add(&image("one"), None)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("creating image store /proc/store: "), "{error}");
}

#[test]
fn a_full_disk_leaves_the_store_readable() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("unshare").args(["--mount", "true"]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("IG_TEST_ALLOW_SKIP").is_some(),
            "this test needs root, to mount a small file system in a mount namespace of its own"
        );
        println!("SKIPPED: no right to mount");
        return;
    }
    let script = format!(
        "mount -t tmpfs -o size=512k none {0} && IG_TEST_FULL={0} {1} --exact helper_full_disk --test-threads=1",
        dir.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Not a test of its own: runs on the small file system of `a_full_disk_…`.
#[test]
fn helper_full_disk() {
    let Some(dir) = std::env::var_os("IG_TEST_FULL") else {
        return;
    };
    let store = Store::open(Path::new(&dir).join("store"));
    store.add(&image("small"), Some(&name("small"))).unwrap();
    let large = |seed: u8| {
        pack(PackInput {
            objects: [(Arch::Amd64, vec![seed; 100_000])].into(),
            created: "1970-01-01T00:00:00Z".into(),
            ..PackInput::default()
        })
        .unwrap()
    };
    let failed = (0..8).find_map(|seed| store.add(&large(seed), Some(&name(&format!("large{seed}")))).err());
    let error = failed.expect("the file system should be full by now");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(
        files(&store.dir().join("ingest")).is_empty(),
        "nothing half-written stays"
    );
    let stored = store.list().unwrap();
    assert!(stored.iter().any(|image| image.reference == name("small")));
    for image in &stored {
        GadgetImage::from_store(&store, &image.reference).unwrap();
    }
    // Removing makes room.
    store.remove(&name("large0")).unwrap();
    store.add(&large(7), Some(&name("again"))).unwrap();
}

#[test]
fn export_and_import() {
    let f = Fixture::new();
    let (one, two) = (image("one"), image("two"));
    f.store.add(&one, Some(&name("localhost:5000/one:v1"))).unwrap();
    f.store.add(&two, Some(&name("two"))).unwrap();
    let (first, second) = (f.dir.path().join("first.tar"), f.dir.path().join("second.tar"));
    let references = [name("localhost:5000/one:v1"), name("two")];
    archive::export(&f.store, &references, &first).unwrap();
    archive::export(&f.store, &references, &second).unwrap();
    assert_eq!(
        fs::read(&first).unwrap(),
        fs::read(&second).unwrap(),
        "the same bytes every time"
    );

    let members: Vec<String> = tar::Archive::new(fs::File::open(&first).unwrap())
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            entry.path().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(members.len(), 14);
    assert!(members.is_sorted() && members[0].starts_with("blobs/sha256/"));
    assert_eq!(members[12..], ["index.json", "oci-layout"]);

    let other = Fixture::new();
    let names = archive::import(&other.store, &first).unwrap();
    assert_eq!(
        names,
        ["ghcr.io/inspektor-gadget/gadget/two:latest", "localhost:5000/one:v1"]
    );
    assert_eq!(other.store.resolve(&name("two")).unwrap().digest, *two.digest());
    assert_eq!(other.blobs(), f.blobs());
    let image = GadgetImage::from_store(&other.store, &name("localhost:5000/one:v1")).unwrap();
    assert_eq!(image.index_digest(), one.digest());

    let error = archive::export(&f.store, &[name("nosuch")], &first).unwrap_err();
    assert_eq!(
        error.to_string(),
        "copying image to remote repository: failed to perform \"Resolve\" on source: not found"
    );
    assert_eq!(
        fs::read(&first).unwrap(),
        fs::read(&second).unwrap(),
        "a failed export leaves the file alone"
    );
}

#[test]
fn import_reads_what_tar_writes_and_refuses_the_rest() {
    let f = Fixture::new();
    f.store.add(&image("one"), Some(&name("one"))).unwrap();
    let (file, dir) = (f.dir.path().join("x.tar"), f.dir.path().join("unpacked"));
    archive::export(&f.store, &[name("one")], &file).unwrap();
    fs::create_dir(&dir).unwrap();
    let tar = |args: &[&str]| {
        let status = Command::new("tar").args(args).status().unwrap();
        assert!(status.success());
    };
    let (file_text, dir_text) = (file.to_str().unwrap(), dir.to_str().unwrap());
    tar(&["-xf", file_text, "-C", dir_text]);
    tar(&["-cf", file_text, "-C", dir_text, "."]);
    let other = Fixture::new();
    assert_eq!(
        archive::import(&other.store, &file).unwrap().len(),
        1,
        "directories, ./ and any order"
    );
    GadgetImage::from_store(&other.store, &name("one")).unwrap();

    let blob = fs::read_dir(dir.join("blobs/sha256"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let size = fs::read(&blob).unwrap().len();
    overwrite(&blob, &vec![b'x'; size]);
    tar(&["-cf", file_text, "-C", dir_text, "."]);
    let other = Fixture::new();
    let error = archive::import(&other.store, &file).unwrap_err().to_string();
    assert!(error.starts_with("copying image \"ghcr.io/"), "{error}");
    assert!(other.store.list().unwrap().is_empty());

    let refusal = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        archive::import(&other.store, &file).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(b"name: no archive\n"),
        "loading src bundle: archive/tar: invalid tar header"
    );
    assert_eq!(
        refusal(&[b'x'; 1024]),
        "loading src bundle: archive/tar: invalid tar header"
    );
    assert_eq!(refusal(b""), "loading src bundle: oci-layout is missing");
    fs::remove_file(&file).unwrap();
    assert_eq!(
        archive::import(&other.store, &file).unwrap_err().to_string(),
        format!("loading src bundle: open {file_text}: no such file or directory")
    );
}
