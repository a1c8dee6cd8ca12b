//! Ranges of IP addresses: `cidr("10.0.0.0/8", "fd00::/8")`.

use std::net::IpAddr;

use super::fault::{Fault, Outcome};
use crate::text::{go_quote, printable};

/// Prefixes of addresses of both families.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    prefixes: Vec<Prefix>,
}

/// The addresses of one family whose bits under `mask` are `network`.
#[derive(Debug, PartialEq, Eq)]
struct Prefix {
    v4: bool,
    network: u128,
    mask: u128,
}

impl Prefixes {
    /// Reads `address/length` of each text.
    pub(super) fn parse<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> Outcome<Self> {
        let prefixes = texts.into_iter().map(Prefix::parse).collect::<Outcome<_>>()?;
        Ok(Self { prefixes })
    }

    /// Whether one of the prefixes contains the address that `text` says.
    pub(super) fn contain(&self, text: &[u8]) -> Outcome<bool> {
        let (v4, bits) = address(text).ok_or_else(|| {
            Fault::new(format!(
                "invalid IP address: {}",
                go_quote(&String::from_utf8_lossy(text))
            ))
        })?;
        Ok(self
            .prefixes
            .iter()
            .any(|prefix| prefix.v4 == v4 && bits & prefix.mask == prefix.network))
    }
}

impl Prefix {
    fn parse(text: &[u8]) -> Outcome<Self> {
        let shown = String::from_utf8_lossy(text);
        let invalid = || Fault::new(format!("invalid CIDR address: {}", printable(&shown)));
        let (network, len) = shown.split_once('/').ok_or_else(invalid)?;
        let (v4, bits) = address(network.as_bytes()).ok_or_else(invalid)?;
        if len.is_empty() || len.len() > 3 || !len.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let len: u32 = len.parse().map_err(|_| invalid())?;
        // An address of four bytes written in the form of six is meant to be one of six: its length says so.
        let mapped = v4 && network.contains(':');
        let len = match (v4, mapped) {
            (true, true) if (96..=128).contains(&len) => len - 96,
            (true, false) if len <= 32 => len,
            (false, _) if len <= 128 => len,
            _ => return Err(invalid()),
        };
        let width = if v4 { 32 } else { 128 };
        // A shift by the whole width would be none.
        let mask = u128::MAX.checked_shl(width - len).unwrap_or(0);
        Ok(Self {
            v4,
            network: bits & mask,
            mask,
        })
    }
}

/// Whether it is an IPv4 address (or one mapped into IPv6), and its bits.
fn address(text: &[u8]) -> Option<(bool, u128)> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(match address.to_canonical() {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (false, v6.to_bits()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(prefixes: &[&str], address: &str) -> Outcome<bool> {
        Prefixes::parse(prefixes.iter().map(|p| p.as_bytes()))?.contain(address.as_bytes())
    }

    #[test]
    fn any_prefix_may_contain_the_address() {
        for (prefixes, address, expected) in [
            (&["1.0.0.0/8"][..], "1.1.1.1", true),
            (&["1.0.0.0/8"], "127.0.0.1", false),
            (&["10.0.0.0/8", "192.168.0.0/16"], "192.168.3.4", true),
            (&["0.0.0.0/0"], "255.255.255.255", true),
            (&["0.0.0.0/0"], "::1", false),
            (&["::/0"], "1.2.3.4", false),
            (&["::/0"], "fe80::1", true),
            (&["fd00::/8"], "fd12::1", true),
            (&["fd00::/8"], "fe80::1", false),
            (&["1.2.3.4/32"], "1.2.3.4", true),
            (&["1.2.3.4/32"], "1.2.3.5", false),
            (&["1.2.3.99/24"], "1.2.3.4", true),
            (&["1.2.3.0/24"], "::ffff:1.2.3.4", true),
            (&["::ffff:1.2.3.0/120"], "1.2.3.4", true),
            (&[], "1.2.3.4", false),
        ] {
            assert_eq!(
                contain(prefixes, address).unwrap(),
                expected,
                "{address} in {prefixes:?}"
            );
        }
    }

    #[test]
    fn invalid_texts_are_faults() {
        for prefix in [
            "",
            "1.2.3.4",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/+8",
            "::/129",
            "::ffff:1.2.3.4/24",
            "x/8",
            "1.2.3/8",
            "1.2.3.4/8/8",
        ] {
            let error = contain(&[prefix], "1.2.3.4").unwrap_err().bind("").to_string();
            assert!(error.starts_with(&format!("invalid CIDR address: {prefix}")), "{error}");
        }
        let error = contain(&["1.0.0.0/8"], "a\u{1b}").unwrap_err().bind("").to_string();
        assert!(error.starts_with("invalid IP address: \"a\\x1b\""), "{error}");
    }
}
