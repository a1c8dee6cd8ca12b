//! pcap-ng: captured packets as a file that packet analyzers read.
//!
//! A section header and an Ethernet interface come first. Every packet belongs to a *virtual* interface, one for each
//! combination of the values of the fields that the metadata calls parts of an interface's identity; it is written before its first
//! packet, so that what is written at any time can be read.

use std::collections::HashMap;

use crate::data::{Accessor, DataSource, Element, FieldId, Kind, Scalar};
use crate::{Error, Result};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;

const OPTION_END: u16 = 0;
const SECTION_HARDWARE: u16 = 2;
const SECTION_OS: u16 = 3;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TEXT: u16 = 3;
const INTERFACE_RESOLUTION: u16 = 9;
const INTERFACE_OS: u16 = 12;

/// Times are in units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;
const OS: &str = std::env::consts::OS;

/// Writes elements of one data source as packets.
#[derive(Debug)]
pub struct Encoder {
    payload: Accessor,
    /// Microseconds since the epoch.
    time: Accessor,
    length: Accessor,
    identity: Vec<Accessor>,
    variables: Vec<(String, Accessor)>,
    fields: Vec<FieldId>,
    interfaces: HashMap<Vec<u8>, u32>,
    key: Vec<u8>,
}

impl Encoder {
    /// Compiles an encoder from the annotations of `source`.
    ///
    /// # Errors
    ///
    /// One of the annotations `pcap.payload`, `pcap.timestamp` and `pcap.packet-length` is missing or names no such field, or a field
    /// is of a kind that cannot serve.
    pub fn new(source: &DataSource) -> Result<Self> {
        let mut fields = Vec::new();
        let mut named = |annotation: &str, what: &str, fits: fn(Kind) -> bool| {
            let name = source
                .annotation(annotation)
                .filter(|name| !name.is_empty())
                .ok_or_else(|| Error::invalid(format!("{annotation} annotation not found")))?;
            let id = source
                .find(name)
                .ok_or_else(|| Error::not_found(format!("{what} field not found")))?;
            let kind = source.get(id).kind();
            if !fits(kind) {
                return Err(Error::invalid(format!("{what} field {name:?} is of kind {kind}")));
            }
            fields.push(id);
            Ok(source.accessor(id))
        };
        let payload = named("pcap.payload", "payload", |_| true)?;
        let time = named("pcap.timestamp", "timestamp", |kind| kind == Kind::One(Scalar::Uint64))?;
        let length = named("pcap.packet-length", "length", |kind| kind == Kind::One(Scalar::Uint32))?;
        let mut identity = Vec::new();
        let mut variables = Vec::new();
        for (id, field) in source.fields().filter(|(_, field)| !field.is_unreferenced()) {
            if field.annotation("pcap.interface-key") == Some("true") {
                identity.push(source.accessor(id));
                fields.push(id);
            }
            if let Some(name) = field.annotation("pcap.interface-var").filter(|name| !name.is_empty()) {
                if !field.kind().is_text() {
                    return Err(Error::invalid(format!(
                        "interface variable {name:?}: field {:?} is of kind {}",
                        field.full_name(),
                        field.kind()
                    )));
                }
                variables.push((name.to_owned(), source.accessor(id)));
                fields.push(id);
            }
        }
        Ok(Self {
            payload,
            time,
            length,
            identity,
            variables,
            fields,
            interfaces: HashMap::new(),
            key: Vec::new(),
        })
    }

    /// The fields that are read.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Appends the beginning of the file.
    pub fn header(&self, out: &mut Vec<u8>) {
        block(SECTION_HEADER, out, |out| {
            out.extend_from_slice(&BYTE_ORDER_MAGIC.to_ne_bytes());
            out.extend_from_slice(&1u16.to_ne_bytes());
            out.extend_from_slice(&0u16.to_ne_bytes());
            // The section's length is not known.
            out.extend_from_slice(&u64::MAX.to_ne_bytes());
            option(SECTION_HARDWARE, std::env::consts::ARCH.as_bytes(), out);
            option(SECTION_OS, OS.as_bytes(), out);
            option(SECTION_APPLICATION, b"ig", out);
            option(OPTION_END, &[], out);
        });
        interface("intf0", "", out);
    }

    /// Appends one element as a packet, after its interface if that is new.
    pub fn encode(&mut self, element: &Element, out: &mut Vec<u8>) {
        let number = self.interface(element, out);
        let payload = self.payload.bytes(element);
        let time = self.time.bits(element).wrapping_mul(1000);
        let captured = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        // Whatever a program says, a packet is not shorter than what was captured of it.
        let length = u32::try_from(self.length.bits(element))
            .unwrap_or(u32::MAX)
            .max(captured);
        block(ENHANCED_PACKET, out, |out| {
            out.extend_from_slice(&number.to_ne_bytes());
            out.extend_from_slice(&((time >> 32) as u32).to_ne_bytes());
            out.extend_from_slice(&(time as u32).to_ne_bytes());
            out.extend_from_slice(&captured.to_ne_bytes());
            out.extend_from_slice(&length.to_ne_bytes());
            padded(&payload[..captured as usize], out);
        });
    }

    /// The number of the element's interface.
    fn interface(&mut self, element: &Element, out: &mut Vec<u8>) -> u32 {
        self.key.clear();
        for accessor in self
            .identity
            .iter()
            .chain(self.variables.iter().map(|(_, accessor)| accessor))
        {
            self.key.extend_from_slice(accessor.bytes(element));
            self.key.push(b':');
        }
        if let Some(number) = self.interfaces.get(&self.key) {
            return *number;
        }
        let mut description = String::new();
        for (name, accessor) in &self.variables {
            if !description.is_empty() {
                description.push(';');
            }
            description.push_str(name);
            description.push('=');
            push_query_escaped(accessor.text(element), &mut description);
        }
        interface("virtual", &description, out);
        // The first is the one of the header.
        let number = u32::try_from(self.interfaces.len() + 1).unwrap_or(u32::MAX);
        self.interfaces.insert(self.key.clone(), number);
        number
    }
}

/// Appends a block with its type and lengths.
fn block(kind: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&kind.to_ne_bytes());
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start + 8).unwrap_or(u32::MAX).to_ne_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

fn interface(name: &str, description: &str, out: &mut Vec<u8>) {
    block(INTERFACE_DESCRIPTION, out, |out| {
        out.extend_from_slice(&ETHERNET.to_ne_bytes());
        out.extend_from_slice(&0u16.to_ne_bytes());
        // Packets have any length.
        out.extend_from_slice(&0u32.to_ne_bytes());
        option(INTERFACE_NAME, name.as_bytes(), out);
        if !description.is_empty() {
            option(INTERFACE_TEXT, description.as_bytes(), out);
        }
        option(INTERFACE_OS, OS.as_bytes(), out);
        option(INTERFACE_RESOLUTION, &[NANOSECONDS], out);
        option(OPTION_END, &[], out);
    });
}

/// Appends an option; a value that is too long for one is cut.
fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&code.to_ne_bytes());
    out.extend_from_slice(&length.to_ne_bytes());
    padded(&value[..usize::from(length)], out);
}

/// Appends `bytes` and zeroes up to a multiple of four.
fn padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    out.extend_from_slice(&[0; 3][..padding]);
}

/// Appends `bytes` as the value of a URL's query: a blank is `+`, other bytes that are not harmless are `%XX`.
fn push_query_escaped(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests;
