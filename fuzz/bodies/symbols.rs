//! The debugging information of a build id, which may be anything that somebody put there: a binary that lies about its sections, too.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use inspektor_gadget::symbols::user::{Process, Stack, UserSymbols, UserSymbolsOptions};

const DEPTH: u64 = 16;

/// Where the file of a build id is looked for, and who looks.
fn symbols() -> &'static (PathBuf, UserSymbols) {
    static SYMBOLS: OnceLock<(PathBuf, UserSymbols)> = OnceLock::new();
    SYMBOLS.get_or_init(|| {
        let cache = std::env::temp_dir().join(format!("ig-fuzz-symbols-{}", std::process::id()));
        let options = UserSymbolsOptions {
            proc: PathBuf::from("/proc"),
            symtab: false,
            debuginfod_cache: Some(cache.clone()),
        };
        (cache, UserSymbols::start(options).expect("a thread can be started"))
    })
}

pub fn run(data: &[u8]) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (cache, symbols) = symbols();
    // What is known of one build id is remembered.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 20];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let directory = cache.join(id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    std::fs::write(directory.join("debuginfo"), data).expect("a file can be written");
    let step = (data.len() as u64 / DEPTH).max(1);
    let stack = Stack {
        process: Process {
            pid: 0,
            image: 0,
            changed: (0, 0),
        },
        addresses: (1..=DEPTH).collect(),
        build_ids: (0..DEPTH).map(|index| Some((id, index * step))).collect(),
    };
    let text = symbols.text(stack).expect("the thread goes on");
    assert!(text.matches("; ").count() as u64 >= DEPTH, "{text:?}");
    std::fs::remove_dir_all(&directory).expect("the directory can be removed");
}
