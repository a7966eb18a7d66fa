//! Data movement whose results the body of a Loop, If or Scan captures.
//!
//! ONNX Runtime moves DequantizeLinear down through data movement to all readers, and ends the process where one of
//! these is a body: what it captures is no input that can be rewritten. So no pair may stand before such a node.

use crate::graph::{Graph, captures, subgraphs};
use crate::onnx::NodeProto as Node;

/// Operators that a pair may be moved through.
const MOVES: [&str; 11] = [
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Whether ONNX Runtime moves Q/DQ pairs through an operator.
pub fn moves_pairs(op: &str) -> bool {
    MOVES.contains(&op)
}

/// For each node, whether it moves data that a body captures, at most moved further.
pub(super) fn moves_to_bodies(graph: &Graph) -> Vec<bool> {
    let nodes = graph.nodes();
    let mut moves = vec![false; nodes.len()];
    if nodes.iter().all(|node| subgraphs(node).next().is_none()) {
        return moves;
    }
    for (at, node) in nodes.iter().enumerate().rev().filter(|(_, node)| moves_pairs(&node.op_type)) {
        let reaches = |value: &String, reader: usize| moves[reader] || is_captured(value, &nodes[reader]);
        moves[at] = node.output.iter().any(|v| graph.index().readers(v).iter().any(|reader| reaches(v, *reader)));
    }
    moves
}

fn is_captured(value: &str, node: &Node) -> bool {
    subgraphs(node).any(|body| captures(body).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{ExternalData, parse_text};

    #[test]
    fn moves_are_followed_to_what_a_body_captures() {
        let text = "g (float[2,2] x, bool c) => (float[2,2] y, float[2,2] z) {
            a = Transpose (x)
            b = Transpose (a)
            d = Transpose (x)
            e = Relu (b)
            y = If (c) <then_branch = t () => (float[2,2] p) { p = Neg (b) },
                        else_branch = f () => (float[2,2] q) { q = Abs (e) }>
            z = Neg (d)
        }";
        let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        assert_eq!(moves_to_bodies(&graph), [true, true, false, false, false, false]);
    }
}
