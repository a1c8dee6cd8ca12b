//! Errors about a part of an option's value: where it is, and what was probably meant.

use crate::Error;
use crate::text::{did_you_mean, nearest, point_at};

/// The end of a message about `part`, a part of `value` as slices go: the value, and a caret below the part.
pub(super) fn point(value: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).wrapping_sub(value.as_ptr() as usize);
    point_at(value, offset)
}

/// Adds a hint: those of `names` that are near `name` if any is, else all there are, called `what`.
pub(super) fn suggest(error: Error, name: &str, names: &[&str], what: &str) -> Error {
    let with_last = names
        .iter()
        .map(|full| (*full, full.rsplit('.').next().unwrap_or(full)));
    let hint = did_you_mean(&nearest(name, with_last)).unwrap_or_else(|| format!("{what} are: {}", names.join(", ")));
    error.with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_where_they_are() {
        let value = "ab,ab";
        assert_eq!(point(value, value.rsplit(',').next().unwrap()), "\n | ab,ab\n | ...^");
        assert_eq!(point(value, value), "\n | ab,ab\n | ^");
        assert!(point(value, "another").starts_with("\n | ab,ab\n | "));
    }

    #[test]
    fn near_names() {
        let hint = |name| {
            let names = ["fname", "proc.comm", "proc.parent.comm"];
            let error = suggest(Error::invalid("x"), name, &names, "the fields");
            error.hint().unwrap().to_owned()
        };
        assert_eq!(hint("fnmae"), "did you mean `fname`?");
        assert_eq!(hint("COMM"), "did you mean `proc.comm` or `proc.parent.comm`?");
        assert_eq!(hint("xyzzyxyzzy"), "the fields are: fname, proc.comm, proc.parent.comm");
    }
}
