//! What is remembered of a socket's owner.

use std::str::FromStr;

use crate::ebpf::btf::{ExtraStruct, ExtraType};
use crate::metadata::params::typed::split_list;
use crate::{Error, Result};

/// The name by which gadgets know the value.
pub const VALUE_TYPE: &str = "gadget_socket_value";

/// Bytes of what is always there.
const FIXED: u32 = 88;
/// The size of an optional field that is named without one.
const DEFAULT_SIZE: u32 = 512;
const MAX_SIZE: u32 = 4096;

/// The sizes of the optional fields in bytes, terminating zero included; 0 if one is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFields {
    /// The working directory.
    pub cwd: u32,
    /// The path of the executable.
    pub exepath: u32,
}

impl SocketFields {
    /// No optional field.
    pub const NONE: Self = Self { cwd: 0, exepath: 0 };

    /// Bytes of a value.
    pub fn value_size(&self) -> u32 {
        FIXED + self.cwd + self.exepath
    }

    /// Where the working directory begins.
    pub(super) fn cwd_offset(&self) -> u32 {
        FIXED
    }

    /// Where the path of the executable begins.
    pub(super) fn exepath_offset(&self) -> u32 {
        FIXED + self.cwd
    }

    /// The layout of a value, to relocate gadgets against.
    pub(in crate::ebpf) fn layout(&self) -> ExtraStruct {
        let mut members = vec![
            ("mntns", 0, ExtraType::U64),
            ("pid_tgid", 8, ExtraType::U64),
            ("uid_gid", 16, ExtraType::U64),
            ("task", 24, ExtraType::Text(16)),
            ("ptask", 40, ExtraType::Text(16)),
            ("sock", 56, ExtraType::U64),
            ("deletion_timestamp", 64, ExtraType::U64),
            ("ppid", 72, ExtraType::U32),
            ("ptid", 76, ExtraType::U32),
            ("ipv6only", 80, ExtraType::Char),
        ];
        for (name, offset, size) in [
            ("cwd", self.cwd_offset(), self.cwd),
            ("exepath", self.exepath_offset(), self.exepath),
        ] {
            if size > 0 {
                members.push((name, offset, ExtraType::Text(size)));
            }
        }
        ExtraStruct {
            name: VALUE_TYPE,
            size: self.value_size(),
            members,
        }
    }
}

impl Default for SocketFields {
    fn default() -> Self {
        Self {
            cwd: DEFAULT_SIZE,
            exepath: DEFAULT_SIZE,
        }
    }
}

impl FromStr for SocketFields {
    type Err = Error;

    /// Reads a list such as `cwd=512,exepath`. An empty one asks for nothing; a size of 0, or none, is the default.
    fn from_str(text: &str) -> Result<Self> {
        let mut fields = Self::NONE;
        for item in split_list(text)
            .iter()
            .map(|item| item.trim())
            .filter(|item| !item.is_empty())
        {
            let (name, size) = item.split_once('=').unwrap_or((item, ""));
            let target = match name {
                "cwd" => &mut fields.cwd,
                "exepath" => &mut fields.exepath,
                _ => {
                    return Err(Error::invalid(format!("unsupported field: {name}"))
                        .with_hint("the fields are `cwd` and `exepath`"));
                }
            };
            let bytes = match size {
                "" => 0,
                size => size
                    .parse::<u32>()
                    .map_err(|error| Error::invalid(format!("invalid size for field {name}: {error}")))?,
            };
            *target = match bytes {
                0 => DEFAULT_SIZE,
                bytes if !bytes.is_power_of_two() => {
                    return Err(bad_size(name, format!("size must be a power of two, got {bytes}")));
                }
                bytes if bytes > MAX_SIZE => {
                    return Err(bad_size(name, format!("size must be <= {MAX_SIZE}, got {bytes}")));
                }
                bytes => bytes,
            };
        }
        Ok(fields)
    }
}

fn bad_size(name: &str, reason: String) -> Error {
    Error::invalid(reason)
        .context(format!("field {name}"))
        .context("invalid field configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_packed_behind_the_fixed_part() {
        for (text, size, cwd, exepath) in [
            ("cwd=512,exepath=512", 1112, Some(88), Some(600)),
            ("", 88, None, None),
            ("cwd=32,exepath=4", 124, Some(88), Some(120)),
            ("exepath", 600, None, Some(88)),
            ("cwd=0", 600, Some(88), None),
        ] {
            let layout = text.parse::<SocketFields>().unwrap().layout();
            assert_eq!(layout.size, size, "{text}");
            let at = |name: &str| {
                layout
                    .members
                    .iter()
                    .find(|(member, ..)| *member == name)
                    .map(|(_, at, _)| *at)
            };
            assert_eq!((at("cwd"), at("exepath")), (cwd, exepath), "{text}");
        }
        assert_eq!(
            "cwd=512,exepath=512".parse::<SocketFields>().unwrap(),
            SocketFields::default()
        );
    }

    #[test]
    fn bad_fields_are_named() {
        for (text, expected) in [
            ("foo=1", "unsupported field: foo"),
            ("cwd=x", "invalid size for field cwd: "),
            ("cwd=3", "size must be a power of two, got 3"),
            ("exepath=8192", "size must be <= 4096, got 8192"),
        ] {
            let error = text.parse::<SocketFields>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
