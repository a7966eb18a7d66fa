//! Who produces and who reads each value of the main graph.

use crate::onnx::{GraphProto, NodeProto as Node};
use std::collections::{BTreeSet, HashMap};

/// Maps from value names to positions; never iterated, so hash order cannot leak.
#[derive(Clone, Debug, Default)]
pub struct Index {
    producer: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
    initializer: HashMap<String, usize>,
    inputs: HashMap<String, usize>,
    outputs: HashMap<String, usize>,
}

impl Index {
    /// Indexes the main graph; a value that a subgraph captures counts as read by the node that owns the subgraph.
    pub fn new(graph: &GraphProto) -> Self {
        let mut index = Index::default();
        for (i, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|n| !n.is_empty()) {
                index.producer.insert(name.clone(), i);
            }
            for name in reads(node) {
                index.readers.entry(name).or_default().push(i);
            }
        }
        index.initializer = by_name(graph.initializer.iter().map(|t| &t.name));
        index.inputs = by_name(graph.input.iter().map(|v| &v.name));
        index.outputs = by_name(graph.output.iter().map(|v| &v.name));
        index
    }

    /// The node that produces `value`.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producer.get(value).copied()
    }

    /// The nodes that read `value`, ascending, each once.
    pub fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// Position of the initializer `value`.
    pub fn initializer(&self, value: &str) -> Option<usize> {
        self.initializer.get(value).copied()
    }

    /// Whether `value` is an input of the graph.
    pub fn is_input(&self, value: &str) -> bool {
        self.inputs.contains_key(value)
    }

    /// Whether `value` is an output of the graph.
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.contains_key(value)
    }

    /// Whether any value of the main graph is called `name`.
    pub fn knows(&self, name: &str) -> bool {
        self.producer.contains_key(name) || self.initializer.contains_key(name) || self.is_input(name)
    }
}

fn by_name<'a>(names: impl Iterator<Item = &'a String>) -> HashMap<String, usize> {
    names.enumerate().map(|(i, n)| (n.clone(), i)).collect()
}

/// Values that a node reads, those captured by its subgraphs included, each once, sorted.
pub fn reads(node: &Node) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = node.input.iter().filter(|n| !n.is_empty()).cloned().collect();
    for body in subgraphs(node) {
        names.extend(captures(body));
    }
    names
}

/// The graphs that a node carries in its attributes.
pub fn subgraphs(node: &Node) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.as_ref().into_iter().chain(a.graphs.iter()))
}

/// Values that a subgraph reads from outside itself.
pub fn captures(body: &GraphProto) -> BTreeSet<String> {
    let own: BTreeSet<&String> = (body.input.iter().map(|v| &v.name))
        .chain(body.initializer.iter().map(|t| &t.name))
        .chain(body.sparse_initializer.iter().map(|t| &t.values.name))
        .chain(body.node.iter().flat_map(|n| &n.output))
        .collect();
    let read = body.node.iter().flat_map(reads);
    let returned = body.output.iter().map(|v| v.name.clone());
    read.chain(returned).filter(|n| !own.contains(n)).collect()
}
