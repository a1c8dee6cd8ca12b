//! Reading iterator programs.
//!
//! The programs of one data source are read one after the other, in the order of their declaration. What shows one network
//! namespace only is opened in each of those that are to be looked at, by a thread that ends afterwards, so that no other
//! thread is ever seen in a foreign namespace.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Once;

use nix::sched::{CloneFlags, setns};

use super::records::Records;
use super::sys::open_iterator;
use super::{Failure, OnRecord, Source};
use crate::ebpf::apart::in_a_thread;
use crate::ebpf::attach::IterKind;
use crate::operators::{NetworkNamespace, NetworkNamespaces};
use crate::{Error, Result, ResultExt};

/// The kernel writes into a buffer of 8 pages before it hands anything out; more room than that is of no use.
const BUFFER: usize = 64 << 10;

/// Inode number of the host's pid namespace, in all kernels.
const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// An iterator program that can be opened.
#[derive(Debug)]
pub struct IteratorProgram {
    /// Its name.
    pub name: String,
    /// What it goes through.
    pub kind: IterKind,
    /// Its link.
    pub link: OwnedFd,
}

/// Reads the programs of one data source.
#[derive(Debug)]
pub struct IteratorReader {
    programs: Vec<IteratorProgram>,
    namespaces: Option<NetworkNamespaces>,
    records: Records,
    buffer: Vec<u8>,
}

impl IteratorReader {
    /// Reads `programs`, which write records of `record_size` bytes. Of network namespaces those of `namespaces` are looked at,
    /// without it our own.
    pub fn new(programs: Vec<IteratorProgram>, record_size: usize, namespaces: Option<NetworkNamespaces>) -> Self {
        if programs.iter().any(|program| program.kind.is_per_pid_namespace()) {
            say_if_not_in_host_pid_namespace();
        }
        Self {
            programs,
            namespaces,
            records: Records::new(record_size),
            buffer: vec![0; BUFFER],
        }
    }

    /// Runs all programs and hands on each record.
    ///
    /// # Errors
    ///
    /// A program cannot be run, or what it writes is no whole number of records. What was handed on is to be thrown away.
    pub fn read(&mut self, record: &mut OnRecord<'_>) -> Result<()> {
        let Self {
            programs,
            namespaces,
            records,
            buffer,
        } = self;
        for program in programs {
            let mut read = || read_program(program, records, buffer, record);
            match (program.kind.is_per_network_namespace(), &*namespaces) {
                (true, Some(namespaces)) => {
                    let namespaces = namespaces.now();
                    in_a_thread(|| {
                        for namespace in &namespaces {
                            if enter(namespace)? {
                                read()?;
                            }
                        }
                        Ok(())
                    })
                }
                _ => read(),
            }
            .with_context(|| format!("iter {:?}", program.name))?;
            records.finish().map_err(|bytes| {
                let (name, size) = (&program.name, records.size());
                Error::invalid(format!(
                    "iter {name:?} returned an invalid buffer's size {bytes}, expected multiple of {size}"
                ))
            })?;
        }
        Ok(())
    }
}

impl Source for IteratorReader {
    fn fetch(&mut self, record: &mut OnRecord<'_>) -> Result<(), Failure> {
        self.read(record).map_err(|error| Failure { error, keep: false })
    }

    fn complaint(&self) -> &'static str {
        "error running iterator"
    }
}

/// Moves this thread. `false` if the namespace is not there any more: its process has ended.
fn enter(namespace: &NetworkNamespace) -> Result<bool> {
    let file = match File::open(&namespace.path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("opening {}", namespace.path.display())),
    };
    // The number of a process that has ended may be another's by now.
    let inode = file.metadata().map(|metadata| metadata.ino())?;
    if inode != namespace.inode {
        return Ok(false);
    }
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("entering network namespace {inode}"))?;
    Ok(true)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn read_program(
    program: &IteratorProgram,
    records: &mut Records,
    buffer: &mut [u8],
    record: &mut OnRecord<'_>,
) -> Result<()> {
    let mut iterator = File::from(open_iterator(program.link.as_fd()).context("opening the iterator")?);
    loop {
        match iterator.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => records.take(&buffer[..read], &mut *record),
            // The kernel gives up for a moment after a million things about which the program wrote nothing.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error).context("reading the iterator"),
        }
    }
}

/// A task iterator shows what the reader's pid namespace has, which is not all outside the host's.
fn say_if_not_in_host_pid_namespace() {
    static SAID: Once = Once::new();
    let ours = std::fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino());
    if ours.is_ok_and(|inode| inode != HOST_PID_NAMESPACE) {
        SAID.call_once(|| {
            tracing::warn!("not in the host's pid namespace: only processes of our own pid namespace are seen");
        });
    }
}
