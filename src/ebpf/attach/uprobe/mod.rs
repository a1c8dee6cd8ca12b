//! Probes in programs and libraries: entry and return of functions, and static probes (USDT).
//!
//! A section names a file and a place in it. What that is, is found out in each container (and on the host with `--host`), because
//! each has files of its own. The kernel then probes the *file*, in every process that has it mapped; which of these
//! are of interest is the gadget's affair. So every program is attached once to each file, however many containers share it,
//! and stays there until the last of them has ended.

mod file_identity;
mod ld_cache;
mod link;
pub mod parsers;
mod symbols;
mod target;
mod usdt;
mod usdt_args;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::ProgramType;
use tracing::{debug, warn};

use self::file_identity::{FileId, Identifier};
use self::link::Probe;
pub(in crate::ebpf) use self::link::{Multi, probe_multi};
use self::symbols::Wanted;
pub use self::target::{Binary, Point, Target};
pub(in crate::ebpf) use self::usdt_args::{SPECS_MAP, SpecLayout, Specs};
use crate::containers::{Place, PlaceAttachment, Root};
use crate::ebpf::features::Feature;
use crate::{Error, Result, ResultExt};

/// A loaded program that is to be attached in places.
pub(in crate::ebpf) struct UprobeProgram {
    /// Name of the C function.
    pub(in crate::ebpf) name: String,
    /// The program in the kernel.
    pub(in crate::ebpf) program: OwnedFd,
    /// Where it is to be.
    pub(in crate::ebpf) target: Target,
    /// Whether it was loaded for links at many places.
    pub(in crate::ebpf) multi: Multi,
}

/// Keeps the uprobes of one object attached.
pub(in crate::ebpf) struct Uprobes {
    programs: Vec<Program>,
    identifier: Identifier,
    specs: Option<Specs>,
    settled: bool,
}

/// A program with the files that it is attached to.
struct Program {
    own: UprobeProgram,
    files: HashMap<FileId, Attached>,
    /// The files of each place, by its key.
    places: HashMap<String, Vec<FileId>>,
    /// Why it could not be attached: the first reason, best of a file that was found.
    failure: Option<Failure>,
    warned: bool,
}

struct Failure {
    file_found: bool,
    text: String,
}

/// A file that is probed, or could not be.
struct Attached {
    // Closed after the probes. As long as it is open, its identity is nobody else's.
    probes: Vec<Probe>,
    path: PathBuf,
    _file: File,
    /// Entries in the map of argument places.
    specs: Vec<u32>,
    users: usize,
}

/// A file of a place.
struct Found {
    path: PathBuf,
    file: File,
    id: FileId,
}

/// The files of a place that a section names.
struct FoundFiles {
    files: Vec<Found>,
    /// Why another that could be one is not among them.
    failure: Option<Error>,
}

/// Refuses what cannot be attached anywhere on this kernel. `arguments`: the object asks for arguments of static probes.
pub(in crate::ebpf) fn check(target: &Target, arguments: bool) -> Result<()> {
    if !link::has_uprobes() {
        return Err(Error::unsupported("this kernel has no uprobes (CONFIG_UPROBE_EVENTS)"));
    }
    let cookies = || ProgramType::Kprobe.is_helper_supported(libbpf_sys::BPF_FUNC_get_attach_cookie);
    if arguments && matches!(target.point, Point::Static { .. }) && !cookies().unwrap_or(true) {
        return Err(Feature::UsdtArguments.missing());
    }
    Ok(())
}

impl Uprobes {
    pub(in crate::ebpf) fn new(programs: Vec<UprobeProgram>, specs: Option<Specs>) -> Self {
        let programs = programs.into_iter().map(|own| Program {
            own,
            files: HashMap::new(),
            places: HashMap::new(),
            failure: None,
            warned: false,
        });
        Self {
            programs: programs.collect(),
            identifier: Identifier::new(),
            specs,
            settled: false,
        }
    }

    /// The file at `path`, opened and identified.
    fn open(&self, root: &Root, path: &Path) -> Result<Found> {
        let file = root.file(path)?;
        let id = self
            .identifier
            .identify(&file)
            .with_context(|| format!("identifying {}", path.display()))?;
        Ok(Found {
            path: path.to_owned(),
            file,
            id,
        })
    }

    /// All files in `root` that `binary` is, and why others are not there.
    fn find(&self, root: &Root, binary: &Binary) -> Result<FoundFiles> {
        let mut files: Vec<Found> = Vec::new();
        let mut failure = None;
        for path in binary.paths(root)? {
            match self.open(root, &path) {
                Ok(file) if files.iter().any(|other| other.id == file.id) => {}
                Ok(file) => files.push(file),
                Err(error) => failure = Some(error),
            }
        }
        Ok(FoundFiles { files, failure })
    }
}

impl PlaceAttachment for Uprobes {
    fn attach(&mut self, place: &Place) {
        let root = place.root();
        // Several programs are usually about one file.
        let mut binaries: Vec<(Binary, Result<FoundFiles>)> = Vec::new();
        for index in 0..self.programs.len() {
            let wanted = &self.programs[index].own.target.binary;
            if self.programs[index].places.contains_key(place.key()) {
                continue;
            }
            let position = binaries.iter().position(|(binary, _)| binary == wanted);
            let position = position.unwrap_or_else(|| {
                let found = match &root {
                    Ok(root) => self.find(root, wanted),
                    Err(error) => Err(Error::not_found(error.to_string())),
                };
                binaries.push((wanted.clone(), found));
                binaries.len() - 1
            });
            let program = &mut self.programs[index];
            match &binaries[position].1 {
                Ok(found) => program.attach(place, found, self.specs.as_mut()),
                Err(error) => program.note(place, error, false),
            }
            if self.settled {
                program.warn_if_nowhere();
            }
        }
    }

    fn detach(&mut self, place: &Place) {
        for program in &mut self.programs {
            program.detach(place, self.specs.as_mut());
        }
    }

    fn settled(&mut self) {
        self.settled = true;
        for program in &mut self.programs {
            program.warn_if_nowhere();
        }
    }
}

impl Program {
    fn attach(&mut self, place: &Place, found: &FoundFiles, mut specs: Option<&mut Specs>) {
        let mut mine = Vec::new();
        if let Some(failure) = &found.failure {
            self.note(place, failure, false);
        }
        for found in &found.files {
            mine.push(found.id);
            if let Some(attached) = self.files.get_mut(&found.id) {
                attached.users += 1;
                continue;
            }
            let mut attached = match found.file.try_clone() {
                Ok(file) => Attached {
                    probes: Vec::new(),
                    path: found.path.clone(),
                    _file: file,
                    specs: Vec::new(),
                    users: 1,
                },
                Err(error) => {
                    mine.pop();
                    self.note(place, &error.into(), false);
                    continue;
                }
            };
            match self.probe(found, &mut attached, specs.as_deref_mut()) {
                Ok(()) => debug!(
                    "program {:?}: attached to {} of {place} at {} places",
                    self.own.name,
                    found.path.display(),
                    attached.probes.len()
                ),
                Err(error) => {
                    attached.probes.clear();
                    release(&mut attached.specs, specs.as_deref_mut());
                    self.note(place, &error.context(found.path.display().to_string()), true);
                }
            }
            // Remembered in either case: the next container with this file need not try again.
            self.files.insert(found.id, attached);
        }
        self.places.insert(place.key().to_owned(), mine);
    }

    /// Finds the places in the file and probes them.
    fn probe(&self, found: &Found, attached: &mut Attached, specs: Option<&mut Specs>) -> Result<()> {
        let binary = crate::symbols::elf::binary::Binary::parse(found.file.try_clone()?)?;
        let (points, on_return) = match &self.own.target.point {
            Point::Function { name, on_return } => {
                let offsets = symbols::offsets(&binary, Wanted::Name(name), *on_return)?;
                (at(&offsets), *on_return)
            }
            Point::Functions { pattern, on_return } => (
                at(&symbols::offsets(&binary, Wanted::matching(pattern), *on_return)?),
                *on_return,
            ),
            // What has no return probes has no sessions.
            Point::Sessions { pattern } => (at(&symbols::offsets(&binary, Wanted::matching(pattern), true)?), false),
            Point::Static { provider, name } => {
                let locations = usdt::locations(&binary, provider, name)?;
                (static_points(&locations, attached, specs)?, false)
            }
        };
        attached.probes = link::attach(
            self.own.program.as_fd(),
            found.file.as_fd(),
            &points,
            on_return,
            self.own.multi,
        )?;
        Ok(())
    }

    fn detach(&mut self, place: &Place, mut specs: Option<&mut Specs>) {
        for id in self.places.remove(place.key()).unwrap_or_default() {
            let Some(attached) = self.files.get_mut(&id) else {
                continue;
            };
            attached.users -= 1;
            if attached.users == 0
                && let Some(mut attached) = self.files.remove(&id)
            {
                let path = attached.path.display();
                debug!(
                    "program {:?}: detached from {path}, which nobody has any more",
                    self.own.name
                );
                attached.probes.clear();
                release(&mut attached.specs, specs.as_deref_mut());
            }
        }
    }

    fn note(&mut self, place: &Place, error: &Error, file_found: bool) {
        debug!("program {:?}: not attached in {place}: {error}", self.own.name);
        if place.explains(error) {
            return;
        }
        if self
            .failure
            .as_ref()
            .is_none_or(|known| file_found && !known.file_found)
        {
            let text = format!("{error} (in {place})");
            self.failure = Some(Failure { file_found, text });
        }
    }

    /// Says once that the program does nothing, if it has been tried.
    fn warn_if_nowhere(&mut self) {
        let attached = self.files.values().any(|attached| !attached.probes.is_empty());
        if let Some(failure) = &self.failure
            && !attached
            && !std::mem::replace(&mut self.warned, true)
        {
            warn!("program {:?} is attached nowhere: {}", self.own.name, failure.text);
        }
    }
}

fn at(offsets: &[u64]) -> Vec<link::Point> {
    let point = |offset: &u64| link::Point {
        offset: *offset,
        semaphore: 0,
        cookie: 0,
    };
    offsets.iter().map(point).collect()
}

/// The places of a static probe; a program that asks for arguments is told by the cookie where they are.
fn static_points(
    locations: &[usdt::Location],
    attached: &mut Attached,
    mut specs: Option<&mut Specs>,
) -> Result<Vec<link::Point>> {
    let mut points = Vec::new();
    for location in locations {
        let mut cookie = 0;
        if let Some(specs) = specs.as_deref_mut() {
            let id = specs.take(&location.arguments)?;
            attached.specs.push(id);
            cookie = u64::from(id);
        }
        points.push(link::Point {
            offset: location.offset,
            semaphore: location.semaphore,
            cookie,
        });
    }
    Ok(points)
}

fn release(ids: &mut Vec<u32>, specs: Option<&mut Specs>) {
    if let Some(specs) = specs {
        for id in ids.drain(..) {
            specs.release(id);
        }
    }
}
