//! The fields that say in which container an event happened.

use crate::Result;
use crate::containers::Container;
use crate::data::{Accessor, DataSource, Element, Field, FieldId, Flags, NewField, Scalar};

/// One value of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerField {
    Node,
    Namespace,
    PodName,
    K8sContainerName,
    HostNetwork,
    PodLabels,
    OwnerKind,
    OwnerName,
    ContainerName,
    RuntimeName,
    ContainerId,
    ContainerPid,
    ImageName,
    ImageDigest,
    StartedAt,
}

impl ContainerField {
    /// Whether all containers of a pod share the value.
    pub(super) fn is_of_pod(&self) -> bool {
        use ContainerField::*;
        matches!(
            self,
            Node | Namespace | PodName | HostNetwork | PodLabels | OwnerKind | OwnerName | RuntimeName
        )
    }

    /// Writes the value of `container` into `element`.
    #[inline]
    pub(super) fn write(&self, container: &Container, target: &Accessor, element: &mut Element) {
        let runtime = &container.runtime;
        let k8s = &container.k8s;
        let text = match self {
            ContainerField::HostNetwork => return target.set_bits(element, u64::from(container.host_network)),
            ContainerField::ContainerPid => return target.set_bits(element, u64::from(runtime.container_pid)),
            ContainerField::StartedAt => return target.set_bits(element, runtime.started_at as u64),
            ContainerField::PodLabels if k8s.pod_labels.is_empty() => return,
            ContainerField::PodLabels => {
                let labels = k8s.pod_labels_text();
                return target.write(element, |out| out.extend_from_slice(labels.as_bytes()));
            }
            ContainerField::Node => return,
            ContainerField::Namespace => &k8s.namespace,
            ContainerField::PodName => &k8s.pod_name,
            ContainerField::K8sContainerName => &k8s.container_name,
            ContainerField::OwnerKind => k8s.owner.as_ref().map_or("", |owner| &owner.kind),
            ContainerField::OwnerName => k8s.owner.as_ref().map_or("", |owner| &owner.name),
            ContainerField::ContainerName => &runtime.container_name,
            ContainerField::RuntimeName => &runtime.runtime_name,
            ContainerField::ContainerId => &runtime.container_id,
            ContainerField::ImageName => &runtime.image_name,
            ContainerField::ImageDigest => &runtime.image_digest,
        };
        if !text.is_empty() {
            target.write(element, |out| out.extend_from_slice(text.as_bytes()));
        }
    }
}

/// Whether other fields of `source` with this tag could be meant as well as the first, which is the one that counts. What every
/// process brings along could not, beside one that the gadget's author has put before it.
pub(super) fn has_rivals(source: &DataSource, tag: &str) -> bool {
    const PROCESS_TAG: &str = "type:gadget_process";
    let is_of_process = |field: &Field| {
        field
            .parent()
            .is_some_and(|parent| source.get(parent).has_tag(PROCESS_TAG))
    };
    let mut tagged = source.with_tag(tag).map(|(_, field)| is_of_process(field));
    match tagged.next() {
        Some(true) => tagged.next().is_some(),
        _ => tagged.any(|is_of_process| !is_of_process),
    }
}

/// Adds the fields in the order that their users know, hidden as on a machine that is no Kubernetes node.
pub(super) fn add_container_fields(source: &mut DataSource) -> Result<Vec<(FieldId, ContainerField)>> {
    use ContainerField::*;
    let kubernetes = |name: &str, kind: Scalar| NewField::new(name, kind).tag("kubernetes");
    let template = |name: &'static str| [("template", name)];
    let mut added = Vec::new();
    let mut add = |source: &mut DataSource, parent: FieldId, new: NewField, field: ContainerField| -> Result<()> {
        added.push((source.add_sub_field(parent, new)?, field));
        Ok(())
    };

    let k8s = source.add_field(NewField::empty("k8s"))?;
    let text = Scalar::String;
    add(
        source,
        k8s,
        kubernetes("node", text).order(-31).annotations(template("node")),
        Node,
    )?;
    add(
        source,
        k8s,
        kubernetes("namespace", text)
            .order(-30)
            .annotations(template("namespace")),
        Namespace,
    )?;
    add(
        source,
        k8s,
        kubernetes("podName", text).order(-29).annotations(template("pod")),
        PodName,
    )?;
    let container = kubernetes("containerName", text)
        .order(-28)
        .annotations(template("container"));
    add(source, k8s, container, K8sContainerName)?;
    add(
        source,
        k8s,
        kubernetes("hostnetwork", Scalar::Bool).order(-27).flags(Flags::HIDDEN),
        HostNetwork,
    )?;
    add(
        source,
        k8s,
        kubernetes("podLabels", text).order(-26).flags(Flags::HIDDEN),
        PodLabels,
    )?;
    let owner = source.add_sub_field(k8s, NewField::empty("owner"))?;
    add(source, owner, kubernetes("kind", text).flags(Flags::HIDDEN), OwnerKind)?;
    add(source, owner, kubernetes("name", text).flags(Flags::HIDDEN), OwnerName)?;

    let runtime = source.add_field(NewField::empty("runtime"))?;
    let name = NewField::new("containerName", text)
        .order(-27)
        .annotations(template("container"));
    add(source, runtime, name, ContainerName)?;
    let hidden = |name: &str, order: i32| NewField::new(name, Scalar::String).order(order).flags(Flags::HIDDEN);
    let runtime_name = hidden("runtimeName", -26).annotations([("columns.width", "19"), ("columns.fixed", "true")]);
    add(source, runtime, runtime_name, RuntimeName)?;
    let id = hidden("containerId", -25).annotations([("columns.width", "13"), ("columns.maxwidth", "64")]);
    add(source, runtime, id, ContainerId)?;
    let pid = NewField::new("containerPid", Scalar::Uint32)
        .order(-24)
        .annotations(template("containerPid"));
    add(source, runtime, pid, ContainerPid)?;
    add(source, runtime, hidden("containerImageName", -23), ImageName)?;
    add(source, runtime, hidden("containerImageDigest", -22), ImageDigest)?;
    let started = NewField::new("containerStartedAt", Scalar::Int64)
        .order(-21)
        .flags(Flags::HIDDEN);
    add(source, runtime, started, StartedAt)?;

    source.set_hidden(k8s, true, true);
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SourceType;

    const TAG: &str = "type:gadget_mntns_id";

    /// A data source with these ids, which are of a process where that is what they are called.
    fn source(ids: &[&str]) -> DataSource {
        let mut source = DataSource::new("s", SourceType::Single, None);
        for name in ids {
            let id = |name: &str| NewField::new(name, Scalar::Uint64).tag(TAG);
            match name.strip_prefix("proc") {
                None => {
                    source.add_field(id(name)).unwrap();
                }
                Some(_) => {
                    let process = NewField::empty(*name).tag("type:gadget_process");
                    let process = source.add_field(process).unwrap();
                    source.add_sub_field(process, id("mntns_id")).unwrap();
                }
            }
        }
        source
    }

    #[test]
    fn the_id_of_a_process_is_no_rival_of_one_that_stands_before_it() {
        for (ids, rivals) in [
            (&[][..], false),
            (&["own"], false),
            (&["proc"], false),
            (&["own", "proc"], false),
            (&["own", "proc1", "proc2"], false),
            (&["proc", "own"], true),
            (&["proc1", "proc2"], true),
            (&["own", "other"], true),
            (&["own", "proc", "other"], true),
        ] {
            assert_eq!(has_rivals(&source(ids), TAG), rivals, "{ids:?}");
        }
    }
}
