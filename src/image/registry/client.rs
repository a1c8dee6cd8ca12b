//! One registry, one repository: requests, authorization, bounded answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};

use super::credentials::{self, Credential};
use super::failure::{self, request_name};
use super::{RegistryOptions, Timeouts};
use crate::image::Reference;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The longest answer of a token service, and the longest explanation of a refusal, in bytes.
pub(super) const MAX_ANSWER: u64 = 1 << 20;

const MAX_REDIRECTS: usize = 10;

/// What we want to do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

pub(super) struct Client {
    http: reqwest::Client,
    /// As in references, for messages.
    registry: String,
    /// `https://host/`
    base: Url,
    repository: String,
    scope: String,
    credential: Option<Credential>,
    authorization: Mutex<Option<HeaderValue>>,
    timeouts: Timeouts,
}

impl Client {
    pub(super) fn new(reference: &Reference, access: Access, options: &RegistryOptions) -> Result<Self> {
        let registry = reference.domain().to_owned();
        let plain = options.insecure_registries.contains(&registry);
        let credential = if plain {
            None
        } else {
            credentials::find(&options.authfile, &registry)?
        };
        let host = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            &registry
        };
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|e| Error::invalid(format!("invalid registry address {registry:?}: {e}")))?;
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        Ok(Self {
            http: http_client(plain, options.timeouts)?,
            scope: format!("repository:{}:{actions}", reference.path()),
            repository: reference.path().to_owned(),
            registry,
            base,
            credential,
            authorization: Mutex::new(None),
            timeouts: options.timeouts,
        })
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) fn scope(&self) -> &String {
        &self.scope
    }

    pub(super) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// `<base>v2/<repository>/<path>`
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.base
            .join(&format!("v2/{}/{path}", self.repository))
            .map_err(|e| Error::from_source(ErrorKind::InvalidInput, e))
    }

    /// Resolves an address that the registry sent.
    pub(super) fn join(&self, address: &str) -> Result<Url> {
        let url = self.base.join(address).map_err(|e| {
            Error::new(
                ErrorKind::Network,
                format!("the registry sent the invalid address {address:?}: {e}"),
            )
        })?;
        let downgrade = self.is_tls() && url.scheme() != "https";
        if downgrade || !matches!(url.scheme(), "http" | "https") {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the registry sends us to an address without TLS, {address:?}"),
            ));
        }
        Ok(url)
    }

    /// Sends a request, authorized if the registry demands it. `build` is called again for a second attempt.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let activity = Activity::default();
        self.send_with_activity(method, url, &activity, build).await
    }

    /// Like [`Self::send`] for requests with a long body, which reports to `activity` when it moves.
    pub(super) async fn send_with_activity(
        &self,
        method: Method,
        url: Url,
        activity: &Activity,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let ours = url.origin() == self.base.origin();
        let attempt = || {
            let mut request = build(self.http.request(method.clone(), url.clone()));
            if ours && let Some(authorization) = self.authorization() {
                request = request.header(AUTHORIZATION, authorization);
            }
            self.perform_with_activity(request, activity)
        };
        let response = attempt().await?;
        if response.status() != 401 || !ours {
            return Ok(response);
        }
        let had = self.authorization();
        match self.authorize(response.headers()).await? {
            Some(answer) if had.as_ref() != Some(&answer) => {
                *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                attempt().await
            }
            _ => Ok(response),
        }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends exactly this request.
    pub(super) async fn perform(&self, request: RequestBuilder) -> Result<Response> {
        self.perform_with_activity(request, &Activity::default()).await
    }

    async fn perform_with_activity(&self, request: RequestBuilder, activity: &Activity) -> Result<Response> {
        let (client, request) = request.build_split();
        let request = request.map_err(|e| Error::from_source(ErrorKind::InvalidInput, e))?;
        let (method, url) = (request.method().clone(), request.url().clone());
        let sending = client.execute(request);
        match unless_idle(self.timeouts.idle, activity, sending).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(e)) => Err(failure::transport(&e, e.url().unwrap_or(&url), &self.registry)),
            None => Err(self.idle()),
        }
        .with_context(|| request_name(&method, &url))
    }

    fn idle(&self) -> Error {
        let seconds = self.timeouts.idle.as_secs_f32();
        Error::new(
            ErrorKind::Network,
            format!("time-out: nothing received for {seconds} seconds"),
        )
        .with_hint(format!(
            "check the network, or try again later: {} may be overloaded",
            self.registry
        ))
    }

    /// Passes an answer with one of these status codes; makes an error of any other.
    pub(super) async fn expect(&self, response: Response, codes: &[u16]) -> Result<Response> {
        let status = response.status();
        if codes.contains(&status.as_u16()) {
            return Ok(response);
        }
        let url = response.url().clone();
        let body = self.read(response, MAX_ANSWER).await.unwrap_or_default();
        let mut shown = url;
        shown.set_query(None);
        Err(
            failure::status(status, &body, &self.registry, self.is_tls(), self.credential.is_some())
                .context(format!("\"{shown}\"")),
        )
    }

    /// The next piece of an answer's body.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        let url = response.url().clone();
        match tokio::time::timeout(self.timeouts.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(e)) => Err(failure::transport(&e, &url, &self.registry)),
            Err(_) => Err(self.idle()),
        }
        .with_context(|| request_name(&Method::GET, &url))
    }

    /// The whole body of an answer.
    pub(super) async fn read(&self, mut response: Response, limit: u64) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            body.extend_from_slice(chunk.as_ref());
            if body.len() as u64 > limit {
                return Err(Error::new(
                    ErrorKind::Network,
                    format!("the answer is longer than the {limit} bytes that are accepted"),
                ));
            }
        }
        Ok(body)
    }
}

/// Counts pieces of a body that is being sent, so that a long upload is not mistaken for a dead one.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(Arc<AtomicU64>);

impl Activity {
    pub(super) fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The result of `work`, or nothing when neither it nor `activity` moved for `idle`.
async fn unless_idle<T>(idle: Duration, activity: &Activity, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        let before = activity.0.load(Ordering::Relaxed);
        match tokio::time::timeout(idle, &mut work).await {
            Ok(result) => return Some(result),
            Err(_) if activity.0.load(Ordering::Relaxed) == before => return None,
            Err(_) => {}
        }
    }
}

fn http_client(plain: bool, timeouts: Timeouts) -> Result<reqwest::Client> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only when the program that uses this library chose a provider already, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("ig/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            .referer(false)
            .redirect(redirect_policy())
    };
    let client = builder().build();
    let client = match client {
        // Plain HTTP works on a machine without certificates, too.
        Err(_) if plain => {
            let tls = rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder().tls_backend_preconfigured(tls).build()
        }
        client => client,
    };
    client.map_err(|e| {
        Error::new(ErrorKind::Other, failure::innermost(&e))
            .context("setting up TLS")
            .with_hint("install the certificate authorities that this machine shall trust (package ca-certificates)")
    })
}

/// Follows redirects, as registries use them for blobs. The HTTP library drops `Authorization` when the origin changes.
fn redirect_policy() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let downgrade = attempt.url().scheme() != "https"
            && attempt
                .previous()
                .last()
                .is_some_and(|previous| previous.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if downgrade {
            attempt.error("refusing a redirect from TLS to plain HTTP")
        } else {
            attempt.follow()
        }
    })
}
