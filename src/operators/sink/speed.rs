//! What a row costs on its way out. Ignored by default; run with
//! `cargo test --release --lib sink::speed -- --ignored --nocapture`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};

use super::output::Output;
use crate::data::Losses;

const ROWS: usize = 1_000_000;
/// Rows between two pauses of the producer, as at 500,000 events per second.
const BATCH: usize = 250;

/// CPU time of the whole process for each row, writer thread included, and how many rows were lost.
fn measure(what: &str, output: &Output) {
    let losses = Arc::new(Losses::default());
    let lane = output.lane(Arc::clone(&losses), None);
    let row = [b'x'; 900];
    let start = cpu_time();
    for i in 0..ROWS {
        lane.append(1, |buffer| buffer.extend_from_slice(&row));
        if i % BATCH == 0 {
            lane.flush();
        }
    }
    output.finish();
    let each = (cpu_time() - start) as f64 / ROWS as f64;
    eprintln!(
        "{what}: {each:.0} ns per row, {} lost",
        losses.at(crate::data::LossPlace::Sink)
    );
}

fn cpu_time() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}

#[test]
#[ignore = "a measurement, for release builds"]
fn nanoseconds_per_row() {
    let null = || File::options().write(true).open("/dev/null").unwrap();
    measure("/dev/null, at once", &Output::new(Box::new(null())));
    measure(
        "/dev/null, queued",
        &Output::queued(Box::new(null())).unwrap().patient(),
    );
    let file = || tempfile::tempfile().unwrap();
    measure("a file, at once", &Output::new(Box::new(file())));
    measure("a file, queued", &Output::queued(Box::new(file())).unwrap().patient());
    let (mut reader, writer) = io::pipe().unwrap();
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while reader.read(&mut buffer).unwrap() > 0 {}
    });
    let writer = File::from(OwnedFd::from(writer));
    measure(
        "a pipe, reader included",
        &Output::file(writer.try_clone().unwrap()).unwrap().patient(),
    );
    measure("a pipe, as fast as it goes", &Output::file(writer).unwrap());
    reading.join().unwrap();
}
