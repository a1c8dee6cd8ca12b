//! What went wrong on the wire, in the words that users and scripts know, with the way out.

use std::error::Error as StdError;
use std::io;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::text::printable;
use crate::{Error, ErrorKind};

/// `Get "https://…"`, the way in which messages name a request.
pub(super) fn request_name(method: &Method, url: &Url) -> String {
    let method = method.as_str();
    let (first, rest) = method.split_at_checked(1).unwrap_or((method, ""));
    // The query may hold upload state; it says nothing to a reader.
    let mut url = url.clone();
    url.set_query(None);
    format!("{first}{} \"{url}\"", rest.to_ascii_lowercase())
}

/// No answer.
pub(super) fn transport(error: &reqwest::Error, url: &Url, registry: &str) -> Error {
    let address = address(url);
    let network = |message: String| Error::new(ErrorKind::Network, message);
    let causes = causes(error);
    let find_io = |kind| {
        causes
            .iter()
            .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == kind))
    };
    let tls = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let innermost = innermost(error);

    if let Some(tls) = tls {
        return match tls {
            rustls::Error::InvalidMessage(_) => network("http: server gave HTTP response to HTTPS client".into())
                .with_hint(format!(
                    "{registry} does not speak TLS; if you trust the network, say --insecure-registries {registry}"
                )),
            rustls::Error::InvalidCertificate(_) => network(format!("tls: failed to verify certificate: {tls}")).with_hint(
                format!("add the certificate authority of {registry} to this machine's trusted ones (or name it in SSL_CERT_FILE)"),
            ),
            other => network(format!("tls: {other}")),
        };
    }
    if error.is_connect() && (error.is_timeout() || find_io(io::ErrorKind::TimedOut)) {
        return network(format!("dial tcp {address}: i/o timeout")).with_hint(format!(
            "check that {registry} can be reached from here, and the proxy settings (HTTPS_PROXY)"
        ));
    }
    if error.is_timeout() {
        return network("time-out awaiting the answer".into());
    }
    if find_io(io::ErrorKind::ConnectionRefused) {
        return network(format!("dial tcp {address}: connect: connection refused")).with_hint(format!(
            "check that {registry} is the right address and that the registry runs"
        ));
    }
    if error.is_dns() {
        let host = url.host_str().unwrap_or_default();
        return network(format!("dial tcp: lookup {host}: {}", dns_cause(&innermost)))
            .with_hint(format!("check the name {registry} and this machine's network"));
    }
    network(innermost)
}

fn dns_cause(message: &str) -> String {
    let unknown = [
        "Name or service not known",
        "No address associated",
        "nodename nor servname",
    ];
    if unknown.iter().any(|text| message.contains(text)) {
        return "no such host".to_owned();
    }
    beginning(
        message
            .strip_prefix("failed to lookup address information: ")
            .unwrap_or(message),
    )
}

/// Host and port, as one would dial them.
fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The last cause in the chain, fit for a terminal.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    beginning(
        &causes(error)
            .last()
            .map_or_else(|| error.to_string(), ToString::to_string),
    )
}

/// The chain of causes, outermost first. An I/O error hides the error it carries from `source`.
fn causes(error: &reqwest::Error) -> Vec<&(dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = match cause.downcast_ref::<io::Error>().and_then(|e| e.get_ref()) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
    }
    causes
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// An answer that is not the one we need.
pub(super) fn status(status: StatusCode, body: &[u8], registry: &str, tls: bool, had_credentials: bool) -> Error {
    let mut message = format!("response status code {}", status.as_u16());
    match reasons(body) {
        Some(reasons) => message.push_str(&format!(": {reasons}")),
        None => message.push_str(&format!(": {}", status.canonical_reason().unwrap_or("unknown status"))),
    }
    let (kind, hint) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            ErrorKind::Permission,
            Some(if !tls {
                format!(
                    "{registry} demands credentials, and none are sent to registries named in --insecure-registries"
                )
            } else if had_credentials {
                format!(
                    "the credentials for {registry} do not permit this; log in with `ig login {registry}` or name another file with --authfile"
                )
            } else {
                format!(
                    "there are no credentials for {registry}; log in with `ig login {registry}` or name a file that has them with --authfile"
                )
            }),
        ),
        StatusCode::NOT_FOUND => (ErrorKind::NotFound, None),
        StatusCode::TOO_MANY_REQUESTS => (
            ErrorKind::Network,
            Some(format!(
                "{registry} limits requests; wait a while, or log in with `ig login {registry}`"
            )),
        ),
        StatusCode::BAD_REQUEST if !tls && contains(body, b"HTTPS") => (
            ErrorKind::Network,
            Some(format!("{registry} speaks TLS: leave it out of --insecure-registries")),
        ),
        _ => (ErrorKind::Network, None),
    };
    let error = Error::new(kind, message);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The registry's own words.
fn reasons(body: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let reasons: Vec<String> = refusal
        .errors
        .iter()
        .take(4)
        .map(|reason| {
            let code = reason.code.to_lowercase().replace('_', " ");
            beginning(&format!("{code}: {}", reason.message))
        })
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// The beginning of a text from outside, fit for a terminal.
fn beginning(text: &str) -> String {
    let end = text.char_indices().nth(400).map_or(text.len(), |(end, _)| end);
    printable(&text[..end])
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_without_their_query() {
        let url = Url::parse("https://ghcr.io/v2/a/manifests/b?state=secret").unwrap();
        assert_eq!(
            request_name(&Method::GET, &url),
            "Get \"https://ghcr.io/v2/a/manifests/b\""
        );
        assert_eq!(
            request_name(&Method::HEAD, &url),
            "Head \"https://ghcr.io/v2/a/manifests/b\""
        );
    }

    #[test]
    fn a_refusal_names_the_registry_and_the_way_out() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"who\u001b[31m are you"}]}"#;
        let error = status(StatusCode::UNAUTHORIZED, body, "r.io", true, false);
        assert_eq!(
            error.to_string(),
            "response status code 401: unauthorized: who\\u{1b}[31m are you"
        );
        assert!(error.hint().unwrap().contains("`ig login r.io`") && error.hint().unwrap().contains("--authfile"));
        assert_eq!(error.kind(), ErrorKind::Permission);

        let error = status(StatusCode::BAD_GATEWAY, b"<html>", "r.io", true, false);
        assert_eq!(error.to_string(), "response status code 502: Bad Gateway");

        let error = status(
            StatusCode::BAD_REQUEST,
            b"Client sent an HTTP request to an HTTPS server.\n",
            "r.io",
            false,
            false,
        );
        assert!(error.hint().unwrap().contains("speaks TLS"));
    }
}
