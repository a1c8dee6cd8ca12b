//! gadget.yaml as a run and as a build read it. Lines that begin with `#@ ` are annotations of the user.

use std::sync::Arc;

use inspektor_gadget::build::metadata::{Metadata, unknown_keys};
use inspektor_gadget::data::{DataSource, NewField, Scalar, SourceType};
use inspektor_gadget::gadget::annotate;
use inspektor_gadget::metadata::SourceSettings;
use inspektor_gadget::metadata::config::Config;
use inspektor_gadget::metadata::custom::CustomParams;
use inspektor_gadget::metadata::params::{Param, ParamValues};
use inspektor_gadget::output::columns::Table;
use inspektor_gadget::output::fields::Selection;
use inspektor_gadget::output::mode;

pub fn run(data: &[u8]) {
    match Metadata::decode(data) {
        Ok(metadata) => drop(metadata.validate(None)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for note in unknown_keys(data) {
        super::assert_harmless(note.as_bytes());
    }
    let mut config = match Config::parse(data) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let annotations: Vec<String> = String::from_utf8_lossy(data)
        .lines()
        .filter_map(|line| line.strip_prefix("#@ ").map(str::to_owned))
        .collect();
    let _ = annotate(&mut config, &annotations);
    params(&mut config);
    source(&Arc::new(config));
}

fn params(config: &mut Config) {
    for (_, said) in config.sub("params.ebpf").into_iter().flat_map(Config::entries) {
        let param = Param::from_config(said);
        let _ = param.validate(&param.default);
    }
    let custom = CustomParams::read(config);
    let mut values = ParamValues::new();
    for param in custom.params() {
        let value = param.possible_values.first().unwrap_or(&param.default);
        values.set(param.full_name(), value.clone());
    }
    let _ = custom.apply(config, &values);
}

/// A data source over which the metadata is laid.
fn source(config: &Arc<Config>) {
    let mut source = DataSource::new("open", SourceType::Single, Some(SourceSettings::new(config, "open")));
    let proc = source.add_field(NewField::empty("proc")).expect("it is the first");
    source
        .add_sub_field(proc, NewField::new("comm", Scalar::String))
        .expect("it is the first");
    for (name, scalar) in [
        ("pid", Scalar::Uint32),
        ("ratio", Scalar::Float64),
        ("raw", Scalar::Bytes),
    ] {
        source.add_field(NewField::new(name, scalar)).expect("the names differ");
    }
    mode::default_mode(&source);
    mode::supported(&source);
    if let Ok(mut table) = Table::new(&source, &Selection::default_of(&source), Some(80)) {
        let mut out = Vec::new();
        table.header(&mut out);
        table.row(&inspektor_gadget::data::Element::new(source.layout()), &mut out);
        super::assert_harmless(&out);
    }
}
