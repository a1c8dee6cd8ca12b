//! What this machine can do for gadgets, asked in one place.
//!
//! Each answer is a [`Fact`]: a name, whether it is there, what was seen, and what would bring it if it is missing. Nothing is
//! changed; what the kernel has to be asked is asked by creating the smallest thing of its kind and dropping it.

use std::borrow::Cow;

mod bpf;
mod gadget;
mod kernel;
mod places;

pub use gadget::{ProgramReport, check};

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It could not be found out.
    Unknown,
    /// Neither good nor bad: something to know.
    Info,
}

impl Status {
    /// One word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Status::Yes => "yes",
            Status::No => "no",
            Status::Unknown => "unknown",
            Status::Info => "info",
        }
    }

    fn of(there: bool) -> Self {
        if there { Status::Yes } else { Status::No }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What kind of thing it is: `kernel`, `privileges`, `file systems`, `programs`, `maps`, `features`, `runtimes`.
    pub area: &'static str,
    /// What was looked for.
    pub name: String,
    /// Whether it is there.
    pub status: Status,
    /// What was seen; may be empty.
    pub detail: String,
    /// What would bring it, if it is missing and gadgets may want it; may be empty.
    pub remedy: Cow<'static, str>,
}

impl Fact {
    fn new(area: &'static str, name: impl Into<String>, status: Status) -> Self {
        Self {
            area,
            name: name.into(),
            status,
            detail: String::new(),
            remedy: Cow::Borrowed(""),
        }
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    fn remedy(self, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self {
            remedy: remedy.into(),
            ..self
        }
    }
}

/// Everything that can be asked, area by area.
pub fn facts() -> Vec<Fact> {
    let mut facts = kernel::facts();
    facts.extend(places::file_systems());
    facts.extend(bpf::features());
    facts.extend(bpf::programs());
    facts.extend(bpf::maps());
    facts.extend(places::runtimes());
    facts
}
