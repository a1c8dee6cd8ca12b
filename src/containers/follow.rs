//! What is attached inside containers: wherever a container of interest is, as long as it is there.
//!
//! A [`Follower`] calls its [`PlaceAttachment`]s once for every place that a run is interested in: those that are there when it
//! starts, before [`Follower::start`] returns, and those that come and go later, on a thread of its own. A container is
//! told of as soon as its init process has its root and its namespaces, as a rule before it executes anything.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use nix::errno::Errno;
use tracing::warn;

use super::cgroup;
use super::root::Root;
use super::{Collection, Container, ContainerEvent, ContainerEventKind, Host, Selector};
use crate::{Error, ErrorKind, Result, ResultExt};

/// The places that a run is interested in.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Where containers come from, if from anywhere.
    pub collection: Option<Arc<Collection>>,
    /// Which of them.
    pub selector: Selector,
    /// Whether the host itself is one.
    pub host: bool,
}

/// A container, or the host.
#[derive(Clone, Debug)]
pub struct Place {
    host: Host,
    container: Option<Arc<Container>>,
}

/// Something that is attached in places.
pub trait PlaceAttachment: Send {
    /// Attaches in `place`. What goes wrong there is its own affair: a process may have ended, a file may be missing.
    fn attach(&mut self, place: &Place);

    /// Detaches in `place`, which has ended. It may be one where attaching failed.
    fn detach(&mut self, place: &Place);

    /// Called once, when all places that were there at the start have been attached to.
    fn settled(&mut self) {}
}

impl Place {
    /// The host itself.
    pub fn host(host: Host) -> Self {
        Self { host, container: None }
    }

    /// A container of `host`.
    pub fn of(host: Host, container: Arc<Container>) -> Self {
        Self {
            host,
            container: Some(container),
        }
    }

    /// The host that it is on or is.
    pub fn on(&self) -> &Host {
        &self.host
    }

    /// The container, unless it is the host.
    pub fn container(&self) -> Option<&Arc<Container>> {
        self.container.as_ref()
    }

    /// What this place has and no other: the container's id, or nothing for the host.
    pub fn key(&self) -> &str {
        self.container.as_ref().map_or("", |container| container.id())
    }

    /// A process in it.
    pub fn pid(&self) -> u32 {
        self.container
            .as_ref()
            .map_or(1, |container| container.runtime.container_pid)
    }

    /// `name` in the `/proc` directory of a process in it.
    pub fn proc(&self, name: &str) -> PathBuf {
        self.host.proc(self.pid(), name)
    }

    /// Its file system.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn root(&self) -> Result<Root> {
        let Some(container) = &self.container else {
            return Root::open(&self.proc("root")).or_else(|error| {
                // In a pid namespace of our own without permission on pid 1, what we see is the best there is.
                tracing::debug!("{error}: taking our own root for the host's");
                Root::open(Path::new("/"))
            });
        };
        let process = self.process(container)?;
        Root::open_at(process.as_fd(), Path::new("root"))
            .with_context(|| format!("opening the root of process {}", self.pid()))
    }

    /// Its network namespace.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn network_namespace(&self) -> Result<File> {
        let Some(container) = &self.container else {
            return self.host.network_namespace();
        };
        let process = self.process(container)?;
        let (flags, mode) = (nix::fcntl::OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty());
        let namespace = nix::fcntl::openat(process.as_fd(), "ns/net", flags, mode).map_err(gone);
        Ok(File::from(namespace.context("opening the network namespace")?))
    }

    /// Whether its process has ended. The host's never does.
    pub fn has_ended(&self) -> bool {
        let process = self.container.as_ref().map(|container| self.process(container));
        process.is_some_and(|process| process.is_err_and(|error| error.kind() == ErrorKind::NotFound))
    }

    /// Whether what was not found is not there because the process has ended: nobody has to be told.
    pub fn explains(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::NotFound && self.has_ended()
    }

    /// Its control group in the unified hierarchy, as a directory: the root for the host.
    ///
    /// # Errors
    ///
    /// The process has ended, or there is no unified hierarchy.
    pub fn control_group(&self) -> Result<PathBuf> {
        let Some(container) = &self.container else {
            return cgroup::mount_point();
        };
        if !container.cgroup.path.is_empty() {
            return Ok(container.cgroup.path.clone().into());
        }
        // Not every container was asked for its group.
        let _process = self.process(container)?;
        match cgroup::of_process(&self.host, self.pid())?.path {
            path if path.is_empty() => Err(Error::unsupported("its control group (version 2) is not known")),
            path => Ok(path.into()),
        }
    }

    /// The `/proc` directory of the container's process. Once open it stays with its process; the number alone may meanwhile be another's.
    fn process(&self, container: &Container) -> Result<File> {
        let process = File::open(self.proc("")).with_context(|| format!("opening process {}", self.pid()))?;
        let mntns = nix::sys::stat::fstatat(process.as_fd(), "ns/mnt", nix::fcntl::AtFlags::empty())
            .map_err(gone)
            .context("reading the mount namespace")?;
        if container.mntns != 0 && mntns.st_ino != container.mntns {
            return Err(Error::not_found(format!(
                "process {} is not in the container any more",
                self.pid()
            )));
        }
        Ok(process)
    }
}

/// What the kernel says about the directory of a process that has ended.
fn gone(error: Errno) -> Error {
    match error {
        Errno::ESRCH | Errno::ENOENT => Error::not_found("the process has ended"),
        other => other.into(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.container {
            None => f.write_str("the host"),
            Some(container) => write!(f, "container {:?}", container.runtime.container_name),
        }
    }
}

enum Message {
    Container(ContainerEvent),
    End,
}

/// Keeps attachments in all places of a run. They are detached when it is dropped.
pub struct Follower {
    sender: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Attaches to all places that are there, and to all that come later.
    pub fn start(places: &Places, mut attachments: Vec<Box<dyn PlaceAttachment>>) -> Result<Self> {
        let (sender, messages) = mpsc::channel();
        let host = Host::from_env();
        let mut there = Vec::new();
        if places.host {
            there.push(Place::host(host.clone()));
        }
        let place = move |container: Arc<Container>| Place::of(host.clone(), container);
        if let Some(collection) = &places.collection {
            let sender = sender.clone();
            let running = collection.subscribe_with(places.selector.clone(), move |event| {
                sender.send(Message::Container(event)).is_ok()
            });
            there.extend(running.into_iter().filter(|c| !c.is_nameless()).map(&place));
        }
        for attachment in &mut attachments {
            for place in &there {
                attachment.attach(place);
            }
            attachment.settled();
        }
        let follow = move || {
            while let Ok(Message::Container(event)) = messages.recv() {
                if event.container.is_nameless() {
                    continue;
                }
                let place = place(event.container);
                for attachment in &mut attachments {
                    match event.kind {
                        ContainerEventKind::Created => attachment.attach(&place),
                        ContainerEventKind::Deleted => attachment.detach(&place),
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("ig-follow".to_owned())
            .spawn(follow)
            .context("starting thread ig-follow")?;
        Ok(Self {
            sender,
            thread: Some(thread),
        })
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Fails when the thread has ended.
        let _ = self.sender.send(Message::End);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that follows containers has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl PlaceAttachment for Notes {
        fn attach(&mut self, place: &Place) {
            self.0.lock().unwrap().push(format!("attach {place}"));
        }

        fn detach(&mut self, place: &Place) {
            self.0.lock().unwrap().push(format!("detach {place}"));
        }

        fn settled(&mut self) {
            self.0.lock().unwrap().push("settled".into());
        }
    }

    #[test]
    fn the_host_alone() {
        let notes = Notes::default();
        let places = Places {
            host: true,
            ..Places::default()
        };
        let follower = Follower::start(&places, vec![Box::new(notes.clone())]).unwrap();
        drop(follower);
        assert_eq!(*notes.0.lock().unwrap(), ["attach the host", "settled"]);
    }

    #[test]
    fn a_process_that_is_another_ones_is_noticed() {
        let container = |pid, mntns| {
            let mut container = Container {
                mntns,
                ..Container::default()
            };
            container.runtime.container_pid = pid;
            Place::of(Host::new("/"), Arc::new(container))
        };
        let own = Host::new("/").namespace(std::process::id(), "mnt").unwrap();
        assert!(container(std::process::id(), own).root().is_ok());
        assert!(!container(std::process::id(), own).has_ended());
        assert!(container(std::process::id(), own + 1).has_ended());
        assert!(container(i32::MAX as u32, own).has_ended());
        assert!(!Place::host(Host::new("/")).has_ended());
        let error = container(std::process::id(), own + 1).root().unwrap_err().to_string();
        assert!(error.contains("not in the container any more"), "{error}");
        let error = container(i32::MAX as u32, own).root().unwrap_err().to_string();
        assert!(error.contains("opening process"), "{error}");
    }
}
