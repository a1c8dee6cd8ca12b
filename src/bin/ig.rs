//! The `ig` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    inspektor_gadget::cli::main()
}
