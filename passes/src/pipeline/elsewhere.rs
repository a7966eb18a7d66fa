//! Weights that stay in float because no weight layer stores them: those of recurrent and other operators, and those
//! that the network computes while it runs.

use std::collections::BTreeSet;
use tapq::graph::Graph;
use tapq::onnx::{DataType, NodeProto as Node, element_count};
use tapq::plan::{Layer, WeightOnlyPlan, weighs};
use tapq::report::Refused;
use tapq::target::{OperatorRule, Role, Target};

/// Constants of fewer elements are not worth a word.
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

/// Looks for weights that are neither those of `layers` nor those that are `stored` without their operator.
pub fn elsewhere(graph: &Graph, layers: &[Layer], stored: &[WeightOnlyPlan], target: &Target) -> Elsewhere {
    let mut found = Elsewhere::default();
    let mut known: BTreeSet<&str> = layers.iter().map(|l| l.weight.as_str()).collect();
    known.extend(stored.iter().flat_map(|node| &node.weights).map(String::as_str));
    for node in graph.nodes() {
        let mut own = 0;
        // What a stored node holds beside its weights are biases.
        let is_stored = stored.iter().any(|s| s.name == node.name);
        let holds_weights = !ELEMENTWISE.contains(&node.op_type.as_str()) && !is_stored;
        for name in node.input.iter().filter(|n| holds_weights && !n.is_empty()) {
            if let Some(elements) = large_float(graph, name).filter(|_| known.insert(name)) {
                own += elements;
            }
        }
        let what = || format!("{} '{}'", node.op_type, node.name);
        if own > 0 {
            found.bytes += 4 * own;
            let because = match weighs(node) {
                true => "it works on a constant, and not on anything that samples show".to_owned(),
                false => taken_by(target),
            };
            found.refused.push(Refused { what: what(), because });
        }
        if computes_weight(graph, node) {
            let because = "its weight is computed while the network runs, not stored".to_owned();
            found.refused.push(Refused { what: what(), because });
        }
    }
    found
}

/// Which operators may have weights of integers.
fn taken_by(target: &Target) -> String {
    let takes = |rule: &&OperatorRule| matches!(rule.role, Role::Compute | Role::WeightOnly);
    let mut names: Vec<&str> = target.operators.iter().filter(takes).map(|rule| rule.op.as_str()).collect();
    let last = names.pop().unwrap_or_default();
    match names.is_empty() {
        true => format!("{} takes integer weights of {last} only", target.name),
        false => format!("{} takes integer weights of {} and {last} only", target.name, names.join(", ")),
    }
}

/// Elements of a large constant of float32; what runs along one axis only is a bias or a factor, not a weight.
fn large_float(graph: &Graph, name: &str) -> Option<u64> {
    let tensor = graph.constant(name).filter(|t| t.data_type == DataType::FLOAT as i32)?;
    tensor.dims.iter().filter(|d| **d > 1).nth(1)?;
    element_count(tensor).ok().map(|n| n as u64).filter(|n| *n >= LEAST_ELEMENTS)
}

/// Whether a node that has a stored weight elsewhere has a computed one here; MatMul often has two activations.
fn computes_weight(graph: &Graph, node: &Node) -> bool {
    weighs(node) && node.op_type != "MatMul" && node.input.get(1).is_some_and(|weight| graph.constant(weight).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, from_floats, parse_text};
    use tapq::plan::weight_layers;

    #[test]
    fn tables_and_computed_weights_are_named() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
net (int64[4] i, float[1,2,4,4] x, float[3,2,1,1] v) => (float[4,8] y, float[1,3,4,4] z, float[4,2048] p)
{
  [look] r = Gather (table, i)
  [fc] y = MatMul (r, w)
  [u] n = Abs (v)
  [conv] z = Conv (x, n)
  [wide] p = Gemm (y, wide, bias)
}
"#;
        let mut model = parse_text(text).unwrap();
        let constants: [(&str, &[usize]); 4] =
            [("table", &[128, 8]), ("w", &[8, 8]), ("wide", &[8, 2048]), ("bias", &[2048])];
        for (name, dims) in constants {
            let values = vec![0.5; dims.iter().product()];
            model.graph.as_mut().unwrap().initializer.push(from_floats(name, dims, &values));
        }
        let graph = Graph::new(model, ExternalData::none());
        let found = elsewhere(&graph, &weight_layers(&graph), &[], &Target::named("fpga").unwrap());
        assert_eq!(found.bytes, 4 * 128 * 8);
        let what: Vec<&str> = found.refused.iter().map(|r| r.what.as_str()).collect();
        assert_eq!(what, ["Gather 'look'", "Conv 'conv'"]);
        assert_eq!(found.refused[0].because, "fpga takes integer weights of Conv, Gemm and MatMul only");
        assert!(found.refused[1].because.contains("computed"));
    }
}
