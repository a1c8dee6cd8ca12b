//! `ig doctor`: what this machine can do for gadgets, and whether one of them can run here.

use std::io::Write;

use clap::Command;
use serde_json::{Value, json};

use super::gadget_args::{GadgetArgs, Strict};
use super::host::{self, HostOptions};
use super::stdout::stdout;
use super::{gadget_info, run, run_flags};
use crate::features::{self, Fact, ProgramReport, Status};
use crate::metadata::params::Param;
use crate::text::printable;
use crate::{Error, ErrorKind, Result};

/// Full name of `--output`.
const OUTPUT: &str = "output";

pub(super) fn command() -> Command {
    run_flags::command()
        .name("doctor")
        .about("Show what this machine can do for gadgets")
        .long_about(
            "Show what this machine can do for gadgets: kernel, privileges, file systems, types of programs and maps, container runtimes\n\n\
             With GADGET, each of its programs is loaded and attached on its own for a moment, to find out whether the gadget can run \
             here, and if not, which program cannot, why, and what would help. The exit status is then 1 if it cannot. The flags that say where images \
             come from are those of `ig run`.",
        )
        .mut_arg("image", |arg| arg.value_name("[GADGET]"))
}

fn output_param() -> Param {
    Param::new(OUTPUT)
        .alias('o')
        .default_value("text")
        .description("Output mode")
        .possible_values(["text", "json", "jsonpretty"])
}

/// Answers for the machine or for the gadget that the command line names.
pub(super) fn run(args: &GadgetArgs) -> Result<()> {
    let values = match args.strict(&[output_param()])? {
        Strict::Help { page, .. } => return run::print(&page),
        Strict::Run(values) => values,
    };
    run::use_btf(&values)?;
    let mode = values.get(OUTPUT).unwrap_or("text").to_owned();
    let named = args.image(&[output_param()])?;
    let image = match named.as_ref().and_then(|name| name.to_str()) {
        None => None,
        Some(name) => {
            host::require_root()?;
            host::prepare(&HostOptions::from_matches(&args.root_matches()?))?;
            Some((name, run::find_image(name, &values)?))
        }
    };
    match image {
        None => {
            let facts = features::facts();
            match mode.as_str() {
                "text" => stdout().write_all(text_of_facts(&facts).as_bytes())?,
                mode => run::print(&gadget_info::text(&json_of_facts(&facts), mode == "jsonpretty"))?,
            }
            Ok(())
        }
        Some((name, image)) => {
            let reports = features::check(&image, run::guest_options(false))?;
            let runs = reports.iter().all(|report| report.error.is_none() || report.optional);
            match mode.as_str() {
                "text" => stdout().write_all(text_of_programs(&reports).as_bytes())?,
                mode => run::print(&gadget_info::text(
                    &json_of_programs(name, runs, &reports),
                    mode == "jsonpretty",
                ))?,
            }
            if runs {
                Ok(())
            } else {
                Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{name} cannot run on this machine"),
                ))
            }
        }
    }
}

fn text_of_facts(facts: &[Fact]) -> String {
    let mut text = String::new();
    let width = facts.iter().map(|fact| fact.name.chars().count()).max().unwrap_or(0);
    let mut area = "";
    for fact in facts {
        if fact.area != area {
            area = fact.area;
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}{}\n", area.to_uppercase());
        }
        let word = match fact.status {
            Status::Info => "",
            status => status.word(),
        };
        let line = format!("  {:width$}  {word:7}  {}", fact.name, printable(&fact.detail));
        text += line.trim_end();
        text.push('\n');
        if fact.status == Status::No && !fact.remedy.is_empty() {
            text += &format!("  {:width$}           → {}\n", "", fact.remedy);
        }
    }
    text
}

fn json_of_facts(facts: &[Fact]) -> Value {
    facts
        .iter()
        .map(|fact| {
            let mut value = json!({
                "area": fact.area,
                "name": fact.name,
                "status": fact.status.word(),
                "detail": fact.detail,
            });
            if fact.status == Status::No && !fact.remedy.is_empty() {
                value["remedy"] = fact.remedy.as_ref().into();
            }
            value
        })
        .collect()
}

fn text_of_programs(reports: &[ProgramReport]) -> String {
    let mut text = String::new();
    let width = |of: fn(&ProgramReport) -> &str| reports.iter().map(|r| of(r).chars().count()).max().unwrap_or(0);
    let (names, sections) = (width(|r| &r.name), width(|r| &r.section));
    for report in reports {
        let word = match (&report.error, report.optional) {
            (None, _) => "yes",
            (Some(_), true) => "no, but the gadget can do without it",
            (Some(_), false) => "no",
        };
        text += &format!(
            "{:names$}  {:sections$}  {word}\n",
            printable(&report.name),
            printable(&report.section)
        );
        if let Some(error) = &report.error {
            for line in error.to_string().lines() {
                text += &format!("    {}\n", printable(line));
            }
            if let Some(hint) = error.hint() {
                text += &format!("    → {}\n", printable(hint));
            }
        }
    }
    text
}

fn json_of_programs(gadget: &str, runs: bool, reports: &[ProgramReport]) -> Value {
    let programs: Value = reports
        .iter()
        .map(|report| {
            let mut value = json!({
                "name": report.name,
                "section": report.section,
                "optional": report.optional,
                "runs": report.error.is_none(),
            });
            if let Some(error) = &report.error {
                value["error"] = error.to_string().into();
                if let Some(hint) = error.hint() {
                    value["remedy"] = hint.into();
                }
            }
            value
        })
        .collect();
    json!({"gadget": gadget, "runs": runs, "programs": programs})
}
