//! Building nodes, QuantizeLinear and DequantizeLinear above all.

use tapq::graph::{Graph, set_attr};
use tapq::onnx::{NodeProto as Node, StringStringEntryProto};

/// `stem_suffix`, or with a number if the graph already knows that name.
pub fn fresh_name(graph: &Graph, stem: &str, suffix: &str) -> String {
    let plain = format!("{stem}_{suffix}");
    match graph.index().knows(&plain) {
        false => plain,
        true => (2..).map(|i| format!("{plain}_{i}")).find(|n| !graph.index().knows(n)).unwrap_or(plain),
    }
}

/// A DequantizeLinear named after `stem`; `inputs` are integers and scale.
pub fn dequantize_node(
    stem: &str,
    inputs: [&str; 2],
    zero_point: Option<&str>,
    output: &str,
    axis: Option<usize>,
    tags: &[(&str, String)],
) -> Node {
    linear_node("DequantizeLinear", stem, inputs, zero_point, output, axis, tags)
}

/// A per-tensor QuantizeLinear named after `stem`; `inputs` are value and scale.
pub fn quantize_node(
    stem: &str,
    inputs: [&str; 2],
    zero_point: Option<&str>,
    output: &str,
    tags: &[(&str, String)],
) -> Node {
    linear_node("QuantizeLinear", stem, inputs, zero_point, output, None, tags)
}

fn linear_node(
    op: &str,
    stem: &str,
    inputs: [&str; 2],
    zero_point: Option<&str>,
    output: &str,
    axis: Option<usize>,
    tags: &[(&str, String)],
) -> Node {
    let mut node = Node {
        op_type: op.to_owned(),
        name: format!("{stem}_{op}"),
        input: inputs.iter().map(|n| (*n).to_owned()).chain(zero_point.map(str::to_owned)).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    };
    if let Some(axis) = axis {
        set_attr(&mut node, "axis", axis as i64);
    }
    node.metadata_props = tags.iter().map(|(key, value)| property(key, value)).collect();
    node
}

/// A node of the default domain with one output, without name or attributes.
pub fn plain_node(op: &str, inputs: &[&str], output: &str) -> Node {
    let input = inputs.iter().map(|name| (*name).to_owned()).collect();
    Node { op_type: op.to_owned(), input, output: vec![output.to_owned()], ..Default::default() }
}

/// An entry of a node's metadata.
pub fn property(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned(), ..Default::default() }
}
