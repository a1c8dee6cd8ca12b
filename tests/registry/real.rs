//! Debian's registry, addresses where nothing is, and the resolver on top of it all.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use inspektor_gadget::ErrorKind;
use inspektor_gadget::image::registry::{pull, push};
use inspektor_gadget::image::{
    Catalogue, GadgetImage, Progress, PullPolicy, RegistryOptions, ResolveOptions, Resolver, StoreChoice, Timeouts,
    Transfer,
};

use crate::common::registry::Registry;

use super::http::{Answer, Server};
use super::{Fixture, image, missing, name, plain, pull_from};

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
