//! Recordings made and read back without a kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::format::{self, BLOCK_HEADER, BlockHeader, BlockType, FILE_HEADER};
use super::head::{FieldHead, NamesHead};
use super::reader::Next;
use super::*;
use crate::containers::journal::{Change, Known, RecordedContainer};
use crate::data::{Kind, LossPlace, Losses, Scalar};
use crate::gadget::{Gadget, Report};
use crate::operators::uidgid::NameTables;
use crate::stop::StopSignal;
use crate::{Error, Result};

fn field(name: &str, kind: Scalar, offset: u32, size: u32, tags: &[&str]) -> FieldHead {
    FieldHead {
        name: name.to_owned(),
        kind: Kind::One(kind).to_wire(),
        offset,
        size,
        tags: tags.iter().map(ToString::to_string).collect(),
        ..FieldHead::default()
    }
}

fn source(name: &str) -> SourceHead {
    let mut fields = vec![
        field("mntns_id", Scalar::Uint64, 0, 8, &["type:gadget_mntns_id"]),
        field("timestamp_raw", Scalar::Uint64, 8, 8, &["type:gadget_timestamp"]),
        field("kind_raw", Scalar::Uint32, 16, 4, &[]),
        field("uid", Scalar::Uint32, 20, 4, &["type:gadget_uid"]),
        field("syscall_raw", Scalar::Uint64, 24, 8, &["type:gadget_syscall"]),
        field("number", Scalar::Uint32, 32, 4, &[]),
    ];
    fields[2].enum_name = Some("kind".to_owned());
    fields[2].enum_values = vec![("GOOD".to_owned(), 1)];
    SourceHead {
        name: name.to_owned(),
        source_type: 1,
        size: 40,
        fields,
        ..SourceHead::default()
    }
}

fn head() -> Head {
    Head {
        metadata: "name: test\n".to_owned(),
        sources: vec![source("events")],
        filters_mntns: true,
        kernel_params: vec![KernelParam {
            key: "pid".to_owned(),
            value: "7".to_owned(),
            ..KernelParam::default()
        }],
        host: HostHead {
            architecture: "arm64".to_owned(),
            byte_order: "little".to_owned(),
            boot_offset: 1_000_000_000_000_000_000,
            zone: Some("UTC".to_owned()),
            mntns: 1,
            names: NamesHead {
                users: Some(vec![(5, "five".to_owned())]),
                groups: Some(vec![]),
            },
            ..HostHead::default()
        },
        ..Head::default()
    }
}

fn record(mntns: u64, number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(mntns.to_le_bytes());
    bytes.extend(u64::from(number).to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes
}

fn life(life: u64, mntns: u64, name: Option<&str>) -> Change {
    let container = name.map(|name| {
        Box::new(RecordedContainer {
            container_id: format!("id-{name}"),
            container_name: name.to_owned(),
            ..RecordedContainer::default()
        })
    });
    Change::of_life(life, mntns, container.map_or(Known::Undecided, Known::Container))
}

/// The bytes of a recording that `what` makes.
fn recorded(head: &Head, what: impl FnOnce(&Recorder)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let losses = head.sources.iter().map(|_| Arc::new(Losses::default())).collect();
    let file = RecordFile::create(&path).unwrap();
    let recorder = file
        .begin(head, NameTables::read(), losses, StopSignal::default())
        .unwrap();
    what(&recorder);
    recorder.finish().unwrap();
    std::fs::read(path).unwrap()
}

/// A recording with `count` events of the container `web`.
fn some_events(count: u32) -> Vec<u8> {
    recorded(&head(), |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        let mut tap = recorder.tap(0, None);
        for number in 0..count {
            tap.record(&record(10, number));
        }
    })
}

/// The kinds of the entries in a recording's stream, with how many bytes of it they take.
fn entries(bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut recording = Recording::from_bytes(bytes.to_vec()).unwrap();
    let mut found = Vec::new();
    while let Next::Stream = recording.blocks.next().unwrap() {
        let mut rest = recording.blocks.payload();
        while !rest.is_empty() {
            let length = format::entry_length(rest);
            found.push((rest[6], length));
            rest = &rest[length..];
        }
    }
    found
}

/// The containers and numbers of the events of a replay.
fn replayed_with(bytes: Vec<u8>, params: &[(&str, &str)]) -> Result<(Vec<(String, u32)>, Report)> {
    let mut gadget = Gadget::replay(Recording::from_bytes(bytes)?).build()?;
    for (name, value) in params {
        gadget.set_param(name, value)?;
    }
    let events = gadget.data_source("events")?;
    let number = events.field("number")?.u32()?;
    let name = events.field("runtime.containerName")?.str()?;
    let seen: Arc<Mutex<Vec<(String, u32)>>> = Arc::default();
    let into = Arc::clone(&seen);
    gadget.subscribe("events", ["number", "runtime.containerName"], move |event| {
        into.lock()
            .unwrap()
            .push((name.get(event).into_owned(), number.get(event)));
    })?;
    let mut running = gadget.start()?;
    running.wait(None);
    let report = running.stop()?;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    Ok((seen, report))
}

fn replayed(bytes: Vec<u8>) -> Result<(Vec<(String, u32)>, Report)> {
    replayed_with(bytes, &[])
}

fn numbers(seen: &[(String, u32)]) -> Vec<u32> {
    seen.iter().map(|(_, number)| *number).collect()
}

fn failure<T>(result: Result<T>) -> String {
    result.err().expect("it fails").to_string()
}

#[test]
fn events_come_back_with_what_they_mean_on_their_machine() {
    let bytes = some_events(1000);
    let recording = Recording::from_bytes(bytes.clone()).unwrap();
    assert_eq!(recording.head(), &head());
    let mut gadget = Gadget::replay(recording).build().unwrap();
    let events = gadget.data_source("events").unwrap();
    let names = ["timestamp", "kind", "user", "syscall", "runtime.containerName"];
    let fields = names.map(|name| events.field(name).unwrap().str().unwrap());
    let last: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = Arc::clone(&last);
    gadget
        .subscribe("events", names, move |event| {
            *into.lock().unwrap() = fields.iter().map(|field| field.get(event).into_owned()).collect();
        })
        .unwrap();
    let mut running = gadget.start().unwrap();
    running.wait(None);
    let report = running.stop().unwrap();
    assert_eq!(report.events(), 1000);
    assert!(report.losses().is_empty());
    // System call 64 is `write` on arm64 and `semget` on amd64.
    let expected = ["2001-09-09T01:46:40.000000999Z", "GOOD", "five", "SYS_WRITE", "web"];
    assert_eq!(*last.lock().unwrap(), expected);
}

#[test]
fn losses_are_replayed_where_they_happened() {
    let bytes = recorded(&head(), |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        let mut tap = recorder.tap(0, None);
        tap.record(&record(10, 1));
        tap.lost(LossPlace::Buffer, 5);
        tap.record(&record(10, 2));
        tap.lost(LossPlace::Buffer, 7);
    });
    let (seen, report) = replayed(bytes).unwrap();
    assert_eq!(numbers(&seen), [1, 2]);
    let [loss] = report.losses() else { panic!("{report:?}") };
    assert_eq!(
        (loss.count, loss.place, loss.source.as_str()),
        (12, LossPlace::Buffer, "events")
    );
    assert!(report.lost_anything());
}

#[test]
fn containers_are_selected_anew() {
    let with_params = |host: &str| {
        let mut head = head();
        head.params = BTreeMap::from([("operator.LocalManager.host".to_owned(), host.to_owned())]);
        recorded(&head, |recorder| {
            let mut journal = recorder.journal();
            journal(life(1, 10, Some("web")));
            journal(life(2, 11, Some("db")));
            let mut tap = recorder.tap(0, None);
            for (mntns, number) in [(10, 1), (11, 2), (1, 3), (99, 4)] {
                tap.record(&record(mntns, number));
            }
        })
    };
    let chosen = |bytes: &[u8], params: &[(&str, &str)]| numbers(&replayed_with(bytes.to_vec(), params).unwrap().0);
    let of_containers = with_params("false");
    assert_eq!(chosen(&of_containers, &[]), [1, 2], "as the kernel side would have");
    assert_eq!(chosen(&of_containers, &[("containername", "web")]), [1]);
    assert_eq!(chosen(&of_containers, &[("containername", "!web")]), [2]);
    assert_eq!(chosen(&of_containers, &[("host", "true")]), [1, 2, 3, 4]);
    let of_host = with_params("true");
    assert_eq!(chosen(&of_host, &[]), [1, 2, 3, 4], "as the run did");
    let only_db = [("host", "false"), ("containername", "db")];
    assert_eq!(chosen(&of_host, &only_db), [2]);
    let error = failure(replayed_with(of_host, &[("pid", "1")]));
    assert_eq!(error, "the gadget has no parameter \"pid\"");
}

#[test]
fn events_wait_for_their_container_as_they_did() {
    let bytes = recorded(&head(), |recorder| {
        let mut journal = recorder.journal();
        journal(life(1, 10, Some("web")));
        journal(life(2, 11, None));
        let mut tap = recorder.tap(0, None);
        tap.record(&record(11, 1));
        tap.record(&record(10, 2));
        tap.released();
        journal(life(2, 11, Some("new")));
        tap.record(&record(11, 3));
        tap.released();
        journal(life(2, 11, Some("renamed")));
        tap.record(&record(11, 4));
        journal(life(3, 12, None));
        tap.record(&record(12, 5));
    });
    let (seen, report) = replayed(bytes.clone()).unwrap();
    let expected = [("web", 2), ("new", 1), ("new", 3), ("renamed", 4)];
    assert_eq!(seen, expected.map(|(name, number)| (name.to_owned(), number)));
    assert!(
        report.losses().is_empty(),
        "what never was a container's is not selected"
    );
    let (seen, _) = replayed_with(bytes, &[("host", "true")]).unwrap();
    assert_eq!(numbers(&seen), [2, 1, 3, 4, 5]);
}

#[test]
fn a_recording_can_be_repeated() {
    let recording = Recording::from_bytes(some_events(100)).unwrap().repeated(50);
    let gadget = Gadget::replay(recording).build().unwrap();
    let mut running = gadget.start().unwrap();
    running.wait(None);
    assert_eq!(running.stop().unwrap().events(), 5000);
}

/// Offsets of the blocks of a recording, and of its end.
fn block_offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![FILE_HEADER];
    let mut at = FILE_HEADER;
    while at < bytes.len() {
        let header = BlockHeader::decode(bytes[at..at + BLOCK_HEADER].try_into().unwrap()).unwrap();
        at += BLOCK_HEADER + header.stored as usize;
        offsets.push(at);
    }
    offsets
}

#[test]
fn a_file_that_is_cut_off_is_read_up_to_its_last_whole_block() {
    let bytes = some_events(20_000);
    let offsets = block_offsets(&bytes);
    let [_, stream, .., end, len] = offsets[..] else {
        panic!("{offsets:?}")
    };
    assert!(offsets.len() > 5 && len == bytes.len(), "{offsets:?}");
    let all = replayed(bytes.clone()).unwrap().0;
    assert_eq!(all.len(), 20_000);
    let mut before = 0;
    let around_blocks = offsets.iter().flat_map(|at| (at - 1..at + 30).step_by(6));
    for cut in (0..stream + 200).step_by(7).chain(around_blocks).chain([end, len]) {
        let cut = cut.min(len);
        let result = replayed(bytes[..cut].to_vec());
        if cut < stream {
            let error = failure(result);
            let known = ["not a recording", "cut off within its header", "within its head"];
            assert!(known.iter().any(|text| error.contains(text)), "{cut}: {error}");
            continue;
        }
        let (seen, report) = result.unwrap();
        assert_eq!(seen[..], all[..seen.len()], "{cut}");
        assert!(!report.lost_anything());
        if cut >= end {
            assert_eq!(seen.len(), all.len());
        }
        before = before.max(seen.len());
    }
    assert_eq!(before, all.len());
    // A crash of the machine can leave zeroes.
    let mut zeroes = bytes[..end].to_vec();
    zeroes.resize(end + 5000, 0);
    assert_eq!(replayed(zeroes).unwrap().0.len(), all.len());
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let bytes = some_events(50);
    let mut errors = std::collections::BTreeSet::new();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = failure(replayed(flipped));
        assert!(error.starts_with("recording in memory: "), "{error}");
        let digits = error.trim_matches(|c: char| !c.is_ascii_digit());
        errors.insert(error.replacen(digits, "N", usize::from(!digits.is_empty())));
    }
    let errors: Vec<_> = errors.iter().map(String::as_str).collect();
    assert_eq!(
        errors,
        [
            "recording in memory: damaged at byte N: the checksum of a block is wrong",
            "recording in memory: damaged at byte N: the checksum of a block's header is wrong",
            "recording in memory: damaged at byte N: the checksum of its header is wrong",
            "recording in memory: not a recording",
        ]
    );
}

#[test]
fn a_damaged_block_is_left_out_and_the_rest_is_replayed() {
    let bytes = some_events(20_000);
    let offsets = block_offsets(&bytes);
    let mut damaged = bytes.clone();
    damaged[offsets[2] + BLOCK_HEADER + 5] ^= 1;
    let recording = Recording::from_bytes(damaged).unwrap();
    let mut gadget = Gadget::replay(recording).build().unwrap();
    let seen = Arc::new(Mutex::new(0));
    let into = Arc::clone(&seen);
    gadget
        .subscribe("events", [], move |_| *into.lock().unwrap() += 1)
        .unwrap();
    let mut running = gadget.start().unwrap();
    running.wait(None);
    let error = running.stop().unwrap_err();
    let missing = 20_000 - *seen.lock().unwrap();
    assert!(missing > 0 && missing < 10_000, "{missing}");
    let place = format!("recording in memory: damaged at byte {}: ", offsets[2]);
    assert!(error.to_string().starts_with(&place), "{error}");
    let left_out = format!("1 of its blocks with {missing} events were left out");
    assert!(error.hint().unwrap().starts_with(&left_out), "{:?}", error.hint());
}

fn block(block_type: BlockType, optional: bool, payload: &[u8]) -> Vec<u8> {
    let header = BlockHeader {
        block_type,
        optional,
        packed: false,
        stored: payload.len() as u32,
        length: payload.len() as u32,
        events: 0,
        crc: crc32fast::hash(payload),
    };
    [&header.encode()[..], payload].concat()
}

fn file(blocks: &[Vec<u8>]) -> Vec<u8> {
    [&format::file_header()[..], &blocks.concat()].concat()
}

fn head_block(head: &Head) -> Vec<u8> {
    block(BlockType::Head, false, &serde_json::to_vec(head).unwrap())
}

#[test]
fn records_are_whole_again_when_they_are_replayed() {
    const LONG: usize = 5000;
    let bytes = recorded(&head(), |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        let mut tap = recorder.tap(0, None);
        for number in 0..1000 {
            let mut record = record(10, number);
            if number % 2 == 0 {
                record.resize(LONG, 0);
            }
            tap.record(&record);
        }
    });
    let entries = entries(&bytes);
    assert_eq!(entries.len(), 1 + 1000);
    for (index, (kind, length)) in entries.into_iter().skip(1).enumerate() {
        match index % 2 {
            0 => assert!(kind == 6 && length < 120, "{length} bytes for {LONG}"),
            _ => assert_eq!((kind, length), (0, 8 + 36)),
        }
    }
    let seen = replayed(bytes).unwrap().0;
    assert_eq!(numbers(&seen), (0..1000).collect::<Vec<u32>>());
}

#[test]
fn later_versions_may_add_what_can_be_skipped() {
    let mut entries = Vec::new();
    format::append_containers(&serde_json::to_vec(&life(1, 10, Some("web"))).unwrap(), &mut entries);
    format::append_record(0, &record(10, 1), &mut entries);
    let stream = block(BlockType::Stream, false, &entries);
    let end = block(BlockType::End, false, br#"{"events":[1],"missing":[0],"more":2}"#);
    let with = |other: Vec<u8>| file(&[head_block(&head()), other, stream.clone(), end.clone()]);
    let skipped = with(block(BlockType::Unknown(77), true, b"something"));
    assert_eq!(numbers(&replayed(skipped).unwrap().0), [1]);
    let error = failure(replayed(with(block(BlockType::Unknown(77), false, b"something"))));
    assert!(error.contains("a block of type 77"), "{error}");
    let mut later = file(&[head_block(&head())]);
    later[8] = 2;
    let crc = crc32fast::hash(&later[..12]);
    later[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(
        failure(Recording::from_bytes(later)),
        "recording in memory: it has format version 2, and this ig reads version 1"
    );
}

#[test]
fn lengths_are_not_trusted() {
    let forged = |block_type, stored: u32, packed, length| {
        let header = BlockHeader {
            block_type,
            optional: true,
            packed,
            stored,
            length,
            events: 0,
            crc: 0,
        };
        header.encode().to_vec()
    };
    for (block, expected) in [
        (
            forged(BlockType::Stream, format::MAX_STREAM, false, format::MAX_STREAM),
            None,
        ),
        (forged(BlockType::Unknown(9), u32::MAX, false, 0), None),
        (
            forged(BlockType::Stream, u32::MAX, false, u32::MAX),
            Some("header is wrong"),
        ),
        (
            forged(BlockType::Stream, 0, true, 100),
            Some("another length than it says"),
        ),
    ] {
        let bytes = file(&[head_block(&head()), block]);
        match (replayed(bytes), expected) {
            (Ok((seen, _)), None) => assert!(seen.is_empty()),
            (Err(error), Some(expected)) if error.to_string().contains(expected) => {}
            (result, expected) => panic!("{result:?}, not {expected:?}"),
        }
    }
    // Entries that lie about their length, or speak of what is not there.
    let mut too_long = Vec::new();
    format::append_record(0, b"abc", &mut too_long);
    too_long[0] = 200;
    let mut foreign = Vec::new();
    format::append_record(3, b"abc", &mut foreign);
    let mut garbage = Vec::new();
    format::append_containers(b"{", &mut garbage);
    let (mut whole, mut not_whole) = (Vec::new(), Vec::new());
    format::append_record(0, &[0; 100], &mut whole);
    format::append_packed(&whole, &mut not_whole);
    not_whole[9] = 0xff;
    for (entries, expected) in [
        (too_long, "an entry is longer than its block"),
        (foreign, "data source 3, which does not exist"),
        (garbage, "EOF while parsing"),
        (not_whole, "a sparse record does not hold what it says"),
    ] {
        let error = failure(replayed(file(&[
            head_block(&head()),
            block(BlockType::Stream, false, &entries),
        ])));
        assert!(error.contains(expected), "{error}");
    }
    // A bomb: a short frame that says that it is long.
    let packed = zstd::bulk::compress(&vec![0; 80 << 20], 1).unwrap();
    let header = BlockHeader {
        block_type: BlockType::Stream,
        optional: false,
        packed: true,
        stored: packed.len() as u32,
        length: format::MAX_STREAM,
        events: 0,
        crc: crc32fast::hash(&packed),
    };
    let bomb = [&header.encode()[..], &packed].concat();
    let error = failure(replayed(file(&[head_block(&head()), bomb])));
    assert!(error.contains("unpacking a block"), "{error}");
}

#[test]
fn records_of_any_length_are_harmless() {
    let bytes = recorded(&head(), |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        let mut tap = recorder.tap(0, None);
        for length in 0..60 {
            let mut bytes = record(10, 7);
            bytes.resize(length, 0xff);
            tap.record(&bytes);
        }
    });
    let (seen, _) = replayed_with(bytes, &[("host", "true")]).unwrap();
    assert_eq!(seen.len(), 60);
}

#[test]
fn what_no_object_declares_is_refused() {
    let with = |change: &dyn Fn(&mut Head)| {
        let mut head = head();
        change(&mut head);
        failure(replayed(file(&[head_block(&head)])))
    };
    type Case<'a> = (&'a dyn Fn(&mut Head), &'a str);
    let cases: [Case; 9] = [
        (&|head| head.sources[0].size = u32::MAX, "it is too large"),
        (&|head| head.sources[0].size = 4, "exceeds size of container"),
        (
            &|head| head.sources[0].fields[0].size = 4,
            "its size is not that of its kind",
        ),
        (
            &|head| head.sources[0].fields[0].offset = u32::MAX,
            "exceeds size of container",
        ),
        (&|head| head.sources[0].fields[0].kind = 99, "its kind is not known"),
        (
            &|head| head.sources[0].fields[1].parent = Some(1),
            "its parent does not precede it",
        ),
        (
            &|head| head.sources[0].fields[0].bits = Some((200, 8)),
            "its size is not that of its kind",
        ),
        (&|head| head.host.byte_order = "big".to_owned(), "big-endian"),
        (
            &|head| head.host.architecture = "vax".to_owned(),
            "architecture \"vax\" is not known",
        ),
    ];
    for (change, expected) in cases {
        let error = with(change);
        assert!(error.contains(expected), "{error}");
    }
    let error = failure(replayed(file(&[block(BlockType::Head, false, b"{}")])));
    assert!(error.contains("damaged at byte 16: missing field"), "{error}");
    let error = failure(replayed(file(&[block(BlockType::Stream, false, b"")])));
    assert!(error.contains("does not begin with its head"), "{error}");
}

#[test]
fn arrays_come_back_whole() {
    let mut head = head();
    head.sources[0].source_type = 2;
    let bytes = recorded(&head, |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        recorder.journal()(life(2, 20, Some("db")));
        let mut tap = recorder.tap(0, None);
        for batch in [vec![(10, 1), (20, 2), (10, 3)], vec![], vec![(30, 4), (10, 5)]] {
            let records: Vec<Vec<u8>> = batch.into_iter().map(|(mntns, number)| record(mntns, number)).collect();
            tap.batch(&mut records.iter().map(Vec::as_slice));
        }
    });
    let (seen, report) = replayed(bytes.clone()).unwrap();
    assert_eq!(numbers(&seen), [1, 2, 3, 5], "one is of no container");
    assert_eq!(report.events(), 4);
    let of = |params: &[(&str, &str)]| numbers(&replayed_with(bytes.clone(), params).unwrap().0);
    assert_eq!(of(&[("host", "true")]), [1, 2, 3, 4, 5]);
    assert_eq!(of(&[("containername", "web")]), [1, 3, 5]);
}

#[test]
fn records_of_maps_have_a_value_after_their_key() {
    let mut head = head();
    let source = &mut head.sources[0];
    source.source_type = 2;
    let (key, mut value): (Vec<_>, Vec<_>) = source.fields.drain(..).partition(|field| field.offset < 16);
    value.iter_mut().for_each(|field| field.offset -= 16);
    source.fields = key;
    source.size = 16;
    source.value = Some(StructHead {
        size: 24,
        fields: value,
    });
    let bytes = recorded(&head, |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        let records = [record(10, 1), record(20, 2), record(10, 3)];
        recorder.tap(0, None).batch(&mut records.iter().map(Vec::as_slice));
    });
    let (seen, _) = replayed(bytes).unwrap();
    assert_eq!(seen, [("web".to_owned(), 1), ("web".to_owned(), 3)]);
}

#[test]
fn packed_elements_come_back_as_the_operator_made_them() {
    let mut head = head();
    head.metadata = "operator: {process: {emitstats: true, fields: [comm]}}\n".to_owned();
    head.sources = vec![SourceHead {
        name: "processes".to_owned(),
        source_type: 2,
        packed: true,
        ..SourceHead::default()
    }];
    let packed = |pid: u32, comm: &str, mntns: u64| {
        let values = [&pid.to_ne_bytes()[..], comm.as_bytes(), &mntns.to_ne_bytes()];
        values
            .map(|value| [&(value.len() as u32).to_le_bytes()[..], value].concat())
            .concat()
    };
    let bytes = recorded(&head, |recorder| {
        recorder.journal()(life(1, 10, Some("web")));
        let batch = [packed(7, "cat", 10), packed(8, "dog", 20)];
        recorder.tap(0, None).batch(&mut batch.iter().map(Vec::as_slice));
    });
    let seen = |params: &[(&str, &str)]| {
        let mut gadget = Gadget::replay(Recording::from_bytes(bytes.clone()).unwrap())
            .build()
            .unwrap();
        params
            .iter()
            .for_each(|(name, value)| gadget.set_param(name, value).unwrap());
        let source = gadget.data_source("processes").unwrap();
        let comm = source.field("comm").unwrap().str().unwrap();
        let container = source.field("runtime.containerName").unwrap().str().unwrap();
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let into = Arc::clone(&seen);
        let fields = ["comm", "runtime.containerName"];
        let see = move |event: &crate::data::Element| {
            let names = (comm.get(event).into_owned(), container.get(event).into_owned());
            into.lock().unwrap().push(names);
        };
        gadget.subscribe("processes", fields, see).unwrap();
        let mut running = gadget.start().unwrap();
        running.wait(None);
        running.stop().unwrap();
        std::mem::take(&mut *seen.lock().unwrap())
    };
    let names = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    assert_eq!(seen(&[]), names(&[("cat", "web"), ("dog", "")]));
    assert_eq!(seen(&[("containername", "web")]), names(&[("cat", "web")]));

    head.metadata = "name: test\n".to_owned();
    let error = failure(
        Gadget::replay(Recording::from_bytes(recorded(&head, |_| ())).unwrap())
            .build()
            .and_then(Gadget::start)
            .map(drop),
    );
    assert!(error.contains("no data source \"processes\""), "{error}");
}

#[test]
fn only_fresh_files_and_old_recordings_are_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let create = |path: &Path| RecordFile::create(path).map(drop);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;

    create(&at("new")).unwrap();
    assert_eq!(mode(&at("new")), 0o600);
    std::fs::write(at("old"), some_events(5)).unwrap();
    std::fs::set_permissions(at("old"), std::fs::Permissions::from_mode(0o644)).unwrap();
    create(&at("old")).unwrap();
    assert_eq!(
        (mode(&at("old")), std::fs::metadata(at("old")).unwrap().len()),
        (0o600, 0)
    );

    std::fs::write(at("notes"), "dear diary").unwrap();
    std::fs::write(at("target"), "").unwrap();
    symlink(at("target"), at("link")).unwrap();
    std::fs::hard_link(at("target"), at("second")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, expected) in [
        (at("notes"), "it exists and is not a recording"),
        (at("link"), "it is a symbolic link"),
        (at("second"), "has other names too"),
        (at("fifo"), "it is not a regular file"),
        ("/dev/null".into(), "it is not a regular file"),
        (dir.path().to_owned(), "directory"),
        (at("none/x"), "No such file"),
    ] {
        let error = failure(create(&path));
        assert!(
            error.starts_with(&format!("recording to {}: ", path.display())),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(std::fs::read(at("notes")).unwrap(), b"dear diary");
}

#[test]
fn other_files_are_no_recordings() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| failure(Recording::open(path));
    assert!(error(Path::new("/proc/self/exe")).ends_with("not a recording"));
    assert!(error(Path::new("/dev/null")).ends_with("not a recording"));
    assert!(error(dir.path()).contains("directory"));
    assert!(error(&dir.path().join("x")).contains("No such file"));
}

#[test]
fn a_disk_that_fails_ends_the_run() {
    // Nothing can be written to this one.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error: Error = RecordFile::for_test(full)
        .begin(&head(), NameTables::read(), vec![Arc::default()], StopSignal::default())
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
}

/// Trap 33 of the data specification: of what operators hide, metadata shows the inputs of formatters only.
#[test]
fn metadata_unhides_only_what_formatters_hide() {
    let hidden = |said: &str| -> Vec<(String, bool)> {
        let fields = [
            "syscall_raw",
            "uid",
            "user",
            "kind_raw",
            "k8s.podName",
            "runtime.containerId",
        ];
        let lines = fields.map(|name| format!("      {name}: {{annotations: {{columns.hidden: {said}}}}}\n"));
        let mut head = head();
        head.metadata = format!("datasources:\n  events:\n    fields:\n{}", lines.concat());
        let recording = Recording::from_bytes(recorded(&head, |_| ())).unwrap();
        let gadget = Gadget::replay(recording).build().unwrap();
        let source = gadget.data_source("events").unwrap();
        let is_hidden = |name: &str| source.get(source.find(name).unwrap()).is_hidden();
        fields.map(|name| (name.to_owned(), is_hidden(name))).to_vec()
    };
    let shown: Vec<String> = hidden("false")
        .into_iter()
        .filter_map(|(name, hidden)| (!hidden).then_some(name))
        .collect();
    assert_eq!(shown, ["syscall_raw"]);
    assert!(hidden("true").iter().all(|(_, hidden)| *hidden));
}
