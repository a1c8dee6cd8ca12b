//! Which containers a run is interested in.

use std::collections::BTreeMap;

use super::Container;
use crate::{Error, Result};

/// Conditions on a container, all of which must hold. The default selects every container.
///
/// Each text is a *value filter*: a comma-separated list in which a part `a` includes the value `a` and a part `!a` excludes it.
/// Without an including part everything that is not excluded matches. Values are compared whole, with regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Namespace of the pod.
    pub k8s_namespace: String,
    /// Name of the pod.
    pub k8s_pod_name: String,
    /// Name of the container in the pod's specification.
    pub k8s_container_name: String,
    /// Labels of the pod: key to value filter. A key that begins with `!` excludes pods whose label matches.
    pub k8s_pod_labels: BTreeMap<String, String>,
    /// The runtime's name of the container.
    pub runtime_container_name: String,
    /// Image id; compared by its first 12 digits.
    pub image_id: String,
    /// Image digest; compared by its first 12 digits.
    pub image_digest: String,
}

impl Selector {
    /// Selects by the runtime's name of the container.
    pub fn container(name: impl Into<String>) -> Self {
        Self {
            runtime_container_name: name.into(),
            ..Self::default()
        }
    }

    /// Parses a label selector, a comma-separated list of `key=value`, into [`k8s_pod_labels`](Self::k8s_pod_labels).
    pub fn parse_labels(text: &str) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        if text.is_empty() {
            return Ok(labels);
        }
        for part in text.split(',') {
            match part.split_once('=') {
                Some((key, value)) if !value.contains('=') => labels.insert(key.to_owned(), value.to_owned()),
                _ => {
                    return Err(Error::invalid(
                        "should be a comma-separated list of key-value pairs (key=value[,key=value,...])",
                    ));
                }
            };
        }
        Ok(labels)
    }

    /// Whether `container` fulfils every condition.
    pub fn matches(&self, container: &Container) -> bool {
        let Container { k8s, runtime, .. } = container;
        value_matches(&self.k8s_namespace, &k8s.namespace)
            && value_matches(&self.k8s_pod_name, &k8s.pod_name)
            && value_matches(&self.k8s_container_name, &k8s.container_name)
            && labels_match(&self.k8s_pod_labels, &k8s.pod_labels)
            && value_matches(&self.runtime_container_name, &runtime.container_name)
            && digest_matches(&self.image_id, &runtime.image_id)
            && digest_matches(&self.image_digest, &runtime.image_digest)
    }
}

fn value_matches(filter: &str, value: &str) -> bool {
    filter_matches(filter, |part| part == value)
}

/// Decides `filter` with `equals` telling whether one part (without its `!`) is the value at hand.
fn filter_matches(filter: &str, equals: impl Fn(&str) -> bool) -> bool {
    if filter.is_empty() {
        return true;
    }
    let mut included = None;
    for part in filter.split(',') {
        match part.strip_prefix('!') {
            Some(excluded) if equals(excluded) => return false,
            Some(_) => {}
            None => included = Some(included.unwrap_or(false) || equals(part)),
        }
    }
    included.unwrap_or(true)
}

fn digest_matches(filter: &str, value: &str) -> bool {
    let value = short_digest(value);
    filter_matches(filter, |part| short_digest(part) == value)
}

/// What digests are compared by: at most 12 characters after the first `:`.
pub(crate) fn short_digest(digest: &str) -> &str {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    match digits.char_indices().nth(12) {
        Some((end, _)) => &digits[..end],
        None => digits,
    }
}

fn labels_match(filters: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    filters.iter().all(|(key, filter)| match key.strip_prefix('!') {
        Some(key) => !labels.get(key).is_some_and(|value| value_matches(filter, value)),
        None => labels.get(key).is_some_and(|value| value_matches(filter, value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_filters() {
        for (filter, value, expected) in [
            ("", "x", true),
            ("a,b", "b", true),
            ("!a", "b", true),
            ("!a", "a", false),
            ("!a", "", true),
            ("a,!b", "c", false),
            ("a,!a", "a", false),
            ("a,", "", true),
            ("!", "", false),
            ("a*", "ab", false),
            (" a", "a", false),
            ("A", "a", false),
            ("ns1,ns2,ns3", "ns2", true),
            ("ns1,ns2,ns3", "x", false),
            ("!c1,!c2", "c3", true),
            ("!c1,!c2", "c1", false),
        ] {
            assert_eq!(value_matches(filter, value), expected, "{filter:?} on {value:?}");
        }
    }

    #[test]
    fn every_condition_must_hold() {
        let mut container = Container::default();
        container.k8s.namespace = "this".into();
        container.k8s.pod_name = "this-pod".into();
        let selector = Selector {
            k8s_namespace: "this".into(),
            k8s_pod_name: "!this-pod".into(),
            ..Selector::default()
        };
        assert!(!selector.matches(&container));
        container.k8s.pod_name = "other".into();
        assert!(selector.matches(&container));
        assert!(Selector::default().matches(&container));
    }

    #[test]
    fn digests_compare_by_twelve_digits() {
        let value = "sha256:e3652a00a2fabd16ce889f0aa32c38eec347b997e73bd09e69c962ec7f8732ee";
        for (filter, value, expected) in [
            ("e3652a00a2fa", value, true),
            (value, value, true),
            ("sha256:e3652a00a2fa", value, true),
            ("!e3652a00a2fa", value, false),
            ("sha256:12345", "sha256:1234567890123456", false),
            ("e3652a00a2fa", "", false),
            ("!e3652a00a2fa", "", true),
        ] {
            assert_eq!(digest_matches(filter, value), expected, "{filter:?} on {value:?}");
        }
        let mut container = Container::default();
        container.runtime.image_name = value.into();
        let selector = Selector {
            image_digest: "e3652a00a2fa".into(),
            ..Selector::default()
        };
        assert!(!selector.matches(&container), "an image name is no digest");
    }

    #[test]
    fn labels() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        for (filters, labels, expected) in [
            (&[("!key1", "value1")][..], &[("key1", "value1")][..], false),
            (&[("!key1", "value1")], &[("key1", "value2")], true),
            (&[("!key1", "value1")], &[], true),
            (&[("key1", "!value1")], &[("key1", "value2")], true),
            (&[("key1", "!value1")], &[], false),
            (&[("key1", "value1")], &[("key1", "value1"), ("b", "c")], true),
        ] {
            assert_eq!(
                labels_match(&map(filters), &map(labels)),
                expected,
                "{filters:?} on {labels:?}"
            );
        }
        assert_eq!(
            Selector::parse_labels("a=1,b=,a=2").unwrap(),
            map(&[("a", "2"), ("b", "")])
        );
        assert!(Selector::parse_labels("").unwrap().is_empty());
        for bad in ["a=1,b", "a", "a=b=c"] {
            let error = Selector::parse_labels(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("should be a comma-separated list of key-value pairs"),
                "{error}"
            );
        }
    }
}
