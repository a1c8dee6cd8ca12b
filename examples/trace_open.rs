//! Uses a gadget from Rust: prints the files that are opened on this host during ten seconds. Needs root.
//!
//! `cargo build --example trace_open && sudo target/debug/examples/trace_open`

use std::io::{Write, stdout};
use std::time::Duration;

use inspektor_gadget::gadget::Gadget;
use inspektor_gadget::image::{ResolveOptions, Resolver};

fn main() -> inspektor_gadget::Result<()> {
    // From the store, the bundled catalogue or a registry; refused unless it can be trusted.
    let image = Resolver::new(ResolveOptions::default())?.resolve("trace_open")?;

    // Data sources and parameters are known now; nothing is in the kernel yet.
    let mut gadget = Gadget::builder(&image).host().build()?;
    gadget.set_param("failed", "true")?;

    // Looked up once, by name; read for each event without a search.
    let open = gadget.data_source("open")?;
    let comm = open.field("proc.comm")?.str()?;
    let fname = open.field("fname")?.str()?;
    let error = open.field("error")?.str()?;
    let stop = gadget.stop_signal();
    gadget.subscribe("open", ["proc.comm", "fname", "error"], move |event| {
        let line = writeln!(
            stdout(),
            "{} {} {}",
            comm.get(event),
            fname.get(event),
            error.get(event)
        );
        if line.is_err() {
            stop.request(); // nobody reads any more
        }
    })?;

    // Loaded and attached; detached when dropped.
    let mut running = gadget.start()?;
    running.wait(Some(Duration::from_secs(10)));
    for loss in running.stop()?.losses() {
        eprintln!("{}: lost {}: {}", loss.source, loss.count, loss.place);
    }
    Ok(())
}
