//! Weights that stay in float because no weight layer stores them: those of recurrent and other operators, those that
//! bodies hold or read, and those that the network computes while it runs.

use std::collections::BTreeSet;
use tapq::graph::{Graph, attr_t, reads, subgraphs};
use tapq::onnx::{DataType, NodeProto as Node, Tensor, element_count};
use tapq::plan::{Layer, WeightOnlyPlan, holds_layers, weighs};
use tapq::report::Refused;
use tapq::target::{OperatorRule, Role, Target};

/// Constants of fewer elements are not worth a word.
const LEAST_ELEMENTS: u64 = 1024;

/// Operators whose constants are offsets, masks and tables of positions rather than weights.
const NO_WEIGHTS: [&str; 10] =
    ["Add", "Concat", "Div", "Expand", "GroupQueryAttention", "Mul", "Pow", "RotaryEmbedding", "Sub", "Where"];

/// Weights outside of weight layers.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Bytes of float constants that other operators read.
    pub bytes: u64,
    /// Which nodes hold or compute weights, and why they stay.
    pub refused: Vec<Refused>,
}

/// Looks for weights that are neither those of `layers` nor those that are `stored` without their operator; `chosen` says
/// of an operator by name why it was left in float, if that was a choice.
pub fn elsewhere(
    graph: &Graph,
    layers: &[Layer],
    stored: &[WeightOnlyPlan],
    target: &Target,
    chosen: &dyn Fn(&str) -> Option<String>,
) -> Elsewhere {
    let mut found = Elsewhere::default();
    let mut known: BTreeSet<&str> = layers.iter().map(|l| l.weight.as_str()).collect();
    known.extend(stored.iter().flat_map(|node| &node.weights).map(String::as_str));
    for node in graph.nodes() {
        let mut own = 0;
        // What a stored node holds beside its weights are biases.
        let is_stored = stored.iter().any(|s| s.name == node.name);
        let holds_weights = !NO_WEIGHTS.contains(&node.op_type.as_str()) && !is_stored;
        let inside = inner_constants(node);
        let outside = reads(node);
        for name in outside.iter().filter(|_| holds_weights) {
            let Some(tensor) = graph.constant(name) else { continue };
            own += large_float(tensor).filter(|_| known.insert(&tensor.name)).unwrap_or(0);
        }
        own += inside.iter().filter_map(|tensor| large_float(tensor)).sum::<u64>();
        let what = || format!("{} '{}'", node.op_type, node.name);
        if own > 0 || holds_layers(node) {
            found.bytes += 4 * own;
            let because = chosen(&node.name).unwrap_or_else(|| match weighs(node) {
                true => "it works on a constant, and not on anything that samples show".to_owned(),
                false if subgraphs(node).next().is_some() => "what is in its body stays in float".to_owned(),
                false => taken_by(target),
            });
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
fn large_float(tensor: &Tensor) -> Option<u64> {
    if tensor.data_type != DataType::FLOAT as i32 {
        return None;
    }
    tensor.dims.iter().filter(|d| **d > 1).nth(1)?;
    element_count(tensor).ok().map(|n| n as u64).filter(|n| *n >= LEAST_ELEMENTS)
}

/// Constants that the bodies of a node hold, however deep.
fn inner_constants(node: &Node) -> Vec<&Tensor> {
    let mut found = vec![];
    for body in subgraphs(node) {
        found.extend(&body.initializer);
        for inner in &body.node {
            found.extend(attr_t(inner, "value"));
            found.extend(inner_constants(inner));
        }
    }
    found
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

    /// What a loop captures, carries and holds; the table that a Gather reads, too, is named once.
    #[test]
    fn weights_of_bodies_are_named() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
net (float[1,64] x, int64 n, bool c) => (float[1,64] y, float[64,64] z)
{
  [again] y, z = Loop (n, c, x, carried) <body = round (int64 i, bool t, float[1,64] s, float[64,64] w)
    => (bool u, float[1,64] r, float[64,64] v) { u = Identity (t) p = MatMul (s, w) r = MatMul (p, captured) v = Identity (w) }>
}
"#;
        let mut model = parse_text(text).unwrap();
        let tensor = |name| from_floats(name, &[64, 64], &[0.5; 4096]);
        let main = model.graph.as_mut().unwrap();
        main.node[0].attribute[0].g.as_mut().unwrap().initializer.push(tensor("held"));
        main.initializer.extend([tensor("carried"), tensor("captured")]);
        let graph = Graph::new(model, ExternalData::none());
        let found = elsewhere(&graph, &[], &[], &Target::named("cpu").unwrap(), &|_| None);
        assert_eq!(found.bytes, 3 * 4 * 4096);
        let said = &found.refused[0];
        assert_eq!((said.what.as_str(), said.because.as_str()), ("Loop 'again'", "what is in its body stays in float"));
    }

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
        let found = elsewhere(&graph, &weight_layers(&graph), &[], &Target::named("fpga").unwrap(), &|_| None);
        assert_eq!(found.bytes, 4 * 128 * 8);
        let what: Vec<&str> = found.refused.iter().map(|r| r.what.as_str()).collect();
        assert_eq!(what, ["Gather 'look'", "Conv 'conv'"]);
        assert_eq!(found.refused[0].because, "fpga takes integer weights of Conv, Gemm and MatMul only");
        assert!(found.refused[1].because.contains("computed"));
    }
}
