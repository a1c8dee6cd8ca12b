//! WASI preview 1, closed: all 46 functions are there, and none reaches a file, the network, or the environment.
//!
//! A guest sees no arguments, no environment, an empty standard input, clocks that run, and randomness. What it writes to standard
//! output and error goes to the log. Everything else fails the way it would for a process that has nothing open.

use std::io::Read;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wasmer::{Function, FunctionEnv, Imports, MemoryView, RuntimeError, StoreMut};

use super::host::{Caller, Host, Returned, with_memory};
use super::limits::LOG_LINE;
use super::trap::Exit;

/// Name of the module.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

type Errno = u32;
const SUCCESS: Errno = 0;
const EBADF: Errno = 8;
const EFAULT: Errno = 21;
const EINVAL: Errno = 28;
const ENOSYS: Errno = 52;
const ENOTDIR: Errno = 54;
const ENOTSUP: Errno = 58;

/// Descriptors below this one are open: standard input, output and error.
const FIRST_CLOSED: u32 = 3;
const CHARACTER_DEVICE: u8 = 2;

/// What the guest wrote to its standard output and error and did not end with a new line yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    line: Vec<u8>,
    /// The first lines of a panic.
    tail: Vec<String>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LOG_LINE => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        tracing::debug!("wasm: {line}");
        const KEPT: usize = 4;
        if self.tail.len() < KEPT && !line.trim().is_empty() {
            self.tail.push(line);
        }
    }

    /// What was written since the last time, at most a few lines.
    pub(super) fn take_tail(&mut self) -> Option<String> {
        if !self.line.is_empty() {
            self.end_line();
        }
        let lines = std::mem::take(&mut self.tail);
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// Forgets what was written in a call that went well.
    pub(super) fn forget(&mut self) {
        self.tail.clear();
    }
}

/// Adds all functions to `imports`.
pub(super) fn define(imports: &mut Imports, store: &mut StoreMut<'_>, env: &FunctionEnv<Host>) {
    let turnstile = env.as_ref(store).turnstile.clone();
    macro_rules! functions {
        ($($name:ident($($argument:ident),*))*) => {$(
            {
                let turnstile = turnstile.clone();
                let function = Function::new_typed_with_env(store, env, move |caller: Caller<'_>, $($argument),*| {
                    turnstile.called()?;
                    $name(caller, $($argument),*).returned()
                });
                imports.define(MODULE, stringify!($name), function);
            }
        )*};
    }
    functions!(
        args_get(argv, buffer)
        args_sizes_get(count, bytes)
        environ_get(environ, buffer)
        environ_sizes_get(count, bytes)
        clock_res_get(id, to)
        clock_time_get(id, precision, to)
        random_get(buffer, len)
        sched_yield()
        poll_oneoff(subscriptions, events, count, stored)
        proc_exit(code)
        proc_raise(signal)
        fd_write(fd, vectors, count, written)
        fd_read(fd, vectors, count, read)
        fd_fdstat_get(fd, to)
        fd_fdstat_set_flags(fd, flags)
        fd_prestat_get(fd, to)
        fd_prestat_dir_name(fd, path, len)
        fd_close(fd)
        fd_filestat_get(fd, to)
        fd_seek(fd, offset, whence, to)
        fd_tell(fd, to)
        fd_advise(fd, offset, len, advice)
        fd_allocate(fd, offset, len)
        fd_datasync(fd)
        fd_fdstat_set_rights(fd, base, inheriting)
        fd_filestat_set_size(fd, size)
        fd_filestat_set_times(fd, access, modification, flags)
        fd_pread(fd, vectors, count, offset, read)
        fd_pwrite(fd, vectors, count, offset, written)
        fd_readdir(fd, buffer, len, cookie, used)
        fd_renumber(fd, to)
        fd_sync(fd)
        path_create_directory(fd, path, len)
        path_filestat_get(fd, flags, path, len, to)
        path_filestat_set_times(fd, b, c, d, e, f, g)
        path_link(fd, b, c, d, e, f, g)
        path_open(fd, b, c, d, e, f, g, h, i)
        path_readlink(fd, path, len, buffer, size, used)
        path_remove_directory(fd, path, len)
        path_rename(fd, old, len, new_fd, new, new_len)
        path_symlink(old, old_len, fd, new, new_len)
        path_unlink_file(fd, path, len)
        sock_accept(fd, flags, to)
        sock_recv(fd, b, c, d, e, f)
        sock_send(fd, b, c, d, e)
        sock_shutdown(fd, how)
    );
}

/// Calls `f` with the guest's memory. What does not lie in it is a bad address.
fn on_memory(mut caller: Caller<'_>, f: impl FnOnce(&mut Host, &MemoryView<'_>) -> Option<Errno>) -> Errno {
    with_memory(&mut caller, |host, view| Ok(f(host, view).unwrap_or(EFAULT))).unwrap_or(EFAULT)
}

fn put(view: &MemoryView<'_>, address: u32, bytes: &[u8]) -> Option<()> {
    view.write(u64::from(address), bytes).ok()
}

fn put_u32(view: &MemoryView<'_>, address: u32, value: u32) -> Option<()> {
    put(view, address, &value.to_le_bytes())
}

fn get<const N: usize>(view: &MemoryView<'_>, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    view.read(address, &mut bytes).ok()?;
    Some(bytes)
}

fn is_open(fd: u32) -> bool {
    fd < FIRST_CLOSED
}

/// For what the open descriptors cannot do.
fn refuse(fd: u32) -> Errno {
    if is_open(fd) { ENOSYS } else { EBADF }
}

/// For paths: there is no directory that they could be in.
fn no_directory(fd: u32) -> Errno {
    if is_open(fd) { ENOTDIR } else { EBADF }
}

fn args_get(_: Caller<'_>, _argv: u32, _buffer: u32) -> Errno {
    SUCCESS
}

fn args_sizes_get(caller: Caller<'_>, count: u32, bytes: u32) -> Errno {
    on_memory(caller, |_, view| {
        put_u32(view, count, 0)?;
        put_u32(view, bytes, 0)?;
        Some(SUCCESS)
    })
}

fn environ_get(_: Caller<'_>, _environ: u32, _buffer: u32) -> Errno {
    SUCCESS
}

fn environ_sizes_get(caller: Caller<'_>, count: u32, bytes: u32) -> Errno {
    args_sizes_get(caller, count, bytes)
}

fn clock(id: u32) -> Option<ClockId> {
    match id {
        0 => Some(ClockId::CLOCK_REALTIME),
        1 => Some(ClockId::CLOCK_MONOTONIC),
        _ => None,
    }
}

fn now(id: u32) -> Option<u64> {
    let time = clock_gettime(clock(id)?).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn clock_res_get(caller: Caller<'_>, id: u32, to: u32) -> Errno {
    on_memory(caller, |_, view| match clock(id) {
        Some(_) => put(view, to, &1u64.to_le_bytes()).map(|()| SUCCESS),
        None => Some(EINVAL),
    })
}

fn clock_time_get(caller: Caller<'_>, id: u32, _precision: u64, to: u32) -> Errno {
    on_memory(caller, |_, view| match now(id) {
        Some(now) => put(view, to, &now.to_le_bytes()).map(|()| SUCCESS),
        None => Some(EINVAL),
    })
}

fn random_get(caller: Caller<'_>, buffer: u32, len: u32) -> Errno {
    on_memory(caller, |_, view| {
        let end = u64::from(buffer) + u64::from(len);
        if end > view.data_size() {
            return None;
        }
        let mut bytes = vec![0; len as usize];
        let filled = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
        if filled.is_err() {
            return Some(ENOSYS);
        }
        put(view, buffer, &bytes).map(|()| SUCCESS)
    })
}

fn sched_yield(_: Caller<'_>) -> Errno {
    SUCCESS
}

const SUBSCRIPTION: u64 = 48;
const EVENT: u64 = 32;
const EVENT_CLOCK: u8 = 0;
const ABSOLUTE: u16 = 1;
/// A guest may sleep, but whoever called it waits meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Waits for clocks, which is how guests sleep. Nothing else can be waited for.
fn poll_oneoff(caller: Caller<'_>, subscriptions: u32, events: u32, count: u32, stored: u32) -> Errno {
    on_memory(caller, |_, view| {
        const MOST: u32 = 1024;
        if count == 0 || count > MOST {
            return Some(EINVAL);
        }
        let mut sleep: Option<Duration> = None;
        for index in 0..u64::from(count) {
            let at = u64::from(subscriptions) + index * SUBSCRIPTION;
            let user_data: [u8; 8] = get(view, at)?;
            let [kind] = get::<1>(view, at + 8)?;
            let errno = match kind {
                EVENT_CLOCK => {
                    let flags = u16::from_le_bytes(get(view, at + 40)?);
                    let timeout = u64::from_le_bytes(get(view, at + 24)?);
                    if flags & ABSOLUTE != 0 {
                        ENOTSUP
                    } else {
                        let timeout = Duration::from_nanos(timeout);
                        sleep = Some(sleep.map_or(timeout, |sleep| sleep.min(timeout)));
                        SUCCESS
                    }
                }
                1 | 2 => {
                    sleep = Some(Duration::ZERO);
                    let fd = u32::from_le_bytes(get(view, at + 16)?);
                    match (kind, fd) {
                        (1, 0) => SUCCESS,
                        (_, fd) if is_open(fd) => ENOTSUP,
                        _ => EBADF,
                    }
                }
                _ => EINVAL,
            };
            let mut event = [0; EVENT as usize];
            event[..8].copy_from_slice(&user_data);
            event[8..10].copy_from_slice(&(errno as u16).to_le_bytes());
            event[10] = kind;
            view.write(u64::from(events) + index * EVENT, &event).ok()?;
        }
        put_u32(view, stored, count)?;
        if let Some(sleep) = sleep.filter(|sleep| !sleep.is_zero()) {
            std::thread::sleep(sleep.min(LONGEST_SLEEP));
        }
        Some(SUCCESS)
    })
}

fn proc_exit(_: Caller<'_>, code: u32) -> Result<(), RuntimeError> {
    Err(RuntimeError::user(Box::new(Exit(code))))
}

fn proc_raise(_: Caller<'_>, _signal: u32) -> Errno {
    ENOSYS
}

fn fd_write(caller: Caller<'_>, fd: u32, vectors: u32, count: u32, written: u32) -> Errno {
    if fd == 0 || !is_open(fd) {
        return EBADF;
    }
    on_memory(caller, |host, view| {
        let mut total = 0u32;
        for index in 0..u64::from(count) {
            let [a, b, c, d, e, f, g, h]: [u8; 8] = get(view, u64::from(vectors) + index * 8)?;
            let (address, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            if u64::from(address) + u64::from(len) > view.data_size() {
                return None;
            }
            // More than a few lines at once is more than anybody reads.
            let mut bytes = vec![0; (len as usize).min(4 * LOG_LINE)];
            view.read(u64::from(address), &mut bytes).ok()?;
            host.output.write(&bytes);
            total = total.saturating_add(len);
        }
        put_u32(view, written, total).map(|()| SUCCESS)
    })
}

fn fd_read(caller: Caller<'_>, fd: u32, _vectors: u32, _count: u32, read: u32) -> Errno {
    if fd != 0 {
        return EBADF;
    }
    on_memory(caller, |_, view| put_u32(view, read, 0).map(|()| SUCCESS))
}

fn fd_fdstat_get(caller: Caller<'_>, fd: u32, to: u32) -> Errno {
    if !is_open(fd) {
        return EBADF;
    }
    on_memory(caller, |_, view| {
        let mut stat = [0; 24];
        stat[0] = CHARACTER_DEVICE;
        put(view, to, &stat).map(|()| SUCCESS)
    })
}

fn fd_fdstat_set_flags(_: Caller<'_>, fd: u32, _flags: u32) -> Errno {
    refuse(fd)
}

/// Start-up code asks for one descriptor after the other until it gets exactly this error.
fn fd_prestat_get(_: Caller<'_>, _fd: u32, _to: u32) -> Errno {
    EBADF
}

fn fd_prestat_dir_name(_: Caller<'_>, _fd: u32, _path: u32, _len: u32) -> Errno {
    EBADF
}

fn fd_close(_: Caller<'_>, fd: u32) -> Errno {
    if is_open(fd) { SUCCESS } else { EBADF }
}

fn fd_filestat_get(caller: Caller<'_>, fd: u32, to: u32) -> Errno {
    if !is_open(fd) {
        return EBADF;
    }
    on_memory(caller, |_, view| {
        let mut stat = [0; 64];
        stat[16] = CHARACTER_DEVICE;
        put(view, to, &stat).map(|()| SUCCESS)
    })
}

fn fd_seek(_: Caller<'_>, fd: u32, _offset: u64, _whence: u32, _to: u32) -> Errno {
    refuse(fd)
}

fn fd_tell(_: Caller<'_>, fd: u32, _to: u32) -> Errno {
    refuse(fd)
}

fn fd_advise(_: Caller<'_>, fd: u32, _offset: u64, _len: u64, _advice: u32) -> Errno {
    refuse(fd)
}

fn fd_allocate(_: Caller<'_>, fd: u32, _offset: u64, _len: u64) -> Errno {
    refuse(fd)
}

fn fd_datasync(_: Caller<'_>, fd: u32) -> Errno {
    refuse(fd)
}

fn fd_fdstat_set_rights(_: Caller<'_>, _fd: u32, _base: u64, _inheriting: u64) -> Errno {
    ENOSYS
}

fn fd_filestat_set_size(_: Caller<'_>, fd: u32, _size: u64) -> Errno {
    refuse(fd)
}

fn fd_filestat_set_times(_: Caller<'_>, fd: u32, _access: u64, _modification: u64, _flags: u32) -> Errno {
    refuse(fd)
}

fn fd_pread(_: Caller<'_>, fd: u32, _vectors: u32, _count: u32, _offset: u64, _read: u32) -> Errno {
    refuse(fd)
}

fn fd_pwrite(_: Caller<'_>, fd: u32, _vectors: u32, _count: u32, _offset: u64, _written: u32) -> Errno {
    refuse(fd)
}

fn fd_readdir(_: Caller<'_>, fd: u32, _buffer: u32, _len: u32, _cookie: u64, _used: u32) -> Errno {
    refuse(fd)
}

fn fd_renumber(_: Caller<'_>, fd: u32, _to: u32) -> Errno {
    refuse(fd)
}

fn fd_sync(_: Caller<'_>, fd: u32) -> Errno {
    refuse(fd)
}

fn path_create_directory(_: Caller<'_>, fd: u32, _path: u32, _len: u32) -> Errno {
    no_directory(fd)
}

fn path_filestat_get(_: Caller<'_>, fd: u32, _flags: u32, _path: u32, _len: u32, _to: u32) -> Errno {
    no_directory(fd)
}

#[allow(clippy::too_many_arguments, reason = "it is what the interface says")]
fn path_filestat_set_times(_: Caller<'_>, fd: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32) -> Errno {
    no_directory(fd)
}

#[allow(clippy::too_many_arguments, reason = "it is what the interface says")]
fn path_link(_: Caller<'_>, fd: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> Errno {
    no_directory(fd)
}

#[allow(clippy::too_many_arguments, reason = "it is what the interface says")]
fn path_open(_: Caller<'_>, fd: u32, _: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32, _: u32) -> Errno {
    no_directory(fd)
}

fn path_readlink(_: Caller<'_>, fd: u32, _path: u32, _len: u32, _buffer: u32, _size: u32, _used: u32) -> Errno {
    no_directory(fd)
}

fn path_remove_directory(_: Caller<'_>, fd: u32, _path: u32, _len: u32) -> Errno {
    no_directory(fd)
}

fn path_rename(_: Caller<'_>, fd: u32, _old: u32, _len: u32, _new_fd: u32, _new: u32, _new_len: u32) -> Errno {
    no_directory(fd)
}

fn path_symlink(_: Caller<'_>, _old: u32, _old_len: u32, fd: u32, _new: u32, _new_len: u32) -> Errno {
    no_directory(fd)
}

fn path_unlink_file(_: Caller<'_>, fd: u32, _path: u32, _len: u32) -> Errno {
    no_directory(fd)
}

fn sock_accept(_: Caller<'_>, _fd: u32, _flags: u32, _to: u32) -> Errno {
    EBADF
}

fn sock_recv(_: Caller<'_>, _fd: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> Errno {
    EBADF
}

fn sock_send(_: Caller<'_>, _fd: u32, _: u32, _: u32, _: u32, _: u32) -> Errno {
    EBADF
}

fn sock_shutdown(_: Caller<'_>, _fd: u32, _how: u32) -> Errno {
    EBADF
}
