//! Annotation templates: named sets of annotations that a field's metadata can ask for.

/// The annotations of template `name`, as pairs of key and value.
pub fn template(name: &str) -> Option<&'static [(&'static str, &'static str)]> {
    Some(match name {
        "timestamp" => &[
            ("columns.width", "35"),
            ("columns.maxwidth", "35"),
            ("columns.ellipsis", "end"),
            ("columns.hidden", "true"),
            ("description", "Microseconds since Unix epoch"),
        ],
        "bytes" => &[("columns.width", "10"), ("columns.alignment", "right")],
        "duration" => &[("columns.width", "20"), ("columns.alignment", "right")],
        "node" | "pod" => &[("columns.width", "30"), ("columns.ellipsis", "middle")],
        "container" | "namespace" | "containerImageName" | "containerImageDigest" => &[("columns.width", "30")],
        "containerPid" => &[
            ("columns.width", "6"),
            ("columns.hidden", "true"),
            ("columns.alignment", "right"),
        ],
        "containerStartedAt" => &[("columns.hidden", "true"), ("columns.width", "35")],
        "comm" => &[("description", "Process name"), ("columns.maxwidth", "16")],
        "pcomm" => &[
            ("description", "Parent process name"),
            ("columns.maxwidth", "16"),
            ("columns.hidden", "true"),
        ],
        "pid" => &[
            ("description", "Process ID"),
            ("columns.minwidth", "7"),
            ("columns.alignment", "right"),
        ],
        "ppid" => &[
            ("description", "Parent process ID"),
            ("columns.minwidth", "7"),
            ("columns.alignment", "right"),
            ("columns.hidden", "true"),
        ],
        "tid" => &[
            ("description", "Thread ID"),
            ("columns.minwidth", "7"),
            ("columns.alignment", "right"),
        ],
        "ptid" => &[
            ("description", "Parent thread ID"),
            ("columns.minwidth", "7"),
            ("columns.alignment", "right"),
            ("columns.hidden", "true"),
        ],
        "uid" => &[
            ("description", "User ID"),
            ("columns.minwidth", "8"),
            ("columns.alignment", "right"),
        ],
        "gid" => &[
            ("description", "Group ID"),
            ("columns.minwidth", "8"),
            ("columns.alignment", "right"),
        ],
        "ns" => &[
            ("columns.hidden", "true"),
            ("columns.width", "12"),
            ("columns.alignment", "right"),
        ],
        "mntns_id" => &[
            ("description", "Mount namespace ID"),
            ("columns.hidden", "true"),
            ("columns.width", "12"),
            ("columns.alignment", "right"),
        ],
        "netns_id" => &[
            ("description", "Network namespace ID"),
            ("columns.hidden", "true"),
            ("columns.width", "12"),
            ("columns.alignment", "right"),
        ],
        "l4endpoint" => &[
            ("columns.minwidth", "22"),
            ("columns.width", "40"),
            ("columns.maxwidth", "52"),
            ("columns.ellipsis", "middle"),
        ],
        "syscall" => &[
            ("description", "Syscall"),
            ("columns.width", "18"),
            ("columns.maxwidth", "28"),
        ],
        "errorString" => &[("columns.width", "12")],
        "user_stack" => &[("description", "User stack trace"), ("columns.hidden", "true")],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table: names; what they set of `columns.*`; the description.
    const TABLE: &str = "
        timestamp | width=35 maxwidth=35 ellipsis=end hidden=true | Microseconds since Unix epoch
        bytes | width=10 alignment=right |
        duration | width=20 alignment=right |
        node pod | width=30 ellipsis=middle |
        container namespace containerImageName containerImageDigest | width=30 |
        containerPid | width=6 hidden=true alignment=right |
        containerStartedAt | hidden=true width=35 |
        comm | maxwidth=16 | Process name
        pcomm | maxwidth=16 hidden=true | Parent process name
        pid | minwidth=7 alignment=right | Process ID
        ppid | minwidth=7 alignment=right hidden=true | Parent process ID
        tid | minwidth=7 alignment=right | Thread ID
        ptid | minwidth=7 alignment=right hidden=true | Parent thread ID
        uid | minwidth=8 alignment=right | User ID
        gid | minwidth=8 alignment=right | Group ID
        ns | hidden=true width=12 alignment=right |
        mntns_id | hidden=true width=12 alignment=right | Mount namespace ID
        netns_id | hidden=true width=12 alignment=right | Network namespace ID
        l4endpoint | minwidth=22 width=40 maxwidth=52 ellipsis=middle |
        syscall | width=18 maxwidth=28 | Syscall
        errorString | width=12 |
        user_stack | hidden=true | User stack trace";

    #[test]
    fn templates_are_those_of_the_specification() {
        for line in TABLE.lines().filter(|line| !line.trim().is_empty()) {
            let [names, columns, description] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let mut expected: Vec<(String, &str)> = columns
                .split_whitespace()
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(key, value)| (format!("columns.{key}"), value))
                .collect();
            expected.extend((!description.is_empty()).then(|| ("description".to_owned(), description)));
            expected.sort();
            for name in names.split_whitespace() {
                let mut found: Vec<(String, &str)> = template(name)
                    .unwrap_or_else(|| panic!("no template {name}"))
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), *value))
                    .collect();
                found.sort();
                assert_eq!(found, expected, "{name}");
            }
        }
        for unknown in ["", "Comm", "COMM", "nosuch"] {
            assert_eq!(template(unknown), None, "names are exact");
        }
    }
}
