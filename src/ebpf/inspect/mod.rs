//! What a compiled gadget is made of, without loading it: the extra information that `ig image inspect` shows.
//!
//! Everything here is a pure function of the object's bytes, which may come from anywhere: no input makes it panic, recurse
//! without bound or call into the kernel.

mod disasm;
mod graph;
mod helpers;
pub mod maps;
pub mod object;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::graph::Uses;
use self::maps::map_type_name;
use self::object::ObjectFile;
use crate::{Error, Result};

/// How much text the listings of all programs may take together, in bytes. Functions that many programs share appear in each.
const MAX_SOURCE: usize = 64 << 20;

/// A piece of information about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The text.
    pub content: String,
    /// What kind of text it is: `application/json`, `text/mermaid`, …
    pub content_type: &'static str,
}

impl Entry {
    /// A JSON document.
    pub fn json(value: &Value) -> Self {
        Self {
            content: value.to_string(),
            content_type: "application/json",
        }
    }

    /// A text of the type `content_type`.
    pub fn text(content: impl Into<String>, content_type: &'static str) -> Self {
        Self {
            content: content.into(),
            content_type,
        }
    }
}

/// The `ebpf.…` entries of the object `elf`.
///
/// # Errors
/// When it is not a BPF object or is damaged.
pub fn extra_info(elf: &[u8]) -> Result<BTreeMap<&'static str, Entry>> {
    let object = ObjectFile::parse(elf)?;
    let maps = object
        .maps
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), ".rodata" | ".bss"))
        .map(|(name, map)| json!({"Name": name, "Type": map_type_name(map.map_type)}))
        .collect();
    let variables = object
        .variables
        .iter()
        .map(|v| json!({"Name": v.name, "Offset": v.offset, "Size": v.size, "Map": v.map}))
        .collect();
    let mut uses = Uses::new();
    let mut programs = Vec::new();
    let mut size = 0;
    for (name, program) in &object.programs {
        let bodies = object.bodies(program);
        uses.add(name, &bodies);
        let source = disasm::listing(&bodies);
        size += source.len();
        if size > MAX_SOURCE {
            return Err(Error::invalid("the programs are too large to be shown"));
        }
        // Relocations are part of the listing already.
        programs.push(json!({"Section": program.section, "Source": source, "SourceWithRelocation": source}));
    }
    Ok(BTreeMap::from([
        ("ebpf.sections", Entry::json(&json!(object.sections))),
        ("ebpf.maps", Entry::json(&list(maps))),
        ("ebpf.programs", Entry::json(&list(programs))),
        ("ebpf.variables", Entry::json(&list(variables))),
        ("ebpf.flowchart", Entry::text(uses.flowchart(&object), "text/mermaid")),
        ("ebpf.sequence", Entry::text(uses.sequence(), "text/mermaid")),
    ]))
}

/// A JSON list; `null` when it is empty, as readers are used to.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() {
        Value::Null
    } else {
        Value::Array(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::compile;

    const SOURCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
typedef unsigned int u32;
typedef unsigned long long u64;
struct { int (*type)[27]; int (*max_entries)[262144]; } events SEC(".maps");
struct { int (*type)[6]; int (*max_entries)[1]; u32 *key; u64 (*value)[4]; } heap SEC(".maps");
const volatile u32 wanted = 7;
u64 seen;
int values[4] SEC(".data.custom");
SEC("raw_tp/x") int enter(void *ctx) { values[seen & 3] = wanted; return seen++; }
SEC("strange/section") int other(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"#;

    fn value(info: &BTreeMap<&'static str, Entry>, key: &str) -> Value {
        serde_json::from_str(&info[key].content).unwrap()
    }

    #[test]
    fn describes_an_object() {
        let info = extra_info(&compile(SOURCE)).unwrap();
        let sections = value(&info, "ebpf.sections");
        assert_eq!(sections[0], "");
        assert!(sections.as_array().unwrap().contains(&json!("raw_tp/x")));
        assert_eq!(
            value(&info, "ebpf.maps"),
            json!([
                {"Name": ".data.custom", "Type": "Array"},
                {"Name": "events", "Type": "RingBuf"},
                {"Name": "heap", "Type": "PerCPUArray"},
            ])
        );
        assert_eq!(
            value(&info, "ebpf.variables"),
            json!([
                {"Name": "seen", "Offset": 0, "Size": 8, "Map": ".bss"},
                {"Name": "values", "Offset": 0, "Size": 16, "Map": ".data.custom"},
                {"Name": "wanted", "Offset": 0, "Size": 4, "Map": ".rodata"},
            ])
        );
        let programs = value(&info, "ebpf.programs");
        assert_eq!(programs.as_array().unwrap().len(), 2);
        assert_eq!(programs[0]["Section"], "raw_tp/x");
        assert_eq!(programs[1]["Section"], "strange/section");
        assert!(programs[1]["Source"].as_str().unwrap().starts_with("other:\n"));
        assert_eq!(info["ebpf.flowchart"].content_type, "text/mermaid");
    }

    #[test]
    fn an_empty_object_has_nulls() {
        let info = extra_info(&compile("")).unwrap();
        for key in ["ebpf.maps", "ebpf.programs", "ebpf.variables"] {
            assert_eq!(info[key].content, "null", "{key}");
        }
        assert_eq!(info["ebpf.flowchart"].content, "flowchart LR\n");
    }

    #[test]
    fn map_declarations_have_sizes() {
        let elf = compile(SOURCE);
        let object = ObjectFile::parse(&elf).unwrap();
        let heap = object.maps["heap"];
        assert_eq!((heap.map_type, heap.key_size, heap.value_size), (6, 4, 32));
    }

    #[test]
    fn damaged_objects_never_panic() {
        let elf = compile(SOURCE);
        for length in (0..elf.len()).step_by(41) {
            let _ = extra_info(&elf[..length]);
        }
        for position in 0..elf.len() {
            for value in [0, 0x80, 0xff] {
                let mut damaged = elf.clone();
                damaged[position] = value;
                let _ = extra_info(&damaged);
            }
        }
        assert!(
            extra_info(b"")
                .unwrap_err()
                .to_string()
                .starts_with("reading eBPF object: ")
        );
    }
}
