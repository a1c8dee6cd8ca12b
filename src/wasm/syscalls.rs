//! System calls: their numbers and names, and what the kernel says of their parameters.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

/// Numbers and names, in the order of the numbers.
const TABLE: &str = if cfg!(target_arch = "aarch64") {
    include_str!("syscalls/arm64.txt")
} else {
    include_str!("syscalls/amd64.txt")
};

struct Names {
    by_number: HashMap<u16, &'static str>,
    by_name: HashMap<&'static str, u16>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| parse(TABLE));

fn parse(table: &'static str) -> Names {
    let lines = table.lines().filter_map(|line| line.split_once(' '));
    let pairs: Vec<(u16, &str)> = lines
        .filter_map(|(number, name)| Some((number.parse().ok()?, name)))
        .collect();
    Names {
        by_number: pairs.iter().copied().collect(),
        by_name: pairs.iter().map(|(number, name)| (*name, *number)).collect(),
    }
}

/// The name of a number; `syscall_` and the number in hexadecimal if it has none.
pub(super) fn name(number: u16) -> String {
    match NAMES.by_number.get(&number) {
        Some(name) => (*name).to_owned(),
        None => format!("syscall_{number:x}"),
    }
}

/// The number of a name.
pub(super) fn number(name: &str) -> Option<u16> {
    NAMES.by_name.get(name).copied()
}

const NAME: usize = 32;
const PARAMS: usize = 6;
/// Size in bytes of a declaration.
pub(super) const DECLARATION: usize = NAME + 4 + PARAMS * (NAME + 4);
const IS_POINTER: u32 = 1;

#[derive(Debug, PartialEq, Eq)]
struct Param {
    name: String,
    is_pointer: bool,
}

/// What the kernel says about the parameters of a system call, in the form that guests read.
pub(super) fn declaration(name: &str) -> Option<[u8; DECLARATION]> {
    static DECLARATIONS: LazyLock<HashMap<String, Vec<Param>>> = LazyLock::new(|| {
        let dirs = crate::ebpf::tracefs().map(|tracefs| tracefs.join("events/syscalls"));
        dirs.map_or_else(HashMap::new, |dir| read_declarations(&dir))
    });
    DECLARATIONS.get(name).map(|params| encode(name, params))
}

fn read_declarations(dir: &Path) -> HashMap<String, Vec<Param>> {
    let Ok(listing) = std::fs::read_dir(dir) else {
        return HashMap::new();
    };
    listing
        .flatten()
        .filter_map(|entry| {
            let file_name = entry.file_name();
            let name = file_name.to_str()?.strip_prefix("sys_enter_")?;
            let format = std::fs::read_to_string(entry.path().join("format")).ok()?;
            Some((usual_name(name).to_owned(), params(&format)))
        })
        .collect()
}

/// The name by which programs know what the kernel calls so.
fn usual_name(name: &str) -> &str {
    match name {
        "newfstat" => "fstat",
        "newlstat" => "lstat",
        "newstat" => "stat",
        "newuname" => "uname",
        "sendfile64" => "sendfile",
        "sysctl" => "_sysctl",
        "umount" => "umount2",
        other => other,
    }
}

/// The parameters in the description of an event: the fields after the first empty line.
fn params(format: &str) -> Vec<Param> {
    let own = format.lines().skip_while(|line| !line.is_empty()).skip(1);
    own.filter_map(|line| {
        let (_, field) = line.split_once("field:")?;
        let (declaration, _) = field.split_once(';')?;
        let (kind, name) = declaration.rsplit_once(' ')?;
        // Texts that newer kernels add to what the program passed.
        let is_added = kind.starts_with("__data_loc");
        let is_name = !name.is_empty() && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        (is_name && !is_added && name != "__syscall_nr").then(|| Param {
            name: name.to_owned(),
            is_pointer: kind.contains('*'),
        })
    })
    .take(PARAMS)
    .collect()
}

fn encode(name: &str, params: &[Param]) -> [u8; DECLARATION] {
    let mut bytes = [0; DECLARATION];
    put(&mut bytes, 0, name);
    bytes[NAME] = params.len() as u8;
    for (index, param) in params.iter().enumerate() {
        let at = NAME + 4 + index * (NAME + 4);
        put(&mut bytes, at, &param.name);
        let flags = if param.is_pointer { IS_POINTER } else { 0 };
        bytes[at + NAME..at + NAME + 4].copy_from_slice(&flags.to_le_bytes());
    }
    bytes
}

fn put(bytes: &mut [u8; DECLARATION], at: usize, text: &str) {
    let len = text.len().min(NAME);
    bytes[at..at + len].copy_from_slice(&text.as_bytes()[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_whole() {
        for (table, entries, execve, newfstatat, umount2) in [
            (include_str!("syscalls/amd64.txt"), 379, 59, 262, 166),
            (include_str!("syscalls/arm64.txt"), 322, 221, 79, 39),
        ] {
            let names = parse(table);
            assert_eq!((names.by_number.len(), names.by_name.len()), (entries, entries));
            assert_eq!(names.by_name["execve"], execve);
            assert_eq!(names.by_name["newfstatat"], newfstatat);
            assert_eq!(names.by_name["umount2"], umount2);
            assert_eq!(names.by_number[&428], "open_tree");
        }
        assert_eq!(name(1337), "syscall_539");
        assert_eq!(number("foobar"), None);
        assert_eq!(number(""), None);
    }

    #[test]
    fn parameters_are_what_the_program_passed() {
        let format = "name: sys_enter_execve\nID: 700\nformat:\n\tfield:unsigned short common_type;\toffset:0;\n\n\
            \tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\
            \tfield:const char * filename;\toffset:16;\tsize:8;\tsigned:0;\n\
            \tfield:const char *const * argv;\toffset:24;\tsize:8;\tsigned:0;\n\
            \tfield:unsigned int flags;\toffset:32;\tsize:8;\tsigned:0;\n\
            \tfield:__data_loc char[] __filename_val;\toffset:40;\tsize:4;\tsigned:0;\n\n\
            print fmt: \"filename: 0x%08lx\"\n";
        let params = params(format);
        let names: Vec<_> = params.iter().map(|p| (p.name.as_str(), p.is_pointer)).collect();
        assert_eq!(names, [("filename", true), ("argv", true), ("flags", false)]);
        let bytes = encode("execve", &params);
        assert_eq!(
            (&bytes[..7], bytes[32], &bytes[33..36]),
            (b"execve\0".as_slice(), 3, [0; 3].as_slice())
        );
        assert_eq!((&bytes[36..45], bytes[68]), (b"filename\0".as_slice(), 1));
        assert!(bytes[144..].iter().all(|byte| *byte == 0));
        let long = "n".repeat(40);
        assert_eq!(&encode(&long, &[])[..32], &long.as_bytes()[..32]);
    }
}
