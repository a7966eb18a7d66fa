//! What several passes ask of a graph: operators, constants, sole readers, recorded types, free names.

use std::collections::{HashMap, HashSet};
use tapq::Result;
use tapq::graph::{Graph, names_in, subgraphs};
pub(crate) use tapq::graph::{Names, input, is_standard, output};
use tapq::onnx::{DataType, GraphProto, NodeProto as Node, Tensor, ValueInfoProto, dimension, floats, ints};

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

/// Element type and shape that the model records for a value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Number of the element type, 0 if unknown.
    pub(crate) data_type: i32,
    /// Extents, `None` for a symbolic one; `None` if even the rank is unknown.
    pub(crate) dims: Option<Vec<Option<i64>>>,
}

/// Types and shapes that one graph records: inputs, outputs, initializers and `value_info`.
pub(crate) fn recorded(graph: &GraphProto) -> HashMap<&str, Recorded> {
    let values = graph.value_info.iter().chain(&graph.output).chain(&graph.input);
    let mut known: HashMap<&str, Recorded> = values.map(|v| (v.name.as_str(), of_value(v))).collect();
    known.extend(graph.initializer.iter().map(|t| (t.name.as_str(), of_tensor(t))));
    known
}

fn of_tensor(tensor: &Tensor) -> Recorded {
    Recorded { data_type: tensor.data_type, dims: Some(tensor.dims.iter().map(|d| Some(*d)).collect()) }
}

fn of_value(value: &ValueInfoProto) -> Recorded {
    if !value.type_.has_tensor_type() {
        return Recorded::default();
    }
    let tensor = value.type_.tensor_type();
    let extent = |v: &Option<dimension::Value>| match v {
        Some(dimension::Value::DimValue(n)) if *n >= 0 => Some(*n),
        _ => None,
    };
    let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(|d| extent(&d.value)).collect());
    Recorded { data_type: tensor.elem_type, dims }
}

/// Names that bodies of the main graph define for themselves; redirecting a capture to one of them would be caught by it.
pub(crate) fn inner_names(graph: &Graph) -> HashSet<String> {
    let mut taken = HashSet::new();
    graph.nodes().iter().flat_map(subgraphs).for_each(|body| names_in(body, &mut taken));
    taken
}
