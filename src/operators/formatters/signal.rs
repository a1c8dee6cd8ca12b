//! Signal numbers and their names.

#[rustfmt::skip]
const NAMES: [&str; 32] = [
    "", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
    "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
    "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
];

/// All names in alphabetical order, aliases included: the values that filters and help texts offer.
pub(super) const ONE_OF: &str = "SIGABRT, SIGALRM, SIGBUS, SIGCHLD, SIGCLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, \
    SIGIOT, SIGKILL, SIGPIPE, SIGPOLL, SIGPROF, SIGPWR, SIGQUIT, SIGSEGV, SIGSTKFLT, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, \
    SIGTSTP, SIGTTIN, SIGTTOU, SIGUNUSED, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ";

/// Appends the name of signal `number`, `signal#N` for what has none (0 and real-time signals).
pub(super) fn append(number: u32, out: &mut Vec<u8>) {
    match NAMES.get(number as usize) {
        Some(name) if !name.is_empty() => out.extend_from_slice(name.as_bytes()),
        _ => {
            out.extend_from_slice(b"signal#");
            crate::output::number::append_u64(u64::from(number), out);
        }
    }
}
