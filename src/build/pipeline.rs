//! Building a gadget: compile for every architecture, strip, complete and validate the metadata.
//!
//! The result is in memory; packing it into an image is the image room's. Nothing is written to the source directory except
//! gadget.yaml, and that only when asked for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::SystemTime;

use super::cache::{Cache, Compiled};
use super::clang::{self, Target};
use super::metadata::{self, Metadata};
use super::source::{Source, os_error};
use super::{btfgen, headers, strip, wasm};
use crate::ebpf::inspect::object::ObjectFile;
use crate::image::MAX_DOCUMENT;
use crate::{Error, Result, ResultExt};

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The directory with the source, or a single `*.bpf.c` file.
    pub path: PathBuf,
    /// The file to read in place of `<path>/build.yaml`.
    pub build_file: Option<PathBuf>,
    /// A directory that keeps the generated files; it must exist.
    pub output: Option<PathBuf>,
    /// Complete the metadata file, or create it.
    pub update_metadata: bool,
    /// Check the metadata file against the compiled program.
    pub validate_metadata: bool,
    /// Reduce the BTF files of this archive to what the program needs, and put them into the image.
    pub btfhub_archive: Option<PathBuf>,
    /// A directory of ours that remembers what clang made of a source while everything it read is the same. What cannot be
    /// trusted or written there is left alone, and built.
    pub cache: Option<PathBuf>,
}

impl BuildOptions {
    /// The usual options for the source at `path`.
    pub fn for_path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            build_file: None,
            output: None,
            update_metadata: false,
            validate_metadata: true,
            btfhub_archive: None,
            cache: None,
        }
    }
}

/// A built gadget.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// The eBPF object of each architecture, without DWARF. Empty when the gadget has no eBPF program.
    pub objects: BTreeMap<Target, Vec<u8>>,
    /// Archives of BTF for kernels that show none, by the architecture they are for.
    pub btfgen: BTreeMap<Target, Vec<u8>>,
    /// The wasm module.
    pub wasm: Option<Vec<u8>>,
    /// The bytes of gadget.yaml.
    pub metadata: Option<Vec<u8>>,
    /// What the compiler had to say though it succeeded; the same text for several architectures is there once. Then the keys of
    /// gadget.yaml that mean nothing.
    pub warnings: Vec<String>,
}

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildEvent<'a> {
    /// This command line was run.
    Command(&'a str),
    /// It wrote this.
    Output(&'a str),
}

/// Builds a gadget, telling `report` about each command that is run.
///
/// # Errors
/// When the source is incomplete, does not compile (the message has the compiler's diagnostics), clang is missing (the hint
/// says how to get it), or the metadata does not fit the program.
pub fn build_gadget(options: &BuildOptions, report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<Built> {
    let source = Source::find(&options.path, options.build_file.as_deref())?;
    if let Some(output) = &options.output {
        let metadata = std::fs::metadata(output).map_err(|e| os_error("stat", output, &e))?;
        if !metadata.is_dir() {
            return Err(Error::invalid(format!(
                "output path {:?} is not a directory",
                output.display()
            )));
        }
    }
    check_paths(options, &source).context("building build pipeline")?;
    let mut built = Built::default();
    if let Some(ebpf) = &source.ebpf {
        compile_all(&source, ebpf, options, &mut built, report)?;
    }
    built.wasm = wasm::build(&source, report)?;
    if let (Some(output), Some(module)) = (&options.output, &built.wasm) {
        write_output(&output.join("program.wasm"), module)?;
    }
    if let Some(archive) = &options.btfhub_archive {
        reduce_btf(archive, options, &mut built, report).context("local build")?;
    }
    built.metadata = process_metadata(&source, options, &built.objects)?;
    if let Some(metadata) = built.metadata.as_deref().filter(|_| options.validate_metadata) {
        built.warnings.extend(metadata::unknown_keys(metadata));
    }
    Ok(built)
}

/// Adds the BTF of the archive's kernels.
fn reduce_btf(
    archive: &Path,
    options: &BuildOptions,
    built: &mut Built,
    report: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<()> {
    for (target, object) in &built.objects {
        let Some(layer) = btfgen::layer(archive, *target, object, report)? else {
            let what = format!(
                "the image gets no BTF for {}: the archive has none, or the program needs none",
                target.name()
            );
            built.warnings.push(what);
            continue;
        };
        if let Some(output) = &options.output {
            let file = output.join(btfgen::file_name(*target));
            std::fs::write(&file, &layer).map_err(|e| os_error("write", &file, &e))?;
            give_to_owner_of(&output_dir(&file), &file).context("fixing generated files owner")?;
        }
        built.btfgen.insert(*target, layer);
    }
    if built.btfgen.is_empty() && !built.objects.is_empty() {
        return Err(Error::not_found(format!(
            "finding btf archives: {} has nothing for this gadget",
            archive.display()
        ))
        .with_hint("the archive has files like ID/VERSION_ID/x86_64/RELEASE.btf.tar.xz"));
    }
    Ok(())
}

/// Refuses names that the tools we run would take for options.
fn check_paths(options: &BuildOptions, source: &Source) -> Result<()> {
    let paths = [
        options.output.as_deref().map(Path::as_os_str),
        source.ebpf.as_deref().map(OsStr::new),
        source.wasm.as_deref().map(OsStr::new),
        options.btfhub_archive.as_deref().map(Path::as_os_str),
    ];
    for path in paths.into_iter().flatten() {
        let text = path.to_string_lossy();
        let refuse = |what: &str| Err(Error::invalid(format!("wrong build option detected: {what}: {text:?}")));
        match text.trim_start().chars().next() {
            Some('-') => return refuse("flags are not accepted"),
            Some('@') => return refuse("response file are not accepted"),
            _ => {}
        }
    }
    if let Some(wasm) = source.wasm.as_deref().filter(|wasm| !wasm::is_supported(wasm)) {
        return Err(Error::invalid(format!("unsupported wasm file type: {wasm}")));
    }
    Ok(())
}

fn compile_all(
    source: &Source,
    ebpf: &str,
    options: &BuildOptions,
    built: &mut Built,
    report: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<()> {
    let Some(clang) = clang::find() else {
        return Err(no_clang("clang"));
    };
    let cache = options
        .cache
        .as_deref()
        .and_then(|dir| Cache::open(dir, &clang, &source.dir));
    let known = |target| cache.as_ref()?.find(&cache.as_ref()?.key(target, Path::new(ebpf)));
    let mut compiled: BTreeMap<Target, Compiled> = Target::ALL
        .into_iter()
        .filter_map(|target| Some((target, known(target)?)))
        .collect();
    let missing: Vec<Target> = Target::ALL
        .into_iter()
        .filter(|target| !compiled.contains_key(target))
        .collect();
    if !missing.is_empty() {
        let compiler = Compiler::new(&clang, &source.dir, Path::new(ebpf), cache.as_ref())?;
        compiled.extend(compiler.run(&missing, report)?);
    }
    for (target, Compiled { object, diagnostics }) in compiled {
        if !diagnostics.is_empty() && !built.warnings.contains(&diagnostics) {
            built.warnings.push(diagnostics);
        }
        if let Some(output) = &options.output {
            write_output(&output.join(target.object_name()), &object)?;
        }
        built.objects.insert(target, object);
    }
    Ok(())
}

/// clang, and what all its runs for one source share.
struct Compiler<'a> {
    clang: &'a Path,
    source_dir: &'a Path,
    ebpf: &'a Path,
    cache: Option<&'a Cache>,
    /// Has the headers, and gets what clang writes.
    temporary: tempfile::TempDir,
}

impl<'a> Compiler<'a> {
    fn new(clang: &'a Path, source_dir: &'a Path, ebpf: &'a Path, cache: Option<&'a Cache>) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        // The compiler runs in the source directory, so everything else needs an absolute path.
        let parent = std::path::absolute(std::env::temp_dir())?;
        let temporary = builder
            .prefix("gadget-build-")
            .tempdir_in(parent)
            .context("creating temporary directory")?;
        let compiler = Self {
            clang,
            source_dir,
            ebpf,
            cache,
            temporary,
        };
        headers::unpack(&compiler.headers())?;
        Ok(compiler)
    }

    fn headers(&self) -> PathBuf {
        self.temporary.path().join("headers")
    }

    fn object(&self, target: Target) -> PathBuf {
        self.temporary.path().join(target.object_name())
    }

    fn dependencies(&self, target: Target) -> PathBuf {
        self.object(target).with_extension("d")
    }

    fn command(&self, target: Target) -> (Command, String) {
        let mut arguments = clang::arguments(target, &self.headers(), self.ebpf, &self.object(target));
        if self.cache.is_some() {
            arguments.extend(Cache::dependency_arguments(&self.dependencies(target)));
        }
        let words =
            std::iter::once(self.clang.as_os_str()).chain(arguments.iter().map(|argument| argument.as_os_str()));
        let line = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(self.clang);
        command.args(&arguments).current_dir(self.source_dir);
        // clang refuses to run with a date it does not like; whether the image can be dated is judged when it is packed.
        if std::env::var_os("SOURCE_DATE_EPOCH").is_some_and(|date| !is_epoch(&date)) {
            command.env_remove("SOURCE_DATE_EPOCH");
        }
        (command, line)
    }

    /// Compiles for several targets at once.
    fn run(&self, targets: &[Target], report: &mut dyn FnMut(BuildEvent<'_>)) -> Result<Vec<(Target, Compiled)>> {
        let mut jobs: Vec<_> = targets.iter().map(|target| self.command(*target)).collect();
        let started = SystemTime::now();
        let outputs: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = jobs
                .iter_mut()
                .map(|(command, _)| scope.spawn(|| command.output()))
                .collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut compiled = Vec::new();
        for ((target, (_, line)), output) in targets.iter().zip(&jobs).zip(outputs) {
            report(BuildEvent::Command(line));
            let output =
                output.map_err(|_| Error::new(crate::ErrorKind::Other, "the thread that runs clang panicked"))?;
            let result = self.result(*target, line, output)?;
            if !result.diagnostics.is_empty() {
                report(BuildEvent::Output(&result.diagnostics));
            }
            if let Some(cache) = self.cache {
                let dependencies = self.dependencies(*target);
                let key = cache.key(*target, self.ebpf);
                cache.keep(&key, &result, &dependencies, &self.headers(), started);
            }
            compiled.push((*target, result));
        }
        Ok(compiled)
    }

    fn result(&self, target: Target, line: &str, output: io::Result<Output>) -> Result<Compiled> {
        let output = match output {
            Ok(output) => output,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(no_clang(&self.clang.to_string_lossy())),
            Err(e) => return Err(Error::from(e).context(step(target)).context("local build")),
        };
        let diagnostics = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let status = describe(output.status);
            return Err(Error::invalid(format!("running [{line}]: {status}: {diagnostics}"))
                .context(step(target))
                .context("local build"));
        }
        let object = self.object(target);
        let full = std::fs::read(&object).map_err(|e| os_error("open", &object, &e))?;
        let object =
            strip::strip_dwarf(&full).map_err(|e| Error::invalid(format!("local build: strip for {target}: {e}")))?;
        Ok(Compiled { object, diagnostics })
    }
}

/// Whether clang takes `date` for seconds since the epoch.
fn is_epoch(date: &OsStr) -> bool {
    const END_OF_YEAR_9999: u64 = 253_402_300_799;
    date.to_str()
        .and_then(|date| date.parse::<u64>().ok())
        .is_some_and(|seconds| seconds <= END_OF_YEAR_9999)
}

fn step(target: Target) -> String {
    format!("clang compile for {target}")
}

fn no_clang(name: &str) -> Error {
    Error::not_found(format!("exec: {name:?}: executable file not found in $PATH"))
        .context(step(Target::ALL[0]))
        .context("local build")
        .with_hint(clang::HOW_TO_INSTALL)
}

pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Writes a generated file that the user wants to have.
fn write_output(file: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(file, content).map_err(|e| os_error("write", file, &e))?;
    give_to_owner_of(&output_dir(file), file).context("fixing generated files owner")
}

fn output_dir(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Lets a file that we made as root belong to whom its directory belongs to.
fn give_to_owner_of(model: &Path, file: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(model)?;
    std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid())).map_err(|e| os_error("chown", file, &e))
}

fn process_metadata(
    source: &Source,
    options: &BuildOptions,
    objects: &BTreeMap<Target, Vec<u8>>,
) -> Result<Option<Vec<u8>>> {
    let path = source.metadata_path();
    let mut bytes = read_metadata(&path).context("reading metadata file")?;
    // All architectures declare the same things.
    let object = match objects.values().next() {
        Some(object) => Some(ObjectFile::parse(object)?),
        None => None,
    };
    if options.update_metadata {
        let Some(object) = &object else {
            return Err(Error::not_found(
                "updating metadata file: loading spec: no eBPF object file found: file does not exist",
            ));
        };
        let updated = metadata::update(bytes.as_deref(), object)?;
        if bytes.as_deref() != Some(&*updated) {
            write_metadata(&path, bytes.is_some(), &updated).context("updating metadata file")?;
        }
        bytes = Some(updated);
    }
    if let Some(bytes) = bytes.as_deref().filter(|_| options.validate_metadata) {
        Metadata::decode(bytes)
            .and_then(|metadata| metadata.validate(object.as_ref()))
            .context("validating metadata file")?;
    }
    Ok(bytes)
}

/// The metadata file, if there is one. One that no run would take is an error.
fn read_metadata(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > MAX_DOCUMENT => Err(Error::invalid(format!(
            "{}: more than the {MAX_DOCUMENT} bytes that a gadget's metadata may have",
            path.display()
        ))),
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(os_error("open", path, &e)),
    }
}

/// Replaces the metadata file in one step, so that an interruption leaves the old one.
fn write_metadata(path: &Path, exists: bool, content: &[u8]) -> Result<()> {
    let dir = output_dir(path);
    let file = tempfile::NamedTempFile::new_in(&dir).map_err(|e| os_error("create", path, &e))?;
    std::fs::write(file.path(), content).map_err(|e| os_error("write", path, &e))?;
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644))?;
    let model = if exists { path } else { &dir };
    if let Err(e) = give_to_owner_of(model, file.path()) {
        tracing::warn!("fixing the owner of {}: {e}", path.display());
    }
    file.persist(path).map_err(|e| os_error("rename", path, &e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_that_clang_takes_reach_it() {
        for (date, taken) in [
            ("0", true),
            ("1700000000", true),
            ("", false),
            ("-1", false),
            ("x", false),
            ("999999999999", false),
        ] {
            assert_eq!(is_epoch(date.as_ref()), taken, "{date:?}");
        }
    }
}
