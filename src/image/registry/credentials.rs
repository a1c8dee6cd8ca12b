//! Credentials, from files in Docker's format.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::DEFAULT_AUTHFILE;
use crate::{Error, ErrorKind, Result, ResultExt};

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    Password {
        user: String,
        password: String,
    },
    /// An identity token, to be traded at the registry's token service.
    RefreshToken(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(…)")
    }
}

/// The credentials for a registry (with its port), if there are any.
pub(super) fn find(authfile: &Path, registry: &str) -> Result<Option<Credential>> {
    let host = if registry == "docker.io" {
        "index.docker.io"
    } else {
        registry
    };
    if let Ok(text) = std::env::var("DOCKER_AUTH_CONFIG")
        && !text.is_empty()
    {
        let config = parse(text.as_bytes()).context("reading DOCKER_AUTH_CONFIG")?;
        if let Some(credential) = config.stored(host)? {
            return Ok(Some(credential));
        }
    }
    match config_file(authfile)? {
        Some(config) => config.find(host),
        None => Ok(None),
    }
}

fn config_file(authfile: &Path) -> Result<Option<ConfigFile>> {
    if authfile.as_os_str().is_empty() {
        return docker_config();
    }
    match fs::read(authfile) {
        Ok(text) => parse(&text)
            .map(Some)
            .with_context(|| format!("reading auth file {authfile:?}")),
        // The default file is root's: other users must be able to pull without naming one.
        Err(e)
            if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
                && authfile == Path::new(DEFAULT_AUTHFILE) =>
        {
            docker_config()
        }
        Err(e) => Err(Error::from(e)
            .context(format!("opening auth file {authfile:?}"))
            .with_hint("name another file with --authfile; --authfile \"\" stands for Docker's own")),
    }
}

fn docker_config() -> Result<Option<ConfigFile>> {
    let dir = match std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => match std::env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".docker"),
            None => return Ok(None),
        },
    };
    let path = dir.join("config.json");
    match fs::read(&path) {
        Ok(text) => parse(&text)
            .map(Some)
            .with_context(|| format!("reading auth file {path:?}")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from(e).context(format!("opening auth file {path:?}"))),
    }
}

fn parse(text: &[u8]) -> Result<ConfigFile> {
    if text.trim_ascii().is_empty() {
        return Ok(ConfigFile::default());
    }
    serde_json::from_slice(text).map_err(|e| Error::from_source(ErrorKind::InvalidInput, e))
}

impl ConfigFile {
    fn find(&self, host: &str) -> Result<Option<Credential>> {
        if let Some(helper) = self.cred_helpers.get(host) {
            return ask_helper(helper, host);
        }
        if !self.creds_store.is_empty()
            && let Some(credential) = ask_helper(&self.creds_store, host)?
        {
            return Ok(Some(credential));
        }
        self.stored(host)
    }

    /// What the file itself has: under the exact key, else under one that is the same host with a scheme or a path.
    fn stored(&self, host: &str) -> Result<Option<Credential>> {
        let same_host = || {
            self.auths
                .iter()
                .find(|(key, _)| host_of(key) == host)
                .map(|(_, entry)| entry)
        };
        let Some(entry) = self.auths.get(host).or_else(same_host) else {
            return Ok(None);
        };
        entry
            .credential()
            .with_context(|| format!("reading the credentials for {host}"))
    }
}

fn host_of(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::RefreshToken(self.identitytoken.clone())));
        }
        let (user, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let auth = self.auth.trim();
            let decoded = STANDARD
                .decode(auth)
                .or_else(|_| STANDARD_NO_PAD.decode(auth))
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| Error::invalid("auth is not the base64 form of user:password"))?;
            let (user, password) = decoded
                .split_once(':')
                .ok_or_else(|| Error::invalid("auth is not the base64 form of user:password"))?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        Ok((!user.is_empty()).then_some(Credential::Password { user, password }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks `docker-credential-<helper>`.
fn ask_helper(helper: &str, host: &str) -> Result<Option<Credential>> {
    let context = || format!("asking credential helper {helper:?}");
    if helper.is_empty() || helper.contains('/') {
        return Err(Error::invalid("not the name of a credential helper").context(context()));
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(context)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input has an answer nevertheless, or fails by its exit status.
        let _ = stdin.write_all(host.as_bytes());
    }
    let output = child.wait_with_output().with_context(context)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let message = format!("{}: {}", output.status, said.trim().escape_debug());
        return Err(Error::new(ErrorKind::Other, message).context(context()));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|e| Error::from_source(ErrorKind::InvalidInput, e).context(context()))?;
    Ok(Some(match &*answer.username {
        "<token>" => Credential::RefreshToken(answer.secret),
        _ => Credential::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password {
            user: user.into(),
            password: password.into(),
        })
    }

    #[test]
    fn by_key_then_by_host() {
        let config = parse(
            br#"{"auths": {
                "localhost:5000": {"auth": "dGVzdHVzZXI6dGVzdHBhc3M="},
                "https://index.docker.io/v1/": {"username": "me", "password": "a:b"},
                "token.io": {"auth": "dTpw", "identitytoken": "t"},
                "empty.io": {},
                "broken.io": {"auth": "%"}
            }, "other": 1}"#,
        )
        .unwrap();
        assert_eq!(config.find("localhost:5000").unwrap(), password("testuser", "testpass"));
        assert_eq!(config.find("localhost").unwrap(), None);
        assert_eq!(config.find("index.docker.io").unwrap(), password("me", "a:b"));
        assert_eq!(
            config.find("token.io").unwrap(),
            Some(Credential::RefreshToken("t".into()))
        );
        assert_eq!(config.find("empty.io").unwrap(), None);
        let error = config.find("broken.io").unwrap_err().to_string();
        assert_eq!(
            error,
            "reading the credentials for broken.io: auth is not the base64 form of user:password"
        );
    }

    #[test]
    fn a_named_file_must_exist_and_be_json() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        let error = config_file(&file).unwrap_err();
        assert!(error.to_string().starts_with("opening auth file "), "{error}");
        assert!(error.hint().unwrap().contains("--authfile"));
        fs::write(&file, "{").unwrap();
        let error = config_file(&file).unwrap_err();
        assert!(error.to_string().starts_with("reading auth file "), "{error}");
        fs::write(&file, "").unwrap();
        assert!(config_file(&file).unwrap().unwrap().auths.is_empty());
    }

    #[test]
    fn a_helper_is_a_name_and_not_a_path() {
        let error = ask_helper("../../bin/sh", "x").unwrap_err();
        assert!(
            error.to_string().contains("not the name of a credential helper"),
            "{error}"
        );
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let credential = password("user", "secret");
        assert!(!format!("{credential:?}").contains("secret"));
    }
}
