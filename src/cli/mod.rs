//! The `ig` command line: one file per command.

mod image;
