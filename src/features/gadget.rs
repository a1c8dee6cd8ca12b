//! Whether one gadget can run here: each of its programs is loaded and attached on its own, for a moment.

use crate::ebpf::LoadOptions;
use crate::ebpf::attach::Section;
use crate::ebpf::object::EbpfObject;
use crate::gadget::Gadget;
use crate::image::GadgetImage;
use crate::operators::local_manager::ContainerSource;
use crate::wasm::GuestOptions;
use crate::{Error, Result};

/// What became of one program.
#[derive(Debug)]
pub struct ProgramReport {
    /// Name of the C function.
    pub name: String,
    /// Its ELF section.
    pub section: String,
    /// Whether the gadget can do without it: always, or because an alternative to it can run here.
    pub optional: bool,
    /// Why it cannot run here; the words are those of a run.
    pub error: Option<Error>,
}

/// Tries every program of the image, attached to what the gadget's own code (run as `guest` says) chooses here.
///
/// # Errors
///
/// An image of which no gadget can be made.
pub fn check(image: &GadgetImage, guest: GuestOptions) -> Result<Vec<ProgramReport>> {
    // Nothing is selected.
    let containers = ContainerSource::Unavailable("containers are not asked for".to_owned());
    let gadget = Gadget::builder(image).guest(guest).containers(containers).build()?;
    let Some(object) = gadget.into_object()? else {
        return Ok(Vec::new());
    };
    let programs = object.programs().iter();
    let mut reports: Vec<ProgramReport> = programs
        .map(|program| ProgramReport {
            name: program.name.clone(),
            section: program.section.clone(),
            optional: program.optional.is_some(),
            error: attempt(&object, &program.name, &program.target).err(),
        })
        .collect();
    for group in object.alternatives() {
        let of_group = |report: &ProgramReport| group.contains(&report.name);
        if reports.iter().any(|report| of_group(report) && report.error.is_none()) {
            let others = reports.iter_mut().filter(|report| of_group(report));
            others.for_each(|report| report.optional = true);
        }
    }
    Ok(reports)
}

fn attempt(object: &EbpfObject, name: &str, target: &Section) -> Result<()> {
    if matches!(target, Section::Disabled) {
        return Ok(());
    }
    let mut loaded = object.load(&LoadOptions {
        only: Some(name.to_owned()),
        ..LoadOptions::default()
    })?;
    // What runs once would do its work.
    if matches!(target, Section::RunOnce) {
        return Ok(());
    }
    loaded.attempt()
}
