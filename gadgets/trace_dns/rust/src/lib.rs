//! Says what is in the DNS messages of the packets that the eBPF program delivers.

mod dns;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use api::datasources::{Data, DataSource, Field, FieldKind};
use api::{errorf, warnf};

use dns::Message;

/// Messages about packets that cannot be parsed; anybody can send some.
const MAX_WARNINGS: u32 = 10;

struct Fields {
    dns_off: Field,
    data_len: Field,
    data: Field,
    id: Field,
    qr_raw: Field,
    qr: Field,
    qtype_raw: Field,
    qtype: Field,
    name: Field,
    rcode_raw: Field,
    rcode: Field,
    num_answers: Field,
    addresses: Field,
    tc: Field,
    ra: Field,
    rd: Field,
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    match init() {
        Ok(()) => 0,
        Err(error) => {
            errorf!("trace_dns: {error}");
            1
        }
    }
}

fn init() -> api::datasources::Result<()> {
    let dns = DataSource::get_datasource("dns".to_string())?;
    // In the order in which they are shown.
    let fields = Fields {
        dns_off: dns.get_field("dns_off")?,
        data_len: dns.get_field("data_len")?,
        data: dns.get_field("data")?,
        id: dns.add_field("id", FieldKind::String)?,
        qr_raw: dns.add_field("qr_raw", FieldKind::Bool)?,
        qr: dns.add_field("qr", FieldKind::String)?,
        qtype_raw: dns.add_field("qtype_raw", FieldKind::Uint16)?,
        qtype: dns.add_field("qtype", FieldKind::String)?,
        name: dns.add_field("name", FieldKind::String)?,
        rcode_raw: dns.add_field("rcode_raw", FieldKind::Uint16)?,
        rcode: dns.add_field("rcode", FieldKind::String)?,
        num_answers: dns.add_field("num_answers", FieldKind::Int32)?,
        addresses: dns.add_field("addresses", FieldKind::String)?,
        tc: dns.add_field("tc", FieldKind::Bool)?,
        ra: dns.add_field("ra", FieldKind::Bool)?,
        rd: dns.add_field("rd", FieldKind::Bool)?,
    };
    // One for all packets.
    let buffer = Mutex::new(Vec::new());
    let warnings = AtomicU32::new(0);
    dns.subscribe(
        move |_, data| {
            let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = describe(&fields, data, &mut buffer) {
                if warnings.fetch_add(1, Ordering::Relaxed) < MAX_WARNINGS {
                    warnf!("trace_dns: {error}");
                }
            }
        },
        0,
    )
}

/// Fills the fields from the packet.
fn describe(fields: &Fields, data: Data, buffer: &mut Vec<u8>) -> Result<(), String> {
    let len = fields.data_len.u32(data)? as usize;
    let offset = usize::from(fields.dns_off.u16(data)?);
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let read = fields.data.bytes(data, buffer)? as usize;
    let message = buffer.get(offset..read).ok_or("a packet ends before its DNS message begins")?;
    let message = Message::parse(message).map_err(|error| format!("parsing a DNS message: {error}"))?;
    fields.set(data, &message)
}

impl Fields {
    /// What is zero or empty is left as it is.
    fn set(&self, data: Data, message: &Message) -> Result<(), String> {
        self.id.set_string(data, &format!("{:04x}", message.id))?;
        self.qr.set_string(data, if message.is_response { "R" } else { "Q" })?;
        if message.is_response {
            self.qr_raw.set_bool(data, true)?;
            self.rcode_raw.set_u16(data, message.rcode)?;
            set_name(self.rcode, data, dns::rcode_name(message.rcode), message.rcode)?;
        }
        if let Some((qtype, name)) = &message.question {
            self.qtype_raw.set_u16(data, *qtype)?;
            set_name(self.qtype, data, dns::type_name(*qtype), *qtype)?;
            self.name.set_string(data, name)?;
        }
        if message.num_answers > 0 {
            self.num_answers.set_i32(data, i32::from(message.num_answers))?;
        }
        if !message.addresses.is_empty() {
            self.addresses.set_string(data, &message.addresses)?;
        }
        for (field, flag) in [
            (self.tc, message.is_truncated),
            (self.ra, message.recursion_available),
            (self.rd, message.recursion_desired),
        ] {
            if flag {
                field.set_bool(data, true)?;
            }
        }
        Ok(())
    }
}

/// Sets a field to a name, or to the number if that has none.
fn set_name(field: Field, data: Data, name: Option<&str>, number: u16) -> Result<(), String> {
    match name {
        Some(name) => field.set_string(data, name),
        None => field.set_string(data, &number.to_string()),
    }
}
