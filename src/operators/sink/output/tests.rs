//! Readers that are slow, stop or go away.

use std::io::Read;
use std::sync::mpsc;

use super::super::tests::Sheet;
use super::*;

/// A writer that waits at a gate.
#[derive(Clone, Default)]
struct Gated {
    state: Arc<(Mutex<GateState>, Condvar)>,
    fail: Option<io::ErrorKind>,
}

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: bool,
    written: Vec<u8>,
    writes: usize,
}

impl Gated {
    fn open(&self) {
        self.state.0.lock().unwrap().open = true;
        self.state.1.notify_all();
    }

    /// Returns when a write waits at the gate.
    fn wait_for_write(&self) {
        let state = self.state.0.lock().unwrap();
        drop(self.state.1.wait_while(state, |state| !state.waiting).unwrap());
    }

    fn text(&self) -> String {
        String::from_utf8(self.state.0.lock().unwrap().written.clone()).unwrap()
    }

    fn writes(&self) -> usize {
        self.state.0.lock().unwrap().writes
    }
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.0.lock().unwrap();
        state.waiting = true;
        self.state.1.notify_all();
        let mut state = self.state.1.wait_while(state, |state| !state.open).unwrap();
        state.waiting = false;
        if let Some(kind) = self.fail {
            return Err(kind.into());
        }
        state.written.extend_from_slice(bytes);
        state.writes += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One data source that appends numbered rows of JSON.
struct Rows {
    lane: Lane,
    losses: Arc<Losses>,
    count: usize,
}

impl Rows {
    fn new(output: &Output, line: bool) -> Self {
        let losses = Arc::new(Losses::default());
        Self {
            lane: output.lane(Arc::clone(&losses), line.then(|| LossLine::new(None, false))),
            losses,
            count: 0,
        }
    }

    fn append(&mut self) {
        let row = row(self.count);
        self.lane.append(1, |buffer| buffer.extend_from_slice(row.as_bytes()));
        self.count += 1;
    }

    fn lost(&self) -> u64 {
        self.losses.at(LossPlace::Sink)
    }

    /// Appends until the first row is dropped.
    fn fill(&mut self) {
        while self.lost() == 0 {
            assert!(self.count * row(0).len() <= 2 * LIMIT, "there is a limit");
            self.append();
            if self.count.is_multiple_of(10) {
                self.lane.flush();
            }
        }
    }
}

fn row(number: usize) -> String {
    format!("{{\"number\":{number:8},\"text\":\"{}\"}}\n", "x".repeat(1000))
}

/// Reads rows and loss lines back: checks that every row is there or counted in the line at its place. Returns the lines.
fn check(text: &str, count: usize) -> Vec<(u64, String)> {
    let mut next = 0;
    let mut lines = Vec::new();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("no torn line");
        if let Some(lost) = value["lost"].as_u64() {
            let reason = value["reason"].as_str().unwrap().to_owned();
            if reason == "sink" {
                next += lost;
            }
            lines.push((lost, reason));
        } else {
            assert_eq!(value["number"].as_u64(), Some(next));
            next += 1;
        }
    }
    assert_eq!(next, count as u64);
    lines
}

#[test]
fn a_reader_that_stalls_costs_rows_and_never_time() {
    let gate = Gated::default();
    let output = Output::queued(Box::new(gate.clone())).unwrap();
    let mut rows = Rows::new(&output, true);
    rows.append();
    rows.lane.flush();
    gate.wait_for_write();
    rows.fill();
    let taken = (rows.count - 1) * row(0).len();
    assert!((LIMIT..LIMIT + row(0).len()).contains(&taken), "{taken}");
    rows.append();
    rows.lane.say_lost(LossPlace::Buffer, 7);
    rows.append();
    assert_eq!(rows.lost(), 3);
    assert_eq!(gate.writes(), 0);

    gate.open();
    output.finish();
    rows.append();
    rows.lane.say_lost(LossPlace::Held, 1);
    rows.append();
    output.finish();
    let lines = check(&gate.text(), rows.count);
    let expected = [(7, "buffer"), (3, "sink"), (1, "held")].map(|(lost, reason)| (lost, reason.to_owned()));
    assert_eq!(lines, expected);
    assert_eq!(rows.lost(), 3, "there is room again");
    assert!(gate.writes() <= LIMIT / FULL + 4, "writes are large: {}", gate.writes());
}

#[test]
fn a_stalled_reader_is_waited_for_once_and_again_when_it_reads() {
    let gate = Gated::default();
    let output = Output::queued(Box::new(gate.clone())).unwrap();
    let mut rows = Rows::new(&output, false);
    rows.fill();
    let stalled = || output.handle.shared.lock().stalled;
    assert!(stalled());
    for _ in 0..1000 {
        rows.append();
    }
    assert_eq!(rows.lost(), 1001);
    gate.open();
    output.finish();
    assert!(!stalled());
    rows.append();
    assert_eq!(rows.lost(), 1001);
}

#[test]
fn a_reader_gets_the_time_in_which_as_much_came() {
    let mut pace = Pace::new();
    assert_eq!(pace.grace(), GRACE.0);
    pace.since -= Duration::from_millis(100);
    pace.add(LIMIT - 1);
    assert_eq!(pace.grace(), GRACE.0, "not all of it has come");
    pace.add(1);
    assert!((Duration::from_millis(100)..=GRACE.1).contains(&pace.grace()));
    pace.since -= Duration::from_secs(60);
    pace.add(LIMIT);
    assert_eq!(pace.grace(), GRACE.1, "a quiet gadget does not make anybody wait");
}

#[test]
fn a_recording_waits_for_its_reader() {
    let gate = Gated::default();
    let output = Output::queued(Box::new(gate.clone())).unwrap().patient();
    let mut rows = Rows::new(&output, true);
    let producer = std::thread::spawn(move || {
        for _ in 0..3 * LIMIT / row(0).len() {
            rows.append();
        }
        rows
    });
    while output.handle.shared.lock().waiting == 0 {
        std::thread::yield_now();
    }
    gate.open();
    let rows = producer.join().unwrap();
    output.finish();
    assert_eq!(rows.lost(), 0);
    assert!(check(&gate.text(), rows.count).is_empty());
}

#[test]
fn who_waits_is_told_of_the_end() {
    let gate = Gated {
        fail: Some(io::ErrorKind::BrokenPipe),
        ..Gated::default()
    };
    let output = Output::queued(Box::new(gate.clone())).unwrap().patient();
    let mut rows = Rows::new(&output, false);
    let producer = std::thread::spawn(move || {
        while !rows.lane.output.ended() {
            rows.append();
        }
        rows.lost()
    });
    while output.handle.shared.lock().waiting == 0 {
        std::thread::yield_now();
    }
    gate.open();
    assert_eq!(producer.join().unwrap(), 0, "what comes after the end is no loss");
    assert!(output.take_error().is_none());
}

#[test]
fn what_was_lost_last_is_said_at_the_end() {
    let gate = Gated::default();
    let output = Output::queued(Box::new(gate.clone())).unwrap();
    let mut rows = Rows::new(&output, true);
    rows.fill();
    gate.open();
    output.finish();
    assert_eq!(check(&gate.text(), rows.count), [(1, "sink".to_owned())]);
}

#[test]
fn each_data_source_counts_its_own() {
    let gate = Gated::default();
    let output = Output::queued(Box::new(gate.clone())).unwrap();
    let mut silent = Rows::new(&output, false);
    let other = Rows::new(&output, true);
    silent.fill();
    other
        .lane
        .append(12, |_| unreachable!("what is dropped is not even made"));
    assert_eq!((silent.lost(), other.lost()), (1, 12));
    gate.open();
    output.finish();
    let text = gate.text();
    assert!(text.ends_with("\n{\"lost\":12,\"reason\":\"sink\"}\n"));
    assert_eq!(text.matches("lost").count(), 1, "no line that nobody asked for");
}

#[test]
fn one_row_may_be_larger_than_the_limit() {
    let sheet = Sheet::default();
    let output = Output::queued(Box::new(sheet.clone())).unwrap();
    let rows = Rows::new(&output, false);
    for _ in 0..2 {
        rows.lane
            .append(1, |buffer| buffer.resize(buffer.len() + 2 * LIMIT, b'x'));
        output.finish();
    }
    assert_eq!(sheet.text().len(), 4 * LIMIT);
    assert_eq!(rows.lost(), 0);
    let state = output.handle.shared.lock();
    let kept = state.spare.iter().map(Vec::capacity).max().unwrap();
    assert!(kept <= CAPACITY, "its memory is not kept");
}

#[test]
fn a_reader_that_goes_away_while_much_waits() {
    for (kind, quiet) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
        let gate = Gated {
            fail: Some(kind),
            ..Gated::default()
        };
        let output = Output::queued(Box::new(gate.clone())).unwrap();
        let (ended, end) = mpsc::channel();
        output.on_end(move || ended.send(()).unwrap());
        let mut rows = Rows::new(&output, true);
        rows.fill();
        gate.open();
        end.recv().unwrap();
        output.finish();
        assert!(output.ended());
        assert_eq!(output.take_error().is_none(), quiet);
        rows.append();
        assert_eq!(rows.lost(), 1, "what comes after the end is no loss");
    }
}

#[test]
fn a_writer_that_panics_ends_the_output() {
    struct Panicking;
    impl Write for Panicking {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("on purpose")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let output = Output::queued(Box::new(Panicking)).unwrap();
    let mut rows = Rows::new(&output, false);
    rows.append();
    output.finish();
    let error = output.take_error().unwrap();
    assert_eq!(error.to_string(), "writing output: the writer panicked");
}

#[test]
fn the_thread_ends_when_everything_is_written() {
    struct Telling(Sheet, #[expect(dead_code)] mpsc::Sender<()>);
    impl Write for Telling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sheet = Sheet::default();
    let (alive, dropped) = mpsc::channel();
    let output = Output::queued(Box::new(Telling(sheet.clone(), alive))).unwrap();
    let rows = Rows::new(&output, false);
    rows.lane.append(1, |buffer| buffer.extend_from_slice(b"last words"));
    drop((rows, output));
    assert!(dropped.recv().is_err(), "the writer is dropped with the thread");
    assert_eq!(sheet.text(), "last words");
}

#[test]
fn a_pipe_gets_small_pieces_at_once_and_never_makes_us_wait() {
    let (mut reader, writer) = io::pipe().unwrap();
    let output = Output::file(File::from(OwnedFd::from(writer))).unwrap();
    let mut rows = Rows::new(&output, true);
    rows.append();
    output.flush();
    let mut first = vec![0; row(0).len()];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(first, row(0).as_bytes());
    rows.fill();
    let count = rows.count;
    let waiting = output.clone();
    let all = std::thread::spawn(move || {
        let mut all = String::from_utf8(first).unwrap();
        reader.read_to_string(&mut all).unwrap();
        all
    });
    waiting.finish();
    drop((rows, output, waiting));
    assert_eq!(check(&all.join().unwrap(), count), [(1, "sink".to_owned())]);
}

#[test]
fn a_pipe_that_does_not_wait_is_waited_for() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (mut reader, writer) = io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let output = Output::file(File::from(OwnedFd::from(writer))).unwrap();
    let mut rows = Rows::new(&output, false);
    for _ in 0..300 {
        rows.append();
    }
    let all = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        all
    });
    output.finish();
    assert!(output.take_error().is_none());
    let count = rows.count;
    drop((rows, output));
    assert!(check(&all.join().unwrap(), count).is_empty());
}

#[test]
fn files_are_written_without_a_thread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Output::file(file.reopen().unwrap()).unwrap();
    assert!(matches!(output.handle.shared.patience, Patience::Unneeded));
    let mut rows = Rows::new(&output, true);
    for _ in 0..10_000 {
        rows.append();
    }
    output.finish();
    assert!(check(&std::fs::read_to_string(file.path()).unwrap(), rows.count).is_empty());
    let null = Output::file(File::options().write(true).open("/dev/null").unwrap()).unwrap();
    assert!(matches!(null.handle.shared.patience, Patience::Unneeded));
}
