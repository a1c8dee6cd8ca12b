//! `ig replay`: a recording through the pipeline of its gadget.

use clap::{Arg, Command};

use super::gadget_args::{GadgetArgs, Strict};
use super::signals::Interrupts;
use super::{gadget_info, params, run, run_flags};
use crate::gadget::Gadget;
use crate::metadata::params::{Param, TypeHint};
use crate::operators::local_manager;
use crate::operators::sink::Output;
use crate::recording::{Head, Recording};
use crate::{Error, Result};

/// The description of `ig replay` as far as no recording is known.
pub(super) fn command() -> Command {
    // The table's keys are checked by a test, so that there are always flags.
    let args = params::args(&run_flags::replay_params(), &[]).unwrap_or_default();
    Command::new("replay")
        .about("Show the events of a recording")
        .long_about(
            "Show the events of a recording, made with `ig run GADGET --record FILE`\n\nNeeds no privileges, no eBPF and no container runtime, \
             and works on any machine. Output, filters and the selection of containers are chosen anew; without a flag that selects, \
             the containers are those of the recorded run. What the kernel side was told is fixed.\n\n`ig replay FILE --help` shows the \
             flags that the recording's gadget adds.",
        )
        .args(args)
        .arg(Arg::new("recording").value_name("FILE").num_args(0..))
}

/// Replays the recording that the command line names.
pub(super) fn run(args: &GadgetArgs) -> Result<()> {
    if args.is_only_help() {
        return run::print(&args.help_page()?);
    }
    let early = args.early()?;
    let interrupts = Interrupts::take()?;
    let Some(path) = early.image else {
        return run::print(&args.help_page()?);
    };
    let recording = Recording::open(path)?;
    let head = recording.head().clone();
    let mut gadget = Gadget::replay(recording)
        .annotate(run::list(&early.values, "operator.oci.annotate"))
        .guest(run::guest_options(early.values.is_true(run_flags::PROFILE_GUEST)))
        .build()?;

    let output_params = run::output_params(&gadget);
    let params = run::params(&gadget, &output_params);
    let given = if early.help {
        Vec::new()
    } else {
        refuse_kernel_params(args, &params, &head)?;
        args.given(&params)?
    };
    let mut values = match args.strict(&params)? {
        Strict::Help { page, output } => {
            let json = |pretty| gadget_info::json(&head.image, args.statics(), &gadget, &output_params, pretty);
            return run::print(&match output.as_deref() {
                Some("json") => json(false),
                Some("jsonpretty") => json(true),
                _ => page,
            });
        }
        Strict::Run(values) => values,
    };
    run_flags::check(&values)?;
    // Any flag that selects makes the selection anew; without one it is that of the recorded run.
    let selects = |name: &String| name.starts_with(local_manager::PARAM_PREFIX);
    if !given.iter().any(selects) {
        for (name, value) in head.params.iter().filter(|(name, _)| selects(name)) {
            values.set(name, value);
        }
    }
    gadget.set_values(&values);
    // A recording can wait for a slow reader.
    let output = Output::stdout()?.patient();
    run::show(gadget, &values, &output_params, output, &interrupts)
}

/// Names the flags that the recorded run had and a replay cannot have.
fn refuse_kernel_params(args: &GadgetArgs, params: &[Param], head: &Head) -> Result<()> {
    let kernel: Vec<Param> = head
        .kernel_params
        .iter()
        .map(|param| Param {
            prefix: "kernel.".to_owned(),
            key: param.key.clone(),
            alias: param.alias,
            type_hint: if param.is_bool { TypeHint::Bool } else { TypeHint::None },
            ..Param::default()
        })
        .collect();
    let fixed = args.named(params, &kernel)?;
    let Some(param) = head.kernel_params.iter().find(|param| fixed.contains(&param.key)) else {
        return Ok(());
    };
    Err(Error::unsupported(format!(
        "flag --{}: it tells the kernel side what to report, and was {:?} when this was recorded",
        param.key, param.value
    ))
    .with_hint("select by value with --filter, or record again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_a_run_that_make_sense() {
        let params = run_flags::replay_params();
        let has = |key: &str| params.iter().any(|param| param.key == key);
        assert!(has("annotate"));
        for key in ["record", "timeout", "pull", "buffer-size", "runtimes", "verify-image"] {
            assert!(!has(key), "{key}");
        }
        assert_eq!(params::args(&params, &[]).unwrap().len(), params.len());
    }
}
