//! What is written is read back by the rules of the format.

use super::*;
use crate::data::{NewField, SourceType};

/// A block as it was read.
#[derive(Debug, PartialEq)]
enum Block {
    Section {
        options: Vec<(u16, Vec<u8>)>,
    },
    Interface {
        link: u16,
        options: Vec<(u16, Vec<u8>)>,
    },
    Packet {
        interface: u32,
        time: u64,
        length: u32,
        data: Vec<u8>,
    },
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take(4).try_into().unwrap())
    }

    fn padded(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.take(count).to_vec();
        assert!(
            self.take(count.next_multiple_of(4) - count)
                .iter()
                .all(|byte| *byte == 0)
        );
        bytes
    }

    fn options(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut options = Vec::new();
        loop {
            let (code, length) = (self.u16(), self.u16());
            if code == 0 {
                assert_eq!(length, 0);
                assert!(self.0.is_empty(), "nothing follows the end");
                return options;
            }
            options.push((code, self.padded(usize::from(length))));
        }
    }
}

fn read(bytes: &[u8]) -> Vec<Block> {
    let mut reader = Reader(bytes);
    let mut blocks = Vec::new();
    while !reader.0.is_empty() {
        let (kind, length) = (reader.u32(), reader.u32());
        assert_eq!(length % 4, 0);
        let mut body = Reader(reader.take(length as usize - 12));
        assert_eq!(reader.u32(), length, "at the end, too");
        blocks.push(match kind {
            0x0a0d_0d0a => {
                assert_eq!(body.u32(), 0x1a2b_3c4d);
                assert_eq!((body.u16(), body.u16()), (1, 0));
                assert_eq!(body.take(8), [0xff; 8]);
                Block::Section {
                    options: body.options(),
                }
            }
            1 => {
                let link = body.u16();
                assert_eq!((body.u16(), body.u32()), (0, 0));
                Block::Interface {
                    link,
                    options: body.options(),
                }
            }
            6 => {
                let interface = body.u32();
                let time = u64::from(body.u32()) << 32 | u64::from(body.u32());
                let (captured, length) = (body.u32(), body.u32());
                let data = body.padded(captured as usize);
                assert!(body.0.is_empty());
                Block::Packet {
                    interface,
                    time,
                    length,
                    data,
                }
            }
            other => panic!("block {other:#x}"),
        });
    }
    blocks
}

const ANNOTATIONS: [(&str, &str); 3] = [
    ("pcap.payload", "payload"),
    ("pcap.timestamp", "time"),
    ("pcap.packet-length", "length"),
];

fn source() -> DataSource {
    let mut ds = DataSource::new("packets", SourceType::Single, None);
    ds.add_field(NewField::new("payload", Scalar::Bytes)).unwrap();
    ds.add_field(NewField::new("time", Scalar::Uint64)).unwrap();
    ds.add_field(NewField::new("length", Scalar::Uint32)).unwrap();
    let netns = ds.add_field(NewField::new("netns", Scalar::Uint32)).unwrap();
    ds.annotate_field(netns, "pcap.interface-key", "true");
    let container = ds.add_field(NewField::new("container", Scalar::String)).unwrap();
    ds.annotate_field(container, "pcap.interface-var", "container");
    let pod = ds.add_field(NewField::new("pod", Scalar::CString)).unwrap();
    ds.annotate_field(pod, "pcap.interface-var", "pod");
    for (key, value) in ANNOTATIONS {
        ds.annotate(key, value);
    }
    ds
}

fn element(ds: &DataSource, payload: &[u8], time: u64, length: u32, container: &[u8], pod: &[u8]) -> Element {
    let mut element = Element::new(ds.layout());
    let mut set = |name: &str, value: &[u8]| ds.accessor(ds.find(name).unwrap()).set(&mut element, value).unwrap();
    set("payload", payload);
    set("time", &time.to_ne_bytes());
    set("length", &length.to_ne_bytes());
    set("container", container);
    set("pod", pod);
    element
}

fn options(code_and_text: &[(u16, &str)]) -> Vec<(u16, Vec<u8>)> {
    let mut options: Vec<(u16, Vec<u8>)> = code_and_text
        .iter()
        .map(|(code, text)| (*code, text.as_bytes().to_vec()))
        .collect();
    options.push((12, b"linux".to_vec()));
    options.push((9, vec![9]));
    options
}

#[test]
fn packets_and_their_interfaces() {
    let ds = source();
    let mut encoder = Encoder::new(&ds).unwrap();
    assert_eq!(encoder.fields().len(), 6);
    let mut out = Vec::new();
    encoder.header(&mut out);
    let time = 1_795_256_225_574_562;
    for (payload, length, container) in [
        (&b"abcde"[..], 1500, &b"a b&\x1b\xff"[..]),
        (b"", 0, b"web"),
        (b"123456", 4, b"a b&\x1b\xff"),
    ] {
        encoder.encode(&element(&ds, payload, time, length, container, b"x\0y"), &mut out);
    }
    let packet = |interface, data: &[u8], length| Block::Packet {
        interface,
        time: time * 1000,
        length,
        data: data.to_vec(),
    };
    let blocks = read(&out);
    let Block::Section { options: about } = &blocks[0] else {
        panic!("{blocks:?}")
    };
    assert_eq!(about[1..], [(3, b"linux".to_vec()), (4, b"ig".to_vec())]);
    assert_eq!(
        blocks[1..],
        [
            Block::Interface {
                link: 1,
                options: options(&[(2, "intf0")])
            },
            Block::Interface {
                link: 1,
                options: options(&[(2, "virtual"), (3, "container=a+b%26%1B%FF;pod=x")])
            },
            packet(1, b"abcde", 1500),
            Block::Interface {
                link: 1,
                options: options(&[(2, "virtual"), (3, "container=web;pod=x")])
            },
            packet(2, b"", 0),
            packet(1, b"123456", 6),
        ]
    );
}

#[test]
fn the_key_counts_not_the_description() {
    let ds = source();
    let mut encoder = Encoder::new(&ds).unwrap();
    let mut out = Vec::new();
    let netns = ds.accessor(ds.find("netns").unwrap());
    for number in [1, 2, 1] {
        let mut element = element(&ds, b"", 0, 0, b"", b"");
        netns.set_bits(&mut element, number);
        encoder.encode(&element, &mut out);
    }
    let numbers: Vec<u32> = read(&out)
        .into_iter()
        .filter_map(|block| match block {
            Block::Packet { interface, .. } => Some(interface),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [1, 2, 1]);
}

#[test]
fn a_name_too_long_for_an_option_is_cut() {
    let ds = source();
    let mut encoder = Encoder::new(&ds).unwrap();
    let mut out = Vec::new();
    encoder.encode(&element(&ds, b"", 0, 0, &[b'x'; 70_000], b""), &mut out);
    let Block::Interface { options, .. } = &read(&out)[0] else {
        panic!()
    };
    assert_eq!(options[1].1.len(), 65_535);
}

#[test]
fn what_is_missing_is_named() {
    let error = |change: &dyn Fn(&mut DataSource)| {
        let mut ds = source();
        change(&mut ds);
        Encoder::new(&ds).unwrap_err().to_string()
    };
    for (key, _) in ANNOTATIONS {
        let message = error(&|ds| ds.annotate(key, ""));
        assert_eq!(message, format!("{key} annotation not found"));
    }
    assert_eq!(error(&|ds| ds.annotate("pcap.payload", "x")), "payload field not found");
    assert_eq!(
        error(&|ds| ds.annotate("pcap.timestamp", "x")),
        "timestamp field not found"
    );
    assert_eq!(
        error(&|ds| ds.annotate("pcap.packet-length", "x")),
        "length field not found"
    );
    assert_eq!(
        error(&|ds| ds.annotate("pcap.timestamp", "length")),
        "timestamp field \"length\" is of kind Uint32"
    );
    assert_eq!(
        error(&|ds| {
            let time = ds.find("time").unwrap();
            ds.annotate_field(time, "pcap.interface-var", "t");
        }),
        "interface variable \"t\": field \"time\" is of kind Uint64"
    );
}
