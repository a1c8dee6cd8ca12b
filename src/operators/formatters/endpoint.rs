//! Network endpoints: addresses, ports and protocols as text.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::data::{Accessor, DataSource, Derive, Element, FieldId, Kind, NewField, Scalar};
use crate::output::number;
use crate::{Error, Result};

/// Where the parts of an endpoint are read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    raw: Accessor,
    version: Accessor,
}

impl Address {
    /// The address.
    ///
    /// # Errors
    ///
    /// An IP version other than 4 and 6, or fewer bytes than such addresses have.
    fn read(&self, element: &Element) -> Result<IpAddr> {
        let bytes = self.raw.bytes(element);
        let address = match self.version.bits(element) {
            4 => bytes.first_chunk().map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into()),
            6 => bytes
                .first_chunk()
                .map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes).to_canonical()),
            version => {
                return Err(Error::invalid(format!("unknown IP version: {version}"))
                    .context("getting IP")
                    .context("getting IP address"));
            }
        };
        address.ok_or_else(|| {
            Error::invalid(format!("address of {} bytes is too short", bytes.len())).context("getting IP address")
        })
    }
}

/// Writes `address` or `address:port`.
#[derive(Debug)]
pub(super) struct EndpointText {
    pub(super) address: Address,
    pub(super) port: Option<Accessor>,
    pub(super) text: Accessor,
}

impl Derive for EndpointText {
    fn meet(&mut self, element: &mut Element) -> Result<()> {
        self.address.read(element).map(drop)
    }

    fn derive(&mut self, element: &mut Element) {
        let Ok(address) = self.address.read(element) else {
            return;
        };
        let port = self.port.map(|port| port.bits(element));
        self.text.write(element, |out| {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{address}");
            if let Some(port) = port {
                out.push(b':');
                number::append_u64(port, out);
            }
        });
    }
}

/// An endpoint without port: what was found and added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer3 {
    pub(super) address: Address,
    /// The fields of the address and its version.
    pub(super) inputs: [FieldId; 2],
    /// The added text.
    pub(super) text: FieldId,
}

/// An endpoint with a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer4 {
    pub(super) layer3: Layer3,
    pub(super) port: (FieldId, Accessor),
    /// Protocol number and its added text.
    pub(super) protocol: Option<(FieldId, Accessor, FieldId)>,
    /// The added `address:port`.
    pub(super) text: FieldId,
}

/// The only child of `parent` that has `tag`.
fn only_child(source: &DataSource, parent: FieldId, tag: &str) -> Option<FieldId> {
    let mut found = source.children(parent).filter(|(_, field)| field.has_tag(tag));
    let (id, _) = found.next()?;
    found.next().is_none().then_some(id)
}

/// Finds the address of endpoint `parent` and adds its text.
pub(super) fn add_layer3(source: &mut DataSource, parent: FieldId) -> Option<Layer3> {
    let raw = only_child(source, parent, "type:gadget_ip_addr_t")?;
    let version = only_child(source, parent, "name:version")?;
    let name = source.get(raw).name().strip_suffix("_raw")?.to_owned();
    let text = source.add_sub_field(parent, NewField::new(name, Scalar::String)).ok()?;
    source.remove_reference(raw, true);
    show_instead(source, parent, text);
    Some(Layer3 {
        address: Address {
            raw: source.accessor(raw),
            version: source.accessor(version),
        },
        inputs: [raw, version],
        text,
    })
}

/// Finds the parts of endpoint `parent` and adds their texts.
pub(super) fn add_layer4(source: &mut DataSource, parent: FieldId) -> Option<Layer4> {
    let port = only_child(source, parent, "name:port")?;
    if source.get(port).kind() != Kind::One(Scalar::Uint16) {
        return None;
    }
    let numbers = source
        .children(parent)
        .filter(|(_, field)| field.has_tag("name:proto_raw"))
        .count();
    if numbers > 1 {
        return None;
    }
    let layer3 = add_layer3(source, parent)?;
    let protocol = only_child(source, parent, "name:proto_raw").and_then(|raw| {
        let name = source.get(raw).name().strip_suffix("_raw")?.to_owned();
        let text = source.add_sub_field(parent, NewField::new(name, Scalar::String)).ok()?;
        Some((raw, source.accessor(raw), text))
    });
    let endpoint = NewField::new("endpoint", Scalar::String)
        .tag("endpoint")
        .annotations([("json.skip", "true")]);
    let text = source.add_sub_field(parent, endpoint).ok()?;
    show_instead(source, parent, text);
    Some(Layer4 {
        layer3,
        port: (port, source.accessor(port)),
        protocol,
        text,
    })
}

/// Lets the column of `parent` show `text`.
fn show_instead(source: &mut DataSource, parent: FieldId, text: FieldId) {
    let name = source.get(text).full_name().to_owned();
    source.annotate_field(parent, "columns.replace", name);
}
