//! Registries: a real one, TLS, and answers that no decent one gives.

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod http;
mod real;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inspektor_gadget::Error;
use inspektor_gadget::image::registry::pull;
use inspektor_gadget::image::{
    Arch, Digest, MetadataAnnotations, PackInput, PackedImage, Progress, Reference, RegistryOptions, Store, Timeouts,
    media_type, pack,
};

use http::{Answer, Request, Server};

/// An image with a layer of several pieces.
fn image() -> PackedImage {
    let metadata = b"name: shared\nhomepageURL: https://example.com/?a=1&b=<2>\n";
    pack(PackInput {
        objects: Arch::ALL
            .map(|arch| (arch, arch.as_str().repeat(40_000).into_bytes()))
            .into(),
        wasm: Some(b"\0asm\x01\0\0\0".to_vec()),
        annotations: MetadataAnnotations::from_yaml(metadata).unwrap(),
        metadata: Some(metadata.to_vec()),
        builder_version: "v0.50.0".into(),
        created: "2023-11-14T22:13:20Z".into(),
        ..PackInput::default()
    })
    .unwrap()
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
        let store = Store::open(dir.path().join("store"));
        Self { dir, store }
    }

    fn with(image: &PackedImage, reference: &str) -> Self {
        let f = Self::new();
        f.store.add(image, Some(&name(reference))).unwrap();
        f
    }

    /// Nothing is left of a failed pull.
    fn assert_empty(&self) {
        assert!(self.store.list().unwrap().is_empty());
        let ingest = self.store.dir().join("ingest");
        assert!(!ingest.exists() || fs::read_dir(ingest).unwrap().next().is_none());
    }
}

fn plain(host: &str) -> RegistryOptions {
    RegistryOptions {
        insecure_registries: vec![host.to_owned()],
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(5),
        },
        ..RegistryOptions::default()
    }
}

/// Whether to go on without a program that is not installed.
fn missing(program: &str, package: &str, error: &std::io::Error) {
    assert!(
        std::env::var_os("IG_TEST_ALLOW_SKIP").is_some(),
        "this test needs {program} (package {package}): {error}"
    );
    println!("SKIPPED: {program}: {error}");
}

/// Serves `image` as repository `x`, tag `v1`.
fn serve(image: &PackedImage, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap();
    let content_type = |text: &str| vec![("Content-Type", text.to_owned())];
    let blob = |digest: &str| image.blob(&Digest::parse(digest).unwrap()).map(<[u8]>::to_vec);
    if path == "/v2/x/manifests/v1" {
        return Answer::Http(200, content_type(media_type::INDEX), image.index.content.clone());
    }
    let found = path
        .strip_prefix("/v2/x/manifests/")
        .or_else(|| path.strip_prefix("/v2/x/blobs/"))
        .and_then(blob);
    match found {
        Some(content) => Answer::Http(200, content_type(media_type::MANIFEST), content),
        None => Answer::Http(404, vec![], vec![]),
    }
}

fn pull_from(server: &Server) -> (Fixture, Result<Digest, Error>) {
    let f = Fixture::new();
    let host = server.host();
    let options = RegistryOptions {
        timeouts: Timeouts {
            connect: Duration::from_millis(300),
            idle: Duration::from_millis(300),
        },
        ..plain(&host)
    };
    let result = pull(&f.store, &name(&format!("{host}/x:v1")), &options, &Progress::none());
    (f, result.map(|descriptor| descriptor.digest))
}

fn authfile(dir: &Path, host: &str, user_and_password: &str) -> PathBuf {
    let path = dir.join("auth.json");
    let text = format!(
        r#"{{"auths":{{"{host}":{{"auth":"{}"}}}}}}"#,
        STANDARD.encode(user_and_password)
    );
    fs::write(&path, text).unwrap();
    path
}
