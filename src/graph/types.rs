//! Element types of values, as far as they follow from operators whose type rule is one line.

use super::{attr_graph, attr_i, attr_t, input, is_standard, output};
use crate::fused;
use crate::onnx::{DataType, GraphProto, NodeProto as Node, ValueInfoProto};
use std::collections::HashMap;

/// Element types of the values of one graph, numbers of `TensorProto.DataType`.
///
/// What follows from inputs and operators comes before what is recorded, which is often missing and sometimes stale.
/// Values of a body may have the types of what is around it: `outer` holds those.
pub fn types<'a>(graph: &'a GraphProto, outer: &HashMap<&'a str, i32>) -> HashMap<&'a str, i32> {
    let mut known = outer.clone();
    let declared = graph.value_info.iter().chain(&graph.output).chain(&graph.input);
    known.extend(declared.filter_map(|value| Some((value.name.as_str(), element_type(value)?))));
    known.extend(graph.initializer.iter().map(|t| (t.name.as_str(), t.data_type)));
    for node in &graph.node {
        let found: Vec<(&str, i32)> =
            (0..node.output.len()).filter_map(|slot| output(node, slot).zip(result(node, slot, &known))).collect();
        known.extend(found);
    }
    known
}

/// The element type that a value is declared with; `None` where it has none, or is no tensor.
pub fn element_type(value: &ValueInfoProto) -> Option<i32> {
    let tensor = value.type_.as_ref().filter(|t| t.has_tensor_type())?.tensor_type();
    Some(tensor.elem_type).filter(|t| *t != 0)
}

const FLOAT: i32 = DataType::FLOAT as i32;
const INT64: i32 = DataType::INT64 as i32;
const BOOL: i32 = DataType::BOOL as i32;

fn result<'a>(node: &'a Node, slot: usize, known: &HashMap<&'a str, i32>) -> Option<i32> {
    let of = |slot| known.get(input(node, slot)?).copied();
    let number = |name| attr_i(node, name).and_then(|n| i32::try_from(n).ok());
    if !is_standard(node) {
        return match (node.op_type.as_str(), slot) {
            ("EmbedLayerNormalization", 0) => of(2),
            ("EmbedLayerNormalization", _) => None,
            (_, 0) if fused::is_fused(node) => of(0),
            _ => None,
        };
    }
    match (node.op_type.as_str(), slot) {
        ("Constant", 0) => constant(node),
        ("ConstantOfShape", 0) => Some(attr_t(node, "value").map_or(FLOAT, |t| t.data_type)),
        ("Cast", 0) => number("to"),
        ("ArgMax" | "ArgMin" | "NonZero" | "Shape" | "Size", 0) | ("MaxPool" | "TopK", 1) => Some(INT64),
        (
            "And" | "Equal" | "Greater" | "GreaterOrEqual" | "IsInf" | "IsNaN" | "Less" | "LessOrEqual" | "Not" | "Or"
            | "Xor",
            0,
        )
        | ("Dropout", 1) => Some(BOOL),
        ("CastLike", 0) => of(1),
        ("Where", 0) => of(1).or_else(|| of(2)),
        ("OneHot", 0) => of(2),
        ("DequantizeLinear", 0) => number("output_dtype").or_else(|| of(1)),
        ("RandomNormal" | "RandomUniform", 0) => number("dtype").or(Some(FLOAT)),
        ("Bernoulli" | "EyeLike" | "RandomNormalLike" | "RandomUniformLike", 0) => number("dtype").or_else(|| of(0)),
        ("If", slot) => inner_output(node, "then_branch", slot, known),
        ("Loop", slot) => inner_output(node, "body", slot + 1, known),
        ("Scan", slot) => inner_output(node, "body", slot, known),
        ("GRU" | "LSTM" | "RNN" | "Split", _) => of(0),
        ("Attention", 1 | 2) => of(slot),
        (op, 0) if JOINS.contains(&op) => (0..node.input.len()).find_map(of),
        (op, 0) if op.starts_with("Reduce") || KEEPS.contains(&op) => of(0),
        _ => None,
    }
}

/// The number 0 stands for no type, as in a body of a Scan that declares none.
fn inner_output<'a>(node: &'a Node, body: &str, slot: usize, known: &HashMap<&'a str, i32>) -> Option<i32> {
    let body = attr_graph(node, body)?;
    let name = &body.output.get(slot)?.name;
    types(body, known).get(name.as_str()).copied()
}

fn constant(node: &Node) -> Option<i32> {
    let attribute = node.attribute.first()?;
    match attribute.name.as_str() {
        "value" => Some(attribute.t.data_type),
        "value_float" | "value_floats" => Some(FLOAT),
        "value_int" | "value_ints" => Some(INT64),
        _ => None,
    }
}

/// Operators all of whose inputs, of which any number is given, have the type of the result.
const JOINS: &[&str] = &["Add", "Concat", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum"];

/// Operators whose result has the type of their first input.
#[rustfmt::skip]
const KEEPS: &[&str] = &[
    "Abs", "Acos", "Asin", "Atan", "Attention", "AveragePool", "BatchNormalization", "Ceil", "Celu", "Clip", "Compress",
    "Conv", "ConvTranspose", "Cos", "CumSum", "DepthToSpace", "Dropout", "Einsum", "Elu", "Erf", "Exp", "Expand",
    "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "GridSample", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "LRN",
    "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "MatMul", "MaxPool", "Mish", "Mod", "Neg",
    "PRelu", "Pad", "Pow", "RMSNormalization", "Range", "Reciprocal", "Relu", "Reshape", "Resize", "ReverseSequence",
    "RotaryEmbedding", "Round", "ScatterElements", "ScatterND", "Selu", "Sigmoid", "Sign", "SimplifiedLayerNormalization",
    "Sin", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Sqrt", "Squeeze", "Swish", "Tan", "Tanh",
    "TensorScatter", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::parse_text;

    #[test]
    fn types_follow_where_nothing_is_recorded() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (float16[2,3] x, int32[1,2] ids, bool c) => (y)
<float[1,3] table = {1, 2, 3}, float16[3] scale = {1, 2, 3}>
{
  extents = Shape (x)
  narrow = Cast <to = 6> (extents)
  one = Constant <value = float16 {1}> ()
  sum = Add (x, one)
  both = Concat <axis = 0> (unheard, sum)
  high, at = TopK (both, narrow)
  is_more = Greater (both, sum)
  picked = Where (is_more, both, sum)
  rows, mask = com.microsoft.EmbedLayerNormalization (ids, , table, table)
  skipped = com.microsoft.SkipLayerNormalization (x, x, scale)
  branch = If (c) <then_branch = t () => (u) { u = Neg (sum) }, else_branch = e () => (v) { v = Abs (sum) }>
  what = com.unknown.What (x)
  y = Relu (what)
}
"#;
        let model = parse_text(text).unwrap();
        let known = types(&model.graph, &HashMap::new());
        let names = |wanted: i32| {
            let mut names: Vec<&str> = known.iter().filter(|(_, t)| **t == wanted).map(|(name, _)| *name).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(
            names(DataType::FLOAT16 as i32),
            ["both", "branch", "high", "one", "picked", "scale", "skipped", "sum", "x"]
        );
        assert_eq!(names(FLOAT), ["rows", "table"]);
        assert_eq!(names(INT64), ["at", "extents"]);
        assert_eq!(names(BOOL), ["c", "is_more"]);
        assert_eq!(names(DataType::INT32 as i32), ["ids", "narrow"]);
        assert!(!known.contains_key("what") && !known.contains_key("y"));
    }
}
