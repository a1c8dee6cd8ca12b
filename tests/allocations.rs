//! The steady state of the event path allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inspektor_gadget::data::{DataSource, Element, NewField, Scalar, SourceType};
use inspektor_gadget::expr::Filter;
use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::operators::sink::{CliSink, Options, Output};
use inspektor_gadget::recording::Recording;

/// Counts what is asked of the allocator, by any thread.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Takes what is shown, and notes how much had been asked of the allocator after the first `warm_up` lines and after `counted` more,
/// give or take what is written at once.
struct Counter {
    lines: u64,
    warm_up: u64,
    counted: u64,
    before: Arc<AtomicU64>,
    after: Arc<AtomicU64>,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let note = |mark: &AtomicU64| {
            let now = ALLOCATIONS.load(Ordering::Relaxed);
            // Only the first time.
            let _ = mark.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        };
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        if self.lines >= self.warm_up {
            note(&self.before);
        }
        if self.lines >= self.warm_up + self.counted {
            note(&self.after);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How many allocations `counted` events after the first `warm_up` cost, when the recording is shown in `mode`. If they are `seen`, somebody else sees
/// all their values, too.
fn allocations(recording: &str, mode: &str, seen: bool, warm_up: u64, counted: u64) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/recordings")
        .join(recording);
    let mut gadget = Gadget::replay(Recording::open(path).unwrap().repeated(4))
        .build()
        .unwrap();
    let [before, after] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let output = Output::new(Box::new(Counter {
        lines: 0,
        warm_up,
        counted,
        before: Arc::clone(&before),
        after: Arc::clone(&after),
    }));
    let options = Options {
        output: Some(mode.to_owned()),
        ..Options::default()
    };
    let sink = CliSink::instantiate(gadget.context(), &options, output).unwrap();
    gadget.add_instance(sink);
    if seen {
        let source = gadget.data_sources().next().unwrap().name().to_owned();
        gadget.subscribe(&source, [], |_| ()).unwrap();
    }
    let mut running = gadget.start().unwrap();
    running.wait(None);
    let report = running.stop().unwrap();
    let [before, after] = [before, after].map(|mark| mark.load(Ordering::Relaxed));
    assert!(before > 0 && after > 0, "{report:?}");
    after - before
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn an_event_costs_no_allocation() {
    // Warm means that every event was there once.
    for (recording, warm_up) in [("trace_open.igrec", 16_000), ("trace_exec.igrec", 8_000)] {
        for (mode, seen) in [("json", false), ("json", true), ("columns", false), ("columns", true)] {
            let count = allocations(recording, mode, seen, warm_up, 10_000);
            assert_eq!(count, 0, "{recording} as {mode}, seen by others: {seen}");
        }
    }
    for expression in [
        r#"proc.comm == "cat" and (proc.pid > 1000 or proc.pid in [1, 7, 9]) and error in -5..0"#,
        r#"not (fname startsWith "/proc") and fname contains "etc" and fname matches "^/etc/[a-z]+$""#,
        r#"fname in ["/etc/passwd", "/etc/group"] or len(fname) > 5 and addr in cidr("10.0.0.0/8")"#,
        r#"flag ? error == proc.pid : fname != proc.comm"#,
    ] {
        assert_eq!(allocations_of_expression(expression), 0, "{expression}");
    }
}

/// How many allocations it costs to evaluate an expression a thousand times.
fn allocations_of_expression(expression: &str) -> u64 {
    let mut source = DataSource::new("open", SourceType::Single, None);
    let proc = source.add_field(NewField::empty("proc")).unwrap();
    source
        .add_sub_field(proc, NewField::new("comm", Scalar::String))
        .unwrap();
    source
        .add_sub_field(proc, NewField::new("pid", Scalar::Uint32))
        .unwrap();
    for (name, scalar) in [
        ("fname", Scalar::String),
        ("addr", Scalar::String),
        ("error", Scalar::Int32),
        ("flag", Scalar::Bool),
    ] {
        source.add_field(NewField::new(name, scalar)).unwrap();
    }
    let mut element = Element::new(source.layout());
    for (name, value) in [("proc.comm", "cat"), ("fname", "/etc/hosts"), ("addr", "10.1.2.3")] {
        let field = source.accessor(source.find(name).unwrap());
        field.set(&mut element, value.as_bytes()).unwrap();
    }
    let mut filter = Filter::compile(expression, &source).unwrap();
    // The first search of a regular expression makes its scratch space.
    filter.matches(&element).unwrap();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..1000 {
        filter.matches(&element).unwrap();
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}
