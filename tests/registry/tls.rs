//! TLS, and the credentials that are only ever sent through it.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inspektor_gadget::ErrorKind;
use inspektor_gadget::image::registry::pull;
use inspektor_gadget::image::{Progress, RegistryOptions};

use super::http::{Answer, Server};
use super::{Fixture, authfile, image, missing, name, pull_from, serve};

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
        .args(["helper_with_tls", "--test-threads=1"])
        .env("IG_TEST_TLS", dir.path())
        .env("SSL_CERT_FILE", dir.path().join("cert.pem"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains(" 4 passed"),
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
