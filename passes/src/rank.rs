//! Ranks of values, as far as they follow from operators whose rank rule is one line.

use crate::facts::{input, is_standard};
use std::collections::HashMap;
use tapq::graph::{attr_i, attr_ints, attr_t};
use tapq::onnx::{GraphProto, NodeProto as Node};

/// Ranks of the values of one graph.
///
/// Recorded shapes of inner values are often stale; what follows from inputs and operators comes before them,
/// so the map holds no recorded rank but those of inputs and initializers.
pub(crate) fn ranks(graph: &GraphProto) -> HashMap<&str, usize> {
    let inputs = graph.input.iter().filter(|v| v.type_.has_tensor_type());
    let shaped = inputs.filter_map(|v| Some((v.name.as_str(), v.type_.tensor_type().shape.as_ref()?.dim.len())));
    let mut known: HashMap<&str, usize> = shaped.collect();
    known.extend(graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.len())));
    let lengths: HashMap<&str, usize> = (graph.initializer.iter())
        .filter(|t| t.dims.len() == 1)
        .map(|t| (t.name.as_str(), t.dims[0].max(0) as usize))
        .collect();
    for node in graph.node.iter().filter(|n| is_standard(n)) {
        if let Some(rank) = rank(node, &known, &lengths) {
            known.extend(node.output.iter().filter(|n| !n.is_empty()).map(|n| (n.as_str(), rank)));
        }
    }
    known
}

fn rank(node: &Node, known: &HashMap<&str, usize>, lengths: &HashMap<&str, usize>) -> Option<usize> {
    let of = |slot| known.get(input(node, slot)?).copied();
    let most =
        || node.input.iter().map(|n| known.get(n.as_str()).copied()).collect::<Option<Vec<_>>>()?.into_iter().max();
    match node.op_type.as_str() {
        "Constant" => attr_t(node, "value").map(|t| t.dims.len()),
        "Gemm" | "Flatten" => Some(2),
        "Shape" => Some(1),
        "Gather" => (of(0)? + of(1)?).checked_sub(1),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Where" => most(),
        "MatMul" => most().filter(|_| of(0) >= Some(2) && of(1) >= Some(2)),
        "Reshape" => lengths.get(input(node, 1)?).copied(),
        "Squeeze" => of(0)?.checked_sub(axes(node, lengths)?),
        "Unsqueeze" => Some(of(0)? + axes(node, lengths)?),
        "ReduceMean" | "ReduceSum" | "ReduceMax" if attr_i(node, "keepdims").unwrap_or(1) == 1 => of(0),
        op if KEEPS.contains(&op) => of(0),
        _ => None,
    }
}

/// How many axes the attribute or the second input lists.
fn axes(node: &Node, lengths: &HashMap<&str, usize>) -> Option<usize> {
    attr_ints(node, "axes").map(<[i64]>::len).or_else(|| lengths.get(input(node, 1)?).copied())
}

/// Operators whose result has the rank of their first input.
#[rustfmt::skip]
const KEEPS: &[&str] = &[
    "Abs", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "CumSum",
    "DequantizeLinear", "Dropout", "Elu", "Erf", "Exp", "Gelu", "GlobalAveragePool", "GlobalMaxPool",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization",
    "LeakyRelu", "Log", "LogSoftmax", "MaxPool", "Mish", "Neg", "PRelu", "Pad", "QuantizeLinear", "RMSNormalization",
    "Reciprocal", "Relu", "Resize", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "Softsign", "Split", "Sqrt",
    "Tanh", "Tile", "Transpose", "Trilu", "Upsample",
];
