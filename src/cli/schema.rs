//! `ig schema`: the JSON Schema of what `ig run GADGET -o json` prints.

use clap::{Arg, Command};

use super::gadget_args::{GadgetArgs, Strict};
use super::{gadget_info, run, run_flags};
use crate::Result;
use crate::data::DataSource;
use crate::operators::local_manager::ContainerSource;
use crate::output::schema::{self, Options};

/// Full name of `--loss-records`.
const LOSS_RECORDS: &str = "loss-records";

pub(super) fn command() -> Command {
    run_flags::command()
        .name("schema")
        .about("Show the JSON Schema of a gadget's events")
        .long_about(
            "Show the JSON Schema (draft 2020-12) of the lines that `ig run GADGET -o json` prints\n\nAll flags of `ig run` are \
             accepted, so that a command line becomes that of its schema by another word; those that change the events change \
             the schema. Nothing is loaded, and no privilege is needed.",
        )
        .mut_arg("image", |arg: Arg| arg.value_name("GADGET"))
}

/// Prints the schema for the gadget that the command line names.
pub(super) fn run(args: &GadgetArgs) -> Result<()> {
    if args.is_only_help() {
        return run::print(&args.help_page()?);
    }
    let early = args.early()?;
    let Some(name) = early.image.as_ref().and_then(|name| name.to_str()) else {
        return run::print(&args.help_page()?);
    };
    run_flags::check(&early.values)?;
    let containers = ContainerSource::Unavailable("nothing is run".to_owned());
    let (gadget, _, asked) = run::instantiate(args, name, &early.values, containers, None)?;
    let values = match asked {
        Strict::Help { page, .. } => return run::print(&page),
        Strict::Run(values) => values,
    };
    let sources: Vec<&DataSource> = gadget.data_sources().collect();
    let options = Options {
        loss_records: values.is_true(LOSS_RECORDS),
    };
    let compact = values.get(run::OUTPUT) == Some("json");
    run::print(&gadget_info::text(&schema::schema(&sources, options), !compact))
}
