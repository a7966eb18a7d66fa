//! Bounds of a value that hold for every input: what a Clip, a Relu or a Sigmoid cannot exceed.

use crate::graph::{Graph, attr_f, input_behind};
use crate::onnx::NodeProto as Node;
use crate::quant::Bound;

/// Exact bounds of `value`; data movement is looked through. `input` bounds the graph inputs.
pub fn known_bound(graph: &Graph, value: &str, input: Option<(f32, f32)>) -> Bound {
    let mut at = value.to_owned();
    for _ in 0..16 {
        if input_behind(graph, &at).is_some() {
            let bound = |(lo, hi)| Bound { lo: Some(lo), hi: Some(hi), attained: true };
            return input.map_or(Bound::default(), bound);
        }
        let Some(producer) = graph.index().producer(&at) else { return Bound::default() };
        let node = &graph.nodes()[producer];
        match node.op_type.as_str() {
            "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "MaxPool" | "AveragePool"
            | "GlobalAveragePool" | "GlobalMaxPool" | "Identity" | "Dropout" | "Gather" | "Expand" => {
                at.clone_from(&node.input[0]);
            }
            _ => return produced_bound(graph, node),
        }
    }
    Bound::default()
}

fn produced_bound(graph: &Graph, node: &Node) -> Bound {
    let both = |lo, hi| Bound { lo: Some(lo), hi: Some(hi), attained: false };
    match node.op_type.as_str() {
        "Relu" => Bound { lo: Some(0.0), ..Bound::default() },
        "Sigmoid" | "HardSigmoid" | "Softmax" => both(0.0, 1.0),
        "Tanh" => both(-1.0, 1.0),
        "Clip" => {
            let end = |slot: usize, name: &str| attr_f(node, name).or_else(|| scalar(graph, node, slot));
            Bound { lo: end(1, "min"), hi: end(2, "max"), attained: false }
        }
        _ => Bound::default(),
    }
}

fn scalar(graph: &Graph, node: &Node, slot: usize) -> Option<f32> {
    let tensor = node.input.get(slot).and_then(|n| graph.constant(n))?;
    crate::onnx::floats(tensor, graph.external()).ok()?.first().copied()
}
