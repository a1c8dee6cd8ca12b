//! Flame graphs: a self-contained SVG file.
//!
//! Each box is a function, as wide as its share of the samples; below it is what called it. A click on a box shows it in full width, one
//! on the background everything again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Profile;

const WIDTH: f64 = 1200.0;
const ROW: usize = 17;
/// Above and below the boxes.
const TOP: usize = 36;
const BOTTOM: usize = 26;
/// Boxes that are narrower are left out.
const NARROWEST: f64 = 0.15;
/// Frames beyond this depth are left out, so that a stack that went wild does not make the picture unreadable.
const MAX_DEPTH: usize = 256;
/// How many letters fit in a unit of width.
const LETTERS: f64 = 0.14;

#[derive(Default)]
struct Node {
    count: u64,
    children: BTreeMap<String, Node>,
}

/// Appends the picture.
pub(super) fn write(profile: &Profile, out: &mut Vec<u8>) {
    let mut root = Node::default();
    for ((frames, _), sample) in &profile.samples {
        let mut node = &mut root;
        node.count = node.count.saturating_add(sample.count);
        for frame in frames.iter().take(MAX_DEPTH) {
            node = node.children.entry(frame.clone()).or_default();
            node.count = node.count.saturating_add(sample.count);
        }
    }
    let mut boxes = String::new();
    let depth = Picture {
        total: root.count.max(1),
        unit: &profile.unit,
        depth: 0,
        out: &mut boxes,
    }
    .draw("all", &root, 0.0, 0);
    let height = TOP + (depth + 1) * ROW + BOTTOM;
    let mut text = String::new();
    let title = escape(&format!("{} ({} {})", profile.name, profile.total, profile.kind));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <title>{title}</title>\n\
         <style>{STYLE}</style>\n\
         <rect id=\"background\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"head\" x=\"{}\" y=\"22\">{title}</text>\n\
         <text id=\"details\" x=\"8\" y=\"{}\"></text>\n\
         <g id=\"boxes\" transform=\"translate(0 {})\">\n{boxes}</g>\n\
         <script><![CDATA[{SCRIPT}]]></script>\n\
         </svg>\n",
        WIDTH / 2.0,
        height - 8,
        // Boxes are counted upwards from the lowest row.
        TOP + depth * ROW,
    );
    out.extend_from_slice(text.as_bytes());
}

struct Picture<'p> {
    total: u64,
    unit: &'p str,
    depth: usize,
    out: &'p mut String,
}

impl Picture<'_> {
    /// Draws a box and all above it; returns the depth of the deepest one.
    fn draw(mut self, name: &str, node: &Node, x: f64, level: usize) -> usize {
        self.node(name, node, x, level);
        self.depth
    }

    fn node(&mut self, name: &str, node: &Node, x: f64, level: usize) {
        let width = node.count as f64 / self.total as f64 * WIDTH;
        if width < NARROWEST {
            return;
        }
        self.depth = self.depth.max(level);
        let share = node.count as f64 / self.total as f64 * 100.0;
        let y = -((level * ROW) as i64);
        let shown = escape(&shorten(name, width));
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.out,
            "<g><title>{} ({} {}, {share:.2}%)</title><rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{}\"/>\
             <text x=\"{:.2}\" y=\"{}\">{shown}</text></g>",
            escape(name),
            node.count,
            escape(self.unit),
            ROW - 1,
            color(name),
            x + 3.0,
            y + 12,
        );
        let mut x = x;
        for (name, child) in &node.children {
            self.node(name, child, x, level + 1);
            x += child.count as f64 / self.total as f64 * WIDTH;
        }
    }
}

/// As much of a name as fits.
fn shorten(name: &str, width: f64) -> String {
    let fits = (width * LETTERS) as usize;
    match name.chars().count() {
        _ if fits < 3 => String::new(),
        len if len <= fits => name.to_owned(),
        _ => name.chars().take(fits - 2).chain("..".chars()).collect(),
    }
}

/// A warm colour that is always the same for a name.
fn color(name: &str) -> String {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let (red, green, blue) = (205 + hash % 50, 60 + (hash >> 8) % 150, (hash >> 16) % 55);
    format!("rgb({red},{green},{blue})")
}

/// Text that means nothing in XML. Characters that XML cannot have become question marks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

const STYLE: &str = "text{font:11px monospace;pointer-events:none}.head{font:16px sans-serif;text-anchor:middle}#background{fill:#f8f4e8}\
#boxes rect{stroke:#f8f4e8;stroke-width:.5;cursor:pointer}#boxes g:hover rect{stroke:#000}";

const SCRIPT: &str = r##"
(function () {
	var width = 1200, details = document.getElementById("details");
	var all = Array.prototype.map.call(document.querySelectorAll("#boxes > g"), function (g) {
		var rect = g.querySelector("rect"), text = g.querySelector("text");
		var title = g.querySelector("title").textContent;
		return {
			g: g, rect: rect, text: text, title: title, name: title.slice(0, title.lastIndexOf(" (")),
			x: +rect.getAttribute("x"), w: +rect.getAttribute("width"), y: +rect.getAttribute("y")
		};
	});
	function label(name, w) {
		var fits = Math.floor(w * 0.14);
		return fits < 3 ? "" : name.length <= fits ? name : name.slice(0, fits - 2) + "..";
	}
	function zoom(to) {
		all.forEach(function (box) {
			var below = box.y > to.y && box.x <= to.x + 0.01 && box.x + box.w >= to.x + to.w - 0.01;
			var inside = box.y <= to.y && box.x >= to.x - 0.01 && box.x + box.w <= to.x + to.w + 0.01;
			box.g.style.display = below || inside ? "" : "none";
			var x = below ? 0 : (box.x - to.x) / to.w * width, w = below ? width : box.w / to.w * width;
			box.rect.setAttribute("x", x);
			box.rect.setAttribute("width", w);
			box.rect.style.opacity = below ? 0.5 : 1;
			box.text.setAttribute("x", x + 3);
			box.text.textContent = label(box.name, w);
		});
	}
	all.forEach(function (box) {
		box.g.addEventListener("click", function () { zoom(box); });
		box.g.addEventListener("mouseover", function () { details.textContent = box.title; });
	});
	document.getElementById("background").addEventListener("click", function () { zoom({ x: 0, w: width, y: 0 }); });
})();
"##;

#[cfg(test)]
mod tests {
    use super::super::{Form, testing};
    use super::*;

    #[test]
    fn boxes_are_as_wide_as_their_shares() {
        let text = String::from_utf8(testing::written(Form::FlameGraph)).unwrap();
        for part in [
            "<title>cpu (22 samples)</title>",
            "<title>all (22 count, 100.00%)</title><rect x=\"0.00\" y=\"0\" width=\"1200.00\"",
            "<title>web (17 count, 77.27%)</title><rect x=\"0.00\" y=\"-17\" width=\"927.27\"",
            "<title>k_leaf (13 count, 59.09%)</title><rect x=\"0.00\" y=\"-102\"",
            "<title>&lt;a&amp;b&gt;;c (5 count, 22.73%)</title><rect x=\"927.27\"",
            "x&quot;y",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(
            text.matches("<g>").count(),
            text.matches("</g>").count() - 1,
            "the boxes are in one more"
        );
        assert!(
            !text.contains("http") || text.matches("http").count() == 1,
            "nothing is loaded: {text}"
        );
    }

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(escape("</svg>\x1b\u{ffff}&\""), "&lt;/svg&gt;??&amp;&quot;");
        assert_eq!(shorten("a_function", 1000.0), "a_function");
        assert_eq!(shorten("a_function", 50.0), "a_fun..");
        assert_eq!(shorten("a_function", 5.0), "");
        assert_eq!(color("x"), color("x"));
    }
}
