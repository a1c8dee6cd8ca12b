//! Refusals, garbage, wrong digests, silence and redirects, as a server of ours gives them.

use std::time::{Duration, Instant};

use inspektor_gadget::image::registry::{pull, push};
use inspektor_gadget::image::{Digest, Progress, RegistryOptions, media_type};
use inspektor_gadget::{Error, ErrorKind};

use super::http::{Answer, Request, Server};
use super::{Fixture, authfile, image, name, plain, pull_from, serve};

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
