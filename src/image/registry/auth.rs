//! The registry's challenge, and the `Authorization` header that answers it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

use super::client::{Client, MAX_ANSWER};
use super::credentials::Credential;
use crate::{Error, ErrorKind, Result, ResultExt};

/// A `WWW-Authenticate` header.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    params: HashMap<String, String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Client {
    /// The header that answers the challenge of a 401, or nothing if we have no answer.
    pub(super) async fn authorize(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>> {
        let challenges: Vec<Challenge> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| parse_challenge(value.to_str().ok()?))
            .collect();
        let by_scheme = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(challenge) = by_scheme("bearer") {
            let token = self.token(challenge).await.context("getting a token")?;
            return header_value(format!("Bearer {token}")).map(Some);
        }
        match (by_scheme("basic"), self.credential()) {
            (Some(_), Some(Credential::Password { user, password })) => basic(user, password).map(Some),
            _ => Ok(None),
        }
    }

    async fn token(&self, challenge: &Challenge) -> Result<String> {
        let realm = challenge.params.get("realm").map_or("", String::as_str);
        let mut url = Url::parse(realm).map_err(|e| {
            Error::new(
                ErrorKind::Network,
                format!("the registry names no valid token service ({realm:?}): {e}"),
            )
        })?;
        if self.is_tls() && url.scheme() != "https" {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the registry names a token service without TLS, {:?}", url.as_str()),
            ));
        }
        let scope = match challenge.params.get("scope") {
            Some(scope) if !scope.is_empty() && !self.scope().starts_with(scope.as_str()) => scope,
            _ => self.scope(),
        };
        let mut pairs = vec![("scope", scope.as_str())];
        if let Some(service) = challenge.params.get("service") {
            pairs.push(("service", service));
        }

        let request = match self.credential() {
            Some(Credential::RefreshToken(token)) => {
                pairs.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "inspektor-gadget"),
                    ("refresh_token", token),
                ]);
                let mut form = Url::parse("form:").map_err(|e| Error::from_source(ErrorKind::Other, e))?;
                form.query_pairs_mut().extend_pairs(&pairs);
                self.http()
                    .post(url.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            credential => {
                url.query_pairs_mut().extend_pairs(&pairs);
                let request = self.http().get(url.clone());
                match credential {
                    Some(Credential::Password { user, password }) => {
                        request.header(AUTHORIZATION, basic(user, password)?)
                    }
                    _ => request,
                }
            }
        };
        let response = self.perform(request).await?;
        let response = self.expect(response, &[200]).await?;
        let text = self.read(response, MAX_ANSWER).await?;
        let answer: TokenAnswer = serde_json::from_slice(&text)
            .map_err(|e| Error::from_source(ErrorKind::Network, e).context("decoding the token service's answer"))?;
        let token = if answer.token.is_empty() {
            answer.access_token
        } else {
            answer.token
        };
        if token.is_empty() {
            return Err(Error::new(
                ErrorKind::Network,
                "the token service's answer has no token",
            ));
        }
        Ok(token)
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    header_value(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn header_value(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::invalid("the credentials contain characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses `Bearer realm="…",service="…",scope="a,b"`; the scheme and the keys come out in lower case.
fn parse_challenge(text: &str) -> Option<Challenge> {
    let text = text.trim();
    let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.is_empty() {
        return None;
    }
    let mut params = HashMap::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let value;
        (value, rest) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, rest) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), rest)
            }
        };
        params.insert(key, value);
    }
    Some(Challenge {
        scheme: scheme.to_ascii_lowercase(),
        params,
    })
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let challenge = parse_challenge(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push", error=invalid"#,
        )
        .unwrap();
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.params["realm"], "https://auth.docker.io/token");
        assert_eq!(challenge.params["scope"], "repository:a/b:pull,push");
        assert_eq!(challenge.params["error"], "invalid");
        assert_eq!(
            parse_challenge("BASIC Realm=\"a \\\"b\\\"\"").unwrap().params["realm"],
            "a \"b\""
        );
        assert_eq!(parse_challenge("Basic").unwrap().scheme, "basic");
        assert_eq!(parse_challenge(""), None);
        assert_eq!(parse_challenge("Bearer realm=\"open"), None);
        assert_eq!(parse_challenge("Bearer realm=\"open\\"), None);
    }
}
