//! An object in the kernel: its programs, where they are attached, and its maps.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, MapType, Object, Program};

use super::attach::uprobe::{self, Multi, SPECS_MAP, SpecLayout, Specs, UprobeProgram, Uprobes};
use super::attach::{self, Attachment, InterfaceProgram, IterKind, LoadedProgram, NetnsProgram, Section};
use super::buffer::BufferKind;
use super::load::say_left_out;
use super::markers::STACK_MAPS;
use super::object::{EbpfObject, ProgramInfo};
use crate::containers::PlaceAttachment;
use crate::operators::StackMaps;
use crate::{Error, ErrorKind, Result, ResultExt};

/// An object in the kernel. Programs are detached and unloaded when this is dropped.
#[derive(Debug)]
pub struct Loaded {
    attachments: Vec<Attachment>,
    /// Links of iterators, which do nothing before they are opened, by program.
    iterators: Vec<(String, Link)>,
    object: Object,
    /// Objects of programs that were loaded after it, because they take the place of parts of it.
    replacements: Vec<Object>,
    programs: Vec<ProgramInfo>,
    /// Names of the programs that are attached already.
    attached: HashSet<String>,
    kind: BufferKind,
    /// How the object wants to be told of the arguments of static probes.
    usdt_layout: Option<SpecLayout>,
    /// The only network interface that is wanted; empty for those of the containers.
    interface: String,
}

impl Loaded {
    pub(super) fn new(
        of: &EbpfObject,
        object: Object,
        programs: Vec<ProgramInfo>,
        kind: BufferKind,
        interface: &str,
    ) -> Result<Self> {
        Ok(Self {
            attachments: Vec::new(),
            iterators: Vec::new(),
            object,
            replacements: Vec::new(),
            programs,
            attached: HashSet::new(),
            kind,
            usdt_layout: of.usdt_layout()?,
            interface: interface.to_owned(),
        })
    }

    /// Takes a program that was loaded after the object.
    pub(super) fn add(&mut self, object: Object, program: ProgramInfo) {
        self.replacements.push(object);
        self.programs.push(program);
    }

    /// The programs that are in the kernel.
    pub(super) fn loaded_programs(&self) -> impl Iterator<Item = Program<'_>> {
        // Those that are not in the kernel have no descriptor.
        self.object.progs().filter(Program::autoload)
    }

    /// All maps of the object.
    pub(super) fn maps(&self) -> impl Iterator<Item = libbpf_rs::Map<'_>> {
        self.object.maps()
    }

    /// A handle on the program of this name, which goes on when the object is borrowed elsewhere.
    fn program(&self, name: &str) -> Result<Option<LoadedProgram>> {
        let objects = std::iter::once(&self.object).chain(&self.replacements);
        let mut programs = objects.flat_map(Object::progs).filter(Program::autoload);
        let Some(program) = programs.find(|program| program.name() == name) else {
            return Ok(None);
        };
        Ok(Some(LoadedProgram {
            name: name.to_owned(),
            fd: program.as_fd().try_clone_to_owned()?,
            attach_type: program.attach_type() as libbpf_sys::bpf_attach_type,
        }))
    }

    /// Attaches those of `programs` that are alternatives to others, to see whether that is possible.
    ///
    /// # Errors
    ///
    /// The first that could not be attached, and why. What has been attached is detached when this is dropped.
    pub(super) fn attach_alternatives(&mut self, programs: &[String]) -> Result<(), (String, Error)> {
        for name in programs {
            let Some(index) = self.programs.iter().position(|info| info.name == *name) else {
                continue;
            };
            self.attach_program(index).map_err(|error| (name.clone(), error))?;
            self.attached.insert(name.clone());
        }
        Ok(())
    }

    /// Attaches all programs in file order.
    pub fn attach(&mut self) -> Result<()> {
        let (mut wanted, mut working) = (0, 0);
        let mut hooks: Vec<(String, Error)> = Vec::new();
        for index in 0..self.programs.len() {
            let Some(info) = self.programs.get(index) else { break };
            let counts = usize::from(info.target != Section::Disabled);
            wanted += counts;
            if self.attached.contains(&info.name) {
                working += counts;
                continue;
            }
            match (self.attach_program(index), self.programs.get(index)) {
                (Ok(()), _) => working += counts,
                (Err(error), Some(info)) if info.optional.is_some() => match &info.target {
                    Section::Tracing { family: "lsm", target } => hooks.push((target.clone(), error)),
                    _ => say_left_out(info, &error),
                },
                (Err(error), _) => return Err(error),
            }
        }
        let names: Vec<&str> = hooks.iter().map(|(hook, _)| hook.as_str()).collect();
        let names = names.join(", ");
        match hooks.into_iter().next() {
            // With none at all the reason is more than a hook that is missing.
            Some((_, error)) if working == 0 => return Err(error),
            Some((_, error)) => tracing::warn!("security hooks that cannot be attached are left out: {names}: {error}"),
            None if working == 0 && wanted > 0 => {
                return Err(Error::unsupported("none of the gadget's programs could be attached"));
            }
            None => {}
        }
        self.attach_operations()
    }

    fn attach_program(&mut self, index: usize) -> Result<()> {
        let Some(info) = self.programs.get(index) else {
            return Ok(());
        };
        let name = info.name.clone();
        let attaching = || format!("attaching eBPF program {name:?}");
        let mut attachments = match &info.target {
            Section::Iter { kind } => {
                let map = info.iterated_map.as_deref().map(|map| self.map(map)).transpose()?;
                let mut programs = self.object.progs_mut();
                let Some(program) = programs.find(|program| program.name() == name.as_str()) else {
                    return Ok(());
                };
                let link = attach::attach_iterator(&program, *kind, map.as_ref().map(AsFd::as_fd));
                self.iterators.push((name.clone(), link.with_context(attaching)?));
                Vec::new()
            }
            Section::SockMap { map: Some(map) } => {
                let map = self.map(map)?.as_fd().try_clone_to_owned()?;
                let Some(program) = self.program(&name)? else {
                    return Ok(());
                };
                vec![attach::attach_socket_map(program, map).with_context(attaching)?]
            }
            Section::Sockops => {
                let Some(program) = self.program(&name)? else {
                    return Ok(());
                };
                vec![attach::attach_to_root_cgroup(&program).with_context(attaching)?]
            }
            Section::Interface(hook) if !self.interface.is_empty() => {
                let Some(program) = self.program(&name)? else {
                    return Ok(());
                };
                let program = InterfaceProgram::new(program, *hook).with_context(attaching)?;
                vec![attach::attach_to_interface(program, &self.interface).with_context(attaching)?]
            }
            section => {
                let objects = std::iter::once(&self.object).chain(&self.replacements);
                let mut programs = objects.flat_map(Object::progs_mut);
                let Some(mut program) = programs.find(|program| program.name() == name.as_str() && program.autoload())
                else {
                    return Ok(());
                };
                attach::attach(&mut program, section)?
            }
        };
        self.attachments.append(&mut attachments);
        Ok(())
    }

    /// Registers the structs of operations that have programs.
    fn attach_operations(&mut self) -> Result<()> {
        let programs = self.programs.iter();
        if !programs.clone().any(|info| info.target == Section::StructOps) {
            return Ok(());
        }
        for mut map in self.object.maps_mut() {
            if map.map_type() == MapType::StructOps {
                let name = map.name().to_string_lossy().into_owned();
                let link = attach::attach_operations(&mut map);
                let link = link.with_context(|| format!("attaching struct of operations {name:?}"))?;
                self.attachments.push(link);
            }
        }
        Ok(())
    }

    /// What is to be attached in containers, besides what [`attach`](Self::attach) has attached.
    ///
    /// These must be dropped before this value is [detached](Self::detach).
    pub fn place_attachments(&self) -> Result<Vec<Box<dyn PlaceAttachment>>> {
        let (mut uprobes, mut netns, mut interfaces, mut cgroups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for info in &self.programs {
            let attaching = || format!("attaching eBPF program {:?}", info.name);
            if let Section::Uprobe(target) = &info.target {
                match uprobe::check(target, self.usdt_layout.is_some()) {
                    Err(error) if info.optional.is_some() => {
                        say_left_out(info, &error);
                        continue;
                    }
                    checked => checked.with_context(attaching)?,
                }
            }
            if !info.target.is_in_places() {
                continue;
            }
            let Some(program) = self.program(&info.name)? else {
                continue;
            };
            match &info.target {
                Section::Uprobe(target) => uprobes.push(UprobeProgram {
                    name: program.name,
                    program: program.fd,
                    target: target.clone(),
                    // libbpf loads static probes for such links too, where the kernel has them.
                    multi: match program.attach_type {
                        _ if target.is_session() => Multi::Session,
                        libbpf_sys::BPF_TRACE_UPROBE_MULTI => Multi::Yes,
                        _ => Multi::No,
                    },
                }),
                Section::Netns(hook) => netns.push(NetnsProgram::new(program, *hook).with_context(attaching)?),
                Section::Interface(hook) if self.interface.is_empty() => {
                    interfaces.push(InterfaceProgram::new(program, *hook).with_context(attaching)?);
                }
                Section::Cgroup => cgroups.push(program),
                _ => {}
            }
        }
        let mut attachments: Vec<Box<dyn PlaceAttachment>> = Vec::new();
        if !uprobes.is_empty() {
            let specs = match &self.usdt_layout {
                Some(layout) => Some(Specs::new(layout.clone(), self.map(SPECS_MAP)?)),
                None => None,
            };
            attachments.push(Box::new(Uprobes::new(uprobes, specs)));
        }
        attachments.extend(attach::in_network_namespaces(netns));
        attachments.extend(attach::on_interfaces(interfaces));
        attachments.extend(attach::on_control_groups(cgroups));
        Ok(attachments)
    }

    /// Attaches all programs for a moment, in places that were made for it where they would else be in the way of others.
    pub(crate) fn attempt(&mut self) -> Result<()> {
        self.attach()?;
        for info in &self.programs {
            let attempt = || {
                if let Section::Uprobe(target) = &info.target {
                    uprobe::check(target, self.usdt_layout.is_some())?;
                }
                let Some(program) = self.program(&info.name)? else {
                    return Ok(());
                };
                match &info.target {
                    Section::Netns(hook) => attach::attempt_in_namespace(NetnsProgram::new(program, *hook)?),
                    Section::Interface(hook) => attach::attempt_on_interface(&InterfaceProgram::new(program, *hook)?),
                    Section::Cgroup => attach::attempt_on_control_group(&program),
                    _ => Ok(()),
                }
            };
            attempt().with_context(|| format!("attaching eBPF program {:?}", info.name))?;
        }
        Ok(())
    }

    /// What the iterator program `name` goes through, and its link, from which it can be opened as long as somebody holds it.
    /// `None` if it is not attached.
    pub fn iterator(&self, name: &str) -> Result<Option<(IterKind, OwnedFd)>> {
        let info = self.programs.iter().find(|program| program.name == name);
        let link = self.iterators.iter().find(|(program, _)| program == name);
        let (Some(Section::Iter { kind }), Some((_, link))) = (info.map(|info| &info.target), link) else {
            return Ok(None);
        };
        let fd = link
            .as_fd()
            .try_clone_to_owned()
            .with_context(|| format!("iterator program {name:?}"))?;
        Ok(Some((*kind, fd)))
    }

    /// Names of the attached iterator programs.
    pub fn iterators(&self) -> impl Iterator<Item = &str> {
        self.iterators.iter().map(|(program, _)| program.as_str())
    }

    /// Detaches all programs; no event is sent from now on. Iterators that are open, or whose link is held, stay.
    pub fn detach(&mut self) {
        self.attachments.clear();
    }

    /// Lets those who turn ids of stacks into texts find them.
    pub fn publish_stacks(&self, to: &StackMaps) {
        let [kernel, user, build_ids] = STACK_MAPS.map(|name| self.map(name).ok());
        to.set(kernel, user, build_ids);
    }

    /// A handle on a map of the object.
    pub fn map(&self, name: &str) -> Result<MapHandle> {
        let map = self
            .object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::not_found(format!("map {name:?} not found in eBPF object")))?;
        MapHandle::try_from(&map).map_err(|error| Error::new(ErrorKind::Io, format!("map {name:?}: {error}")))
    }

    /// Handles on all maps of the object, by name.
    pub fn map_handles(&self) -> Result<Vec<(String, MapHandle)>> {
        let maps = self.object.maps().map(|map| {
            let name = map.name().to_string_lossy().into_owned();
            let handle = MapHandle::try_from(&map);
            let handle = handle.map_err(|error| Error::new(ErrorKind::Io, format!("map {name:?}: {error}")))?;
            Ok((name, handle))
        });
        maps.collect()
    }

    /// Which kind of buffer carries the events of maps that can be either.
    pub fn buffer_kind(&self) -> BufferKind {
        self.kind
    }

    /// The counter of records that the kernel side found no room for in buffer `map`, if the object has one.
    pub fn loss_counter(&self, map: &str) -> Result<Option<LossCounter>> {
        let name = format!("{map}_lost_samples");
        match self.object.maps().find(|map| map.name() == name.as_str()) {
            None => Ok(None),
            Some(counter) => match MapHandle::try_from(&counter) {
                Ok(map) => Ok(Some(LossCounter { map })),
                Err(error) => Err(Error::new(ErrorKind::Io, format!("map {name:?}: {error}"))),
            },
        }
    }
}

/// Counts, on each CPU, records that found no room in an event buffer.
#[derive(Debug)]
pub struct LossCounter {
    map: MapHandle,
}

impl LossCounter {
    /// The sum over all CPUs.
    pub fn read(&self) -> u64 {
        let per_cpu = self
            .map
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .ok()
            .flatten()
            .unwrap_or_default();
        per_cpu
            .iter()
            .filter_map(|value| Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?)))
            .fold(0, u64::saturating_add)
    }
}
