//! Which outputs of a graph answer, and which carry an input on to the next run.

use super::{Graph, element_type, input, is_half, is_standard};
use crate::onnx::{DataType, NodeProto as Node, ValueInfoProto};
use std::collections::BTreeSet;

/// Outputs in graph order, without those that are a cache: an input of the graph with new positions appended or written
/// into it. A graph of nothing else has them all, and so has one whose other outputs are whole numbers, in which no
/// rounding shows.
///
/// What was in a cache before is in it afterwards without any error, and there is more of it than of anything else: a
/// decoder's keys and values would drown its logits in every figure over all outputs.
pub fn answers(graph: &Graph) -> Vec<String> {
    let outputs = &graph.proto().output;
    let answers: Vec<&ValueInfoProto> = outputs.iter().filter(|v| !is_cache(graph, &v.name)).collect();
    let shows =
        |value: &&ValueInfoProto| element_type(value).is_none_or(|of| of == DataType::FLOAT as i32 || is_half(of));
    let names = |values: &[&ValueInfoProto]| values.iter().map(|v| v.name.clone()).collect();
    if answers.iter().any(shows) { names(&answers) } else { names(&outputs.iter().collect::<Vec<_>>()) }
}

/// Outputs in graph order that [`answers`] leaves out.
pub fn caches(graph: &Graph) -> Vec<String> {
    let answers = answers(graph);
    let outputs = graph.proto().output.iter().map(|v| &v.name);
    outputs.filter(|name| !answers.contains(name)).cloned().collect()
}

/// Whether elements of an input are in the value, moved and joined at most.
fn is_cache(graph: &Graph, name: &str) -> bool {
    let (mut open, mut seen) = (vec![name], BTreeSet::new());
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        match graph.index().producer(name) {
            Some(at) => open.extend(carried(&graph.nodes()[at], name)),
            None if graph.index().is_input(name) && graph.index().initializer(name).is_none() => return true,
            None => {}
        }
    }
    false
}

/// The inputs of `node` whose elements are in its output `made`, but for rounding.
fn carried<'g>(node: &'g Node, made: &str) -> Vec<&'g str> {
    let behind_the_result = || node.output.first().is_none_or(|first| first != made);
    let slots = match (node.op_type.as_str(), is_standard(node)) {
        ("Concat", true) => 0..node.input.len(),
        (
            "Cast" | "Clip" | "DequantizeLinear" | "Gather" | "Identity" | "QuantizeLinear" | "Reshape"
            | "ScatterElements" | "ScatterND" | "Slice" | "Squeeze" | "TensorScatter" | "Transpose" | "Unsqueeze",
            true,
        ) => 0..1,
        // What attention gives out behind its result is the past with the present.
        ("Attention", true) if behind_the_result() => 4..6,
        ("Attention", false) if behind_the_result() => 4..5,
        ("GroupQueryAttention", false) if behind_the_result() => 3..5,
        ("MultiHeadAttention", false) if behind_the_result() => 6..8,
        _ => 0..0,
    };
    slots.filter_map(|slot| input(node, slot)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{ExternalData, parse_text};

    fn graph(body: &str) -> Graph {
        let text = format!("<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]>\n{body}");
        Graph::new(parse_text(&text).unwrap(), ExternalData::none())
    }

    #[test]
    fn a_cache_is_no_answer() {
        let found = graph(
            "g (float[1,2,P,4] past, float[1,2,1,4] x) => (float[1,2,1,4] y, float[1,2,T,4] present) {
                moved = Identity (past)
                all = Concat <axis = 2> (moved, x)
                present = Transpose <perm = [0, 1, 2, 3]> (all)
                y = Relu (x)
            }",
        );
        assert_eq!((answers(&found), caches(&found)), (vec!["y".to_owned()], vec!["present".to_owned()]));
    }

    #[test]
    fn what_fused_attention_gives_out_behind_its_result_is_a_cache() {
        let found = graph(
            "g (float[1,1,8] x, float[1,2,P,4] k, float[1,2,P,4] v)
                => (float[1,1,8] y, float[1,2,T,4] pk, float[1,2,T,4] pv) {
                y, pk, pv = com.microsoft.MultiHeadAttention <num_heads = 2> (x, x, x, , , , k, v)
            }",
        );
        assert_eq!(answers(&found), ["y"]);
    }

    #[test]
    fn where_all_outputs_carry_on_all_answer() {
        let found = graph("g (float[2] x, float[2] w) => (float[4] y) { y = Concat <axis = 0> (x, w) }");
        assert_eq!((answers(&found), caches(&found)), (vec!["y".to_owned()], vec![]));
    }

    #[test]
    fn where_the_answer_is_a_token_all_count() {
        let found = graph(
            "g (float[1,2,P,4] past, float[1,2,1,4] x) => (int64[1,2,1,1] token, float[1,2,T,4] present) {
                token = ArgMax <axis = 3> (x)
                present = Concat <axis = 2> (past, x)
            }",
        );
        assert_eq!(answers(&found), ["token", "present"]);
    }

    #[test]
    fn joined_features_are_an_answer() {
        let found = graph(
            "g (float[1,2] x) => (float[1,4] y, float[1,2] z) { a = Relu (x) b = Abs (x)
            y = Concat <axis = 1> (a, b) z = Neg (x) }",
        );
        assert_eq!(answers(&found), ["y", "z"]);
    }
}
