//! The `ig image` commands from outside, in the words of the recorded command lines.

mod common;

use std::process::Command;

use common::registry::Registry;
use common::{Ig, Ran, gadget_source};
use serde_json::Value;

const REPOSITORY: &str = "ghcr.io/inspektor-gadget/gadget";

/// `ig LINE` fails with exactly this error; hints may follow.
#[track_caller]
fn fails(ran: Ran, error: &str) {
    let first = ran.stderr.lines().find(|line| line.starts_with("Error: "));
    assert_eq!(first, Some(&*format!("Error: {error}")), "{}", ran.stderr);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""));
}

#[test]
fn the_life_of_an_image() {
    let Some(ig) = Ig::new() else { return };
    assert_eq!(ig.line("image list").ok().stdout, "REPOSITORY TAG DIGEST CREATED\n");
    let digest = ig.build("mytest:v1", &gadget_source("lab_open/1"));

    let tagged = ig.line("image tag mytest:v1 mytest:v2").ok();
    assert_eq!(
        tagged.stderr,
        format!("Successfully tagged with {REPOSITORY}/mytest:v2@{digest}\n")
    );
    assert_eq!(tagged.stdout, "");
    fails(
        ig.line("image tag nosuch:v1 foo"),
        "tagging image: resolving src: not found",
    );

    let list = ig.line("image list").ok().stdout;
    let rows: Vec<Vec<&str>> = list.lines().skip(1).map(|line| line.split(' ').collect()).collect();
    assert_eq!(rows.len(), 2, "{list}");
    for (row, tag) in rows.iter().zip(["v1", "v2"]) {
        assert_eq!(row[..3], ["mytest", tag, &digest]);
        assert!(row[3].parse::<jiff::Timestamp>().is_ok(), "{list}");
    }
    let json: Value = serde_json::from_str(&ig.line("image ls -o json").ok().stdout).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");

    let removed = ig.line("image rm mytest:v2").ok();
    assert_eq!(removed.stderr, "Successfully removed mytest:v2\n");
    fails(
        ig.line("image remove mytest:v2"),
        "removing gadget image: resolving image: not found",
    );
    ig.line("run mytest:v1 --verify-image=false --pull never --timeout 1 -o none")
        .ok();
    ig.line("image remove mytest:v1").ok();
    let blobs = std::fs::read_dir(ig.store().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 0, "nothing is kept of an image that has no name left");
}

#[test]
fn a_build_without_a_name() {
    let Some(ig) = Ig::new() else { return };
    let source = gadget_source("lab_open/1");
    let ran = ig.run(["image".as_ref(), "build".as_ref(), source.as_os_str()]).ok();
    let digest = ran
        .stderr
        .strip_prefix("Successfully built @sha256:")
        .and_then(|rest| rest.strip_suffix('\n'));
    assert_eq!(digest.map(str::len), Some(64), "{}", ran.stderr);
}

#[test]
fn the_same_source_gives_the_same_digest() {
    let Some(ig) = Ig::new() else { return };
    let source = gadget_source("lab_open/3");
    let build = |tag: &str| {
        let mut command = ig.command(["image", "build", "-t", tag]);
        let ran = Ran::from(
            command
                .arg(&source)
                .env("SOURCE_DATE_EPOCH", "1700000000")
                .output()
                .unwrap(),
        )
        .ok();
        ran.stderr.trim_end().rsplit_once('@').unwrap().1.to_owned()
    };
    assert_eq!(build("first"), build("second"));
    let list = ig.line("image list").ok().stdout;
    assert_eq!(list.matches(" 2023-11-14T22:13:20Z\n").count(), 2, "{list}");
}

#[test]
fn archives_carry_images_between_stores() {
    let Some(ig) = Ig::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let digest = ig.build("mytest", &gadget_source("lab_open/1"));
    let other = ig.build("other:v3", &gadget_source("lab_open/2"));
    let in_dir = |ig: &Ig, line: &str| -> Ran {
        let mut command = ig.command(line.split_whitespace());
        command.current_dir(dir.path()).output().unwrap().into()
    };
    let ran = in_dir(&ig, "image export mytest other:v3 out.tar").ok();
    assert_eq!(ran.stderr, "Successfully exported images to out.tar\n");
    let listing = Command::new("tar")
        .args(["tf", "out.tar"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(
        listing.contains("index.json\n") && listing.contains("oci-layout\n"),
        "{listing}"
    );

    let elsewhere = Ig::new().expect("this is root");
    let ran = in_dir(&elsewhere, "image import out.tar").ok();
    assert_eq!(
        ran.stdout,
        format!("Successfully imported images:\n  {REPOSITORY}/mytest:latest\n  {REPOSITORY}/other:v3\n")
    );
    let list = elsewhere.line("image list").ok().stdout;
    assert!(list.contains(&format!("mytest latest {digest} ")), "{list}");
    assert!(list.contains(&format!("other v3 {other} ")), "{list}");
    elsewhere
        .line("run mytest --verify-image=false --pull never --timeout 1 -o none")
        .ok();

    fails(
        in_dir(&ig, "image export nosuch out3.tar"),
        "exporting images: copying image to remote repository: failed to perform \"Resolve\" on source: not found",
    );
    let missing = dir.path().canonicalize().unwrap().join("nosuch.tar");
    fails(
        in_dir(&ig, "image import nosuch.tar"),
        &format!(
            "importing images: loading src bundle: open {}: no such file or directory",
            missing.display()
        ),
    );
}

#[test]
fn pulls_and_pushes_that_fail() {
    let Some(ig) = Ig::new() else { return };
    let Some(registry) = Registry::start() else { return };
    let host = &registry.host;
    let digest = ig.build(&format!("{host}/mytest:v1"), &gadget_source("lab_open/1"));
    fails(
        ig.line(&format!("image push {host}/nosuch:v1 --insecure-registries {host}")),
        "pushing gadget: copying to remote repository: failed to perform \"Resolve\" on source: not found",
    );
    ig.line(&format!("image push {host}/mytest:v1")).fails_with(&[
        "Pushing ",
        "http: server gave HTTP response to HTTPS client",
        "hint: ",
        "--insecure-registries",
    ]);
    fails(
        ig.line(&format!("image pull {host}/nosuch:v1 --insecure-registries {host}")),
        &format!(
            "pulling gadget: pulling image \"{host}/nosuch:v1\": copying to local repository: failed to perform \
             \"FetchReference\" on source: {host}/nosuch:v1: not found"
        ),
    );
    ig.line(&format!("image push {host}/mytest:v1 --insecure-registries {host}"))
        .ok();
    let elsewhere = Ig::new().expect("this is root");
    let ran = elsewhere
        .line(&format!("image pull {host}/mytest:v1 --insecure-registries {host}"))
        .ok();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr),
        (
            "",
            format!("Pulling {host}/mytest:v1...\nSuccessfully pulled {host}/mytest:v1@{digest}\n")
        )
    );
}

#[test]
fn images_can_be_inspected() {
    let Some(ig) = Ig::new() else { return };
    ig.build("mytest:v1", &gadget_source("lab_open/3"));
    let inspect = |rest: &str| {
        let mut words = vec![
            "image",
            "inspect",
            "mytest:v1",
            "--pull",
            "never",
            "--verify-image=false",
        ];
        words.extend(rest.split_whitespace());
        ig.run(words)
    };
    assert_eq!(inspect("--show-datasources --jsonpath [0].name").ok().stdout, "open\n");
    let manifest: Value = serde_json::from_str(&inspect("--extra-info oci.manifest -o json").ok().stdout).unwrap();
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{manifest}");
    // By this name it is the digest of the configuration.
    assert_eq!(
        inspect("--extra-info oci.digest").ok().stdout.trim_end(),
        manifest["config"]["digest"]
    );
    fails(inspect("--extra-info nosuch"), "extra info \"nosuch\" not found");
    fails(
        inspect("-o bad"),
        "invalid output mode \"bad\", valid values are: yaml, json, jsonpretty",
    );
    let bundled = ig.line("image inspect trace_open --pull never -o json").ok().stdout;
    let document: Value = serde_json::from_str(&bundled).unwrap();
    assert!(document.is_object() && bundled.contains("trace open"), "{bundled}");
}

#[test]
fn the_machine_store_is_not_touched() {
    let Some(ig) = Ig::new() else { return };
    let index = std::path::Path::new("/var/lib/ig/oci-store/index.json");
    let contains = || std::fs::read_to_string(index).is_ok_and(|text| text.contains("only-in-this-test"));
    ig.build("only-in-this-test", &gadget_source("lab_open/1"));
    assert!(ig.line("image list").ok().stdout.contains("only-in-this-test latest "));
    assert!(!contains(), "tests have a store of their own");
}
