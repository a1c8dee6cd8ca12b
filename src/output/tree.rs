//! The tree of fields that structured formats show: every referenced field without `json.skip`, in key order.

use std::cmp::Ordering;

use crate::data::{DataSource, Field, FieldId};

/// A field with what is shown below it.
pub(super) struct Node<'a> {
    pub(super) id: FieldId,
    pub(super) field: &'a Field,
    /// `None` for a field without children, which shows its own value. A parent all of whose children are left out has an empty
    /// list.
    pub(super) children: Option<Vec<Node<'a>>>,
}

/// The shown fields of `source`, siblings sorted by `order` of their plain names; equal names stay in list order.
pub(super) fn tree(source: &DataSource, order: fn(&str, &str) -> Ordering) -> Vec<Node<'_>> {
    let mut children: Vec<Vec<FieldId>> = vec![Vec::new(); source.len()];
    let mut roots = Vec::new();
    for (id, field) in source.fields() {
        match field.parent() {
            Some(parent) => children[parent.index()].push(id),
            None => roots.push(id),
        }
    }
    level(source, &roots, &children, order)
}

fn level<'a>(
    source: &'a DataSource,
    ids: &[FieldId],
    children: &[Vec<FieldId>],
    order: fn(&str, &str) -> Ordering,
) -> Vec<Node<'a>> {
    let mut nodes: Vec<Node<'a>> = ids
        .iter()
        .map(|id| (*id, source.get(*id)))
        .filter(|(_, field)| !field.is_unreferenced() && field.annotation("json.skip") != Some("true"))
        .map(|(id, field)| {
            let below = &children[id.index()];
            Node {
                id,
                field,
                children: (!below.is_empty()).then(|| level(source, below, children, order)),
            }
        })
        .collect();
    nodes.sort_by(|a, b| order(a.field.name(), b.field.name()));
    nodes
}

/// The fields whose values are shown.
pub(super) fn leaves(nodes: &[Node<'_>], into: &mut Vec<FieldId>) {
    for node in nodes {
        match &node.children {
            Some(children) => leaves(children, into),
            None => into.push(node.id),
        }
    }
}
