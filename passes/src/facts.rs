//! What several passes ask of a graph: operators, constants, sole readers, recorded types, free names.

use std::collections::HashSet;
use tapq::Result;
use tapq::graph::{Graph, names_in, subgraphs};
pub(crate) use tapq::graph::{Names, Recorded, input, is_standard, output, recorded};
use tapq::onnx::{DataType, NodeProto as Node, floats, ints};

/// Whether a node is this operator of the default domain.
pub(crate) fn is_op(node: &Node, op: &str) -> bool {
    node.op_type == op && is_standard(node)
}

/// The node that alone reads `value`, through one input slot; `None` if the value leaves the graph or a body takes it.
pub(crate) fn sole_reader(graph: &Graph, value: &str) -> Option<usize> {
    let &[reader] = graph.index().readers(value) else { return None };
    let slots = graph.nodes()[reader].input.iter().filter(|n| *n == value).count();
    (slots == 1 && !graph.index().is_output(value)).then_some(reader)
}

/// Whether `node` alone reads the constant, once, and no caller sees it.
pub(crate) fn is_own(graph: &Graph, node: &Node, name: &str) -> bool {
    let index = graph.index();
    let once = node.input.iter().filter(|n| *n == name).count() == 1;
    once && index.readers(name).len() == 1 && !index.is_output(name) && !index.is_input(name)
}

/// Elements of a float32 constant; other types and computed values give `None`.
pub(crate) fn constant_floats(graph: &Graph, name: &str) -> Result<Option<Vec<f32>>> {
    match graph.constant(name).filter(|t| t.data_type == DataType::FLOAT as i32) {
        Some(tensor) => floats(tensor, graph.external()).map(Some),
        None => Ok(None),
    }
}

/// Elements of an int64 constant; other types and computed values give `None`.
pub(crate) fn constant_ints(graph: &Graph, name: &str) -> Result<Option<Vec<i64>>> {
    match graph.constant(name).filter(|t| t.data_type == DataType::INT64 as i32) {
        Some(tensor) => ints(tensor, graph.external()).map(Some),
        None => Ok(None),
    }
}

/// How messages call a node: its name, or what it makes.
pub(crate) fn label(node: &Node) -> String {
    match node.name.is_empty() {
        false => format!("{} '{}'", node.op_type, node.name),
        true => format!("{} that makes '{}'", node.op_type, output(node, 0).unwrap_or("")),
    }
}

/// Names that bodies of the main graph define for themselves; redirecting a capture to one of them would be caught by it.
pub(crate) fn inner_names(graph: &Graph) -> HashSet<String> {
    let mut taken = HashSet::new();
    graph.nodes().iter().flat_map(subgraphs).for_each(|body| names_in(body, &mut taken));
    taken
}
