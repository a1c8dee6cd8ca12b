//! A recording and its replay. An input is a recording as it is, or, so that checksums do not hide everything else, its parts: the
//! head (JSON), an empty line, and the entries of a stream block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::output::json;
use inspektor_gadget::recording::Recording;

pub fn run(data: &[u8]) {
    match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) if data.starts_with(b"{") => replay(assemble(&data[..at], &data[at + 2..])),
        _ => replay(data.to_vec()),
    }
}

/// A file of a head, one stream block and an end.
fn assemble(head: &[u8], entries: &[u8]) -> Vec<u8> {
    let mut file = b"\x89IGREC\r\n\x01\0\0\0".to_vec();
    file.extend_from_slice(&crc32fast::hash(&file).to_le_bytes());
    for (kind, payload) in [(1_u16, head), (2, entries)] {
        let len = (payload.len() as u32).to_le_bytes();
        let mut header = [&kind.to_le_bytes()[..], &[0, 0], &len, &len, &[0; 4]].concat();
        header.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        file.extend_from_slice(&header);
        file.extend_from_slice(payload);
    }
    file
}

fn replay(file: Vec<u8>) {
    let recording = match Recording::from_bytes(file) {
        Ok(recording) => recording,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let Ok(mut gadget) = Gadget::replay(recording).build() else {
        return;
    };
    let names: Vec<String> = gadget.data_sources().map(|source| source.name().to_owned()).collect();
    let seen = Arc::new(AtomicU64::new(0));
    for name in &names {
        let Ok(source) = gadget.data_source(name) else { continue };
        let mut encoder = json::Encoder::compact(source);
        let fields: Vec<String> = encoder
            .fields()
            .iter()
            .map(|id| source.get(*id).full_name().to_owned())
            .collect();
        let seen = Arc::clone(&seen);
        let mut out = Vec::new();
        let _ = gadget.subscribe(name, fields.iter().map(String::as_str), move |event| {
            out.clear();
            encoder.encode(event, &mut out);
            super::assert_harmless(&out);
            seen.fetch_add(1, Ordering::Relaxed);
        });
    }
    let Ok(mut running) = gadget.start() else { return };
    running.wait(None);
    if let Ok(report) = running.stop() {
        // Single data sources are subscribed to event by event.
        assert!(seen.load(Ordering::Relaxed) <= report.events().max(1) * names.len().max(1) as u64);
    }
}
