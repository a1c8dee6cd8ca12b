//! `ig run`: from a name and flags to a running gadget and its output.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::gadget_args::{GadgetArgs, Strict};
use super::host::{self, HostOptions};
use super::progress::Bar;
use super::signals::Interrupts;
use super::stdout::stdout;
use super::{explain, gadget_info, guest_profile, resident, run_flags, watch};
use crate::build::{BuildEvent, BuildOptions, build_gadget, is_source_path};
use crate::containers::{Collection, CollectionOptions, Host, MissingSocket, RuntimeKind};
use crate::ebpf::btf::KernelBtf;
use crate::ebpf::buffer::{BufferKind, BufferSettings};
use crate::gadget::{Gadget, Report};
use crate::image::{
    GadgetImage, PackedImage, PullPolicy, RegistryOptions, ResolveOptions, Resolver, Store, StoreChoice,
};
use crate::metadata::config::Config;
use crate::metadata::custom::CustomParams;
use crate::metadata::params::typed::split_list;
use crate::metadata::params::{Param, ParamValues};
use crate::operators::local_manager::ContainerSource;
use crate::operators::sink::{self, CliSink, Output};
use crate::output::{fields, mode};
use crate::wasm::GuestOptions;
use crate::{Error, ErrorKind, Result, ResultExt};

pub(super) const FIELDS: &str = "operator.cli.fields";
pub(super) const OUTPUT: &str = "operator.cli.output";

/// Where what clang made of sources is kept, beside the store.
const BUILD_CACHE: &str = "build-cache";
const WASM_CACHE: &str = "wasm-cache";

/// A gadget that is ready to be started, and what the command line says about the run.
pub(super) struct Prepared {
    pub(super) gadget: Gadget,
    /// The values of all flags.
    pub(super) values: ParamValues,
    /// The parameters for the output.
    pub(super) output_params: [Param; 2],
    pub(super) interrupts: Interrupts,
}

/// Runs the gadget that the command line names.
pub(super) fn run(args: &GadgetArgs) -> Result<()> {
    if !args.is_only_help() {
        let early = args.early()?;
        if early.values.is_true(run_flags::WATCH) && !early.help {
            return watch::run(args, &early);
        }
    }
    match prepare(args)? {
        Some(prepared) => run_prepared(prepared),
        None => Ok(()),
    }
}

/// Runs a gadget to its end as the command line says.
pub(super) fn run_prepared(mut prepared: Prepared) -> Result<()> {
    let values = &prepared.values;
    let record_to = values
        .get(run_flags::RECORD)
        .filter(|path| !path.is_empty() && !values.is_true(run_flags::EXPLAIN));
    if let Some(path) = record_to {
        prepared.gadget.record(Path::new(path))?;
    }
    show(
        prepared.gadget,
        &prepared.values,
        &prepared.output_params,
        Output::stdout()?,
        &prepared.interrupts,
    )
}

/// Makes the gadget that the command line names. `None` if the answer was a page, which is printed.
pub(super) fn prepare(args: &GadgetArgs) -> Result<Option<Prepared>> {
    if args.is_only_help() {
        return print(&args.help_page()?).map(|()| None);
    }
    prepare_of(args, Interrupts::take, find_image)
}

/// The same with the image that `find` gives for a name.
pub(super) fn prepare_of(
    args: &GadgetArgs,
    interrupts: impl FnOnce() -> Result<Interrupts>,
    find: impl FnOnce(&str, &ParamValues) -> Result<GadgetImage>,
) -> Result<Option<Prepared>> {
    let early = args.early()?;
    let host_options = HostOptions::from_matches(&args.root_matches()?);
    // Help and explanations need the image, but nothing of the host.
    let explain = early.values.is_true(run_flags::EXPLAIN);
    let host = if early.help || explain {
        None
    } else {
        host::require_root()?;
        Some(Host::new(host::prepare(&host_options)?.root))
    };
    let interrupts = interrupts()?;
    let Some(name) = early.image.as_ref().and_then(|name| name.to_str()) else {
        return print(&args.help_page()?).map(|()| None);
    };
    run_flags::check(&early.values)?;
    // The container hook and the gadget need the same.
    let kernel_btf = KernelBtf::keep();
    use_btf(&early.values)?;
    // Containers are listed while the image is read and the gadget is loaded.
    let host_files = host.clone();
    let containers = match host {
        Some(host) => containers(&early.values, host)?,
        None => ContainerSource::Unavailable("nothing is run".to_owned()),
    };
    let image = find(name, &early.values).context("fetching gadget information")?;
    let (mut gadget, output_params, asked) = instantiate_image(args, &image, containers, host_files)?;
    let values = match asked {
        Strict::Help { page, output } => {
            return print(&match output.as_deref() {
                Some("json") => gadget_info::json(name, args.statics(), &gadget, &output_params, false),
                Some("jsonpretty") => gadget_info::json(name, args.statics(), &gadget, &output_params, true),
                _ => page,
            })
            .map(|()| None);
        }
        Strict::Run(values) => values,
    };
    run_flags::check(&values)?;
    gadget.set_values(&values);
    gadget.set_buffers(buffers(&values)?);
    gadget.set_socket_fields(run_flags::socket_fields(&values)?);
    gadget.set_kept_btf(kernel_btf);
    Ok(Some(Prepared {
        gadget,
        values,
        output_params,
        interrupts,
    }))
}

/// Has everybody use the BTF of the file that the user names, if there is one.
pub(super) fn use_btf(values: &ParamValues) -> Result<()> {
    if let Some(path) = values.get(run_flags::BTF).filter(|path| !path.is_empty()) {
        KernelBtf::give(KernelBtf::from_file(Path::new(path)).context("--btf")?);
    }
    Ok(())
}

/// Runs a gadget to its end and shows its events in `output`.
pub(super) fn show(
    mut gadget: Gadget,
    values: &ParamValues,
    output_params: &[Param],
    output: Output,
    interrupts: &Interrupts,
) -> Result<()> {
    gadget.set_include_self(values.is_true(run_flags::INCLUDE_SELF));
    let sink = sink(&mut gadget, values, output_params, &output)?;
    gadget.add_instance(sink);
    if values.is_true(run_flags::EXPLAIN) {
        let mode = values.get(OUTPUT).unwrap_or_default();
        return print(&explain::render(&gadget.explain()?, mode));
    }
    interrupts.end(gadget.stop_signal());

    // Before the event buffers are mapped, so that the two are never there together.
    resident::give_back();
    let mut running = gadget.start()?;
    resident::give_back();
    tracing::debug!("running...");
    running.wait(timeout(values)?);
    let report = running.stop()?;
    say_losses(&report);
    if values.is_true(run_flags::PROFILE_GUEST) {
        guest_profile::say(report.guest_profile());
    }
    if let Some(recorded) = report.recorded() {
        tracing::info!("recorded {} events in {}", recorded.events, recorded.path.display());
    }
    output.take_error().map_or(Ok(()), Err)?;
    if values.is_true(run_flags::FAIL_ON_LOSS) && report.lost_anything() {
        return Err(Error::new(ErrorKind::Lost, "events were lost")
            .with_hint("the warnings above say where; without --fail-on-loss the run succeeds"));
    }
    Ok(())
}

/// The gadget of that name, as far as it goes without loading anything; its parameters for the output; and what the command line
/// asks of it. `host` is where the host's files are, if that is known.
pub(super) fn instantiate(
    args: &GadgetArgs,
    name: &str,
    early: &ParamValues,
    containers: ContainerSource,
    host: Option<Host>,
) -> Result<(Gadget, [Param; 2], Strict)> {
    let image = find_image(name, early).context("fetching gadget information")?;
    instantiate_image(args, &image, containers, host)
}

/// The same for an image that is there.
pub(super) fn instantiate_image(
    args: &GadgetArgs,
    image: &GadgetImage,
    containers: ContainerSource,
    host: Option<Host>,
) -> Result<(Gadget, [Param; 2], Strict)> {
    let instantiate = |values: &ParamValues| {
        let mut builder = Gadget::builder(image)
            .annotate(list(values, "operator.oci.annotate"))
            .environment(environment(values))
            .containers(containers.clone())
            .guest(guest_options(values.is_true(run_flags::PROFILE_GUEST)))
            .values(values);
        if let Some(host) = &host {
            builder = builder.host_files(host.clone());
        }
        builder
            .build()
            .context("instantiating operator \"oci\"")
            .context("initializing and preparing operators")
            .context("fetching gadget information")
    };
    // The values of custom parameters change the metadata, and thereby maybe everything that follows.
    let mut gadget = instantiate(&args.early_values(&custom_params(image)?)?)?;
    let mut output_params = self::output_params(&gadget);
    let mut asked = args.strict(&params(&gadget, &output_params))?;
    if let Strict::Run(values) = &asked
        && gadget.depends_on(values)?
    {
        // A patch looks at parameters of the gadget itself, which are known only now.
        gadget = instantiate(values)?;
        output_params = self::output_params(&gadget);
        asked = args.strict(&params(&gadget, &output_params))?;
    }
    Ok((gadget, output_params, asked))
}

/// How gadgets' own code is run: with compiled modules kept beside the store.
pub(super) fn guest_options(profile: bool) -> GuestOptions {
    GuestOptions {
        cache: beside_store(WASM_CACHE),
        profile,
        ..GuestOptions::default()
    }
}

/// The parameters that the metadata of an image depends on.
fn custom_params(image: &GadgetImage) -> Result<Vec<Param>> {
    let config = Config::parse(image.metadata())
        .context("unmarshalling metadata")
        .context("setting metadata")
        .context("instantiating operator \"oci\"")
        .context("initializing and preparing operators")
        .context("fetching gadget information")?;
    Ok(CustomParams::read(&config).params().cloned().collect())
}

/// The environment variables that a gadget may see.
fn environment(values: &ParamValues) -> Vec<String> {
    let names = values.get("operator.env.env-vars").unwrap_or_default();
    names.split(',').map(str::to_owned).collect()
}

/// All parameters that are flags because of this gadget, with the defaults that its author advertises.
pub(super) fn params(gadget: &Gadget, output_params: &[Param]) -> Vec<Param> {
    let mut params = gadget.params();
    let of_gadget = params.len();
    params.extend_from_slice(output_params);
    gadget.advertise(&mut params[of_gadget..]);
    params
}

pub(super) fn print(page: &str) -> Result<()> {
    stdout().write_all(page.as_bytes())?;
    Ok(())
}

/// The image, from a path that is built now, or from the store, the catalogue or a registry.
pub(super) fn find_image(name: &str, values: &ParamValues) -> Result<GadgetImage> {
    if is_source_path(name) {
        return build_image(Path::new(name));
    }
    let text = |key: &str| values.get(&format!("operator.oci.{key}")).unwrap_or_default();
    let on = |key: &str| values.is_true(&format!("operator.oci.{key}"));
    let bar = Bar::new();
    let options = ResolveOptions {
        store: if values.is_true(run_flags::OCI_STORE_USER) {
            StoreChoice::SudoUser
        } else {
            StoreChoice::Default
        },
        pull: text("pull").parse::<PullPolicy>()?,
        verify_image: on("verify-image"),
        allowed_gadgets: list(values, "operator.oci.allowed-gadgets"),
        disallow_pulling: on("disallow-pulling"),
        registry: RegistryOptions {
            authfile: text("authfile").into(),
            insecure_registries: list(values, "operator.oci.insecure-registries"),
            ..RegistryOptions::default()
        },
        progress: bar.progress(),
        ..ResolveOptions::default()
    };
    let resolver = Resolver::new(options)?;
    resolver
        .resolve(name)
        .context("instantiating operator \"oci\"")
        .context("initializing and preparing operators")
}

/// A directory of ours.
fn beside_store(name: &str) -> Option<PathBuf> {
    Store::default_dir().ok().map(|store| store.with_file_name(name))
}

/// Builds the image of the source at `path`. What was just built from the user's own files needs no further trust.
pub(super) fn build_image(path: &Path) -> Result<GadgetImage> {
    GadgetImage::from_packed(&build_packed(path)?, None)
}

/// The same with everything that is in it, for all architectures.
pub(super) fn build_packed(path: &Path) -> Result<PackedImage> {
    // Never in the store of another user: what is in the cache is trusted.
    let options = BuildOptions {
        cache: beside_store(BUILD_CACHE),
        ..BuildOptions::for_path(path)
    };
    let built = build_gadget(&options, &mut |event| match event {
        BuildEvent::Command(line) | BuildEvent::Output(line) => tracing::debug!("{line}"),
    })?;
    for warning in &built.warnings {
        tracing::warn!("{warning}");
    }
    built.pack()
}

pub(super) fn list(values: &ParamValues, name: &str) -> Vec<String> {
    split_list(values.get(name).unwrap_or_default())
}

fn containers(values: &ParamValues, host: Host) -> Result<ContainerSource> {
    let text = |key: &str| values.get(&format!("operator.localmanager.{key}")).unwrap_or_default();
    let defaults = default_values();
    let explicit = |key: &str| defaults.get(&format!("operator.localmanager.{key}")) != Some(text(key));
    let options = CollectionOptions {
        runtimes: RuntimeKind::parse_list(text("runtimes"))?,
        explicit_runtimes: explicit("runtimes"),
        docker_socket: text("docker-socketpath").into(),
        explicit_docker_socket: explicit("docker-socketpath"),
        missing_socket: MissingSocket::Check,
        host,
        ..CollectionOptions::default()
    };
    match Collection::start(options) {
        Ok(collection) => Ok(ContainerSource::Collection(collection)),
        Err(error) if explicit("runtimes") || explicit("docker-socketpath") => Err(error),
        Err(error) => Ok(ContainerSource::Unavailable(error.to_string())),
    }
}

fn default_values() -> ParamValues {
    let mut values = ParamValues::new();
    for param in run_flags::params() {
        values.set(param.full_name(), param.default.clone());
    }
    values
}

fn buffers(values: &ParamValues) -> Result<BufferSettings> {
    let kind = match values.get(run_flags::BUFFER_KIND).unwrap_or("auto") {
        "ring" => Some(BufferKind::Ring),
        "perf" => Some(BufferKind::Perf),
        _ => None,
    };
    BufferSettings::new(kind, run_flags::buffer_size(values)?)
}

pub(super) fn output_params(gadget: &Gadget) -> [Param; 2] {
    let sources: Vec<_> = gadget.data_sources().collect();
    let of_cli = |param: Param| Param {
        prefix: "operator.cli.".to_owned(),
        ..param
    };
    [
        of_cli(
            Param::new("fields")
                .default_value(fields::default_value(&sources))
                .description(fields::help(&sources)),
        ),
        of_cli(
            Param::new("output")
                .alias('o')
                .default_value(mode::default_value(&sources))
                .description(mode::help(&sources)),
        ),
    ]
}

fn sink(gadget: &mut Gadget, values: &ParamValues, params: &[Param], output: &Output) -> Result<CliSink> {
    let chosen = |name: &str| {
        let default = params
            .iter()
            .find(|param| param.full_name() == name)
            .map(|param| param.default.as_str());
        values
            .get(name)
            .filter(|value| Some(*value) != default)
            .map(str::to_owned)
    };
    let on_terminal = std::io::stdout().is_terminal();
    let options = sink::Options {
        fields: chosen(FIELDS),
        output: chosen(OUTPUT),
        terminal: on_terminal.then(|| Arc::new(terminal_width) as sink::TerminalWidth),
        timestamps: run_flags::timestamps(values)?,
        loss_records: values.is_true(run_flags::LOSS_RECORDS),
    };
    let stop = gadget.stop_signal();
    output.on_end(move || stop.request());
    let sink = CliSink::instantiate(gadget.context(), &options, output.clone())?;
    for note in sink.notes() {
        tracing::warn!("{note}");
    }
    Ok(sink)
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout())
        .map(|(width, _)| usize::from(width.0))
        .filter(|width| *width > 0)
}

pub(super) fn timeout(values: &ParamValues) -> Result<Option<Duration>> {
    let seconds = values.get(run_flags::TIMEOUT).unwrap_or("0");
    let seconds: i64 = seconds
        .parse()
        .map_err(|_| Error::invalid(format!("invalid timeout: {seconds:?}")))?;
    Ok(u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs))
}

pub(super) fn say_losses(report: &Report) {
    for loss in report.losses() {
        match loss.place.is_intended() {
            true => tracing::info!("{}: left out {} elements: {}", loss.source, loss.count, loss.place),
            false => tracing::warn!("{}: lost {} samples: {}", loss.source, loss.count, loss.place),
        }
    }
}
