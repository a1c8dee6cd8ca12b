//! The crate's error: one opaque type with a kind, a chain of contexts and an optional hint.
//!
//! The text reads as one sentence from what was attempted to what went wrong, parts separated by `: `, because that is how
//! users and scripts of the upstream program read its errors. The way out, where we know one, is kept apart as a *hint*.

use std::borrow::Cow;
use std::fmt;

/// A [`Result`](std::result::Result) whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something that was named does not exist: an image, a field, a file, a kernel object.
    NotFound,
    /// Input (image, ELF, BTF, YAML, flag, parameter) that does not have the form it must have.
    InvalidInput,
    /// The process lacks a privilege or a permission.
    Permission,
    /// The kernel, or this build, lacks a feature.
    Unsupported,
    /// A policy forbids it: verification, allow list, disabled pulling.
    Refused,
    /// A network peer or a daemon did not answer, or not as it should.
    Network,
    /// The operating system reported an error.
    Io,
    /// All went well, but events were lost, and the caller wants to know of that as of an error.
    Lost,
    /// Anything else.
    Other,
}

/// An error with a kind, a message that grew a context at every level that knew more, and possibly a hint.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    /// Outermost context last, so that adding one is a push.
    parts: Vec<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` saying `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                parts: vec![message.into()],
                hint: None,
                source: None,
            }),
        }
    }

    /// [`ErrorKind::InvalidInput`] saying `message`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// [`ErrorKind::NotFound`] saying `message`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Unsupported`] saying `message`.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Wraps a foreign error, keeping it as [`source`](std::error::Error::source).
    pub fn from_source(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let mut error = Self::new(kind, source.to_string());
        error.inner.source = Some(Box::new(source));
        error
    }

    /// Puts `context` in front of the message: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl Into<Cow<'static, str>>) -> Self {
        self.inner.parts.push(context.into());
        self
    }

    /// Says what the user can do about it; shown on a line of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// The kind the error was created with.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What the user can do about it, if known.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.inner.parts.iter().rev().enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.to_string())
            .field("hint", &self.inner.hint)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.inner.source.as_deref()?;
        Some(source)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Io,
        };
        Self::from_source(kind, error)
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(error: nix::errno::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

/// Adds contexts to the error of a [`Result`](std::result::Result).
pub trait ResultExt<T> {
    /// Puts `context` in front of the error's message.
    fn context(self, context: impl Into<Cow<'static, str>>) -> Result<T>;

    /// Like [`context`](Self::context), with a text that is built only when there is an error.
    fn with_context<C: Into<Cow<'static, str>>>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn context(self, context: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| e.into().context(context))
    }

    fn with_context<C: Into<Cow<'static, str>>>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.into().context(context()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_the_outside_in() {
        let error = Error::not_found("not found")
            .context("resolving image")
            .context("removing gadget image")
            .with_hint("list the images with `ig image list`");
        assert_eq!(error.to_string(), "removing gadget image: resolving image: not found");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint(), Some("list the images with `ig image list`"));
    }

    #[test]
    fn keeps_the_kind_of_an_io_error() {
        let result: Result<()> = Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied)).context("opening");
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert!(error.to_string().starts_with("opening: "));
    }
}
