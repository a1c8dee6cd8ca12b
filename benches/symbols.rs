//! What it costs to find the names of ten thousand different stacks of a process, beside blazesym itself.
//!
//! `cargo bench --bench symbols [-- BLAZECLI]` prints microseconds of processor time per stack: `cold` when nothing is known of the process,
//! `warm` for the same stacks once more. The process is this one; the addresses are drawn from the code that it has mapped. Below it the
//! library blazesym on the same addresses, asked stack by stack. With the path of blazesym's command (`cargo install blazecli`) also that
//! one (its whole run, by the clock), for all different addresses at once: it knows no second time.

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use blazesym::Pid;
use blazesym::symbolize::source::{self, Source};
use blazesym::symbolize::{Input, Symbolizer};
use inspektor_gadget::symbols::user::{Process, Stack, UserSymbols, UserSymbolsOptions};
use inspektor_gadget::{Error, Result, ResultExt};

const STACKS: usize = 10_000;
const DEPTH: usize = 16;
/// So many different addresses that the command's line holds them.
const ADDRESSES: usize = 40_000;

fn main() -> ExitCode {
    // cargo itself adds `--bench`.
    let blazecli = std::env::args().skip(1).find(|word| word != "--bench");
    common::exit(measure(blazecli))
}

fn measure(blazecli: Option<String>) -> Result<()> {
    let addresses = addresses()?;
    let mut random = Random(1);
    let stacks: Vec<Vec<u64>> = (0..STACKS)
        .map(|_| (0..DEPTH).map(|_| addresses[random.below(addresses.len())]).collect())
        .collect();
    println!("{:<20} {:>9} {:>9}", "", "cold", "warm");
    ours(&stacks)?;
    library(&stacks)?;
    blazecli.map_or(Ok(()), |command| command_line(&command, &stacks))
}

/// Addresses in the code that this process has mapped from files.
fn addresses() -> Result<Vec<u64>> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("reading /proc/self/maps")?;
    let ranges: Vec<(u64, u64)> = maps
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("r-xp") && line.contains('/'))
        .filter_map(|line| {
            let (from, to) = line.split_whitespace().next()?.split_once('-')?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
        })
        .collect();
    let total: u64 = ranges.iter().map(|(from, to)| to - from).sum();
    let step = total / ADDRESSES as u64;
    let addresses: Vec<u64> = ranges
        .iter()
        .flat_map(|(from, to)| (*from..*to).step_by(step as usize))
        .collect();
    (addresses.len() >= DEPTH)
        .then_some(addresses)
        .ok_or_else(|| Error::invalid("no code is mapped"))
}

fn ours(stacks: &[Vec<u64>]) -> Result<()> {
    let symbols = UserSymbols::start(UserSymbolsOptions {
        proc: PathBuf::from("/proc"),
        symtab: true,
        debuginfod_cache: None,
    })?;
    let executable = std::fs::metadata("/proc/self/exe").context("reading /proc/self/exe")?;
    let process = Process {
        pid: std::process::id(),
        image: 1,
        changed: (
            executable.ctime().unsigned_abs(),
            executable.ctime_nsec().unsigned_abs() as u32,
        ),
    };
    let pass = || -> Result<Duration> {
        timed(|| {
            for addresses in stacks {
                let stack = Stack {
                    process,
                    addresses: addresses.clone(),
                    build_ids: Vec::new(),
                };
                std::hint::black_box(symbols.text(stack)?);
            }
            Ok(())
        })
    };
    row("ig", pass()?, Some(pass()?));
    Ok(())
}

fn library(stacks: &[Vec<u64>]) -> Result<()> {
    let symbolizer = Symbolizer::new();
    let source = Source::Process(source::Process::new(Pid::Slf));
    let pass = || -> Result<Duration> {
        timed(|| {
            for addresses in stacks {
                let found = symbolizer
                    .symbolize(&source, Input::AbsAddr(addresses))
                    .map_err(|error| Error::invalid(format!("blazesym: {error}")))?;
                std::hint::black_box(found);
            }
            Ok(())
        })
    };
    row("blazesym, library", pass()?, Some(pass()?));
    Ok(())
}

fn command_line(command: &str, stacks: &[Vec<u64>]) -> Result<()> {
    let different: BTreeSet<u64> = stacks.iter().flatten().copied().collect();
    let start = Instant::now();
    let status = Command::new(command)
        .args(["symbolize", "process", "--pid", &std::process::id().to_string()])
        .args(different.iter().map(|address| format!("{address:#x}")))
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("running {command}"))?;
    if !status.success() {
        return Err(Error::invalid(format!("{command} failed: {status}")));
    }
    row("blazesym, command", start.elapsed(), None);
    Ok(())
}

fn row(name: &str, cold: Duration, warm: Option<Duration>) {
    let per_stack = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e6 / STACKS as f64);
    println!(
        "{name:<20} {:>9} {:>9}",
        per_stack(cold),
        warm.map(per_stack).unwrap_or_default()
    );
}

/// Processor time of all threads.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = common::processor_time()?;
    work()?;
    Ok(common::processor_time()?.saturating_sub(start))
}

/// A xorshift generator: the same stacks at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
