//! Looks for circles among the orders in which the threads of a process take mutexes.

mod graph;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use api::datasources::{Data, DataArray, DataSource, DataSourceType, Field, FieldKind};
use api::{errorf, warnf};

use graph::{Edge, Graph, Stacks};

/// Size of field `comm` of data source `mutex`.
const COMM: u32 = 16;
/// Processes that are looked at at a time; the memory of this module is limited.
const MAX_PROCESSES: usize = 4096;

type Result<T> = std::result::Result<T, String>;

/// What is known of one process.
#[derive(Default)]
struct Process {
    comm: String,
    mntns_id: u64,
    graph: Graph,
}

type Processes = Arc<Mutex<HashMap<u32, Process>>>;

#[derive(Clone, Copy)]
struct Edges {
    mutex1: Field,
    mutex2: Field,
    pid: Field,
    mntns_id: Field,
    stack1: Field,
    stack2: Field,
    comm: Field,
}

#[derive(Clone, Copy)]
struct Shown {
    source: DataSource,
    pid: Field,
    nodes: Field,
    stack_ids: Field,
    comm: Field,
    mntns_id: Field,
}

#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn gadgetInit() -> i32 {
    match init() {
        Ok(()) => 0,
        Err(error) => {
            errorf!("deadlock: {error}");
            1
        }
    }
}

fn init() -> Result<()> {
    wire().map_err(|error| error.to_string())
}

fn wire() -> api::datasources::Result<()> {
    let mutex = DataSource::get_datasource("mutex".to_string())?;
    let edges = Edges {
        mutex1: mutex.get_field("mutex1")?,
        mutex2: mutex.get_field("mutex2")?,
        pid: mutex.get_field("pid")?,
        mntns_id: mutex.get_field("mntns_id")?,
        stack1: mutex.get_field("mutex1_stack_id")?,
        stack2: mutex.get_field("mutex2_stack_id")?,
        comm: mutex.get_field("comm")?,
    };
    let exit = DataSource::get_datasource("process_exit".to_string())?;
    let dead = exit.get_field("pid")?;
    let source = DataSource::new_datasource("deadlock".to_string(), DataSourceType::Single)?;
    let shown = Shown {
        source,
        pid: source.add_field("pid", FieldKind::Uint32)?,
        nodes: source.add_field("nodes", FieldKind::Uint64)?,
        stack_ids: source.add_field("stack_ids", FieldKind::String)?,
        comm: source.add_field("comm", FieldKind::String)?,
        mntns_id: source.add_field("mntns_id", FieldKind::Uint64)?,
    };
    if shown.mntns_id.add_tag("type:gadget_mntns_id").is_err() {
        return Err(api::datasources::DataSourceError::GeneralError);
    }
    let processes = Processes::default();
    let ended = Arc::clone(&processes);
    mutex.subscribe_array(
        move |_, array| {
            if let Err(error) = look(&processes, &edges, &shown, array) {
                warnf!("deadlock: {error}");
            }
            Ok(())
        },
        0,
    )?;
    exit.subscribe(
        move |_, data| {
            if let Ok(pid) = dead.u32(data) {
                ended.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
            }
        },
        0,
    )?;
    // They are ours, and of no use to anybody else.
    mutex.unreference()?;
    exit.unreference()
}

/// Takes over the edges, and tells of the circles that they close.
fn look(processes: &Processes, edges: &Edges, shown: &Shown, array: DataArray) -> Result<()> {
    let mut processes = processes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changed = BTreeSet::new();
    for element in array.iter() {
        let pid = edges.pid.u32(element)?;
        if processes.len() >= MAX_PROCESSES && !processes.contains_key(&pid) {
            continue;
        }
        let process = processes.entry(pid).or_default();
        if process.comm.is_empty() {
            process.comm = edges.comm.string(element, COMM)?;
            process.mntns_id = edges.mntns_id.u64(element)?;
        }
        let edge = Edge {
            from: edges.mutex1.u64(element)?,
            to: edges.mutex2.u64(element)?,
        };
        let stacks = Stacks(edges.stack1.u64(element)? as i64, edges.stack2.u64(element)? as i64);
        process.graph.add(edge, stacks);
        changed.insert(pid);
    }
    for pid in changed {
        let Some(process) = processes.get_mut(&pid) else { continue };
        for circle in process.graph.new_circles() {
            tell(shown, pid, process, &circle)?;
        }
    }
    Ok(())
}

fn tell(shown: &Shown, pid: u32, process: &Process, circle: &[Edge]) -> Result<()> {
    let packet = shown.source.new_packet_single().map_err(|error| error.to_string())?;
    let data = Data::from(packet);
    let fill = || {
        shown.pid.set_u32(data, pid)?;
        shown.nodes.set_u64(data, circle.len() as u64)?;
        shown.stack_ids.set_string(data, &process.graph.stacks(circle))?;
        shown.comm.set_string(data, &process.comm)?;
        shown.mntns_id.set_u64(data, process.mntns_id)
    };
    let filled = fill();
    let emitted = shown.source.emit_and_release(packet.into()).map_err(|error| error.to_string());
    emitted.and(filled)
}
