//! Bytes as texts: quoted, or as the address of a socket.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Quotes bytes as a program in Go would write them: what can be printed is left, all else is escaped.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|char| push(&mut text, char));
        for byte in chunk.invalid() {
            _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

fn push(text: &mut String, char: char) {
    let escape = match char {
        '"' | '\\' => char,
        '\x07' => 'a',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\x0b' => 'v',
        _ if is_printable(char) => return text.push(char),
        _ => {
            _ = match u32::from(char) {
                code @ ..0x80 => write!(text, "\\x{code:02x}"),
                code @ ..0x1_0000 => write!(text, "\\u{code:04x}"),
                code => write!(text, "\\U{code:08x}"),
            };
            return;
        }
    };
    text.extend(['\\', escape]);
}

fn is_printable(char: char) -> bool {
    // What the standard library would not escape, but for quotes.
    char == '\'' || char.escape_debug().len() == 1 && (char == ' ' || !char.is_whitespace())
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A `sockaddr` of the kernel's; quoted if it is of no known family.
pub fn address(bytes: &[u8]) -> String {
    inet(bytes).unwrap_or_else(|| quoted(bytes))
}

fn inet(bytes: &[u8]) -> Option<String> {
    let (family, rest) = bytes.split_first_chunk()?;
    match u16::from_le_bytes(*family) {
        AF_UNIX => Some(unix(rest)),
        AF_INET => {
            let (port, rest) = rest.split_first_chunk()?;
            let address: &[u8; 4] = rest.first_chunk()?;
            Some(format!("{}:{}", Ipv4Addr::from(*address), u16::from_be_bytes(*port)))
        }
        AF_INET6 => {
            let (port, rest) = rest.split_first_chunk()?;
            // The flow comes first.
            let (address, rest) = rest.get(4..)?.split_first_chunk::<16>()?;
            let scope = match rest.first_chunk().map(|scope| u32::from_le_bytes(*scope)) {
                None | Some(0) => String::new(),
                Some(scope) => format!("%{scope}"),
            };
            Some(format!("[{}{scope}]:{}", Ipv6Addr::from(*address), u16::from_be_bytes(*port)))
        }
        _ => None,
    }
}

/// The path of a socket, or its abstract name.
fn unix(path: &[u8]) -> String {
    let (sign, name) = match path.split_first() {
        Some((0, name)) => ("@", name),
        _ => ("", path.split(|byte| *byte == 0).next().unwrap_or_default()),
    };
    let quoted = quoted(name);
    format!("unix:{sign}{}", quoted.trim_start_matches('"').trim_end_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted() {
        assert_eq!(quoted(b"/etc/passwd"), "\"/etc/passwd\"");
        assert_eq!(quoted(b"it's \"a\\\n\x07\x1b[0m\x7f"), "\"it's \\\"a\\\\\\n\\a\\x1b[0m\\x7f\"");
        assert_eq!(quoted("ä€\u{a0}\u{200b}".as_bytes()), "\"ä€\\u00a0\\u200b\"");
        assert_eq!(quoted(b"\xff\xc3"), "\"\\xff\\xc3\"");
        assert_eq!(quoted(b""), "\"\"");
    }

    #[test]
    fn addresses_are_those_of_sockets() {
        assert_eq!(address(b"\x02\0\x1f\x90\x0a\x01\x02\x03"), "10.1.2.3:8080");
        let mut v6 = [&[10, 0, 0, 53, 0, 0, 0, 0][..], &Ipv6Addr::LOCALHOST.octets(), &[0; 4]].concat();
        assert_eq!(address(&v6), "[::1]:53");
        v6[24] = 3;
        assert_eq!(address(&v6), "[::1%3]:53");
        assert_eq!(address(b"\x01\0/run/nscd/socket\0garbage"), "unix:/run/nscd/socket");
        assert_eq!(address(b"\x01\0\0name"), "unix:@name");
        assert_eq!(address(b"\x10\0abc"), "\"\\x10\\x00abc\"");
        assert_eq!(address(b"\x02\0\x00"), "\"\\x02\\x00\\x00\"");
        assert_eq!(address(b""), "\"\"");
    }
}
