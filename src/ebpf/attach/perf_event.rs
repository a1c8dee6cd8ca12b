//! Programs that run when a perf event fires: so far the CPU's clock.

use std::os::fd::{AsRawFd, OwnedFd};

use libbpf_rs::{Link, ProgramMut};

use super::failed;
use crate::ebpf::perf_event;
use crate::metadata::config::Config;
use crate::{Error, ErrorKind, Result, ResultExt};

/// What `programs.<name>` of a gadget's configuration says about a perf event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfSettings {
    /// How often the event fires on each CPU, in Hz.
    pub frequency: u64,
}

impl PerfSettings {
    /// Reads the settings of the program with section `perf_event/<name>`.
    ///
    /// # Errors
    ///
    /// A setting that is missing, or that says something else than the clock.
    pub(super) fn read(name: &str, config: &Config) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid("perf_event programs require a name"));
        }
        let setting = |key: &str| {
            config
                .get_str(&format!("programs.{name}.{key}"))
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Error::invalid(format!("{key} not specified for program {name:?}")))
        };
        for (key, only) in [
            ("perf.type", "software"),
            ("perf.config", "count_sw_cpu_clock"),
            ("perf.sampleType", "sample_raw"),
        ] {
            let value = setting(key)?;
            if value != only {
                return Err(
                    Error::invalid(format!("unsupported {key} {value:?} for program {name:?}"))
                        .with_hint(format!("the only {key} is {only:?}")),
                );
            }
        }
        let frequency = setting("sampler.frequency")?;
        let frequency: u64 = frequency
            .parse()
            .map_err(|_| Error::invalid(format!("parsing frequency {frequency:?} for program {name:?}")))?;
        if frequency == 0 {
            return Err(Error::invalid(format!(
                "sampler.frequency is zero for program {name:?}"
            )));
        }
        Ok(Self { frequency })
    }
}

/// Attaches to the clock of every CPU that is online. The events are closed with their links.
pub(super) fn attach(program: &ProgramMut<'_>, settings: PerfSettings) -> Result<Vec<Link>> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").context("listing CPUs")?;
    let mut links = Vec::new();
    for cpu in cpu_list(online.trim())? {
        let event = match open(cpu, settings.frequency) {
            Ok(event) => event,
            // It went offline meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
            Err(error) => {
                let limit = "/proc/sys/kernel/perf_event_max_sample_rate";
                return Err(Error::new(
                    ErrorKind::Io,
                    format!(
                        "opening a perf event on CPU {cpu} at {} Hz: {error}",
                        settings.frequency
                    ),
                )
                .with_hint(format!("{limit} limits the frequency")));
            }
        };
        let link = program
            .attach_perf_event(event.as_raw_fd())
            .map_err(|error| failed(&format!("perf event on CPU {cpu}"), &error))?;
        // libbpf closes the event together with the link.
        std::mem::forget(event);
        links.push(link);
    }
    Ok(links)
}

fn open(cpu: u32, frequency: u64) -> std::io::Result<OwnedFd> {
    let mut attr = libbpf_sys::perf_event_attr {
        type_: libbpf_sys::PERF_TYPE_SOFTWARE,
        size: size_of::<libbpf_sys::perf_event_attr>() as u32,
        config: u64::from(libbpf_sys::PERF_COUNT_SW_CPU_CLOCK),
        sample_type: u64::from(libbpf_sys::PERF_SAMPLE_RAW),
        ..Default::default()
    };
    attr.set_freq(1);
    attr.__bindgen_anon_1.sample_freq = frequency;
    perf_event::open(&attr, cpu)
}

/// The numbers in a list like `0-3,8`.
fn cpu_list(text: &str) -> Result<Vec<u32>> {
    let number = |part: &str| {
        part.parse::<u32>()
            .map_err(|_| Error::invalid(format!("unexpected list of CPUs: {text:?}")))
    };
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            Some((first, last)) => cpus.extend(number(first)?..=number(last)?),
            None => cpus.push(number(part)?),
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0-3,8,10-11").unwrap(), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cpu_list("0").unwrap(), [0]);
        assert!(cpu_list("none").is_err());
    }

    #[test]
    fn settings_are_all_needed_and_checked() {
        let whole = "programs: {p: {perf: {type: software, config: count_sw_cpu_clock, sampleType: sample_raw}, \
             sampler: {frequency: 49}}}";
        let read = |yaml: &str| PerfSettings::read("p", &Config::parse(yaml.as_bytes()).unwrap());
        assert_eq!(read(whole).unwrap(), PerfSettings { frequency: 49 });
        for (from, to, expected) in [
            ("type: software, ", "", r#"perf.type not specified for program "p""#),
            (
                "sample_raw",
                "sample_ip",
                r#"unsupported perf.sampleType "sample_ip" for program "p""#,
            ),
            ("49", "0", r#"sampler.frequency is zero for program "p""#),
            ("49", "often", r#"parsing frequency "often" for program "p""#),
            (
                "{frequency: 49}",
                "{}",
                r#"sampler.frequency not specified for program "p""#,
            ),
        ] {
            assert_eq!(read(&whole.replace(from, to)).unwrap_err().to_string(), expected);
        }
        assert_eq!(
            PerfSettings::read("", &Config::default()).unwrap_err().to_string(),
            "perf_event programs require a name"
        );
    }
}
