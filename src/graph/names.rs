//! Names for new values.

use super::{Graph, subgraphs};
use crate::onnx::{GraphProto, NodeProto as Node};
use std::collections::{HashMap, HashSet};

/// Names that are taken anywhere in the model, bodies included.
#[derive(Debug)]
pub struct Names {
    taken: HashSet<String>,
    /// The least number that may be free, by what it stands behind.
    next: HashMap<String, usize>,
}

impl Names {
    /// Of a whole model.
    pub fn of(graph: &Graph) -> Self {
        let mut taken = HashSet::new();
        names_in(graph.proto(), &mut taken);
        Names { taken, next: HashMap::new() }
    }

    /// Names that stay taken once the branch of the node at a position stands in the main graph in place of the node.
    pub fn beside(graph: &Graph, at: usize, branch: &GraphProto) -> Self {
        let (proto, mut taken) = (graph.proto(), HashSet::new());
        let others = proto.node.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, node)| node);
        take_values(proto, &mut taken);
        others.for_each(|node| take_node(node, &mut taken));
        taken.extend(proto.node[at].output.iter().cloned());
        branch.node.iter().flat_map(subgraphs).for_each(|body| names_in(body, &mut taken));
        Names { taken, next: HashMap::new() }
    }

    /// `wish`, or `wish` with the least number that makes it free; taken from now on.
    pub fn fresh(&mut self, wish: &str) -> String {
        if self.taken.insert(wish.to_owned()) {
            return wish.to_owned();
        }
        let next = self.next.entry(wish.to_owned()).or_insert(1);
        loop {
            let name = format!("{wish}_{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// Adds every name that a graph and its bodies define to `taken`.
pub fn names_in(graph: &GraphProto, taken: &mut HashSet<String>) {
    take_values(graph, taken);
    graph.node.iter().for_each(|node| take_node(node, taken));
}

fn take_node(node: &Node, taken: &mut HashSet<String>) {
    taken.extend(node.output.iter().cloned());
    subgraphs(node).for_each(|body| names_in(body, taken));
}

fn take_values(graph: &GraphProto, taken: &mut HashSet<String>) {
    taken.extend(graph.input.iter().chain(&graph.output).map(|v| v.name.clone()));
    taken.extend(graph.initializer.iter().map(|t| t.name.clone()));
    taken.extend(graph.sparse_initializer.iter().map(|t| t.values.name.clone()));
}
