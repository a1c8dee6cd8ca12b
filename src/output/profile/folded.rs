//! Folded stacks: frames with `;` between them, a space, and the count.

use std::collections::BTreeMap;

use super::Profile;

/// Appends the lines, in the order of their frames.
pub(super) fn write(profile: &Profile, out: &mut Vec<u8>) {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for ((frames, _), sample) in &profile.samples {
        let frames: Vec<String> = frames.iter().map(|frame| clean(frame)).collect();
        let line = lines.entry(frames.join(";")).or_default();
        *line = line.saturating_add(sample.count);
    }
    for (frames, count) in lines {
        let frames = if frames.is_empty() { "[unknown]" } else { &frames };
        out.extend_from_slice(format!("{frames} {count}\n").as_bytes());
    }
}

/// A frame without what separates frames and lines, and without what a terminal would act on.
fn clean(frame: &str) -> String {
    frame
        .chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Form, testing};
    use super::*;

    #[test]
    fn a_line_for_each_stack() {
        let text = String::from_utf8(testing::written(Form::Folded)).unwrap();
        assert_eq!(
            text,
            "web;app;main;leaf 4\nweb;app;main;leaf;k_entry;k_leaf 13\nx\"y;main;<a&b>:c 5\n"
        );
        assert_eq!(clean("a\x1b[2J;b\n"), "a?[2J:b?");
    }
}
