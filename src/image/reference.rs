//! Image references: the short names that users type, and the full names that everything else uses.

use std::fmt;
use std::str::FromStr;

use super::Digest;
use crate::{Error, Result};

/// The registry of names that name none.
pub const DEFAULT_DOMAIN: &str = "ghcr.io";

/// The repository prefix of names that consist of one component.
pub const DEFAULT_PREFIX: &str = "inspektor-gadget/gadget/";

/// The longest repository name, in bytes, that registries accept.
const MAX_NAME: usize = 255;

/// A normalised image reference: `domain/path[:tag][@digest]` with at least one of tag and digest.
///
/// Its [`Display`](fmt::Display) form is the key under which the local store keeps the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Normalises what a user typed: `trace_exec` is `ghcr.io/inspektor-gadget/gadget/trace_exec:latest`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the text is no reference.
    pub fn parse(input: &str) -> Result<Self> {
        Self::parse_normalised(input).map_err(|error| {
            error.context(format!("parsing normalized image {input:?}")).with_hint(
                "an image is named like trace_open, trace_open:v1 or registry.example.com:5000/me/trace_open:v1",
            )
        })
    }

    fn parse_normalised(input: &str) -> Result<Self> {
        let (mut domain, mut rest) = split_domain(input);
        let prefixed;
        if domain == DEFAULT_DOMAIN && !rest.contains('/') {
            prefixed = format!("{DEFAULT_PREFIX}{rest}");
            rest = &prefixed;
        }
        if domain == "index.docker.io" {
            domain = "docker.io";
        }
        let library;
        if domain == "docker.io" && !rest.contains('/') {
            library = format!("library/{rest}");
            rest = &library;
        }

        let name = rest.split(':').next().unwrap_or_default();
        if name.chars().any(char::is_uppercase) {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({name}) must be lowercase"
            )));
        }

        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(Digest::parse(digest)?)),
            None => (rest, None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
            return Err(Error::invalid("invalid reference format"));
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(Error::invalid(format!(
                "repository name must not be more than {MAX_NAME} characters"
            )));
        }

        let tag = match (tag, digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        Ok(Self {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry, with its port if it has one: `ghcr.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `inspektor-gadget/gadget/trace_open`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last component of the path: `trace_open`.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Domain and path: `ghcr.io/inspektor-gadget/gadget/trace_open`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as lists show it: without the prefix that short names imply.
    pub fn short_repository(&self) -> String {
        match self.path.strip_prefix(DEFAULT_PREFIX) {
            Some(short) if self.domain == DEFAULT_DOMAIN => short.to_owned(),
            _ => self.repository(),
        }
    }

    /// The tag; absent only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when the reference pins one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `<repository>:<tag>@<digest>`, the form that messages use for an image whose digest is known.
    pub fn described(&self, digest: &Digest) -> String {
        format!("{}:{}@{digest}", self.repository(), self.tag().unwrap_or_default())
    }

    /// What a registry's manifest endpoint is asked for: the digest if there is one, else the tag.
    pub(crate) fn remote_key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Splits off the registry, if the first component can only be one.
fn split_domain(input: &str) -> (&str, &str) {
    match input.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, input),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return false,
            },
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let host_ok = match host.strip_prefix('[') {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_host_label),
    };
    host_ok && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Lower-case alphanumeric runs, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes.split(|&b| alphanumeric(b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__")
            || (!separator.is_empty() && separator.iter().all(|&b| b == b'-'))
    })
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn normalises() {
        for (input, full) in [
            ("trace_exec", "ghcr.io/inspektor-gadget/gadget/trace_exec:latest"),
            (
                "trace_exec:v0.42.0",
                "ghcr.io/inspektor-gadget/gadget/trace_exec:v0.42.0",
            ),
            ("ghcr.io/foo", "ghcr.io/inspektor-gadget/gadget/foo:latest"),
            ("inspektor-gadget/ig:foobar", "ghcr.io/inspektor-gadget/ig:foobar"),
            ("xyz/gadget/trace_exec", "ghcr.io/xyz/gadget/trace_exec:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            (
                "ghcr.io:443/inspektor-gadget/ig:baz",
                "ghcr.io:443/inspektor-gadget/ig:baz",
            ),
            ("ghcr.io:443/x", "ghcr.io:443/x:latest"),
            ("ttl.sh/a", "ttl.sh/a:latest"),
            ("docker.io/foo", "docker.io/library/foo:latest"),
            ("index.docker.io/me/foo", "docker.io/me/foo:latest"),
            ("host:5000", "ghcr.io/inspektor-gadget/gadget/host:5000"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("Registry/x", "Registry/x:latest"),
            ("a__b--c.d_e", "ghcr.io/inspektor-gadget/gadget/a__b--c.d_e:latest"),
        ] {
            let reference = Reference::parse(input).unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!(reference.to_string(), full, "{input}");
            assert_eq!(Reference::parse(full).unwrap(), reference, "{full} is stable");
        }
    }

    #[test]
    fn keeps_a_digest() {
        let pinned = format!("trace_exec@sha256:{HEX}");
        let reference = Reference::parse(&pinned).unwrap();
        assert_eq!(
            reference.to_string(),
            format!("ghcr.io/inspektor-gadget/gadget/trace_exec@sha256:{HEX}")
        );
        assert_eq!(reference.tag(), None);
        let digest = *reference.digest().unwrap();
        assert_eq!(
            reference.described(&digest),
            format!("ghcr.io/inspektor-gadget/gadget/trace_exec:@sha256:{HEX}")
        );
        let both = Reference::parse(&format!("ttl.sh/a:b@sha256:{HEX}")).unwrap();
        assert_eq!((both.tag(), both.digest().is_some()), (Some("b"), true));
        assert_eq!(both.remote_key(), format!("sha256:{HEX}"));
    }

    #[test]
    fn refuses() {
        let long = "a".repeat(250);
        for bad in [
            "",
            "/",
            "inspektor-gadget/ig:~½¬",
            "https://ghcr.io:443/a/b:c",
            "a b",
            "a//b",
            "-a",
            "a-",
            "a___b",
            "a._b",
            "x:",
            "x:-tag",
            "x@",
            "x@sha256:12",
            "x@md5:d41d8cd98f00b204e9800998ecf8427e",
            "host:/x",
            "-host.com/x",
            "[::1/x",
            "a\nb",
            "a\u{1b}[31m",
            &long,
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_the_cause() {
        let error = Reference::parse("Bad Name").unwrap_err();
        assert_eq!(
            error.to_string(),
            "parsing normalized image \"Bad Name\": invalid reference format: repository name (inspektor-gadget/gadget/Bad Name) must be lowercase"
        );
        assert_eq!(
            Reference::parse("a b").unwrap_err().to_string(),
            "parsing normalized image \"a b\": invalid reference format"
        );
    }

    #[test]
    fn shortens_only_the_default_prefix() {
        assert_eq!(Reference::parse("foo").unwrap().short_repository(), "foo");
        assert_eq!(
            Reference::parse("inspektor-gadget/ig").unwrap().short_repository(),
            "ghcr.io/inspektor-gadget/ig"
        );
        assert_eq!(
            Reference::parse("x.io/inspektor-gadget/gadget/foo")
                .unwrap()
                .short_repository(),
            "x.io/inspektor-gadget/gadget/foo"
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_is_idempotent(input in ".{0,80}") {
            if let Ok(reference) = Reference::parse(&input) {
                let full = reference.to_string();
                prop_assert!(full.is_ascii());
                prop_assert_eq!(Reference::parse(&full).unwrap(), reference);
            }
        }
    }
}
