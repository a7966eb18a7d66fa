//! Weights that stay in float because no weight layer stores them: those of recurrent and other operators, and those
//! that the network computes while it runs.

use std::collections::BTreeMap;
use tapq::graph::Graph;
use tapq::onnx::{DataType, NodeProto as Node, element_count};
use tapq::plan::Layer;
use tapq::report::Refused;

/// Constants of fewer elements (biases, shapes, normalization) are not worth a word.
const LEAST_ELEMENTS: u64 = 1024;

/// Operators whose constants are offsets, masks and tables of positions rather than weights.
const ELEMENTWISE: [&str; 8] = ["Add", "Concat", "Div", "Expand", "Mul", "Pow", "Sub", "Where"];

/// Weights outside of weight layers.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Bytes of float constants that other operators read.
    pub bytes: u64,
    /// Which nodes hold or compute weights, and why they stay.
    pub refused: Vec<Refused>,
}

/// Looks for weights that are not those of `layers`.
pub fn elsewhere(graph: &Graph, layers: &[Layer]) -> Elsewhere {
    let mut found = Elsewhere::default();
    let mut known: BTreeMap<&str, u64> = layers.iter().map(|l| (l.weight.as_str(), 0)).collect();
    for node in graph.nodes() {
        let mut own = 0;
        let weighs = !ELEMENTWISE.contains(&node.op_type.as_str());
        for name in node.input.iter().filter(|n| weighs && !n.is_empty()) {
            let elements = large_float(graph, name);
            if let (Some(elements), false) = (elements, known.contains_key(name.as_str())) {
                known.insert(name, elements);
                own += elements;
            }
        }
        let what = || format!("{} '{}'", node.op_type, node.name);
        if own > 0 {
            found.bytes += 4 * own;
            let because =
                format!("only weights of Conv, ConvTranspose, Gemm and MatMul are quantized, not of {}", node.op_type);
            found.refused.push(Refused { what: what(), because });
        }
        if computes_weight(graph, node) {
            let because = "its weight is computed while the network runs, not stored".to_owned();
            found.refused.push(Refused { what: what(), because });
        }
    }
    found
}

/// Elements of a large constant of float32.
fn large_float(graph: &Graph, name: &str) -> Option<u64> {
    let tensor = graph.constant(name).filter(|t| t.data_type == DataType::FLOAT as i32)?;
    element_count(tensor).ok().map(|n| n as u64).filter(|n| *n >= LEAST_ELEMENTS)
}

/// Whether a node that has a stored weight elsewhere has a computed one here; MatMul often has two activations.
fn computes_weight(graph: &Graph, node: &Node) -> bool {
    let weighs = matches!(node.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm");
    weighs && node.input.get(1).is_some_and(|weight| graph.constant(weight).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, from_floats, parse_text};
    use tapq::plan::weight_layers;

    #[test]
    fn tables_and_computed_weights_are_named() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
net (int64[4] i, float[1,2,4,4] x, float[3,2,1,1] v) => (float[4,8] y, float[1,3,4,4] z)
{
  [look] r = Gather (table, i)
  [fc] y = MatMul (r, w)
  [u] n = Abs (v)
  [conv] z = Conv (x, n)
}
"#;
        let mut model = parse_text(text).unwrap();
        for (name, dims) in [("table", [128, 8]), ("w", [8, 8])] {
            model.graph.as_mut().unwrap().initializer.push(from_floats(name, &dims, &vec![0.5; dims[0] * dims[1]]));
        }
        let graph = Graph::new(model, ExternalData::none());
        let found = elsewhere(&graph, &weight_layers(&graph));
        assert_eq!(found.bytes, 4 * 128 * 8);
        let what: Vec<&str> = found.refused.iter().map(|r| r.what.as_str()).collect();
        assert_eq!(what, ["Gather 'look'", "Conv 'conv'"]);
        assert!(found.refused[1].because.contains("computed"));
    }
}
