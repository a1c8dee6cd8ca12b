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
