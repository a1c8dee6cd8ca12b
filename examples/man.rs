//! Writes the manual pages (`ig.1`, `ig-image.1`, …) into a directory: `cargo run --example man -- target/man`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: man DIRECTORY");
        std::process::exit(2);
    };
    std::fs::create_dir_all(&directory)?;
    clap_mangen::generate_to(inspektor_gadget::cli::command(), &directory)
}
