//! Edits as values: a pass returns them, the driver applies them.

use super::attributes::Value;
use super::set_attr;
use crate::onnx::{
    Dimension, GraphProto, ModelProto as Model, NodeProto as Node, OperatorSetIdProto, StringStringEntryProto, Tensor,
    ValueInfoProto,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
    /// Makes one input slot of the node at this position read the value; missing slots before it are left empty.
    SetInput(usize, usize, String),
    /// Adds an initializer, or replaces the one of that name.
    SetInitializer(Tensor),
    /// Removes an initializer (and the graph input of the same name, if any).
    RemoveInitializer(String),
    /// Removes recorded type and shape of a value that no longer exists or has changed.
    RemoveValueInfo(String),
    /// Records type and shape of a value, in place of what was recorded; not for graph outputs.
    Record(ValueInfoProto),
    /// Drops a graph input: an initializer of that name is a constant from then on.
    RemoveInput(String),
    /// Declares the rank of a graph output anew, all its extents open.
    SetOutputRank(String, usize),
    /// Sets the version of the default operator set.
    SetOpset(i64),
    /// Sets the IR version; raising it past 3 drops the graph inputs that only list an initializer.
    SetIr(i64),
    /// Removes a model-local function that nothing calls.
    RemoveFunction {
        /// Its domain.
        domain: String,
        /// The operator that it defines.
        name: String,
        /// Which of several of that name.
        overload: String,
    },
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

    /// Appends the edits and reasons of another patch over the same graph.
    pub fn extend(&mut self, other: Patch) {
        self.edits.extend(other.edits);
        self.reasons.extend(other.reasons);
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
        let mut staged = Staged::default();
        for edit in self.edits {
            let graph = model.graph.mut_or_insert_default();
            match edit {
                Edit::Insert(at, node) => staged.inserts.entry(at).or_default().push(node),
                Edit::Replace(at, node) => {
                    staged.flush_redirects(graph);
                    staged.replaced.insert(at, node);
                }
                Edit::Remove(at) => drop(staged.removed.insert(at)),
                Edit::Redirect(from, to) => staged.redirect(from, to),
                Edit::SetInput(at, slot, value) => {
                    staged.flush_redirects(graph);
                    set_input(staged.replaced.get_mut(&at).or(graph.node.get_mut(at)), slot, value);
                }
                Edit::SetInitializer(tensor) => staged.tensor(tensor.name.clone(), Some(tensor)),
                Edit::RemoveInitializer(name) => {
                    staged.dropped_inputs.insert(name.clone());
                    staged.tensor(name, None);
                }
                Edit::RemoveValueInfo(name) => drop(staged.forgotten.insert(name)),
                Edit::Record(value) => record(graph, value),
                Edit::RemoveInput(name) => graph.input.retain(|v| v.name != name),
                Edit::SetOutputRank(name, rank) => set_output_rank(graph, &name, rank),
                Edit::SetOpset(version) => set_opset(model, version),
                Edit::SetIr(version) => set_ir(model, version),
                Edit::RemoveFunction { domain, name, overload } => {
                    model.functions.retain(|f| f.domain != domain || f.name != name || f.overload != overload);
                }
                Edit::SetMetadata(key, value) => set_metadata(model, &key, value),
            }
        }
        staged.finish(model.graph.mut_or_insert_default());
    }
}

/// Edits gathered by kind, so that a patch of many edits costs one walk over the graph.
#[derive(Default)]
struct Staged {
    inserts: BTreeMap<usize, Vec<Node>>,
    replaced: BTreeMap<usize, Node>,
    removed: BTreeSet<usize>,
    redirects: HashMap<String, String>,
    tensors: Vec<Option<Tensor>>,
    tensor_at: HashMap<String, usize>,
    dropped_inputs: HashSet<String>,
    forgotten: HashSet<String>,
}

impl Staged {
    /// What earlier redirects sent to `from` goes on to `to`.
    fn redirect(&mut self, from: String, to: String) {
        self.redirects.values_mut().filter(|target| **target == from).for_each(|target| target.clone_from(&to));
        self.redirects.entry(from).or_insert(to);
    }

    fn flush_redirects(&mut self, graph: &mut GraphProto) {
        if self.redirects.is_empty() {
            return;
        }
        let map = std::mem::take(&mut self.redirects);
        graph.node.iter_mut().chain(self.replaced.values_mut()).for_each(|node| redirect_node(node, &map));
    }

    /// The last word on an initializer counts: a tensor sets it, `None` removes it.
    fn tensor(&mut self, name: String, tensor: Option<Tensor>) {
        let at = *self.tensor_at.entry(name).or_insert(self.tensors.len());
        match self.tensors.get_mut(at) {
            Some(slot) => *slot = tensor,
            None => self.tensors.push(tensor),
        }
    }

    fn finish(mut self, graph: &mut GraphProto) {
        self.flush_redirects(graph);
        if !self.dropped_inputs.is_empty() {
            graph.input.retain(|v| !self.dropped_inputs.contains(&v.name));
        }
        if !self.forgotten.is_empty() {
            graph.value_info.retain(|v| !self.forgotten.contains(&v.name));
        }
        self.finish_initializers(graph);
        self.finish_nodes(graph);
    }

    fn finish_initializers(&mut self, graph: &mut GraphProto) {
        if self.tensors.is_empty() {
            return;
        }
        for tensor in std::mem::take(&mut graph.initializer) {
            match self.tensor_at.get(&tensor.name) {
                Some(&at) => graph.initializer.extend(self.tensors[at].take()),
                None => graph.initializer.push(tensor),
            }
        }
        graph.initializer.extend(self.tensors.drain(..).flatten());
    }

    fn finish_nodes(mut self, graph: &mut GraphProto) {
        if self.inserts.is_empty() && self.replaced.is_empty() && self.removed.is_empty() {
            return;
        }
        let old = std::mem::take(&mut graph.node);
        for (i, node) in old.into_iter().enumerate() {
            graph.node.extend(self.inserts.remove(&i).unwrap_or_default());
            if !self.removed.contains(&i) {
                graph.node.push(self.replaced.remove(&i).unwrap_or(node));
            }
        }
        graph.node.extend(self.inserts.into_values().flatten());
    }
}

fn record(graph: &mut GraphProto, value: ValueInfoProto) {
    match graph.input.iter_mut().chain(&mut graph.value_info).find(|v| v.name == value.name) {
        Some(known) => *known = value,
        None => graph.value_info.push(value),
    }
}

fn set_output_rank(graph: &mut GraphProto, name: &str, rank: usize) {
    for output in graph.output.iter_mut().filter(|v| v.name == name) {
        let tensor = output.type_.mut_or_insert_default().mut_tensor_type();
        tensor.shape.mut_or_insert_default().dim = vec![Dimension::default(); rank];
    }
}

fn set_input(node: Option<&mut Node>, slot: usize, value: String) {
    let Some(node) = node else { return };
    if node.input.len() <= slot {
        node.input.resize(slot + 1, String::new());
    }
    node.input[slot] = value;
}

fn redirect_node(node: &mut Node, map: &HashMap<String, String>) {
    for input in &mut node.input {
        if let Some(to) = map.get(input) {
            input.clone_from(to);
        }
    }
    for attribute in &mut node.attribute {
        let one = attribute.g.as_mut().into_iter();
        one.chain(attribute.graphs.iter_mut()).for_each(|body| redirect_captured(body, map));
    }
}

/// A body may define a value of the same name: only what it captures is redirected.
fn redirect_captured(body: &mut GraphProto, map: &HashMap<String, String>) {
    let captured = super::index::captures(body).into_iter();
    let map: HashMap<String, String> = captured.filter_map(|n| map.get(&n).map(|to| (n, to.clone()))).collect();
    if map.is_empty() {
        return;
    }
    body.node.iter_mut().for_each(|node| redirect_node(node, &map));
    for output in &mut body.output {
        if let Some(to) = map.get(&output.name) {
            output.name.clone_from(to);
        }
    }
}

/// Up to IR 3 every initializer is listed as a graph input too; from IR 4 on that would make it overridable.
fn set_ir(model: &mut Model, version: i64) {
    if model.ir_version < 4 && version >= 4 {
        let graph = model.graph.mut_or_insert_default();
        let constant: HashSet<&String> = graph.initializer.iter().map(|t| &t.name).collect();
        graph.input.retain(|v| !constant.contains(&v.name));
    }
    model.ir_version = version;
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
