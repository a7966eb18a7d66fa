//! Ranks of values, as far as they follow from operators whose rank rule is one line.

use super::{attr_i, attr_ints, attr_s, attr_t, input, is_standard, output};
use crate::fused;
use crate::onnx::{ExternalData, GraphProto, NodeProto as Node, ints};
use std::collections::HashMap;

/// Ranks of the values of one graph.
///
/// Recorded shapes of inner values are often stale; what follows from inputs and operators comes before them,
/// so the map holds no recorded rank but those of inputs and initializers.
pub fn ranks(graph: &GraphProto) -> HashMap<&str, usize> {
    let inputs = graph.input.iter().filter(|v| v.type_.has_tensor_type());
    let shaped = inputs.filter_map(|v| Some((v.name.as_str(), v.type_.tensor_type().shape.as_ref()?.dim.len())));
    let mut known: HashMap<&str, usize> = shaped.collect();
    known.extend(graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.len())));
    let vectors = || graph.initializer.iter().filter(|t| t.dims.len() == 1);
    let mut lengths: HashMap<&str, usize> = vectors().map(|t| (t.name.as_str(), t.dims[0].max(0) as usize)).collect();
    let single = vectors().filter(|t| t.dims[0] == 1);
    let inside = ExternalData::none();
    let bounds: HashMap<&str, i64> =
        single.filter_map(|t| Some((t.name.as_str(), *ints(t, &inside).ok()?.first()?))).collect();
    for node in &graph.node {
        for slot in 0..node.output.len() {
            let of = |slot| known.get(input(node, slot)?).copied();
            let rank = match is_standard(node) {
                true => rank(node, slot, &known, &lengths).or_else(|| fused::rank(node, slot, &of)),
                false => fused::rank(node, slot, &of),
            };
            if let Some((name, rank)) = output(node, slot).zip(rank) {
                known.insert(name, rank);
            }
        }
        if !is_standard(node) {
            continue;
        }
        if let Some((name, length)) = output(node, 0).zip(length(node, &known, &lengths, &bounds)) {
            lengths.insert(name, length);
        }
    }
    known
}

fn rank(node: &Node, slot: usize, known: &HashMap<&str, usize>, lengths: &HashMap<&str, usize>) -> Option<usize> {
    let of = |slot| known.get(input(node, slot)?).copied();
    let most =
        || node.input.iter().map(|n| known.get(n.as_str()).copied()).collect::<Option<Vec<_>>>()?.into_iter().max();
    match node.op_type.as_str() {
        "Constant" => attr_t(node, "value").map(|t| t.dims.len()),
        "Gemm" | "Flatten" | "NonZero" => Some(2),
        "Shape" | "Range" => Some(1),
        "Size" => Some(0),
        "Gather" => (of(0)? + of(1)?).checked_sub(1),
        "OneHot" => Some(of(0)? + 1),
        "LSTM" | "GRU" | "RNN" => Some(if slot == 0 { 4 } else { 3 }),
        "Einsum" => einsum(node),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Max" | "Min" | "Sum" | "Mean" | "Where" | "And" | "Or"
        | "Xor" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => most(),
        "MatMul" => most().filter(|_| of(0) >= Some(2) && of(1) >= Some(2)),
        "Reshape" | "ConstantOfShape" => lengths.get(input(node, node.input.len().checked_sub(1)?)?).copied(),
        "Expand" => Some(of(0)?.max(*lengths.get(input(node, 1)?)?)),
        "Transpose" => attr_ints(node, "perm").map(<[i64]>::len).or_else(|| of(0)),
        "Conv" | "ConvTranspose" => of(0).or_else(|| of(1)),
        "Squeeze" => of(0)?.checked_sub(axes(node, lengths)?),
        "Unsqueeze" => Some(of(0)? + axes(node, lengths)?),
        "ArgMax" | "ArgMin" if attr_i(node, "keepdims") == Some(0) => of(0)?.checked_sub(1),
        op if op.starts_with("Reduce") && attr_i(node, "keepdims") == Some(0) => {
            of(0)?.checked_sub(axes(node, lengths)?)
        }
        op if op.starts_with("Reduce") || KEEPS.contains(&op) => of(0),
        _ => None,
    }
}

/// Length of a computed vector of extents, as exporters put shapes together.
fn length(
    node: &Node,
    known: &HashMap<&str, usize>,
    lengths: &HashMap<&str, usize>,
    bounds: &HashMap<&str, i64>,
) -> Option<usize> {
    let of = |name: &String| lengths.get(name.as_str()).copied();
    match node.op_type.as_str() {
        "Constant" => attr_t(node, "value").filter(|t| t.dims.len() == 1).map(|t| t.dims[0].max(0) as usize),
        "Shape" if attr_i(node, "start").is_none() && attr_i(node, "end").is_none() => {
            known.get(input(node, 0)?).copied()
        }
        "Concat" => node.input.iter().map(of).sum(),
        "Unsqueeze" if known.get(input(node, 0)?) == Some(&0) => Some(1),
        "Reshape" if known.get(output(node, 0)?) == Some(&1) && known.get(input(node, 0)?) == Some(&0) => Some(1),
        "Gather" if known.get(input(node, 0)?) == Some(&1) => node.input.get(1).and_then(of),
        "Slice" if known.get(input(node, 0)?) == Some(&1) => {
            // A step of one is what counts extents off; others are rare.
            input(node, 4).is_none_or(|step| bounds.get(step) == Some(&1)).then_some(())?;
            let length = node.input.first().and_then(of)? as i64;
            let bound = |slot| {
                let at = *bounds.get(input(node, slot)?)?;
                Some(if at < 0 { at + length } else { at }.clamp(0, length))
            };
            usize::try_from(bound(2)? - bound(1)?).ok()
        }
        "Cast" | "Identity" => node.input.first().and_then(of),
        _ => None,
    }
}

/// Letters of the result in `ij,jk->ik`; none where the result is implied or an ellipsis stands for some axes.
fn einsum(node: &Node) -> Option<usize> {
    let (_, result) = attr_s(node, "equation")?.split_once("->")?;
    (!result.contains('.')).then(|| result.chars().filter(char::is_ascii_alphabetic).count())
}

/// How many axes the attribute or the second input lists.
fn axes(node: &Node, lengths: &HashMap<&str, usize>) -> Option<usize> {
    attr_ints(node, "axes").map(<[i64]>::len).or_else(|| lengths.get(input(node, 1)?).copied())
}

/// Operators whose result has the rank of their first input.
#[rustfmt::skip]
const KEEPS: &[&str] = &[
    "Abs", "ArgMax", "ArgMin", "Attention", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip",
    "Concat", "Cos", "CumSum", "DepthToSpace", "DequantizeLinear", "Dropout", "Elu", "Erf",
    "Exp", "Floor", "GatherElements", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "GridSample",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization",
    "IsInf", "IsNaN", "LeakyRelu", "Log", "LogSoftmax", "MaxPool", "Mish", "Neg", "Not", "PRelu", "Pad",
    "QuantizeLinear", "RMSNormalization", "Reciprocal", "Relu", "Resize", "Round", "ScatterElements", "ScatterND", "Selu", "Sigmoid", "Sign", "Sin", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Swish",
    "Tanh", "ThresholdedRelu", "Tile", "TopK", "Trilu", "Upsample",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::parse_text;

    #[test]
    fn shapes_that_are_cut_and_joined_give_ranks() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,4,4] x) => (float[1,3,16] kept, float[1,48] flat, float[1,3,4,4] unknown)
<int64[1] zero = {0}, int64[1] back = {-2}, int64[1] two = {2}, int64[1] rest = {-1}, int64[1] step = {1}>
{
  extents = Shape (x)
  head = Slice (extents, zero, back)
  three = Concat <axis = 0> (head, rest)
  kept = Reshape (x, three)
  narrow = Cast <to = 6> (extents)
  batch = Slice (narrow, zero, step, zero, step)
  wide = Cast <to = 7> (batch)
  pair = Concat <axis = 0> (wide, rest)
  flat = Reshape (x, pair)
  every_other = Slice (extents, zero, rest, zero, two)
  unknown = Reshape (x, every_other)
}
"#;
        let model = parse_text(text).unwrap();
        let known = ranks(model.graph.as_ref().unwrap());
        assert_eq!((known.get("kept"), known.get("flat"), known.get("unknown")), (Some(&3), Some(&2), None));
    }
}
