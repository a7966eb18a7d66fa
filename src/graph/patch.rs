//! Edits as values: a pass returns them, the driver applies them.

use super::attributes::Value;
use super::set_attr;
use crate::onnx::{
    GraphProto, ModelProto as Model, NodeProto as Node, OperatorSetIdProto, StringStringEntryProto, Tensor,
};
use std::collections::BTreeMap;

/// One edit of the main graph; node positions are those of the graph that the pass read.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Puts a node before the node at this position (`nodes().len()` appends).
    Insert(usize, Node),
    /// Replaces the node at this position.
    Replace(usize, Node),
    /// Removes the node at this position.
    Remove(usize),
    /// Makes every reader of the first value read the second one, subgraphs and nodes inserted
    /// by other patches included; nodes inserted by this patch keep what they name.
    /// Graph outputs keep their names.
    Redirect(String, String),
    /// Makes one input slot of the node at this position read the value.
    SetInput(usize, usize, String),
    /// Adds an initializer, or replaces the one of that name.
    SetInitializer(Tensor),
    /// Removes an initializer (and the graph input of the same name, if any).
    RemoveInitializer(String),
    /// Removes recorded type and shape of a value that no longer exists or has changed.
    RemoveValueInfo(String),
    /// Sets the version of the default operator set.
    SetOpset(i64),
    /// Sets the IR version.
    SetIr(i64),
    /// Sets an entry of the model's metadata.
    SetMetadata(String, String),
}

/// Edits that belong together, each with the reason that reports and errors show.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    edits: Vec<Edit>,
    reasons: Vec<String>,
}

impl Patch {
    /// An empty patch.
    pub fn new() -> Self {
        Patch::default()
    }

    /// Adds an edit.
    pub fn push(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    /// Says why, in one phrase: what was found and where.
    pub fn because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// The reasons, in the order they were given.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// `Some(self)` if there is something to apply.
    pub fn into_option(self) -> Option<Patch> {
        (!self.is_empty()).then_some(self)
    }

    pub(super) fn apply(self, model: &mut Model) {
        let mut inserts: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
        let mut removed = vec![];
        let mut replaced: BTreeMap<usize, Node> = BTreeMap::new();
        for edit in self.edits {
            let graph = model.graph.mut_or_insert_default();
            match edit {
                Edit::Insert(at, node) => inserts.entry(at).or_default().push(node),
                Edit::Replace(at, node) => drop(replaced.insert(at, node)),
                Edit::Remove(at) => removed.push(at),
                Edit::Redirect(from, to) => {
                    redirect(graph, &from, &to);
                    replaced.values_mut().for_each(|node| redirect_node(node, &from, &to));
                }
                Edit::SetInput(at, slot, value) => match replaced.get_mut(&at) {
                    Some(node) => node.input[slot] = value,
                    None => graph.node[at].input[slot] = value,
                },
                Edit::SetInitializer(tensor) => match graph.initializer.iter_mut().find(|t| t.name == tensor.name) {
                    Some(old) => *old = tensor,
                    None => graph.initializer.push(tensor),
                },
                Edit::RemoveInitializer(name) => {
                    graph.initializer.retain(|t| t.name != name);
                    graph.input.retain(|v| v.name != name);
                }
                Edit::RemoveValueInfo(name) => graph.value_info.retain(|v| v.name != name),
                Edit::SetOpset(version) => set_opset(model, version),
                Edit::SetIr(version) => model.ir_version = version,
                Edit::SetMetadata(key, value) => set_metadata(model, &key, value),
            }
        }
        rebuild(model.graph.mut_or_insert_default(), inserts, replaced, &removed);
    }
}

fn rebuild(
    graph: &mut GraphProto,
    mut inserts: BTreeMap<usize, Vec<Node>>,
    mut replaced: BTreeMap<usize, Node>,
    removed: &[usize],
) {
    if inserts.is_empty() && replaced.is_empty() && removed.is_empty() {
        return;
    }
    let old = std::mem::take(&mut graph.node);
    let end = old.len();
    for (i, node) in old.into_iter().enumerate() {
        graph.node.extend(inserts.remove(&i).unwrap_or_default());
        if !removed.contains(&i) {
            graph.node.push(replaced.remove(&i).unwrap_or(node));
        }
    }
    graph.node.extend(inserts.remove(&end).unwrap_or_default());
}

fn redirect(graph: &mut GraphProto, from: &str, to: &str) {
    graph.node.iter_mut().for_each(|node| redirect_node(node, from, to));
}

fn redirect_node(node: &mut Node, from: &str, to: &str) {
    for input in node.input.iter_mut().filter(|n| *n == from) {
        *input = to.to_owned();
    }
    for attribute in &mut node.attribute {
        let one = attribute.g.as_mut().into_iter();
        for body in one.chain(attribute.graphs.iter_mut()) {
            redirect_captured(body, from, to);
        }
    }
}

fn redirect_captured(body: &mut GraphProto, from: &str, to: &str) {
    if super::index::captures(body).contains(from) {
        redirect(body, from, to);
        for output in body.output.iter_mut().filter(|v| v.name == from) {
            output.name = to.to_owned();
        }
    }
}

fn set_opset(model: &mut Model, version: i64) {
    match model.opset_import.iter_mut().find(|o| o.domain.is_empty() || o.domain == "ai.onnx") {
        Some(o) => o.version = version,
        None => model.opset_import.push(OperatorSetIdProto { version, ..Default::default() }),
    }
}

fn set_metadata(model: &mut Model, key: &str, value: String) {
    match model.metadata_props.iter_mut().find(|p| p.key == key) {
        Some(p) => p.value = value,
        None => model.metadata_props.push(StringStringEntryProto { key: key.to_owned(), value, ..Default::default() }),
    }
}

/// Sets an attribute on a node under construction; reads as one expression when building nodes.
#[must_use]
pub fn with_attr(mut node: Node, name: &str, value: impl Into<Value>) -> Node {
    set_attr(&mut node, name, value);
    node
}
