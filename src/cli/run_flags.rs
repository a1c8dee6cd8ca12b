//! The flags of `ig run` that do not depend on a gadget: a table of [`Param`]s, and which of them this version cannot serve.

use clap::{Arg, Command};

use super::params;
use crate::ebpf::sockets::SocketFields;
use crate::metadata::params::typed::parse_size;
use crate::metadata::params::{Param, ParamValues, TypeHint};
use crate::operators::sink::Timestamps;
use crate::{Error, Result, ResultExt};

/// Full name of `--timeout`, in seconds.
pub(super) const TIMEOUT: &str = "timeout";
/// Full name of `--oci-store-user`.
pub(super) const OCI_STORE_USER: &str = "oci-store-user";
/// Full name of `--record`.
pub(super) const RECORD: &str = "record";
/// Full name of `--explain`.
pub(super) const EXPLAIN: &str = "explain";
/// Full name of `--fail-on-loss`.
pub(super) const FAIL_ON_LOSS: &str = "fail-on-loss";
/// Full name of `--include-self`.
pub(super) const INCLUDE_SELF: &str = "include-self";
/// Full name of `--profile-guest`.
pub(super) const PROFILE_GUEST: &str = "profile-guest";
/// Full name of `--watch`.
pub(super) const WATCH: &str = "watch";
/// Full name of `--timestamps`.
pub(super) const TIMESTAMPS: &str = "timestamps";
/// Full name of `--loss-records`.
pub(super) const LOSS_RECORDS: &str = "loss-records";
/// Full name of `--socket-enricher-fields`.
const SOCKET_FIELDS: &str = "operator.socketenricher.socket-enricher-fields";
/// Full name of `--buffer-kind`.
pub(super) const BUFFER_KIND: &str = "operator.oci.ebpf.buffer-kind";
/// Full name of `--btf`.
pub(super) const BTF: &str = "operator.oci.ebpf.btf";
/// Full name of `--buffer-size`.
pub(super) const BUFFER_SIZE: &str = "operator.oci.ebpf.buffer-size";

/// The key that upstream's own images are signed with.
pub(super) const PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoDOC0gYSxZTopenGmX3ZFvQ1DSfh
Ir4EKRt5jC+mXaJ7c7J+oREskYMn/SfZdRHNSOjLTZUMDm60zpXGhkFecg==
-----END PUBLIC KEY-----
";

const NONE: &str = "";
const OCI: &str = "operator.oci.";
const EBPF: &str = "operator.oci.ebpf.";
const CONTAINERS: &str = "operator.localmanager.";
const METRICS: &str = "operator.otel-metrics.";

struct Flag {
    prefix: &'static str,
    key: &'static str,
    alias: Option<char>,
    hint: &'static str,
    default: &'static str,
    help: &'static str,
    values: &'static [&'static str],
}

const fn flag(
    prefix: &'static str,
    key: &'static str,
    hint: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        prefix,
        key,
        alias: None,
        hint,
        default,
        help,
        values: &[],
    }
}

impl Flag {
    const fn short(self, alias: char) -> Self {
        Self {
            alias: Some(alias),
            ..self
        }
    }

    const fn one_of(self, values: &'static [&'static str]) -> Self {
        Self { values, ..self }
    }
}

const fn text(prefix: &'static str, key: &'static str, default: &'static str, help: &'static str) -> Flag {
    flag(prefix, key, "", default, help)
}

const fn list(prefix: &'static str, key: &'static str, default: &'static str, help: &'static str) -> Flag {
    flag(prefix, key, "[]string", default, help)
}

const fn switch(prefix: &'static str, key: &'static str, default: &'static str, help: &'static str) -> Flag {
    flag(prefix, key, "bool", default, help)
}

#[rustfmt::skip]
const FLAGS: &[Flag] = &[
    flag(NONE, TIMEOUT, "int", "0", "Stop after this many seconds; 0 runs until interrupted").short('t'),
    switch(NONE, OCI_STORE_USER, "false", "Use the user's image store (~/.ig/oci-store) instead of the system's (/var/lib/ig/oci-store)"),
    flag(NONE, RECORD, "", "", "Store the raw events in this `FILE` too, for ig replay"),
    switch(NONE, EXPLAIN, "false", "Say where each filter term would be decided and which operators are on and why, and exit"),
    switch(NONE, FAIL_ON_LOSS, "false", "Exit with status 3 when events were lost"),
    switch(NONE, INCLUDE_SELF, "false", "Show events of this very process too"),
    text(NONE, TIMESTAMPS, "local", "How columns show times; relative is in seconds since the first").one_of(&["local", "utc", "relative"]),
    switch(NONE, LOSS_RECORDS, "false", "Put a record into the JSON of single data sources where events were lost"),
    switch(NONE, PROFILE_GUEST, "false", "Say at the end which functions took the time of the gadget's own code"),
    switch(NONE, WATCH, "false", "Build anew and restart whenever the gadget's source changes"),
    text(NONE, "file", "", "Run what this manifest (a path or an http(s) URL) describes").short('f'),

    list(OCI, "allowed-gadgets", "", "Run only these images: references, repository@digest, or prefixes followed by *"),
    list(OCI, "annotate", "", "Change the metadata: data-source:key=value or data-source.field:key=value"),
    text(OCI, "authfile", "/var/lib/ig/config.json", "File with the registries' credentials, in Docker's format"),
    switch(OCI, "disallow-pulling", "false", "Run only images that are on this machine"),
    list(OCI, "insecure-registries", "", "Talk plain HTTP to these registries"),
    list(OCI, "notation-certificates", "", "Certificates for verifying notation signatures"),
    text(OCI, "notation-policy-document", "", "Trust policy for verifying notation signatures"),
    list(OCI, "public-keys", PUBLIC_KEY, "Public keys for verifying cosign signatures"),
    text(OCI, "pull", "missing", "When to ask the registry for the image").one_of(&["always", "missing", "never"]),
    switch(OCI, "validate-metadata", "true", "Accepted for compatibility: a run always checks the metadata"),
    switch(OCI, "verify-image", "true", "Refuse images that are neither bundled nor just built from a path"),

    text(EBPF, "btf", "", "`FILE` with the kernel's BTF, for a kernel that shows none; also in place of what it shows"),
    text(EBPF, "buffer-kind", "auto", "Kind of the buffer that carries events out of the kernel").one_of(&["auto", "ring", "perf"]),
    text(EBPF, "buffer-size", "", "Size of that buffer in bytes, for perf on each CPU; suffixes K, M and G are powers of 1024"),

    text(CONTAINERS, "containerd-namespace", "k8s.io", "Namespace of containerd to look for containers in (not in this version)"),
    text(CONTAINERS, "containerd-socketpath", "/run/containerd/containerd.sock", "Socket of containerd (not in this version)"),
    text(CONTAINERS, "crio-socketpath", "/run/crio/crio.sock", "Socket of CRI-O (not in this version)"),
    text(CONTAINERS, "docker-socketpath", "/run/docker.sock", "Socket of docker"),
    switch(CONTAINERS, "enrich-with-k8s-apiserver", "false", "Ask the Kubernetes API server about pods"),
    text(CONTAINERS, "kubeconfig", "", "Configuration for the Kubernetes API server"),
    text(CONTAINERS, "podman-socketpath", "/run/podman/podman.sock", "Socket of podman (not in this version)"),
    text(CONTAINERS, "runtime-protocol", "internal", "Protocol to talk to container runtimes with").one_of(&["internal", "cri"]),
    text(CONTAINERS, "runtimes", "docker,containerd,cri-o,podman", "Container runtimes to ask, separated by commas; this version can ask docker").short('r'),

    text("operator.env.", "env-vars", "", "Environment variables that gadgets may add to their events, separated by commas"),
    list("operator.socketenricher.", "socket-enricher-fields", "cwd=512,exepath=512", "Optional fields of sockets' processes and their sizes: `field0=size,field1=size,...`"),
    switch(METRICS, "otel-metrics-export-internals", "false", "Export metrics about this program itself"),
    switch(METRICS, "otel-metrics-listen", "false", "Serve metrics to Prometheus"),
    text(METRICS, "otel-metrics-listen-address", "0.0.0.0:2224", "Address to serve metrics at"),
];

/// What this version cannot do yet: the flag, and the feature in words. Anything but the default is an error.
const NOT_YET: &[(&str, &str)] = &[
    ("enrich-with-k8s-apiserver", "Kubernetes enrichment"),
    ("file", "running from a manifest"),
    ("kubeconfig", "Kubernetes enrichment"),
    ("notation-certificates", "verifying notation signatures"),
    ("notation-policy-document", "verifying notation signatures"),
    ("otel-metrics-export-internals", "exporting metrics"),
    ("otel-metrics-listen", "exporting metrics"),
    ("otel-metrics-listen-address", "exporting metrics"),
    ("public-keys", "verifying cosign signatures"),
    ("runtime-protocol", "the CRI protocol"),
];

/// The description of `ig run` as far as no gadget is known.
pub(super) fn command() -> Command {
    // The table's keys are checked by a test, so that there are always flags.
    let args = params::args(&self::params(), &[]).unwrap_or_default();
    Command::new("run")
        .about("Run a gadget")
        .long_about("Run a gadget\n\nGADGET is the name of an image, or the path of a source that is built first: `.`, `./mygadget`, `./x.bpf.c`. An image \
             that is neither bundled nor just built from a path runs only with --verify-image=false.\n\nA gadget adds flags of its own: \
             `ig run GADGET --help` shows them.")
        .args(args)
        .arg(Arg::new("image").value_name("GADGET").num_args(0..))
}

/// The flags of `ig run` that every gadget has.
pub(super) fn params() -> Vec<Param> {
    FLAGS
        .iter()
        .map(|flag| Param {
            prefix: flag.prefix.to_owned(),
            key: flag.key.to_owned(),
            alias: flag.alias,
            type_hint: TypeHint::parse(flag.hint),
            default: flag.default.to_owned(),
            description: described(flag),
            possible_values: flag.values.iter().map(ToString::to_string).collect(),
            ..Param::default()
        })
        .collect()
}

/// The flags of `ig replay`: those that say nothing about images, the kernel and container runtimes.
pub(super) fn replay_params() -> Vec<Param> {
    const OF_RUNS: [&str; 5] = [TIMEOUT, OCI_STORE_USER, RECORD, WATCH, "file"];
    let is_of_replays = |param: &Param| match param.prefix.as_str() {
        OCI => param.key == "annotate",
        EBPF | CONTAINERS | METRICS | "operator.socketenricher." | "operator.env." => false,
        _ => !OF_RUNS.contains(&param.key.as_str()),
    };
    params().into_iter().filter(is_of_replays).collect()
}

/// Refuses values that this version would have to ignore.
///
/// # Errors
///
/// The first flag whose value is not the default although its feature is missing, or a `--timestamps` or `--buffer-size` that
/// makes no sense.
pub(super) fn check(values: &ParamValues) -> Result<()> {
    for flag in FLAGS {
        let Some((_, feature)) = NOT_YET.iter().find(|(key, _)| *key == flag.key) else {
            continue;
        };
        let given = values.get(&format!("{}{}", flag.prefix, flag.key));
        if given.is_some_and(|value| !same(flag.hint, value, flag.default)) {
            return Err(
                Error::unsupported(format!("flag --{}: {feature} is not in this version", flag.key))
                    .with_hint("leave the flag (or its configuration entry) out"),
            );
        }
    }
    timestamps(values)?;
    socket_fields(values)?;
    buffer_size(values).map(drop)
}

/// How columns show times.
///
/// # Errors
///
/// A `--timestamps` that is none of those there are.
pub(super) fn timestamps(values: &ParamValues) -> Result<Timestamps> {
    values.get(TIMESTAMPS).map_or(Ok(Timestamps::Local), str::parse)
}

/// What is remembered of the owners of sockets.
///
/// # Errors
///
/// A `--socket-enricher-fields` that names other fields, or sizes that are none.
pub(super) fn socket_fields(values: &ParamValues) -> Result<SocketFields> {
    match values.get(SOCKET_FIELDS) {
        None => Ok(SocketFields::default()),
        Some(text) => text.parse::<SocketFields>().context("flag --socket-enricher-fields"),
    }
}

/// The help text, honest about what this version lacks.
fn described(flag: &Flag) -> String {
    match NOT_YET.iter().any(|(key, _)| *key == flag.key) {
        true => format!("{} (not in this version)", flag.help),
        false => flag.help.to_owned(),
    }
}

fn same(hint: &str, value: &str, default: &str) -> bool {
    if hint == "bool" {
        value.eq_ignore_ascii_case(default)
    } else {
        value == default
    }
}

/// The bytes of `--buffer-size`, if given.
///
/// # Errors
///
/// A text that is no size, or zero.
pub(super) fn buffer_size(values: &ParamValues) -> Result<Option<u64>> {
    match values.get(BUFFER_SIZE) {
        None | Some("") => Ok(None),
        Some(text) => {
            let size = parse_size(text).context("flag --buffer-size")?;
            if size == 0 {
                return Err(Error::invalid("flag --buffer-size: a buffer needs room"));
            }
            Ok(Some(size))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_supported() {
        let params = params();
        let mut values = ParamValues::new();
        for param in &params {
            if !param.default.is_empty() {
                param.validate(&param.default).unwrap();
            }
            values.set(param.full_name(), param.default.clone());
        }
        check(&values).unwrap();
        assert_eq!(params::args(&super::params(), &[]).unwrap().len(), FLAGS.len());
        for (key, _) in NOT_YET {
            assert!(params.iter().any(|param| param.key == *key), "{key} is no flag");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (key, value) in [
            ("operator.otel-metrics.otel-metrics-listen", "true"),
            ("operator.localmanager.runtime-protocol", "cri"),
            ("file", "m.yaml"),
        ] {
            let mut values = ParamValues::new();
            values.set(key, value);
            let error = check(&values).unwrap_err();
            assert!(error.to_string().contains("is not in this version"), "{error}");
        }
        let mut values = ParamValues::new();
        values.set("operator.otel-metrics.otel-metrics-listen", "FALSE");
        check(&values).unwrap();
    }

    #[test]
    fn buffer_sizes() {
        let mut values = ParamValues::new();
        assert_eq!(buffer_size(&values).unwrap(), None);
        values.set(BUFFER_SIZE, "16M");
        assert_eq!(buffer_size(&values).unwrap(), Some(16 << 20));
        for bad in ["0", "many"] {
            values.set(BUFFER_SIZE, bad);
            assert!(
                check(&values)
                    .unwrap_err()
                    .to_string()
                    .starts_with("flag --buffer-size: ")
            );
        }
    }
}
