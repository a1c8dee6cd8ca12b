//! What several containers can have in common, and programs are attached to once: a network namespace, a control group, an interface.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;

use tracing::{debug, warn};

use crate::containers::{Place, PlaceAttachment};
use crate::{Error, ErrorKind, Result};

/// Something that is attached until this is dropped.
pub struct Attachment {
    _held: Box<dyn Send>,
}

impl Attachment {
    /// Dropping `held` is what detaches.
    pub(in crate::ebpf) fn new(held: impl Send + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").finish_non_exhaustive()
    }
}

/// A program in the kernel, independent of the object that it came from.
#[derive(Debug)]
pub(in crate::ebpf) struct LoadedProgram {
    /// Name of the C function.
    pub(in crate::ebpf) name: String,
    /// The program.
    pub(in crate::ebpf) fd: OwnedFd,
    /// The attach type that it was loaded with.
    pub(in crate::ebpf) attach_type: libbpf_sys::bpf_attach_type,
}

/// A kind of site.
pub(super) trait Sites: Send {
    /// What is needed to attach to one.
    type Site;
    /// What is to be attached to each.
    type Program: Send;

    /// The name of a program, for messages.
    fn name(program: &Self::Program) -> &str;

    /// The sites of `place`, each with a number that no other has.
    ///
    /// # Errors
    ///
    /// Of kind [`NotFound`](ErrorKind::NotFound) when there is none, for example because the process has ended.
    fn find(&self, place: &Place) -> Result<Vec<(u64, Self::Site)>>;

    /// Attaches.
    fn attach(&self, program: &Self::Program, id: u64, site: &Self::Site) -> Result<Attachment>;
}

/// Keeps programs attached to the sites of all places of a run.
pub(super) struct PerSite<S: Sites> {
    sites: S,
    programs: Vec<S::Program>,
    attached: HashMap<u64, Attached>,
    /// The sites of each place, by its key.
    places: HashMap<String, Vec<u64>>,
    complaints: Complaints,
    settled: bool,
}

struct Attached {
    attachments: Vec<Attachment>,
    users: usize,
}

impl<S: Sites> PerSite<S> {
    pub(super) fn new(sites: S, programs: Vec<S::Program>) -> Self {
        Self {
            sites,
            programs,
            attached: HashMap::new(),
            places: HashMap::new(),
            complaints: Complaints::default(),
            settled: false,
        }
    }

    /// Attaches in `place` if it has sites by now.
    ///
    /// # Errors
    ///
    /// It has none (yet).
    pub(super) fn try_attach(&mut self, place: &Place) -> Result<()> {
        if self.places.contains_key(place.key()) {
            return Ok(());
        }
        let sites = self.sites.find(place)?;
        for (id, site) in &sites {
            match self.attached.get_mut(id) {
                Some(attached) => attached.users += 1,
                None => self.attach_to(place, *id, site),
            }
        }
        let ids = sites.into_iter().map(|(id, _)| id).collect();
        self.places.insert(place.key().to_owned(), ids);
        Ok(())
    }

    fn attach_to(&mut self, place: &Place, id: u64, site: &S::Site) {
        let mut attachments = Vec::new();
        for program in &self.programs {
            let name = S::name(program);
            match self.sites.attach(program, id, site) {
                Ok(attachment) => {
                    debug!("program {name:?}: attached in {place} ({id})");
                    attachments.push(attachment);
                }
                Err(error) => self.complaints.add(name, place, &error),
            }
        }
        // Remembered when nothing could be attached, too: the next container with this site need not try again.
        self.attached.insert(id, Attached { attachments, users: 1 });
    }

    /// Says that `place` cannot be attached to.
    pub(super) fn give_up(&mut self, place: &Place, error: &Error) {
        let name = self.programs.first().map_or("", S::name);
        self.complaints.add(name, place, error);
        self.warn_if_nowhere();
    }

    fn warn_if_nowhere(&mut self) {
        let attached = self.attached.values().any(|attached| !attached.attachments.is_empty());
        if self.settled && !attached {
            self.complaints.nowhere();
        }
    }
}

impl<S: Sites> PlaceAttachment for PerSite<S> {
    fn attach(&mut self, place: &Place) {
        if let Err(error) = self.try_attach(place) {
            self.give_up(place, &error);
        }
        self.warn_if_nowhere();
    }

    fn detach(&mut self, place: &Place) {
        for id in self.places.remove(place.key()).unwrap_or_default() {
            let Some(attached) = self.attached.get_mut(&id) else {
                continue;
            };
            attached.users -= 1;
            if attached.users == 0 {
                self.attached.remove(&id);
                debug!("detached in {place} ({id})");
            }
        }
    }

    fn settled(&mut self) {
        self.settled = true;
        self.warn_if_nowhere();
    }
}

impl<S: Sites> Drop for PerSite<S> {
    /// The kernel waits for all CPUs when a packet socket is closed; those of many namespaces wait together.
    fn drop(&mut self) {
        const AT_ONCE: usize = 32;
        let mut all: Vec<Attachment> = self
            .attached
            .drain()
            .flat_map(|(_, attached)| attached.attachments)
            .collect();
        let share = all.len().div_ceil(AT_ONCE).max(1);
        std::thread::scope(|scope| {
            while all.len() > share {
                let some = all.split_off(all.len() - share);
                // Without a thread they are dropped here, one after the other.
                let _ = std::thread::Builder::new().spawn_scoped(scope, move || drop(some));
            }
        });
    }
}

/// What could not be attached, said once.
#[derive(Default)]
pub(super) struct Complaints {
    first: Option<String>,
    said: bool,
}

impl Complaints {
    /// Takes a reason why program `name` is not attached in `place`. That a place has ended is
    /// no reason at all, and what was not found none to complain at once; anything else is said the first time.
    pub(super) fn add(&mut self, name: &str, place: &Place, error: &Error) {
        debug!("program {name:?}: not attached in {place}: {error}");
        if place.explains(error) {
            return;
        }
        let text = format!("{error} (in {place})");
        if error.kind() != ErrorKind::NotFound && !std::mem::replace(&mut self.said, true) {
            warn!("program {name:?} is not attached everywhere; the first failure: {text}");
        }
        self.first
            .get_or_insert(format!("program {name:?} is attached nowhere: {text}"));
    }

    /// Says why nothing is attached at all, unless a reason has been said.
    pub(super) fn nowhere(&mut self) {
        if let Some(first) = &self.first
            && !std::mem::replace(&mut self.said, true)
        {
            warn!("{first}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::containers::{Container, Host};

    /// Containers whose names begin alike share a site.
    struct ByInitial {
        log: Arc<Mutex<Vec<String>>>,
    }

    struct Note(Arc<Mutex<Vec<String>>>, String);

    impl Drop for Note {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(format!("-{}", self.1));
        }
    }

    impl Sites for ByInitial {
        type Site = char;
        type Program = &'static str;

        fn name(program: &&'static str) -> &'static str {
            program
        }

        fn find(&self, place: &Place) -> Result<Vec<(u64, char)>> {
            let initial = place.key().chars().next();
            let initial = initial.ok_or_else(|| Error::not_found("it has gone"))?;
            Ok(vec![(initial.into(), initial)])
        }

        fn attach(&self, program: &&'static str, _id: u64, site: &char) -> Result<Attachment> {
            if *program == "refused" {
                return Err(Error::unsupported("no"));
            }
            let what = format!("{program}@{site}");
            self.log.lock().unwrap().push(format!("+{what}"));
            Ok(Attachment::new(Note(Arc::clone(&self.log), what)))
        }
    }

    fn place(id: &str) -> Place {
        let mut container = Container::default();
        id.clone_into(&mut container.runtime.container_id);
        Place::of(Host::new("/"), Arc::new(container))
    }

    #[test]
    fn what_containers_share_is_attached_to_once_and_detached_with_the_last() {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let taken = || std::mem::take(&mut *log.lock().unwrap());
        let sites = ByInitial { log: Arc::clone(&log) };
        let mut attachment = PerSite::new(sites, vec!["p", "refused", "q"]);
        attachment.attach(&place("a1"));
        assert_eq!(taken(), ["+p@a", "+q@a"]);
        attachment.attach(&place("a2"));
        attachment.attach(&place("a1"));
        assert_eq!(taken(), [""; 0]);
        attachment.attach(&place("b1"));
        assert_eq!(taken(), ["+p@b", "+q@b"]);
        attachment.detach(&place("a1"));
        attachment.detach(&place("a1"));
        assert_eq!(taken(), [""; 0]);
        attachment.detach(&place("a2"));
        assert_eq!(taken(), ["-p@a", "-q@a"]);
        attachment.detach(&place("never seen"));
        drop(attachment);
        let mut rest = taken();
        rest.sort();
        assert_eq!(rest, ["-p@b", "-q@b"]);
    }
}
