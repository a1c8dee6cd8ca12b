//! Chooses the functions of the file system that is asked for.

use api::config::set_config;
use api::errorf;
use api::params::get_param_value;

/// As the target of a program: load it, but attach it nowhere.
const DISABLED: &str = "gadget_program_disabled";

/// The parts of the programs' names, in the order of [`FileSystem`]'s functions.
const PROGRAMS: [&str; 5] = ["read", "wr", "open", "sync", "statfs"];

/// A file system: its name, and its functions for reading, writing, opening, syncing, and what statfs does.
type FileSystem = (&'static str, [&'static str; 5]);

const FILE_SYSTEMS: [FileSystem; 6] = [
    (
        "btrfs",
        ["btrfs_file_read_iter", "btrfs_file_write_iter", "btrfs_file_open", "btrfs_sync_file", "btrfs_statfs"],
    ),
    (
        "ext4",
        ["ext4_file_read_iter", "ext4_file_write_iter", "ext4_file_open", "ext4_sync_file", "ext4_statfs"],
    ),
    ("fuse", ["fuse_file_read_iter", "fuse_file_write_iter", "fuse_open", "fuse_fsync", DISABLED]),
    ("nfs", ["nfs_file_read", "nfs_file_write", "nfs_file_open", "nfs_file_fsync", "nfs_statfs"]),
    (
        "ntfs3",
        ["ntfs_file_read_iter", "ntfs_file_write_iter", "ntfs_file_open", "generic_file_fsync", DISABLED],
    ),
    (
        "xfs",
        ["xfs_file_read_iter", "xfs_file_write_iter", "xfs_file_open", "xfs_file_fsync", "xfs_fs_statfs"],
    ),
];

/// No name of a file system is longer.
const MAX_NAME: u64 = 256;

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    0
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetPreStart() -> i32 {
    match choose() {
        Ok(()) => 0,
        Err(error) => {
            errorf!("trace_fsslower: {error}");
            1
        }
    }
}

fn choose() -> Result<(), String> {
    let name = get_param_value("filesystem".to_string(), MAX_NAME)?;
    for (program, function) in targets(&name)? {
        set_config(format!("programs.{program}.attach_to"), function)?;
    }
    Ok(())
}

/// The programs, and the function that each is attached to.
fn targets(name: &str) -> Result<Vec<(String, &'static str)>, String> {
    let known = FILE_SYSTEMS.iter().find(|(known, _)| *known == name);
    let (_, functions) = known.ok_or_else(|| {
        let names: Vec<&str> = FILE_SYSTEMS.iter().map(|(name, _)| *name).collect();
        format!("filesystem {name:?} not supported; there are {}", names.join(", "))
    })?;
    let both_ends = |(program, function): (&str, &'static str)| ["e", "x"].map(|end| (format!("ig_fssl_{program}_{end}"), function));
    Ok(PROGRAMS.into_iter().zip(*functions).flat_map(both_ends).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_each_function() {
        let ext4 = targets("ext4").unwrap();
        assert_eq!(ext4.len(), 10);
        assert_eq!(ext4[0], ("ig_fssl_read_e".to_string(), "ext4_file_read_iter"));
        assert_eq!(ext4[3], ("ig_fssl_wr_x".to_string(), "ext4_file_write_iter"));
        assert_eq!(targets("fuse").unwrap()[9], ("ig_fssl_statfs_x".to_string(), DISABLED));
        assert!(targets("").is_err());
        assert!(targets("vfat").unwrap_err().contains("\"vfat\" not supported; there are btrfs, ext4,"));
    }
}
