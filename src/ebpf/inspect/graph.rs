//! Which program uses which map how, as Mermaid diagrams.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use super::helpers::helper_name;
use super::object::{Body, ObjectFile};

/// How programs use maps: program → uses, in the order of their first occurrence.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uses(BTreeMap<String, Vec<(String, &'static str)>>);

/// Verbs that a flowchart puts on one arrow, in the order in which it names them.
const MERGED: [&str; 3] = ["Lookup", "Update", "Delete"];

impl Uses {
    /// Nothing known yet about any program.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds what the program `name`, which consists of `bodies`, does.
    pub(super) fn add(&mut self, name: &str, bodies: &[Body]) {
        let uses = self.0.entry(name.to_owned()).or_default();
        for body in bodies {
            for (map, verb) in uses_in(body) {
                if !uses
                    .iter()
                    .any(|(known, known_verb)| *known == map && *known_verb == verb)
                {
                    uses.push((map, verb));
                }
            }
        }
    }

    /// The `flowchart` of the programs and the maps of `object`.
    pub(super) fn flowchart(&self, object: &ObjectFile<'_>) -> String {
        let mut out = String::from("flowchart LR\n");
        for map in object.maps.keys().filter(|map| is_shown(map)) {
            let _ = writeln!(out, "{map}[(\"{map}\")]", map = label(map));
        }
        for (program, uses) in &self.0 {
            let program = label(program);
            let mut merged: Vec<&str> = Vec::new();
            for (map, verb) in uses {
                let verbs = verbs_for(uses, map);
                let verb = if MERGED.contains(verb) && verbs.len() > 1 {
                    if merged.contains(&map.as_str()) {
                        continue;
                    }
                    merged.push(map);
                    verbs.join("+")
                } else {
                    (*verb).to_owned()
                };
                let _ = writeln!(out, "{program} -- \"{verb}\" --> {}", label(map));
            }
            let _ = writeln!(out, "{program}[\"{program}\"]");
        }
        out
    }

    /// The `sequenceDiagram` of the same.
    pub(super) fn sequence(&self) -> String {
        let mut out = String::from("sequenceDiagram\nbox eBPF Programs\n");
        for program in self.0.keys() {
            let _ = writeln!(out, "participant {}", label(program));
        }
        out.push_str("end\nbox eBPF Maps\n");
        let mut seen: Vec<&str> = Vec::new();
        for (map, _) in self.0.values().flatten() {
            if is_shown(map) && !seen.contains(&map.as_str()) {
                seen.push(map);
                let _ = writeln!(out, "participant {}", label(map));
            }
        }
        out.push_str("end\n");
        for (program, uses) in &self.0 {
            for (map, verb) in uses {
                let _ = writeln!(out, "{}->>{}: {verb}", label(program), label(map));
            }
        }
        out
    }
}

/// The maps that helpers are called with. Which map a register holds is known from the load that put it there.
fn uses_in(body: &Body) -> Vec<(String, &'static str)> {
    let mut registers: HashMap<u8, &str> = HashMap::new();
    let mut uses = Vec::new();
    for instruction in &body.instructions {
        if let (Some(map), true) = (&instruction.map, instruction.is_wide()) {
            registers.insert(instruction.dst, map);
        }
        let Some((register, verb)) = instruction.helper().and_then(helper_name).and_then(map_argument) else {
            continue;
        };
        if let Some(map) = registers.get(&register) {
            uses.push(((*map).to_owned(), verb));
        }
    }
    uses
}

/// In which register a helper takes its map, and what it does with it.
fn map_argument(helper: &str) -> Option<(u8, &'static str)> {
    Some(match helper {
        "map_lookup_elem" => (1, "Lookup"),
        "map_update_elem" => (1, "Update"),
        "map_delete_elem" => (1, "Delete"),
        "map_push_elem" => (1, "Push"),
        "map_pop_elem" => (1, "Pop"),
        "map_peek_elem" => (1, "Peek"),
        "map_lookup_percpu_elem" => (1, "LookupPercpu"),
        "perf_event_output" => (2, "EventOutput"),
        _ => return None,
    })
}

/// The verbs of [`MERGED`] that occur for `map`, in that order.
fn verbs_for<'a>(uses: &[(String, &'a str)], map: &str) -> Vec<&'a str> {
    let find = |wanted: &&str| {
        uses.iter()
            .find(|(used, verb)| used == map && *verb == *wanted)
            .map(|(_, verb)| *verb)
    };
    MERGED.iter().filter_map(find).collect()
}

fn is_shown(map: &str) -> bool {
    !matches!(map, ".rodata" | ".bss")
}

/// A name that cannot end its line or its quotes.
fn label(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() || c == '"' { '_' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::compile;

    const SOURCE: &str = r#"
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
static void *(*const lookup)(void *, const void *) = (void *)1;
static long (*const update)(void *, const void *, const void *, u64) = (void *)2;
static long (*const delete)(void *, const void *) = (void *)3;
struct { int (*type)[1]; int (*max_entries)[16]; u32 *key; u64 *value; } map1 SEC(".maps");
struct { int (*type)[1]; int (*max_entries)[16]; u32 *key; u64 *value; } map2 SEC(".maps");
u64 seen;
SEC("raw_tp/a") int qdisc_enqueue(void *ctx) { u32 k = 1; u64 v = 2; return update(&map2, &k, &v, 0); }
SEC("raw_tp/b") int qdisc_dequeue(void *ctx)
{
	u32 k = 1;
	u64 *v = lookup(&map1, &k);
	if (v)
		update(&map1, &k, v, 0);
	return 0;
}
SEC("raw_tp/c") int consume_skb(void *ctx) { u32 k = 1; if (lookup(&map2, &k)) delete(&map2, &k); return 0; }
SEC("raw_tp/d") int kfree_skb(void *ctx) { seen++; return 0; }
char LICENSE[] SEC("license") = "GPL";
"#;

    #[test]
    fn shows_who_uses_what() {
        let elf = compile(SOURCE);
        let object = ObjectFile::parse(&elf).unwrap();
        let mut uses = Uses::new();
        for (name, program) in &object.programs {
            uses.add(name, &object.bodies(program));
        }
        assert_eq!(
            uses.flowchart(&object),
            r#"flowchart LR
map1[("map1")]
map2[("map2")]
consume_skb -- "Lookup+Delete" --> map2
consume_skb["consume_skb"]
kfree_skb["kfree_skb"]
qdisc_dequeue -- "Lookup+Update" --> map1
qdisc_dequeue["qdisc_dequeue"]
qdisc_enqueue -- "Update" --> map2
qdisc_enqueue["qdisc_enqueue"]
"#
        );
        assert_eq!(
            uses.sequence(),
            "sequenceDiagram
box eBPF Programs
participant consume_skb
participant kfree_skb
participant qdisc_dequeue
participant qdisc_enqueue
end
box eBPF Maps
participant map2
participant map1
end
consume_skb->>map2: Lookup
consume_skb->>map2: Delete
qdisc_dequeue->>map1: Lookup
qdisc_dequeue->>map1: Update
qdisc_enqueue->>map2: Update
"
        );
    }
}
