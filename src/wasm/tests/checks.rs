//! Sections 18.1, 18.2, 18.6 and 18.7.

use super::*;

const SUBSCRIBE: &str = "dataSourceSubscribe";

fn bench() -> Bench {
    Bench::new(CALLBACK, context_with("host", SourceType::Single))
}

#[test]
fn e_handles() {
    let mut b = bench();
    let name = b.text("host");
    assert_eq!(
        (b.call("getDataSource", &[name]), b.call("getDataSource", &[name])),
        (1, 2),
        "E3"
    );
    assert_eq!(b.call("newDataSource", &[0, 1]), 3, "E2: the empty name");
    let array = b.source("a", 2);
    let packet = b.call("dataSourceNewPacketArray", &[array]);
    for _ in 0..4 {
        let element = b.call("dataArrayNew", &[packet]);
        assert_eq!(b.call("dataArrayAppend", &[packet, element]), 0);
    }
    assert_eq!(b.call("dataArrayGet", &[packet, 3]), 0x8003_0000 | packet, "E4");
    assert_eq!(b.call("dataArrayGet", &[packet, 4]), 0);
    assert_eq!(b.call("dataArrayGet", &[packet, 0xffff_ffff]), 0, "E7");
    assert_eq!(b.call("releaseHandle", &[0x8003_0000 | packet]), 1, "E8");
    assert_eq!(
        (b.call("releaseHandle", &[2]), b.call("releaseHandle", &[2])),
        (0, 1),
        "E11"
    );
    for _ in 0..4100 {
        b.call("getDataSource", &[name]);
    }
    assert_eq!(b.call("getDataSource", &[name]), 0, "E9");
    assert_eq!(b.call("releaseHandle", &[1]), 0);
    assert_ne!(b.call("getDataSource", &[name]), 0, "E9");
}

#[test]
fn e_large_arrays() {
    let mut b = bench();
    let array = b.source("a", 2);
    let packet = b.call("dataSourceNewPacketArray", &[array]);
    for _ in 0..32769 {
        let element = b.call("dataArrayNew", &[packet]);
        assert_eq!(b.call("dataArrayAppend", &[packet, element]), 0);
    }
    assert_eq!(b.call("dataArrayGet", &[packet, 32767]), 0xffff_0000 | packet, "E5");
    assert_eq!(b.call("dataArrayGet", &[packet, 32768]), 0, "E6");
}

#[test]
fn d_sources() {
    let mut b = bench();
    let foo = b.text("foo");
    assert_eq!(b.call("newDataSource", &[BAD, 1]), 0, "D1");
    assert_eq!(b.call("newDataSource", &[foo, 42]), 0, "D1");
    assert_eq!(b.call("newDataSource", &[foo, 0]), 0, "D1");
    assert_eq!(b.call("getDataSource", &[foo]), 0, "D3");
    assert_eq!(b.call("getDataSource", &[BAD]), 0, "D3");
    let host = b.text("host");
    assert_ne!(b.call("getDataSource", &[host]), 0, "D3");
    assert_ne!(b.call("newDataSource", &[host, 1]), 0, "D2: an existing name");
    let single = b.source("s", 1);
    let array = b.source("a", 2);
    let field = b.field(single, "f", 8);
    for (source, kind) in [(single, 1), (single, 3), (array, 2), (array, 3), (array, 1)] {
        assert_eq!(b.call(SUBSCRIBE, &[source, kind, 0, 0]), 0, "D4: {source} {kind}");
    }
    for (source, kind) in [(42, 1), (field, 1), (single, 2), (single, 1005), (single, 0)] {
        assert_eq!(b.call(SUBSCRIBE, &[source, kind, 0, 0]), 1, "D5: {source} {kind}");
    }
    assert_eq!(b.field(single, "f", 8), 0, "D6");
    let name = b.text("g");
    for (source, kind) in [(42, 8), (field, 8), (single, 1005), (single, 15)] {
        assert_eq!(
            b.call("dataSourceAddField", &[source, name, kind]),
            0,
            "D6: {source} {kind}"
        );
    }
    for kind in 0..=14 {
        assert_ne!(b.field(single, &format!("kind{kind}"), kind), 0, "kind {kind}");
    }
    let f = b.text("F");
    assert_ne!(b.call("dataSourceGetField", &[single, f]), 0, "D7, whatever the case");
    assert_eq!(b.call("dataSourceGetField", &[42, f]), 0, "D7");
    assert_eq!(b.call("dataSourceGetField", &[single, BAD]), 0, "D7");
    assert_eq!(b.call("dataSourceIsReferenced", &[single]), 1);
    assert_eq!(b.call("dataSourceUnreference", &[single]), 0, "D23");
    assert_eq!(b.call("dataSourceIsReferenced", &[single]), 0, "D23");
    let s = b.text("s");
    assert_eq!(b.call("getDataSource", &[s]), 0, "D23");
    assert_eq!(b.call("dataSourceIsReferenced", &[42]), 2, "D23");
}

#[test]
fn a_guest_without_a_callback_cannot_subscribe() {
    let mut b = Bench::new("", Context::default());
    let single = b.source("s", 1);
    assert_eq!(b.call(SUBSCRIBE, &[single, 1, 0, 0]), 1);
}

#[test]
fn d_packets_and_arrays() {
    let mut b = bench();
    let (s, a) = (b.source("s", 1), b.source("a", 2));
    let f = b.field(s, "f", 8);
    let p = b.call("dataSourceNewPacketSingle", &[s]);
    let q = b.call("dataSourceNewPacketArray", &[a]);
    assert!(p != 0 && q != 0, "D8, D9");
    for source in [42, f, a] {
        assert_eq!(b.call("dataSourceNewPacketSingle", &[source]), 0, "D8");
    }
    for source in [42, f, s] {
        assert_eq!(b.call("dataSourceNewPacketArray", &[source]), 0, "D9");
    }
    for (source, packet) in [(42, p), (f, p), (s, 42), (s, f)] {
        assert_eq!(b.call("dataSourceEmitAndRelease", &[source, packet]), 1, "D10");
    }
    assert_eq!(b.call("dataSourceRelease", &[s, p]), 0, "D11");
    for (source, packet) in [(s, p), (42, p), (f, p), (s, 42), (s, f)] {
        assert_eq!(b.call("dataSourceRelease", &[source, packet]), 1, "D11");
    }
    for array in [42, f] {
        assert_eq!(b.call("dataArrayNew", &[array]), 0, "D12");
    }
    let e = b.call("dataArrayNew", &[q]);
    let e2 = b.call("dataArrayNew", &[q]);
    assert!(e != 0 && e2 != 0, "D12");
    assert_eq!(b.call("dataArrayAppend", &[q, e]), 0, "D13");
    assert_eq!(b.call("dataArrayRelease", &[q, e]), 1, "D13");
    let p3 = b.call("dataSourceNewPacketSingle", &[s]);
    for (array, data) in [(q, 42), (q, f), (42, e2), (f, e2), (q, p3), (q, q)] {
        assert_eq!(b.call("dataArrayAppend", &[array, data]), 1, "D13");
    }
    assert_eq!(b.call("dataArrayLen", &[q]), 1, "D14");
    assert_eq!(
        (b.call("dataArrayLen", &[42]), b.call("dataArrayLen", &[p])),
        (0, 0),
        "D14"
    );
    for (array, data) in [(q, 42), (q, f), (42, e2), (f, e2)] {
        assert_eq!(b.call("dataArrayRelease", &[array, data]), 1, "D15");
    }
    assert_eq!(b.call("dataArrayRelease", &[q, e2]), 0, "D15");
    assert_eq!(b.call("dataArrayRelease", &[q, e2]), 1, "D15");
    assert_ne!(b.call("dataArrayGet", &[q, 0]), 0, "D16");
    assert_eq!(
        (b.call("dataArrayGet", &[q, 1]), b.call("dataArrayGet", &[42, 0])),
        (0, 0),
        "D16"
    );
    // A packet of the other shape, and one of another data source.
    let array = b.call("dataSourceNewPacketArray", &[a]);
    assert_eq!(b.call("dataSourceEmitAndRelease", &[s, array]), 1);
    let other = b.source("t", 1);
    assert_eq!(b.call("dataSourceEmitAndRelease", &[other, p3]), 1);
    assert_eq!(
        b.call("dataSourceRelease", &[s, p3]),
        1,
        "the handle is gone though the emission failed"
    );
}

#[test]
fn d_fields() {
    let mut b = bench();
    let s = b.source("s", 1);
    let f = b.field(s, "f", 8);
    let (int8, boolean) = (b.field(s, "i", 2), b.field(s, "b", 1));
    let p = b.call("dataSourceNewPacketSingle", &[s]);
    assert_eq!(b.call("fieldSet", &[f, p, 8, 1234]), 0, "D17");
    for (field, data, kind) in [(f, p, 9), (f, p, 1005), (f, f, 8), (p, p, 8)] {
        assert_eq!(b.call("fieldSet", &[field, data, kind, 1]), 1, "D17");
    }
    assert_eq!(b.scalar(f, p, 8), Ok(1234), "D18");
    for (field, data, kind) in [
        (f, p, 1005),
        (f, f, 8),
        (p, p, 8),
        (f, p, 12),
        (f, p, 13),
        (f, p, 0),
        (f, p, 9),
    ] {
        assert_eq!(b.scalar(field, data, kind), Err(1), "D19");
    }
    b.write(0, &[0xaa; 4]);
    assert_eq!(b.call("fieldGetScalar", &[f, p, 1005, 0]), 0, "D20");
    assert_eq!(b.read(4 << 32), [0xaa; 4], "D20: nothing is written");
    assert_eq!(b.call("fieldSet", &[int8, p, 2, 0xffff_ffff_ffff_ff85]), 0);
    assert_eq!(b.scalar(int8, p, 2), Ok(0xffff_ffff_ffff_ff85), "D24");
    assert_eq!(b.call("fieldSet", &[boolean, p, 6, 2]), 0);
    assert_eq!(b.scalar(boolean, p, 1), Ok(0), "D25");
    let foreign = b.source("t", 1);
    let foreign = b.field(foreign, "f", 8);
    assert_eq!(b.scalar(foreign, p, 8), Err(1), "a field of another data source");
    let tag = b.text("tag");
    assert_eq!(b.call("fieldAddTag", &[f, tag]), 0);
    assert_eq!(b.call("fieldAddTag", &[f, BAD]), 1);
    assert_eq!(b.call("fieldAddTag", &[p, tag]), 1);
}

#[test]
fn d_members_of_structs() {
    let mut b = bench();
    let host = b.text("host");
    let s = b.call("getDataSource", &[host]);
    let (short, long) = (b.text("short"), b.text("long"));
    let short = b.call("dataSourceGetField", &[s, short]);
    let long = b.call("dataSourceGetField", &[s, long]);
    let p = b.call("dataSourceNewPacketSingle", &[s]);
    let to = b.bytes(&[0xaa; 16]);
    let get = |b: &mut Bench| {
        assert_eq!(b.call("fieldGetBuffer", &[short, p, 12, to]), 8);
        b.read((8 << 32) | (to & 0xffff_ffff))
    };
    let text = b.text("12345678");
    assert_eq!(b.call("fieldSet", &[short, p, 12, text]), 0, "D27");
    assert_eq!(get(&mut b), b"12345678");
    let text = b.text("123456789");
    assert_eq!(b.call("fieldSet", &[short, p, 12, text]), 1, "D27");
    assert_eq!(get(&mut b), b"12345678", "unchanged");
    let text = b.text("abc");
    assert_eq!(b.call("fieldSet", &[short, p, 12, text]), 0);
    assert_eq!(get(&mut b), b"abc\0\0\0\0\0", "D26");
    assert_eq!(b.read(to)[8..], [0xaa; 8], "what follows stays");
    let small = (15 << 32) | (to & 0xffff_ffff);
    assert_eq!(b.call("fieldGetBuffer", &[long, p, 12, small]), 0xffff_ffff, "D28");
    assert_eq!(b.call("fieldGetBuffer", &[long, p, 14, to]), 16, "D28");
    assert_eq!(b.call("fieldGetBuffer", &[long, p, 13, to]), 0xffff_ffff, "D29");
    let outside = (1 << 40) | (4 * 65536 - 8);
    assert_eq!(b.call("fieldGetBuffer", &[long, p, 14, outside]), 0xffff_ffff);
    assert_eq!(b.call("fieldSet", &[short, p, 12, BAD]), 1);
}

#[test]
fn d21_a_guest_that_cannot_be_told_of_an_error_ends() {
    let body = "(func (export \"gadgetInit\") (result i32)
        (drop (call $fieldGetScalar (i32.const 55) (i32.const 55) (i32.const 8) (i32.const 17825792)))
        (drop (call $newDataSource (i64.const 0) (i32.const 1))) (i32.const 0))";
    let mut context = Context::default();
    let error = guest(body, &mut context).unwrap_err().to_string();
    assert_eq!(
        error,
        "initializing wasm: initializing wasm guest: calling gadgetInit: module closed with exit_code(1)"
    );
    assert!(context.streams.is_empty(), "it did not run on");
}

#[test]
fn d22_logging_never_fails() {
    let mut b = bench();
    let hello = b.text("hello-world");
    b.call("gadgetLog", &[0, BAD]);
    b.call("gadgetLog", &[42, hello]);
    b.call("gadgetLog", &[0, 0]);
    let invalid = b.bytes(b"\xff\xfe");
    b.call("gadgetLog", &[0, invalid]);
}

#[test]
fn l_levels() {
    use tracing::Level;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;
    for (level, answers) in [
        (LevelFilter::from(Level::INFO), [1, 1, 1, 0, 0]),
        (LevelFilter::from(Level::TRACE), [1; 5]),
        (LevelFilter::OFF, [0; 5]),
    ] {
        let subscriber = tracing_subscriber::registry().with(level);
        tracing::subscriber::with_default(subscriber, || {
            let mut b = bench();
            for (number, answer) in answers.iter().enumerate() {
                assert_eq!(b.call("gadgetShouldLog", &[number as u64]), *answer, "{level} {number}");
            }
        });
    }
}

#[test]
fn f5_configuration() {
    let mut b = bench();
    let (key, value) = (b.text("foo.bar.zas"), b.text("myvalue"));
    assert_eq!(b.call("setConfig", &[key, value, 12]), 0);
    for kind in [8, 13, 14, 99] {
        assert_eq!(b.call("setConfig", &[key, value, kind]), 1);
    }
    assert_eq!(b.call("setConfig", &[BAD, value, 12]), 1);
    let mut live = b.live();
    let mut inside = live.inside();
    let config = inside.host().config.clone().unwrap();
    assert_eq!(config.get_str("Foo.bar.zas").unwrap(), "myvalue");
}

#[test]
fn s_system_calls() {
    let mut b = bench();
    let to = b.bytes(&[0; 64]);
    let name = |b: &mut Bench, number| {
        b.write(to & 0xffff_ffff, &[0; 64]);
        assert_eq!(b.call("getSyscallName", &[number, to]), 0);
        String::from_utf8(b.read(to)).unwrap().trim_end_matches('\0').to_owned()
    };
    assert_eq!(name(&mut b, 1337), "syscall_539", "S1");
    assert_eq!(name(&mut b, 428), "open_tree", "S2");
    assert_eq!(name(&mut b, 0x10000 + 428), "open_tree", "S3");
    assert_eq!(
        b.call("getSyscallName", &[428, (8 << 32) | (to & 0xffff_ffff)]),
        1,
        "S4"
    );
    let (known, unknown) = (b.text("open_tree"), b.text("foobar"));
    assert_eq!(b.call("getSyscallID", &[known]), 428, "S5");
    assert_eq!(b.call("getSyscallID", &[unknown]), 0xffff_ffff, "S5");
    assert_eq!(b.call("getSyscallID", &[0]), 0xffff_ffff, "S5");
    let buffer = b.bytes(&[0xff; 252]);
    assert_eq!(b.call("getSyscallDeclaration", &[unknown, buffer]), 1, "S8");
    assert_eq!(b.call("getSyscallDeclaration", &[BAD, buffer]), 1, "S8");
}
