//! Network interfaces, as the kernel's netlink tells of them: of the network namespace that the asking thread is in.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use crate::{Error, Result, ResultExt};

const HEADER: usize = 16;
const INTERFACE: usize = 16;
const ATTRIBUTE: usize = 4;
/// The kernel's answers come in pieces of at most this size.
const PIECE: usize = 32 << 10;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its number in its namespace.
    pub(super) index: i32,
    /// Its name.
    pub(super) name: String,
    /// Whether it is up.
    pub(super) up: bool,
    /// What it is if it is no device: `veth`, `bridge`, …
    pub(super) kind: Option<String>,
    /// The number of another that it belongs to or is the other end of, which may be in another namespace.
    pub(super) link: Option<i32>,
}

/// All interfaces.
pub(super) fn interfaces() -> Result<Vec<Interface>> {
    let socket = open(0)?;
    let mut request = Vec::with_capacity(HEADER + INTERFACE);
    request.extend(((HEADER + INTERFACE) as u32).to_ne_bytes());
    request.extend(libc::RTM_GETLINK.to_ne_bytes());
    request.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request.resize(HEADER + INTERFACE, 0);
    send(socket.as_raw_fd(), &request, MsgFlags::empty()).context("asking for network interfaces")?;
    let mut piece = vec![0; PIECE];
    let mut found = Vec::new();
    loop {
        let read = recv(socket.as_raw_fd(), &mut piece, MsgFlags::empty()).context("reading network interfaces")?;
        if parse(piece.get(..read).unwrap_or_default(), &mut found)? {
            return Ok(found);
        }
    }
}

/// A socket that has something to read whenever an interface changes.
pub(super) fn changes() -> Result<OwnedFd> {
    open(libc::RTMGRP_LINK as u32)
}

/// Reads away what told of changes.
pub(super) fn drain(changes: &OwnedFd) {
    let mut piece = [0; 4096];
    while recv(changes.as_raw_fd(), &mut piece, MsgFlags::MSG_DONTWAIT).is_ok_and(|read| read > 0) {}
}

fn open(groups: u32) -> Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkRoute;
    let opened = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .and_then(|socket| bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).map(|()| socket));
    opened.context("opening a netlink socket")
}

/// Takes the interfaces out of one piece of an answer. `true` after the last one.
fn parse(mut piece: &[u8], found: &mut Vec<Interface>) -> Result<bool> {
    let bad = || Error::invalid("the kernel's list of network interfaces has an unexpected form");
    while piece.len() >= HEADER {
        let length = word(piece, 0).ok_or_else(bad)? as usize;
        let kind = half(piece, 4).ok_or_else(bad)?;
        let body = piece.get(HEADER..length).ok_or_else(bad)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let error = word(body, 0).ok_or_else(bad)? as i32;
                return Err(nix::errno::Errno::from_raw(-error)).context("listing network interfaces");
            }
            _ if kind == libc::RTM_NEWLINK => found.push(interface(body).ok_or_else(bad)?),
            _ => {}
        }
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn interface(body: &[u8]) -> Option<Interface> {
    let mut interface = Interface {
        index: word(body, 4)? as i32,
        name: String::new(),
        up: word(body, 8)? & libc::IFF_UP as u32 != 0,
        kind: None,
        link: None,
    };
    for (kind, value) in attributes(body.get(INTERFACE..)?) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_LINK => interface.link = word(value, 0).map(|index| index as i32),
            IFLA_LINKINFO => {
                let inner = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                interface.kind = inner.map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    Some(interface)
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let kind = half(rest, 2)?;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    fn veth() -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(7i32.to_ne_bytes());
        body.extend(0x1003u32.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        body.extend(attribute(99, b"unknown"));
        body.extend(attribute(IFLA_LINK, &9u32.to_ne_bytes()));
        body.extend(attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0")));
        body
    }

    #[test]
    fn an_interface_and_the_end() {
        let mut piece = message(libc::RTM_NEWLINK, &veth());
        piece.extend(message(libc::NLMSG_DONE as u16, &[0; 4]));
        let mut found = Vec::new();
        assert!(parse(&piece, &mut found).unwrap());
        assert_eq!(
            found,
            [Interface {
                index: 7,
                name: "eth0".into(),
                up: true,
                kind: Some("veth".into()),
                link: Some(9),
            }]
        );
    }

    #[test]
    fn broken_answers_are_errors_or_end_early() {
        let whole = message(libc::RTM_NEWLINK, &veth());
        for end in 0..whole.len() {
            let _ = parse(&whole[..end], &mut Vec::new());
            let mut damaged = whole.clone();
            damaged[end] ^= 0xff;
            let _ = parse(&damaged, &mut Vec::new());
        }
        let mut refused = message(libc::NLMSG_ERROR as u16, &(-1i32).to_ne_bytes());
        refused.extend([0; 4]);
        let error = parse(&refused, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("listing network interfaces: "), "{error}");
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let found = interfaces().unwrap();
        let lo = found.iter().find(|interface| interface.name == "lo").unwrap();
        assert_eq!((lo.index, &lo.kind), (1, &None));
    }
}
