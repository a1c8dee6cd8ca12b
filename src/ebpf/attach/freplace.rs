//! Programs that take the place of a function of another program.
//!
//! The other one has to be in the kernel when such a program is loaded. So these are loaded after their object, each as an object of its own
//! that shares the maps of the first.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Link, MapCore, MapHandle, MapType, Object, OpenObject, Program, ProgramMut};

use super::failed;
use crate::ebpf::Loaded;
use crate::ebpf::print;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The kernel keeps so much of a program's name.
const NAME_IN_KERNEL: usize = 15;

/// What is to be put where.
#[derive(Clone, Copy, Debug)]
pub(in crate::ebpf) struct Replacement<'a> {
    /// The program.
    pub(in crate::ebpf) name: &'a str,
    /// The one that has the function: of the gadget, or any that is in the kernel. None: whichever of the gadget's has it.
    pub(in crate::ebpf) program: Option<&'a str>,
    /// The function.
    pub(in crate::ebpf) function: &'a str,
}

impl Replacement<'_> {
    /// Loads the program from the object that `open` opens, for the object `first` or what else is in the kernel.
    pub(in crate::ebpf) fn load(&self, first: &Loaded, open: impl Fn() -> Result<OpenObject>) -> Result<Object> {
        let mut last = None;
        for target in self.targets(first)? {
            match self.load_for(target.as_fd(), first, open()?) {
                Ok(object) => return Ok(object),
                Err(error) => last = Some(error),
            }
        }
        let missing = || Error::not_found("there is no program that has it");
        Err(last
            .unwrap_or_else(missing)
            .context(format!("program {:?} for function {:?}", self.name, self.function)))
    }

    fn targets(&self, first: &Loaded) -> Result<Vec<OwnedFd>> {
        let mut own: Vec<Program<'_>> = first.loaded_programs().collect();
        if let Some(wanted) = self.program {
            own.retain(|program| program.name() == wanted);
            if own.is_empty() {
                return Ok(vec![in_kernel(wanted)?]);
            }
        }
        // A program of this name is meant before one that has such a function.
        own.sort_by_key(|program| program.name() != self.function);
        own.iter()
            .map(|program| Ok(program.as_fd().try_clone_to_owned()?))
            .collect()
    }

    fn load_for(&self, target: BorrowedFd<'_>, first: &Loaded, mut object: OpenObject) -> Result<Object> {
        let broken = |error: libbpf_rs::Error| Error::unsupported(format!("{error:#}"));
        for mut map in object.maps_mut() {
            if map.map_type() == MapType::StructOps {
                map.set_autocreate(false).map_err(broken)?;
                continue;
            }
            let name = map.name().to_string_lossy().into_owned();
            if let Some(shared) = first.maps().find(|shared| shared.name() == name.as_str()) {
                let shared = MapHandle::try_from(&shared).map_err(broken)?;
                map.reuse_fd(shared.as_fd()).map_err(broken)?;
            }
        }
        let mut found = Ok(());
        for mut program in object.progs_mut() {
            let is_ours = program.name() == self.name;
            program.set_autoload(is_ours);
            if is_ours {
                let (set, log) =
                    print::capture(|| program.set_attach_target(target.as_raw_fd(), Some(self.function.to_owned())));
                found = set.map_err(|error| Error::not_found(log.cause().unwrap_or_else(|| error.to_string())));
            }
        }
        found?;
        let (loaded, log) = print::capture(|| object.load());
        loaded.map_err(|error| {
            let last = log.refusal(1).and_then(|refusal| refusal.tail.into_iter().next());
            let why = last.or_else(|| log.cause()).unwrap_or_default();
            Error::unsupported(format!("{error}: {why}"))
                .with_hint("the function must not be static, and have the arguments and result of the program")
        })
    }
}

/// The program of this name in the kernel.
fn in_kernel(name: &str) -> Result<OwnedFd> {
    let bytes = name.as_bytes();
    let cut = bytes.get(..NAME_IN_KERNEL).unwrap_or(bytes);
    let mut found = ProgInfoIter::default().filter(|info| info.name.as_encoded_bytes() == cut);
    let Some(info) = found.next() else {
        return Err(Error::not_found(format!("no program called {name:?} is in the kernel")));
    };
    if found.next().is_some() {
        return Err(Error::invalid(format!(
            "several programs called {name:?} are in the kernel"
        )));
    }
    Program::fd_from_id(info.id).map_err(|error| Error::new(ErrorKind::Io, format!("program {name:?}: {error}")))
}

pub(super) fn attach(program: &ProgramMut<'_>, function: &str) -> Result<Link> {
    program
        .attach_trace()
        .map_err(|error| failed(&format!("freplace {function}"), &error))
        .context("putting it in the place of a function")
}
