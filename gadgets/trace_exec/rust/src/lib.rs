//! Joins the arguments of a program, which the eBPF program delivers with a NUL after each.

use api::datasources::{Data, DataSource, Field};
use api::{errorf, warnf};

/// Size of field `args`.
const MAX_ARGS: usize = 5120;
/// What stands between two arguments: no space that an argument may have in it.
const SEPARATOR: &str = "\u{a0}";

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    match init() {
        Ok(()) => 0,
        Err(error) => {
            errorf!("trace_exec: {error}");
            1
        }
    }
}

fn init() -> api::datasources::Result<()> {
    let exec = DataSource::get_datasource("exec".to_string())?;
    let args = exec.get_field("args")?;
    let size = exec.get_field("args_size")?;
    exec.subscribe(
        move |_, data| {
            if let Err(error) = join(args, size, data) {
                warnf!("trace_exec: {error}");
            }
        },
        0,
    )
}

fn join(args: Field, size: Field, data: Data) -> Result<(), String> {
    let mut buffer = [0; MAX_ARGS];
    let size = size.u32(data)? as usize;
    args.bytes(data, &mut buffer)?;
    let used = buffer.get(..size).ok_or("more arguments than there is room for")?;
    args.set_string(data, &joined(used))
}

/// The arguments in `bytes`, of which each ends with a NUL, maybe but the last.
fn joined(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let args: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let mut text = args.join(SEPARATOR);
    // It goes where the arguments were; the separator is a byte longer.
    let mut end = text.len().min(MAX_ARGS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined() {
        assert_eq!(joined(b"sh\0-c\0echo a b\0"), "sh\u{a0}-c\u{a0}echo a b");
        assert_eq!(joined(b"cut"), "cut");
        assert_eq!(joined(b""), "");
        assert_eq!(joined(b"a\0\0b\0"), "a\u{a0}\u{a0}b");
        assert_eq!(joined(b"\xff\0x"), "\u{fffd}\u{a0}x");
        let long = joined(&b"a\0".repeat(MAX_ARGS / 2));
        assert!(long.len() <= MAX_ARGS && long.starts_with("a\u{a0}a"));
    }
}
