//! Whether one gadget can run here: each of its programs is loaded and attached on its own, for a moment.

use std::sync::Arc;

use crate::ebpf::LoadOptions;
use crate::ebpf::attach::Section;
use crate::ebpf::object::EbpfObject;
use crate::image::GadgetImage;
use crate::metadata::config::Config;
use crate::{Error, Result, ResultExt};

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

/// Tries every program of the image.
///
/// # Errors
///
/// An image whose object or metadata cannot be read at all.
pub fn check(image: &GadgetImage) -> Result<Vec<ProgramReport>> {
    let config = Config::parse(image.metadata())
        .context("unmarshalling metadata")
        .context("setting metadata")?;
    let config = Arc::new(config);
    let mut reports = Vec::new();
    for bytes in image.ebpf() {
        let mut object = EbpfObject::instantiate(bytes.into(), &config, &mut Vec::new())?;
        object.set_btf_archive(image.btfgen());
        let first = reports.len();
        for program in object.programs() {
            reports.push(ProgramReport {
                name: program.name.clone(),
                section: program.section.clone(),
                optional: program.optional.is_some(),
                error: attempt(&object, &program.name, &program.target).err(),
            });
        }
        for group in object.alternatives() {
            let of_group = |report: &ProgramReport| group.contains(&report.name);
            let reports = reports.get_mut(first..).unwrap_or_default();
            if reports.iter().any(|report| of_group(report) && report.error.is_none()) {
                let others = reports.iter_mut().filter(|report| of_group(report));
                others.for_each(|report| report.optional = true);
            }
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
