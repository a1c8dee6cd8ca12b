//! Adds the call as it would be written.

use api::datasources::{Data, DataSource, Field, FieldKind};
use api::{errorf, warnf};

/// Sizes of the texts in the eBPF program's event.
const FS: u32 = 8;
const TEXT: u32 = 512;

const MOUNT: u32 = 0;

/// Bit 0 first.
const FLAGS: [&str; 32] = [
    "MS_RDONLY", "MS_NOSUID", "MS_NODEV", "MS_NOEXEC", "MS_SYNCHRONOUS", "MS_REMOUNT", "MS_MANDLOCK", "MS_DIRSYNC",
    "MS_NOSYMFOLLOW", "MS_NOATIME", "MS_NODIRATIME", "MS_BIND", "MS_MOVE", "MS_REC", "MS_VERBOSE", "MS_SILENT",
    "MS_POSIXACL", "MS_UNBINDABLE", "MS_PRIVATE", "MS_SLAVE", "MS_SHARED", "MS_RELATIME", "MS_KERNMOUNT",
    "MS_I_VERSION", "MS_STRICTATIME", "MS_LAZYTIME", "MS_SUBMOUNT", "MS_NOREMOTELOCK", "MS_NOSEC", "MS_BORN",
    "MS_ACTIVE", "MS_NOUSER",
];

#[derive(Clone, Copy)]
struct Fields {
    op: Field,
    flags: Field,
    error: Field,
    fs: Field,
    src: Field,
    dest: Field,
    data: Field,
    call: Field,
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    match init() {
        Ok(()) => 0,
        Err(error) => {
            errorf!("trace_mount: {error}");
            1
        }
    }
}

fn init() -> api::datasources::Result<()> {
    let mount = DataSource::get_datasource("mount".to_string())?;
    let fields = Fields {
        op: mount.get_field("op_raw")?,
        // The number: its text is filled in after this.
        flags: mount.get_field("flags_raw")?,
        error: mount.get_field("error_raw")?,
        fs: mount.get_field("fs")?,
        src: mount.get_field("src")?,
        dest: mount.get_field("dest")?,
        data: mount.get_field("data")?,
        call: mount.add_field("call", FieldKind::String)?,
    };
    mount.subscribe(
        move |_, data| {
            if let Err(error) = add_call(&fields, data) {
                warnf!("trace_mount: {error}");
            }
        },
        0,
    )
}

fn add_call(fields: &Fields, data: Data) -> Result<(), String> {
    let call = Call {
        flags: fields.flags.u64(data)?,
        error: fields.error.u32(data)?,
        dest: fields.dest.string(data, TEXT)?,
        mount: match fields.op.u32(data)? {
            MOUNT => Some(Mount {
                src: fields.src.string(data, TEXT)?,
                fs: fields.fs.string(data, FS)?,
                data: fields.data.string(data, TEXT)?,
            }),
            _ => None,
        },
    };
    fields.call.set_string(data, &call.to_string())
}

struct Call {
    dest: String,
    flags: u64,
    error: u32,
    /// What only mount has.
    mount: Option<Mount>,
}

struct Mount {
    src: String,
    fs: String,
    data: String,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dest, error) = (&self.dest, self.error);
        match &self.mount {
            Some(Mount { src, fs, data }) => {
                let flags = flag_names(self.flags);
                write!(f, "mount(\"{src}\", \"{dest}\", \"{fs}\", {flags}, \"{data}\") = {error}")
            }
            None => write!(f, "umount(\"{dest}\", {}) = {error}", umount_flags(self.flags)),
        }
    }
}

fn join(flags: u64, names: impl Iterator<Item = (u64, &'static str)>) -> String {
    let mut left = flags;
    let mut text = Vec::new();
    for (flag, name) in names.filter(|(flag, _)| flags & flag != 0) {
        left &= !flag;
        text.push(name.to_string());
    }
    if left != 0 || text.is_empty() {
        text.push(if left == 0 { "0".to_string() } else { format!("{left:#x}") });
    }
    text.join("|")
}

fn flag_names(flags: u64) -> String {
    join(flags, FLAGS.iter().enumerate().map(|(bit, name)| (1 << bit, *name)))
}

/// The flags of umount2 are others than those of mount.
fn umount_flags(flags: u64) -> String {
    let names = ["MNT_FORCE", "MNT_DETACH", "MNT_EXPIRE", "UMOUNT_NOFOLLOW"];
    join(flags, names.into_iter().enumerate().map(|(bit, name)| (1 << bit, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_written_as_in_a_program() {
        let mut call = Call {
            dest: "/mnt".to_string(),
            flags: 0x8000,
            error: 2,
            mount: Some(Mount {
                src: "/dev/sda".to_string(),
                fs: "ext3".to_string(),
                data: "ro".to_string(),
            }),
        };
        assert_eq!(call.to_string(), "mount(\"/dev/sda\", \"/mnt\", \"ext3\", MS_SILENT, \"ro\") = 2");
        call.mount = None;
        call.flags = 2;
        call.error = 0;
        assert_eq!(call.to_string(), "umount(\"/mnt\", MNT_DETACH) = 0");
    }

    #[test]
    fn all_flags_have_their_bit() {
        assert_eq!(flag_names(0), "0");
        assert_eq!(flag_names(0x1001), "MS_RDONLY|MS_MOVE");
        assert_eq!(flag_names(0x8000_0000), "MS_NOUSER");
        assert_eq!(flag_names(1 << 40 | 1), "MS_RDONLY|0x10000000000");
    }
}
