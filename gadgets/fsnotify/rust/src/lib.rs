//! Chooses the functions of the kernel to look at: they have had other names.

use api::config::set_config;
use api::kallsyms::kallsyms_symbol_exists;
use api::{errorf, warnf};

/// As the target of a program: load it, but attach it nowhere.
const DISABLED: &str = "gadget_program_disabled";

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    0
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetPreStart() -> i32 {
    let choice = Choice::of(kallsyms_symbol_exists);
    for what in &choice.complaints {
        warnf!("fsnotify: {what}");
    }
    for (program, target) in &choice.targets {
        if let Err(error) = set_config(format!("programs.{program}.attach_to"), *target) {
            errorf!("fsnotify: {error}");
            return 1;
        }
    }
    0
}

/// What is different from what the eBPF program says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    /// Programs and where they are attached.
    targets: Vec<(&'static str, &'static str)>,
    complaints: Vec<&'static str>,
}

impl Choice {
    fn of(exists: impl Fn(&str) -> bool) -> Self {
        let mut choice = Self::default();
        // Since 5.16; before, the name was that of an inline function now.
        if !exists("fsnotify_insert_event") {
            match exists("fsnotify_add_event") {
                true => choice.targets.push(("fsnotify_insert_event_e", "fsnotify_add_event")),
                false => choice.complaints.push("this kernel has neither fsnotify_insert_event nor fsnotify_add_event"),
            }
        }
        // Since 5.11. Where there are both, one calls the other.
        if exists("inotify_handle_inode_event") {
            choice.disable(["inotify_handle_event_e", "inotify_handle_event_x"]);
        } else {
            match exists("inotify_handle_event") {
                true => choice.complaints.push("this kernel does not tell the number of the inode; i_ino is 0"),
                false => choice.complaints.push("this kernel has neither inotify_handle_inode_event nor inotify_handle_event"),
            }
            choice.disable(["inotify_handle_inode_event_e", "inotify_handle_inode_event_x"]);
        }
        choice
    }

    fn disable(&mut self, programs: [&'static str; 2]) {
        self.targets.extend(programs.map(|program| (program, DISABLED)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(symbols: &[&str]) -> Choice {
        Choice::of(|symbol| symbols.contains(&symbol))
    }

    #[test]
    fn each_kernel_gets_what_it_has() {
        let newer = choice(&["fsnotify_insert_event", "inotify_handle_inode_event"]);
        let disabled = [("inotify_handle_event_e", DISABLED), ("inotify_handle_event_x", DISABLED)];
        assert_eq!((newer.targets, newer.complaints.len()), (disabled.to_vec(), 0));
        let between = choice(&["fsnotify_add_event", "inotify_handle_inode_event"]);
        assert_eq!(between.targets[0], ("fsnotify_insert_event_e", "fsnotify_add_event"));
        assert_eq!((between.targets.len(), between.complaints.len()), (3, 0));
        let older = choice(&["fsnotify_add_event", "inotify_handle_event"]);
        assert_eq!(older.targets[1], ("inotify_handle_inode_event_e", DISABLED));
        assert!(older.complaints[0].contains("i_ino is 0"));
        assert_eq!(choice(&[]).complaints.len(), 2);
    }
}
