//! Formatters: fields whose type says what a number means get a sibling with the text.
//!
//! A field is found by the tag of its type (`type:gadget_errno`). The text's field is named by an annotation, else like the input
//! without `_raw`; an input that has neither stays as it is. Texts that nobody reads are not made.

mod endpoint;
mod errno;
mod file;
mod protocol;
mod signal;
mod syscall;
mod syscall_table;
#[cfg(test)]
mod tests;
pub(super) mod timestamp;
mod units;

use endpoint::{EndpointText, Layer3, Layer4};
use timestamp::{Clock, TimestampText, WallClock};

use super::host::HostFacts;
use super::{Context, Demand, Explanation, Instance, explain, priority};
use crate::Result;
use crate::data::{Accessor, DataSource, Derivation, Element, FieldId, Kind, NewField, Scalar, Stream};
use crate::metadata::layout;

/// The formatters' part in one gadget.
#[derive(Debug)]
pub struct Formatters {
    steps: Vec<Step>,
}

/// One text: what it is made from, where it goes, how.
#[derive(Clone, Debug)]
struct Step {
    stream: usize,
    inputs: Vec<FieldId>,
    output: FieldId,
    input: Accessor,
    text: Accessor,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Signal,
    Errno,
    Syscall,
    /// With the layout, if it is not the usual one.
    Timestamp(Option<String>),
    Bytes,
    Duration,
    Address(Layer3),
    Endpoint(Layer4),
    Protocol,
    FileMode,
    FileFlags,
}

/// A formatter whose input is a single integer.
struct Number {
    name: &'static str,
    form: Form,
    /// Annotations of the text; the default ones if empty.
    annotations: &'static [(&'static str, &'static str)],
    /// Inputs of other kinds get no text field at all.
    only: Option<Scalar>,
    /// Inputs of other kinds get a field that stays empty.
    formats: fn(Kind) -> bool,
}

const BEFORE_ENDPOINTS: [Number; 6] = [
    Number {
        name: "signal",
        form: Form::Signal,
        annotations: &[("value.one-of", signal::ONE_OF)],
        only: None,
        formats: |kind| kind.fixed_size() == Some(4),
    },
    Number {
        name: "errno",
        form: Form::Errno,
        annotations: &[("template", "errorString"), ("value.one-of", errno::ONE_OF)],
        only: None,
        formats: |kind| kind.fixed_size() == Some(4),
    },
    Number {
        name: "syscall",
        form: Form::Syscall,
        annotations: &[],
        only: Some(Scalar::Uint64),
        formats: |_| true,
    },
    Number {
        name: "timestamp",
        form: Form::Timestamp(None),
        annotations: &[("template", "timestamp")],
        only: None,
        formats: |kind| kind.fixed_size() == Some(8),
    },
    Number {
        name: "bytes",
        form: Form::Bytes,
        annotations: &[("template", "bytes")],
        only: None,
        formats: |kind| kind.fixed_size() == Some(8),
    },
    Number {
        name: "duration",
        form: Form::Duration,
        annotations: &[("template", "duration")],
        only: None,
        formats: |kind| kind.fixed_size() == Some(8),
    },
];

const AFTER_ENDPOINTS: [Number; 2] = [
    Number {
        name: "file_mode",
        form: Form::FileMode,
        annotations: &[],
        only: Some(Scalar::Uint32),
        formats: |_| true,
    },
    Number {
        name: "file_flags",
        form: Form::FileFlags,
        annotations: &[],
        only: Some(Scalar::Uint32),
        formats: |_| true,
    },
];

impl Formatters {
    /// Adds the text fields to the referenced data sources. `None` if there is nothing to format.
    pub fn instantiate(context: &mut Context) -> Result<Option<Self>> {
        let mut steps = Vec::new();
        for (stream, target) in context.referenced() {
            let source = &mut target.source;
            let mut adder = Adder {
                stream,
                source,
                steps: &mut steps,
            };
            BEFORE_ENDPOINTS.iter().for_each(|number| adder.number(number));
            adder.layer3();
            adder.layer4();
            AFTER_ENDPOINTS.iter().for_each(|number| adder.number(number));
        }
        Ok((!steps.is_empty()).then_some(Self { steps }))
    }

    fn of_stream(&self, stream: usize, demand: &Demand, endpoints: bool) -> Vec<Step> {
        self.steps
            .iter()
            .filter(|step| step.stream == stream && step.is_wanted(demand))
            .filter(|step| matches!(step.form, Form::Endpoint(_) | Form::Protocol) == endpoints)
            .cloned()
            .collect()
    }
}

impl Instance for Formatters {
    fn name(&self) -> &'static str {
        "formatters"
    }

    fn priority(&self) -> i32 {
        priority::instance::FORMATTERS
    }

    fn demand(&self, context: &mut Context) {
        for step in &self.steps {
            if let Some(stream) = context.streams.get_mut(step.stream)
                && step.is_wanted(&stream.demand)
            {
                step.inputs.iter().for_each(|input| stream.demand.add(*input));
            }
        }
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        // A time stamp's number is rewritten, too.
        let outputs = self.steps.iter().flat_map(|step| {
            let number = matches!(step.form, Form::Timestamp(_)).then_some(&step.inputs);
            let numbers = number.into_iter().flatten();
            std::iter::once(&step.output)
                .chain(numbers)
                .map(|field| (step.stream, *field))
        });
        to.operators.push(explain::of_fields(self.name(), context, outputs));
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        let clock = WallClock {
            offset: context.host.boot_offset()?,
            unstamped: context.host.unstamped,
        };
        let host = &context.host;
        for (index, stream) in context.streams.iter_mut().enumerate() {
            for (endpoints, priority) in [
                (false, priority::subscription::FORMATTERS),
                (true, priority::subscription::ENDPOINTS),
            ] {
                for step in self.of_stream(index, &stream.demand, endpoints) {
                    let derivation = step.derivation(stream, clock, host);
                    stream.pipeline.derive(priority, derivation);
                }
            }
        }
        Ok(())
    }
}

/// Adds fields to one data source.
struct Adder<'a> {
    stream: usize,
    source: &'a mut DataSource,
    steps: &'a mut Vec<Step>,
}

impl Adder<'_> {
    fn tagged(&self, tag: &str) -> Vec<FieldId> {
        self.source.with_tag(tag).map(|(id, _)| id).collect()
    }

    fn number(&mut self, number: &Number) {
        for input in self.tagged(&format!("type:gadget_{}", number.name)) {
            let field = self.source.get(input);
            let kind = field.kind();
            if number.only.is_some_and(|only| kind != Kind::One(only)) {
                tracing::debug!("formatters: {} is of kind {kind}; not formatted", field.full_name());
                continue;
            }
            let Some(name) = target_name(
                field.annotation(&format!("formatters.{}.target", number.name)),
                field.name(),
            ) else {
                tracing::debug!("formatters: no target name for {}; not formatted", field.full_name());
                continue;
            };
            let mut new = NewField::new(name, Scalar::String).order(field.order());
            if !number.annotations.is_empty() {
                new = new.annotations(number.annotations.iter().copied());
            }
            let form = match &number.form {
                Form::Timestamp(_) => {
                    Form::Timestamp(field.annotation("formatters.timestamp.format").map(str::to_owned))
                }
                form => form.clone(),
            };
            match self.source.add_sibling(input, new) {
                Ok(output) => {
                    set_visibility(self.source, input, false);
                    if (number.formats)(kind) {
                        self.step(form, vec![input], input, output);
                    }
                }
                Err(error) => tracing::debug!("formatters: {error}; not formatted"),
            }
        }
    }

    fn layer3(&mut self) {
        for parent in self.tagged("type:gadget_l3endpoint_t") {
            if let Some(added) = endpoint::add_layer3(self.source, parent) {
                set_visibility(self.source, parent, true);
                self.step(Form::Address(added), added.inputs.to_vec(), parent, added.text);
            }
        }
    }

    fn layer4(&mut self) {
        for parent in self.tagged("type:gadget_l4endpoint_t") {
            let Some(added) = endpoint::add_layer4(self.source, parent) else {
                continue;
            };
            set_visibility(self.source, parent, true);
            let [address, version] = added.layer3.inputs;
            self.step(
                Form::Address(added.layer3),
                vec![address, version],
                parent,
                added.layer3.text,
            );
            if let Some((number, _, text)) = added.protocol {
                self.step(Form::Protocol, vec![number], number, text);
            }
            self.step(
                Form::Endpoint(added),
                vec![address, version, added.port.0],
                parent,
                added.text,
            );
        }
    }

    fn step(&mut self, form: Form, inputs: Vec<FieldId>, input: FieldId, output: FieldId) {
        self.steps.push(Step {
            stream: self.stream,
            inputs,
            output,
            input: self.source.accessor(input),
            text: self.source.accessor(output),
            form,
        });
    }
}

/// The name of the text's field: said by an annotation, else that of the input without `_raw`.
pub(super) fn target_name(annotation: Option<&str>, name: &str) -> Option<String> {
    annotation
        .filter(|target| !target.is_empty())
        .or_else(|| name.strip_suffix("_raw").filter(|name| !name.is_empty()))
        .map(str::to_owned)
}

/// Hides the input and what is below it, unless an annotation says that the input itself is shown.
fn set_visibility(source: &mut DataSource, input: FieldId, visible: bool) {
    source.set_hidden(input, true, true);
    let hidden = match source.get(input).annotation("columns.hidden") {
        Some(said) => said == "true",
        None => !visible,
    };
    source.set_hidden(input, hidden, false);
}

impl Step {
    /// The rewritten time stamp is an output, too.
    fn is_wanted(&self, demand: &Demand) -> bool {
        demand.wants(self.output)
            || matches!(self.form, Form::Timestamp(_)) && self.inputs.iter().any(|input| demand.wants(*input))
    }

    /// The step made ready to run.
    fn derivation(self, stream: &Stream, wall: WallClock, host: &HostFacts) -> Derivation {
        let inputs: Vec<Accessor> = self.inputs.iter().map(|id| stream.source.accessor(*id)).collect();
        let (input, text) = (self.input, self.text);
        let number = |number: NumberText| {
            let mut kept = KeptTexts::default();
            let write = move |element: &mut Element| {
                let bits = input.bits(element);
                let kept = kept.of(bits, |out| number.append(bits, out));
                if !kept.is_empty() {
                    text.write(element, |out| out.extend_from_slice(kept));
                }
            };
            Derivation::new([input], [text], write)
        };
        let endpoint = |address, port| Derivation::new(inputs, [text], EndpointText { address, port, text });
        match self.form {
            Form::Signal => number(NumberText::Signal),
            Form::Errno => number(NumberText::Errno),
            Form::Syscall => number(NumberText::Syscall(syscall::table(host.architecture))),
            Form::Bytes => number(NumberText::Bytes),
            Form::Duration => number(NumberText::Duration),
            Form::Protocol => number(NumberText::Protocol),
            Form::FileMode => number(NumberText::FileMode),
            Form::FileFlags => number(NumberText::FileFlags),
            Form::Timestamp(layout) => {
                let wants_text = stream.demand.wants(self.output);
                let clock = wants_text.then(|| Clock::new(host.zone(), layout.as_deref()));
                let time = TimestampText::new(input, text, wall, clock);
                Derivation::new([input], [text], time)
            }
            Form::Address(layer3) => endpoint(layer3.address, None),
            Form::Endpoint(layer4) => endpoint(layer4.layer3.address, Some(layer4.port.1)),
        }
    }
}

/// The texts of some numbers: most events have the flags, modes and results of a few before them.
#[derive(Default)]
struct KeptTexts([Option<(u64, Vec<u8>)>; Self::PLACES]);

impl KeptTexts {
    const PLACES: usize = 8;

    /// The text of the number `bits`, which `append` makes if it is not there.
    #[inline]
    fn of(&mut self, bits: u64, append: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        // Flags differ in a bit anywhere; the product's highest bits depend on all of them.
        let place = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::PLACES.ilog2());
        let (number, text) = self.0[place as usize].get_or_insert_with(|| (!bits, Vec::new()));
        if *number != bits {
            *number = bits;
            text.clear();
            append(text);
        }
        text
    }
}

/// What the text of a single number is made by.
enum NumberText {
    Signal,
    Errno,
    Syscall(&'static [&'static str]),
    Bytes,
    Duration,
    Protocol,
    FileMode,
    FileFlags,
}

impl NumberText {
    /// Appends the text of the number `bits`.
    fn append(&self, bits: u64, out: &mut Vec<u8>) {
        match self {
            NumberText::Signal => signal::append(bits as u32, out),
            NumberText::Errno if bits == 0 => {}
            NumberText::Errno => errno::append(bits as u32, out),
            NumberText::Syscall(table) => syscall::append(table, bits, out),
            NumberText::Bytes => units::append_bytes(bits, out),
            NumberText::Duration => units::append_duration(bits as i64, out),
            NumberText::Protocol => protocol::append(bits, out),
            NumberText::FileMode => file::append_mode(bits as u32, out),
            NumberText::FileFlags => file::append_flags(bits as u32, out),
        }
    }
}
