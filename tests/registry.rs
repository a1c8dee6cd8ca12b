//! Registries: a real one, and answers that no decent one gives.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inspektor_gadget::image::registry::{pull, push};
use inspektor_gadget::image::{
    Arch, Catalogue, Digest, GadgetImage, MetadataAnnotations, PackInput, PackedImage, Progress, PullPolicy, Reference,
    RegistryOptions, ResolveOptions, Resolver, Store, StoreChoice, Timeouts, Transfer, media_type, pack,
};
use inspektor_gadget::{Error, ErrorKind};

#[path = "support/http.rs"]
mod http;

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

/// Debian's registry on a free port.
struct Registry {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            dir.path().join("data").display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(e) => {
                missing("docker-registry", "docker-registry", &e);
                return None;
            }
        };
        let registry = Self {
            child,
            host: format!("127.0.0.1:{port}"),
            _dir: dir,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn round_trip_through_a_real_registry() {
    let Some(registry) = Registry::start() else { return };
    let host = &registry.host;
    let image = image();
    let reference = name(&format!("{host}/me/shared:v1"));
    let f = Fixture::with(&image, &reference.to_string());

    let moved = Arc::new(AtomicU64::new(0));
    let expected = Arc::new(AtomicU64::new(0));
    let counting = || {
        let (moved, expected) = (moved.clone(), expected.clone());
        Progress::new(move |transfer| match transfer {
            Transfer::Expected(bytes) => drop(expected.fetch_add(bytes, Ordering::Relaxed)),
            Transfer::Moved(bytes) => drop(moved.fetch_add(bytes, Ordering::Relaxed)),
        })
    };
    let pushed = push(&f.store, &reference, &plain(host), &counting()).unwrap();
    assert_eq!(&pushed.digest, image.digest());
    let sent = moved.swap(0, Ordering::Relaxed);
    assert!(sent > 400_000, "{sent} bytes");
    assert_eq!(sent, expected.swap(0, Ordering::Relaxed));

    // Again, and under another tag: nothing has to be sent but the name.
    push(&f.store, &reference, &plain(host), &counting()).unwrap();
    let other = name(&format!("{host}/me/shared:v2"));
    f.store.tag(&reference, &other).unwrap();
    push(&f.store, &other, &plain(host), &counting()).unwrap();
    assert_eq!(moved.load(Ordering::Relaxed), 0);

    for reference in [&reference, &other] {
        let output = Command::new("skopeo")
            .args([
                "inspect",
                "--raw",
                "--tls-verify=false",
                &format!("docker://{reference}"),
            ])
            .output();
        match output {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(output.stdout, image.index.content, "byte for byte");
            }
            Err(e) => missing("skopeo", "skopeo", &e),
        }
    }

    let empty = Fixture::new();
    let pulled = pull(&empty.store, &reference, &plain(host), &counting()).unwrap();
    assert_eq!(&pulled.digest, image.digest());
    assert_eq!(moved.swap(0, Ordering::Relaxed), sent);
    let read = GadgetImage::from_store(&empty.store, &reference).unwrap();
    assert_eq!(read.ebpf().next().unwrap().len(), 200_000);
    assert_eq!(empty.store.list().unwrap(), f.store.list().unwrap()[..1]);

    // By digest; and once more, when all blobs are there.
    let pinned = name(&format!("{host}/me/shared@{}", image.digest()));
    pull(&empty.store, &pinned, &plain(host), &counting()).unwrap();
    assert_eq!(moved.load(Ordering::Relaxed), 0);
    assert_eq!(&empty.store.resolve(&pinned).unwrap().digest, image.digest());

    // A damaged blob is fetched again.
    let object = image.blobs.iter().find(|blob| blob.content.len() == 200_000).unwrap();
    let path = empty
        .store
        .dir()
        .join("blobs/sha256")
        .join(object.descriptor.digest.hex());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "torn").unwrap();
    pull(&empty.store, &reference, &plain(host), &counting()).unwrap();
    assert_eq!(moved.load(Ordering::Relaxed), 200_000);
    assert_eq!(fs::read(&path).unwrap(), object.content);

    let error = pull(
        &empty.store,
        &name(&format!("{host}/nosuch:v1")),
        &plain(host),
        &Progress::none(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "copying to local repository: failed to perform \"FetchReference\" on source: {host}/nosuch:v1: not found"
        )
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains(host.as_str()));
}

#[test]
fn a_registry_without_tls() {
    let Some(registry) = Registry::start() else { return };
    let host = &registry.host;
    let image = image();
    let reference = name(&format!("{host}/mytest:v1"));
    let f = Fixture::with(&image, &reference.to_string());
    let options = RegistryOptions {
        authfile: PathBuf::new(),
        ..RegistryOptions::default()
    };
    let error = push(&f.store, &reference, &options, &Progress::none()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "copying to remote repository: failed to perform \"Exists\" on destination: Head \"https://{host}/v2/mytest/manifests/{}\": http: server gave HTTP response to HTTPS client",
            image.digest()
        )
    );
    assert!(
        error.hint().unwrap().contains(&format!("--insecure-registries {host}")),
        "{error:?}"
    );
}

#[test]
fn pushing_what_is_not_stored() {
    let error = push(
        &Fixture::new().store,
        &name("127.0.0.1:1/x"),
        &plain("127.0.0.1:1"),
        &Progress::none(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "copying to remote repository: failed to perform \"Resolve\" on source: not found"
    );
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let options = RegistryOptions {
        authfile: PathBuf::new(),
        ..RegistryOptions::default()
    };
    let error = pull(
        &Fixture::new().store,
        &name(&format!("{host}/mytest:v1")),
        &options,
        &Progress::none(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "copying to local repository: failed to perform \"FetchReference\" on source: Get \"https://{host}/v2/mytest/manifests/v1\": dial tcp {host}: connect: connection refused"
        )
    );
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.hint().unwrap().contains(&host));
}

#[test]
fn a_name_that_does_not_exist() {
    // The top-level domain is reserved for names that never resolve.
    let options = plain("registry.invalid");
    let error = pull(
        &Fixture::new().store,
        &name("registry.invalid/x"),
        &options,
        &Progress::none(),
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("dial tcp: lookup registry.invalid: "), "{text}");
    assert!(error.hint().unwrap().contains("registry.invalid"));
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

/// What is said about a registry that gives this answer to everything.
fn failure(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Error {
    let server = Server::start(None, move |request, _| answer(request));
    let (f, result) = pull_from(&server);
    f.assert_empty();
    let error = result.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("copying to local repository: failed to perform \""),
        "{error}"
    );
    error
}

#[test]
fn the_test_server_itself_serves() {
    let image = image();
    let digest = *image.digest();
    let server = Server::start(None, move |request, _| serve(&image, request));
    let (f, result) = pull_from(&server);
    assert_eq!(result.unwrap(), digest);
    assert_eq!(f.store.list().unwrap().len(), 1);
}

#[test]
fn refusals_name_the_cause() {
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    let error = failure(|_| {
        Answer::Http(
            401,
            vec![("WWW-Authenticate", "Basic realm=\"x\"".into())],
            body.to_vec(),
        )
    });
    assert!(
        error
            .to_string()
            .ends_with("response status code 401: unauthorized: authentication required"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.hint().unwrap().contains("127.0.0.1:"), "{error:?}");

    let error = failure(|_| Answer::Http(404, vec![], vec![]));
    assert!(error.to_string().ends_with("/x:v1: not found"), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let error = failure(|_| Answer::Http(503, vec![], b"\x1b[31mno".to_vec()));
    assert!(
        error
            .to_string()
            .ends_with("response status code 503: Service Unavailable"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Network);

    let error = failure(|_| Answer::Http(429, vec![], vec![]));
    assert!(error.hint().unwrap().contains("limits requests"));
}

#[test]
fn garbage_is_refused() {
    let error = failure(|_| Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
    assert!(
        error
            .to_string()
            .contains("\"FetchReference\" on source: Get \"http://127.0.0.1:"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Network);

    let error = failure(|_| Answer::Raw(vec![]));
    assert_eq!(error.kind(), ErrorKind::Network);

    let error = failure(|_| Answer::Http(200, vec![("Content-Type", "text/html".into())], b"<html>".to_vec()));
    assert!(
        error
            .to_string()
            .ends_with("unsupported manifest media type \"text/html\""),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("is a container registry"));

    let index = || vec![("Content-Type", media_type::INDEX.to_owned())];
    let error = failure(move |_| Answer::Http(200, index(), b"<html>".to_vec()));
    assert!(error.to_string().contains("decoding index sha256:"), "{error}");

    // Announced and never sent.
    let short = || {
        vec![
            ("Content-Type", media_type::INDEX.to_owned()),
            ("Content-Length", "100".to_owned()),
        ]
    };
    let error = failure(move |_| Answer::Http(200, short(), b"{}".to_vec()));
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");

    let error = failure(move |_| Answer::Http(200, index(), vec![b' '; 5 << 20]));
    assert!(error.to_string().contains("longer than the 4194304 bytes"), "{error}");

    let other = || {
        vec![
            ("Content-Type", media_type::INDEX.to_owned()),
            ("Docker-Content-Digest", Digest::of(b"other").to_string()),
        ]
    };
    let error = failure(move |_| Answer::Http(200, other(), b"{\"manifests\":[]}".to_vec()));
    assert!(
        error
            .to_string()
            .contains(&format!("instead of {}", Digest::of(b"other"))),
        "{error}"
    );
}

#[test]
fn every_digest_is_verified() {
    let image = image();
    let index = Digest::of(&image.index.content);
    let digests: Vec<Digest> = image
        .blobs
        .iter()
        .map(|blob| blob.descriptor.digest)
        .filter(|d| *d != index)
        .collect();
    for digest in digests {
        for change in [
            |content: &mut Vec<u8>| content[0] ^= 1,
            |content: &mut Vec<u8>| content.push(b'x'),
            |content: &mut Vec<u8>| content.truncate(content.len() - 1),
        ] {
            let image = image.clone();
            let error = failure(move |request| match serve(&image, request) {
                Answer::Http(status, headers, mut content) if request.path.ends_with(&digest.to_string()) => {
                    change(&mut content);
                    Answer::Http(status, headers, content)
                }
                answer => answer,
            });
            assert!(
                error
                    .to_string()
                    .contains(&format!("blob {digest} failed verification: ")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_pinned_digest_must_be_what_comes() {
    let image = image();
    let server = Server::start(None, move |_, _| {
        Answer::Http(
            200,
            vec![("Content-Type", media_type::INDEX.into())],
            image.index.content.clone(),
        )
    });
    let host = server.host();
    let pinned = name(&format!("{host}/x@{}", Digest::of(b"wanted")));
    let error = pull(&Fixture::new().store, &pinned, &plain(&host), &Progress::none()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(&format!("instead of {}", Digest::of(b"wanted"))),
        "{error}"
    );
}

#[test]
fn sizes_beyond_reason() {
    let error = failure(|_| {
        let inner = format!(
            r#"{{"manifests":[{{"mediaType":"{}","digest":"{}","size":99999999}}]}}"#,
            media_type::INDEX,
            Digest::of(b"inner")
        );
        Answer::Http(
            200,
            vec![("Content-Type", media_type::INDEX.into())],
            inner.into_bytes(),
        )
    });
    assert!(
        error.to_string().contains("more than the 4194304 that are accepted"),
        "{error}"
    );

    let error = failure(|_| {
        let layers: Vec<String> = (0..3)
            .map(|n| {
                format!(
                    r#"{{"mediaType":"x","digest":"{}","size":3000000000}}"#,
                    Digest::of(&[n])
                )
            })
            .collect();
        let manifest = format!(
            r#"{{"config":{{"mediaType":"x","digest":"{}","size":4294967297}},"layers":[{}]}}"#,
            Digest::of(b"config"),
            layers.join(",")
        );
        Answer::Http(
            200,
            vec![("Content-Type", media_type::MANIFEST.into())],
            manifest.into_bytes(),
        )
    });
    assert!(
        error.to_string().contains("larger than the 4294967296 bytes"),
        "{error}"
    );
}

#[test]
fn a_registry_that_falls_silent() {
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: 100\r\n\r\n{";
    for silent in [&b""[..], b"HTTP/1.1 200", head] {
        let start = Instant::now();
        let error = failure(move |_| Answer::Stall(silent.to_vec()));
        assert!(
            error.to_string().contains("time-out: nothing received for 0.3 seconds"),
            "{error}"
        );
        assert!(error.hint().is_some());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_host_that_does_not_answer() {
    // A listener whose queue is full accepts nobody any more.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 10_000);
    }
    let options = RegistryOptions {
        timeouts: Timeouts {
            connect: Duration::from_millis(200),
            idle: Duration::from_secs(5),
        },
        ..plain(&address.to_string())
    };
    let reference = name(&format!("{address}/x:v1"));
    let error = pull(&Fixture::new().store, &reference, &options, &Progress::none()).unwrap_err();
    assert!(
        error.to_string().ends_with(&format!("dial tcp {address}: i/o timeout")),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("can be reached"));
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let image = image();
    let digest = *image.digest();
    let blobs = image.clone();
    let elsewhere = Server::start(None, move |request, _| serve(&blobs, request));
    let there = elsewhere.address;
    let server = Server::start(None, move |request, _| match request.path.contains("/blobs/") {
        true => Answer::Http(
            307,
            vec![("Location", format!("http://{there}{}", request.path))],
            vec![],
        ),
        false => serve(&image, request),
    });
    assert_eq!(pull_from(&server).1.unwrap(), digest);
    assert_eq!(elsewhere.requests().len(), 4);

    let error = failure(|request| Answer::Http(302, vec![("Location", request.path.clone())], vec![]));
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

#[test]
fn an_upload_without_a_location_or_to_nowhere() {
    let image = image();
    for (location, cause) in [
        (None, "does not say where to upload to"),
        (Some("ftp://x/"), "to an address without TLS"),
        (Some("http://[/"), "invalid address"),
    ] {
        let server = Server::start(None, move |request, _| match &*request.method {
            "POST" => Answer::Http(
                202,
                location.map(|to| ("Location", to.to_owned())).into_iter().collect(),
                vec![],
            ),
            _ => Answer::Http(404, vec![], vec![]),
        });
        let host = server.host();
        let f = Fixture::with(&image, &format!("{host}/x:v1"));
        let error = push(
            &f.store,
            &name(&format!("{host}/x:v1")),
            &plain(&host),
            &Progress::none(),
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("failed to perform \"Push\" on destination: "),
            "{error}"
        );
        assert!(error.to_string().contains(cause), "{error}");
    }
}

#[test]
fn no_credentials_for_registries_without_tls() {
    let f = Fixture::new();
    let server = Server::start(None, |_, _| {
        Answer::Http(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".into())], vec![])
    });
    let host = server.host();
    let options = RegistryOptions {
        authfile: authfile(f.dir.path(), &host, "testuser:testpass"),
        ..plain(&host)
    };
    let error = pull(&f.store, &name(&format!("{host}/x:v1")), &options, &Progress::none()).unwrap_err();
    assert!(error.hint().unwrap().contains("none are sent"), "{error:?}");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );
}

#[test]
fn the_resolver_pulls_what_is_missing() {
    let Some(registry) = Registry::start() else { return };
    let host = &registry.host;
    let image = image();
    let typed = format!("{host}/me/gadget");
    let f = Fixture::with(&image, &typed);
    push(&f.store, &name(&typed), &plain(host), &Progress::none()).unwrap();

    let other = Fixture::new();
    let options = ResolveOptions {
        store: StoreChoice::Dir(other.store.dir().to_owned()),
        registry: plain(host),
        catalogue: Some(Arc::new(Catalogue::from_archive(&[][..]))),
        ..ResolveOptions::default()
    };
    let resolve = |options: &ResolveOptions, name: &str| Resolver::new(options.clone()).unwrap().resolve(name);

    let error = resolve(&options, &typed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "pulled, but not trusted: {error}");
    assert!(other.store.resolve(&name(&typed)).is_ok());

    let trusting = ResolveOptions {
        verify_image: false,
        ..options.clone()
    };
    assert_eq!(resolve(&trusting, &typed).unwrap().index_digest(), image.digest());
    let never = ResolveOptions {
        pull: PullPolicy::Never,
        ..trusting.clone()
    };
    assert!(resolve(&never, &typed).is_ok());

    let error = resolve(&trusting, &format!("{host}/nosuch:v1"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "ensuring image: pulling image (if missing) \"{host}/nosuch:v1\": pulling image \"{host}/nosuch:v1\": copying to local repository: failed to perform \"FetchReference\" on source: {host}/nosuch:v1: not found"
        )
    );
    drop(registry);
    let always = ResolveOptions {
        pull: PullPolicy::Always,
        ..trusting.clone()
    };
    let error = resolve(&always, &typed).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "ensuring image: pulling image (always) \"{typed}\": pulling image "
        )),
        "{error}"
    );
    assert!(resolve(&trusting, &typed).is_ok(), "what is stored needs no registry");
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

/// TLS needs an authority that the verifier trusts, and that is told by the environment: hence a process of its own.
#[test]
fn with_tls() {
    let dir = tempfile::tempdir().unwrap();
    let openssl = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-outform", "PEM", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir.path())
        .output();
    match openssl {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => return missing("openssl", "openssl", &e),
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["helper_with_tls", "--test-threads=1", "--nocapture"])
        .env("IG_TEST_TLS", dir.path())
        .env("SSL_CERT_FILE", dir.path().join("cert.pem"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// In the process that [`with_tls`] starts: what the servers need. Nothing elsewhere.
fn tls() -> Option<Arc<rustls::ServerConfig>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let dir = PathBuf::from(std::env::var_os("IG_TEST_TLS")?);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cert = CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    Some(Arc::new(config))
}

fn secure(authfile: PathBuf) -> RegistryOptions {
    RegistryOptions {
        authfile,
        ..RegistryOptions::default()
    }
}

#[test]
fn helper_with_tls_basic() {
    let Some(tls) = tls() else { return };
    let f = Fixture::new();
    let image = image();
    let digest = *image.digest();
    let wanted = format!("Basic {}", STANDARD.encode("testuser:testpass"));
    let server = Server::start(Some(tls), move |request, _| {
        match request.headers.get("authorization") {
            Some(sent) if *sent == wanted => serve(&image, request),
            _ => Answer::Http(401, vec![("WWW-Authenticate", "Basic realm=\"r\"".into())], vec![]),
        }
    });
    let host = server.host();
    let reference = name(&format!("{host}/x:v1"));
    let good = secure(authfile(f.dir.path(), &host, "testuser:testpass"));
    assert_eq!(
        pull(&f.store, &reference, &good, &Progress::none()).unwrap().digest,
        digest
    );
    assert!(
        !server.requests()[0].headers.contains_key("authorization"),
        "nothing is sent unasked"
    );

    let bad = secure(authfile(f.dir.path(), &host, "testuser:wrong"));
    let error = pull(&f.store, &reference, &bad, &Progress::none()).unwrap_err();
    assert!(error.to_string().contains("response status code 401"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Permission);
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("do not permit") && hint.contains(&format!("`ig login {host}`")),
        "{hint}"
    );

    let none = secure(authfile(f.dir.path(), "elsewhere.io", "a:b"));
    let error = pull(&f.store, &reference, &none, &Progress::none()).unwrap_err();
    assert!(error.hint().unwrap().contains("there are no credentials"), "{error:?}");

    let nowhere = secure(f.dir.path().join("nosuch.json"));
    let error = pull(&f.store, &reference, &nowhere, &Progress::none()).unwrap_err();
    assert!(error.to_string().contains("opening auth file "), "{error}");
}

#[test]
fn helper_with_tls_token() {
    let Some(tls) = tls() else { return };
    let f = Fixture::new();
    let image = image();
    let digest = *image.digest();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let log = tokens.clone();
    let server = Server::start(Some(tls), move |request, address| {
        if request.path.starts_with("/token") {
            log.lock()
                .unwrap()
                .push((request.path.clone(), request.headers.get("authorization").cloned()));
            return Answer::Http(200, vec![], br#"{"token":"t0ken"}"#.to_vec());
        }
        match request.headers.get("authorization") {
            Some(sent) if sent == "Bearer t0ken" => serve(&image, request),
            _ => {
                let challenge =
                    format!("Bearer realm=\"https://{address}/token\",service=\"reg\",scope=\"repository:x:pull\"");
                Answer::Http(401, vec![("WWW-Authenticate", challenge)], vec![])
            }
        }
    });
    let host = server.host();
    let reference = name(&format!("{host}/x:v1"));
    let options = secure(authfile(f.dir.path(), &host, "u:p"));
    assert_eq!(
        pull(&f.store, &reference, &options, &Progress::none()).unwrap().digest,
        digest
    );
    let tokens = tokens.lock().unwrap();
    assert_eq!(tokens.len(), 1, "one token serves all requests");
    assert_eq!(tokens[0].0, "/token?scope=repository%3Ax%3Apull&service=reg");
    assert_eq!(tokens[0].1, Some(format!("Basic {}", STANDARD.encode("u:p"))));
}

#[test]
fn helper_with_tls_credentials_stay_home() {
    let Some(tls) = tls() else { return };
    let f = Fixture::new();
    let image = image();
    let digest = *image.digest();
    let blobs = image.clone();
    let elsewhere = Server::start(Some(tls.clone()), move |request, _| serve(&blobs, request));
    let there = elsewhere.address;
    let server = Server::start(Some(tls.clone()), move |request, _| {
        if !request.headers.contains_key("authorization") {
            return Answer::Http(401, vec![("WWW-Authenticate", "Basic realm=\"r\"".into())], vec![]);
        }
        match request.path.contains("/blobs/") {
            true => Answer::Http(
                307,
                vec![("Location", format!("https://{there}{}", request.path))],
                vec![],
            ),
            false => serve(&image, request),
        }
    });
    let host = server.host();
    let reference = name(&format!("{host}/x:v1"));
    let options = secure(authfile(f.dir.path(), &host, "u:p"));
    assert_eq!(
        pull(&f.store, &reference, &options, &Progress::none()).unwrap().digest,
        digest
    );
    assert_eq!(elsewhere.requests().len(), 4);
    assert!(
        elsewhere
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );

    // Neither a redirect nor a token service may take us off TLS.
    let plain = Server::start(None, |_, _| Answer::Http(200, vec![], vec![]));
    let target = plain.address;
    let down = Server::start(Some(tls.clone()), move |_, _| {
        Answer::Http(302, vec![("Location", format!("http://{target}/"))], vec![])
    });
    let error = pull(
        &f.store,
        &name(&format!("{}/x:v1", down.host())),
        &options,
        &Progress::none(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("refusing a redirect from TLS to plain HTTP"),
        "{error}"
    );
    let down = Server::start(Some(tls), move |_, _| {
        Answer::Http(
            401,
            vec![("WWW-Authenticate", format!("Bearer realm=\"http://{target}/token\""))],
            vec![],
        )
    });
    let options = secure(authfile(f.dir.path(), &down.host(), "u:p"));
    let error = pull(
        &f.store,
        &name(&format!("{}/x:v1", down.host())),
        &options,
        &Progress::none(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("names a token service without TLS"),
        "{error}"
    );
    assert!(plain.requests().is_empty());
}

#[test]
fn helper_with_tls_only_the_registry_is_asked_in_plain() {
    let Some(tls) = tls() else { return };
    // Plain HTTP to a port that speaks TLS.
    let server = Server::start(Some(tls), |_, _| Answer::Http(200, vec![], vec![]));
    let (f, result) = pull_from(&server);
    f.assert_empty();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Network);
}

#[test]
fn an_unknown_authority() {
    // No certificate of ours is trusted here, unlike in the process that `with_tls` starts.
    if std::env::var_os("IG_TEST_TLS").is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(dir.path())
        .output();
    if let Err(e) = output {
        return missing("openssl", "openssl", &e);
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-key",
            "key.pem",
            "-cert",
            "cert.pem",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let host = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&host)
        .and_then(|mut stream| stream.write_all(b"").map(|()| stream))
        .is_err()
    {
        assert!(Instant::now() < deadline, "openssl does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let result = pull(
        &Fixture::new().store,
        &name(&format!("{host}/x:v1")),
        &secure(PathBuf::new()),
        &Progress::none(),
    );
    let _ = server.kill();
    let _ = server.wait();
    let error = result.unwrap_err();
    assert!(
        error.to_string().contains("tls: failed to verify certificate: "),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("certificate authority"), "{error:?}");
}

#[test]
fn callable_from_within_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = Server::start(None, |_, _| Answer::Http(404, vec![], vec![]));
    let error = runtime.block_on(async { pull_from(&server).1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // The server is still there for others.
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"));
}
