//! What is known of one container. Serialising it gives the JSON of `ig list-containers`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A container, as it was when this value was made. A change (a rename, a pid that became known) makes a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// What the container runtime says.
    pub runtime: RuntimeInfo,
    /// What Kubernetes says, by way of labels and annotations.
    pub k8s: K8sInfo,
    /// Text of the OCI `config.json`; only when [`CollectionOptions::details`](super::CollectionOptions::details) asks for it.
    #[serde(rename = "ociConfig", skip_serializing_if = "String::is_empty")]
    pub oci_config: String,
    /// Directory of `config.json`, the host root's prefix included; only on events that announce a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bundle: String,
    /// Id of the pod sandbox that the container belongs to.
    #[serde(rename = "sandboxId", skip_serializing_if = "String::is_empty")]
    pub sandbox_id: String,
    /// Inode number of the mount namespace, 0 when unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub mntns: u64,
    /// Inode number of the network namespace, 0 when unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub netns: u64,
    /// Whether the network namespace is the host's.
    #[serde(rename = "hostNetwork", skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Paths and id of the cgroup.
    #[serde(flatten)]
    pub cgroup: Cgroup,
}

/// The part of a container that its runtime knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeInfo {
    /// `docker`, `containerd`, `cri-o` or `podman`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime_name: String,
    /// The id, without a `<runtime>://` prefix.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// The name, without docker's leading `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_name: String,
    /// Pid of the container's init process in the host's pid namespace, 0 when unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub container_pid: u32,
    /// The image as it was named when the container was created, without a digest.
    #[serde(rename = "containerImageName", skip_serializing_if = "String::is_empty")]
    pub image_name: String,
    /// Digest of the image's configuration, with its `sha256:`.
    #[serde(rename = "containerImageId", skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// Digest under which a registry has the image; empty for an image that was built here.
    #[serde(rename = "containerImageDigest", skip_serializing_if = "String::is_empty")]
    pub image_digest: String,
    /// When the init process was started, in nanoseconds since the Unix epoch; 0 when unknown.
    #[serde(rename = "containerStartedAt", skip_serializing_if = "is_zero_i64")]
    pub started_at: i64,
}

/// The part of a container that Kubernetes knows; empty elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct K8sInfo {
    /// Namespace of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// Labels of the pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// Name of the container in the pod's specification.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_name: String,
    /// Unique id of the pod.
    #[serde(rename = "podUID", skip_serializing_if = "String::is_empty")]
    pub pod_uid: String,
    /// The object that owns the pod (a Deployment, a DaemonSet, …); not serialised.
    #[serde(skip)]
    pub owner: Option<Owner>,
}

/// The Kubernetes object that owns a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its kind, for example `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Where a container is in the cgroup hierarchies. Paths begin with `/` and are relative to the host's root cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    /// The directory in the cgroup2 file system, mount point included.
    #[serde(rename = "cgroupPath", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Id of the cgroup2 directory, 0 when unknown.
    #[serde(rename = "cgroupID", skip_serializing_if = "is_zero")]
    pub id: u64,
    /// Path in systemd's named v1 hierarchy.
    #[serde(rename = "cgroupV1", skip_serializing_if = "String::is_empty")]
    pub v1: String,
    /// Path in the v2 hierarchy.
    #[serde(rename = "cgroupV2", skip_serializing_if = "String::is_empty")]
    pub v2: String,
}

impl Container {
    /// Id of the container.
    pub fn id(&self) -> &str {
        &self.runtime.container_id
    }

    /// Whether neither Kubernetes nor the runtime has a name for it, as is so for pause containers of some runtimes.
    pub fn is_nameless(&self) -> bool {
        self.k8s.container_name.is_empty() && self.runtime.container_name.is_empty()
    }
}

impl K8sInfo {
    /// The pod's labels as one string, `key=value` pairs sorted by key and joined by `,`.
    pub fn pod_labels_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.pod_labels {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(key);
            text.push('=');
            text.push_str(value);
        }
        text
    }

    /// Takes the four labels that the kubelet puts on a container.
    pub(super) fn from_labels<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let label = |key| get(key).unwrap_or_default().to_owned();
        Self {
            namespace: label("io.kubernetes.pod.namespace"),
            pod_name: label("io.kubernetes.pod.name"),
            container_name: label("io.kubernetes.container.name"),
            pod_uid: label("io.kubernetes.pod.uid"),
            ..Self::default()
        }
    }
}

/// What happened to a container, for those who [subscribed](super::Collection::subscribe).
#[derive(Clone, Debug)]
pub struct ContainerEvent {
    /// What happened.
    pub kind: ContainerEventKind,
    /// To which container.
    pub container: std::sync::Arc<Container>,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// It runs: its namespaces and its init process exist.
    Created,
    /// It runs no more.
    Deleted,
}

impl ContainerEventKind {
    /// The text that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Serialize for ContainerEventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn is_zero(value: &(impl Copy + Into<u64>)) -> bool {
    (*value).into() == 0
}

fn is_zero_i64(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_key_order_and_leaves_out_what_is_empty() {
        let container = Container {
            runtime: RuntimeInfo {
                runtime_name: "docker".into(),
                container_id: "abc".into(),
                container_name: "web".into(),
                container_pid: 42,
                image_name: "busybox".into(),
                image_id: "sha256:1".into(),
                image_digest: String::new(),
                started_at: 7,
            },
            mntns: 1,
            netns: 2,
            cgroup: Cgroup {
                path: "/sys/fs/cgroup/x".into(),
                id: 3,
                v1: String::new(),
                v2: "/x".into(),
            },
            ..Container::default()
        };
        assert_eq!(
            serde_json::to_string(&container).unwrap(),
            r#"{"runtime":{"runtimeName":"docker","containerId":"abc","containerName":"web","containerPid":42,"containerImageName":"busybox","containerImageId":"sha256:1","containerStartedAt":7},"k8s":{},"mntns":1,"netns":2,"cgroupPath":"/sys/fs/cgroup/x","cgroupID":3,"cgroupV2":"/x"}"#
        );
        assert_eq!(
            serde_json::to_string(&Container::default()).unwrap(),
            r#"{"runtime":{},"k8s":{}}"#
        );
    }

    #[test]
    fn labels_become_pod_data_and_text() {
        let mut k8s = K8sInfo::from_labels(|key| match key {
            "io.kubernetes.pod.name" => Some("p"),
            "io.kubernetes.pod.uid" => Some("u"),
            _ => None,
        });
        assert_eq!(
            (k8s.pod_name.as_str(), k8s.pod_uid.as_str(), k8s.namespace.as_str()),
            ("p", "u", "")
        );
        k8s.pod_labels = [("b", "2"), ("a", "1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        assert_eq!(k8s.pod_labels_text(), "a=1,b=2");
    }
}
