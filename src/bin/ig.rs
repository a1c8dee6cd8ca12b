//! The `ig` program.

fn main() {}
