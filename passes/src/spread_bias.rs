//! Writes the bias behind a quantized MatMul with as many axes as its output has.
//!
//! ## What it does
//! A constant bias of one axis, added to a MatMul of three axes or more that reads dequantized values, gets leading axes
//! of extent 1; the sum is the same by broadcasting.
//!
//! ## Why
//! ONNX Runtime turns MatMul and Add of a one-axis bias into Reshape and Gemm where it knows the extents, and the Gemm
//! then runs in float, its weight turned back in every run: 24 of 24 in a BERT of fixed length, four times slower than
//! with this pass. From opset 21 on it also states int8 on the copy of a signed Q/DQ pair and then makes its zero point
//! a uint8 one: the file does not load (1.31). A bias of more axes is left alone.
//!
//! ## When it refuses
//! Nothing: what does not fit stays as it is.

use crate::facts::recorded;
use crate::nodes::fresh_name;
use tapq::graph::ranks;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::{NodeProto as Node, Tensor};

/// Spreads every bias; an empty patch where there is none.
pub fn spread_bias(graph: &Graph) -> Patch {
    let mut patch = Patch::new();
    let (ranks, recorded) = (ranks(graph.proto()), recorded(graph.proto()));
    let rank_of = |name: &str| {
        let written = || recorded.get(name).and_then(|r| r.dims.as_ref()).map(Vec::len);
        ranks.get(name).copied().or_else(written).unwrap_or(0)
    };
    let makes = |name: &String| graph.index().producer(name).map(|i| &graph.nodes()[i]);
    let dequantized = |name: &String| makes(name).is_some_and(|node| node.op_type == "DequantizeLinear");
    let is_product = |node: &Node| node.op_type == "MatMul" && node.input.iter().any(dequantized);
    for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| n.op_type == "Add") {
        for (slot, other) in [(0, 1), (1, 0)] {
            let (Some(bias), Some(sum)) = (node.input.get(slot), node.input.get(other)) else { continue };
            let product = makes(sum).is_some_and(is_product);
            let rank = rank_of(sum);
            let Some(tensor) = graph.constant(bias).filter(|t| t.dims.len() == 1 && product && rank > 2) else {
                continue;
            };
            let name = fresh_name(graph, bias, &format!("of_{rank}_axes"));
            let dims = std::iter::repeat_n(1, rank - 1).chain(tensor.dims.iter().copied()).collect();
            patch.push(Edit::SetInitializer(Tensor { name: name.clone(), dims, ..tensor.clone() }));
            patch.push(Edit::SetInput(at, slot, name));
            patch.because(format!("bias '{bias}' has as many axes as the product it is added to"));
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text};

    /// Shape of the constant that is added after the pass.
    fn added(shape: &str, weight: &str) -> Vec<i64> {
        let text = format!(
            "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[{shape}] x) => (float[{shape}] y)\n\
             <float[2,2] w = {{1.0, 2.0, 3.0, 4.0}}, int8[2,2] q = {{1, 2, 3, 4}}, float s = {{0.5}},
             float[2] b = {{1.0, 2.0}}>\n{{\n d = DequantizeLinear (q, s)\n m = MatMul (x, {weight})\n y = Add (b, m)\n}}"
        );
        let mut graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        graph.apply(spread_bias(&graph));
        graph.constant(&graph.nodes()[2].input[0]).unwrap().dims.clone()
    }

    #[test]
    fn only_where_a_quantized_product_has_more_axes_than_a_matrix() {
        assert_eq!(added("1,3,2", "d"), [1, 1, 2]);
        assert_eq!(added("3,2", "d"), [2]);
        assert_eq!(added("1,3,2", "w"), [2]);
    }
}
