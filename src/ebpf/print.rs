//! What libbpf has to say, kept for the error it explains.
//!
//! libbpf prints through one callback of the process, on the thread that called it. While a thread captures, its lines are
//! kept; otherwise warnings go to the debug log.

use std::cell::RefCell;
use std::sync::Once;

use libbpf_rs::PrintLevel;

thread_local! {
    static CAPTURED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// The lines that libbpf printed during one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    lines: Vec<String>,
}

/// Runs `call` and returns what libbpf printed meanwhile.
pub(super) fn capture<T>(call: impl FnOnce() -> T) -> (T, Log) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Info, keep)));
    });
    let outer = CAPTURED.replace(Some(Vec::new()));
    let result = call();
    let lines = CAPTURED.replace(outer).unwrap_or_default();
    for line in &lines {
        tracing::debug!("libbpf: {line}");
    }
    (result, Log { lines })
}

fn keep(_: PrintLevel, text: String) {
    CAPTURED.with_borrow_mut(|captured| match captured {
        Some(lines) => lines.extend(text.trim_end().lines().map(str::to_owned)),
        None => tracing::debug!("libbpf: {}", text.trim_end()),
    });
}

/// What the verifier said about a program it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Name of the program.
    pub(super) program: String,
    /// The last lines of the verifier's log, oldest first.
    pub(super) tail: Vec<String>,
    /// The last source line that the log mentions.
    pub(super) source_line: Option<String>,
}

impl Log {
    /// libbpf's first complaint, without its prefix: the cause, where later lines are consequences.
    pub(super) fn cause(&self) -> Option<String> {
        let line = self
            .lines
            .iter()
            .map(|line| strip_prefix(line))
            .find(|line| !line.is_empty())?;
        Some(line.to_owned())
    }

    /// The program that the kernel refused, if that is what happened.
    pub(super) fn refusal(&self, tail: usize) -> Option<Refusal> {
        let failed = self.lines.iter().find_map(|line| {
            let rest = strip_prefix(line).strip_prefix("prog '")?;
            let (program, rest) = rest.split_once("': ")?;
            ["load failed", "failed to load"]
                .iter()
                .any(|words| rest.contains(words))
                .then(|| program.to_owned())
        })?;
        let begin = self.lines.iter().position(|line| line.contains("BEGIN PROG LOAD LOG"));
        let end = self.lines.iter().position(|line| line.contains("END PROG LOAD LOG"));
        let log = match (begin, end) {
            (Some(begin), Some(end)) if begin < end => &self.lines[begin + 1..end],
            _ => &[],
        };
        let is_statistics = |line: &String| line.starts_with("processed ") && line.contains(" insns ");
        let log: Vec<&String> = log.iter().filter(|line| !is_statistics(line)).collect();
        Some(Refusal {
            program: failed,
            tail: log
                .iter()
                .skip(log.len().saturating_sub(tail))
                .map(|line| (*line).clone())
                .collect(),
            source_line: log
                .iter()
                .rev()
                .filter_map(|line| line.strip_prefix("; "))
                .find(|line| !line.trim_start().starts_with('@'))
                .map(str::to_owned),
        })
    }

    /// Whether some line contains `text`.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

fn strip_prefix(line: &str) -> &str {
    line.strip_prefix("libbpf: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_refused_program_and_its_source_line() {
        let log = Log {
            lines: [
                "libbpf: prog 'ig_openat_e': BPF program load failed: -EACCES",
                "libbpf: prog 'ig_openat_e': -- BEGIN PROG LOAD LOG --",
                "0: R1=ctx() R10=fp0",
                "; return *(int *)0; @ program.bpf.c:12",
                "0: (61) r0 = *(u32 *)(r0 +0)",
                "R0 !read_ok",
                "processed 1 insns (limit 1000000) max_states_per_insn 0",
                "-- END PROG LOAD LOG --",
                "libbpf: failed to load object ''",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let refusal = log.refusal(2).unwrap();
        assert_eq!(refusal.program, "ig_openat_e");
        assert_eq!(refusal.tail, ["0: (61) r0 = *(u32 *)(r0 +0)", "R0 !read_ok"]);
        assert_eq!(
            refusal.source_line.as_deref(),
            Some("return *(int *)0; @ program.bpf.c:12")
        );
        assert_eq!(
            log.cause().as_deref(),
            Some("prog 'ig_openat_e': BPF program load failed: -EACCES")
        );
        assert_eq!(Log::default().refusal(2), None);
    }

    #[test]
    fn captures_only_its_own_call() {
        let (result, log) = capture(|| libbpf_rs::ObjectBuilder::default().open_memory(b"no object").is_err());
        assert!(result);
        assert!(log.cause().is_some(), "{log:?}");
        let ((), log) = capture(|| ());
        assert!(log.cause().is_none());
    }
}
