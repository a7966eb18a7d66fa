//! The width that each operator runs at, where its inputs and its output must have one.
//!
//! Widths belong to values: a value of 8 bits stays one of 8 bits whoever reads it. A kernel, though, may want all its
//! activations in one integer type. It then runs at the widest of them, and the narrower ones are converted on the
//! way in or out: to a grid that holds each of their values exactly, so that nothing is lost.

use super::{ActivationPlan, Plan, Site};
use crate::graph::Graph;
use crate::target::{Role, Target};
use std::collections::{BTreeMap, BTreeSet};

/// Which quantized values each operator touches; values are known by their position in the plan or the placement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operators {
    /// Values that decide the width of a node, by position of the node.
    touched: BTreeMap<usize, Vec<usize>>,
    /// The operator whose kernel writes each value.
    makers: Vec<Option<usize>>,
    one_width: bool,
}

impl Operators {
    /// Of a plan's activations.
    pub fn of_plan(graph: &Graph, plan: &Plan, target: &Target) -> Self {
        Self::of_activations(graph, &plan.activations, target)
    }

    /// Of activations that are to be a plan's.
    pub fn of_activations(graph: &Graph, activations: &[ActivationPlan], target: &Target) -> Self {
        let positions: BTreeMap<&str, usize> =
            graph.nodes().iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
        let values = activations.iter().map(|a| {
            let readers = a.readers.iter().filter_map(|(name, _)| positions.get(name.as_str()).copied());
            (a.value.as_str(), readers.collect())
        });
        Self::new(graph, target, values.collect())
    }

    /// Of the sites of a placement.
    pub fn of_sites(graph: &Graph, sites: &[Site], target: &Target) -> Self {
        let values = sites.iter().map(|s| (s.value.as_str(), s.readers.iter().map(|(node, _)| *node).collect()));
        Self::new(graph, target, values.collect())
    }

    fn new(graph: &Graph, target: &Target, values: Vec<(&str, Vec<usize>)>) -> Self {
        let one_width = target.activations.one_width_per_operator;
        let quantized: BTreeSet<&str> = values.iter().map(|(value, _)| *value).collect();
        let mut operators = Operators { touched: BTreeMap::new(), makers: vec![], one_width };
        for (i, (value, readers)) in values.iter().enumerate() {
            let maker = maker(graph, target, value, &|v| quantized.contains(v)).filter(|_| one_width);
            for node in readers.iter().copied().chain(maker) {
                let touched = operators.touched.entry(node).or_default();
                if touched.last() != Some(&i) {
                    touched.push(i);
                }
            }
            operators.makers.push(maker);
        }
        operators
    }

    /// Positions of the values that decide the width of a node.
    pub fn touched(&self, node: usize) -> &[usize] {
        self.touched.get(&node).map_or(&[], Vec::as_slice)
    }

    /// The width that a node runs at; none if it touches no quantized value.
    pub fn width(&self, node: usize, bits: &dyn Fn(usize) -> u32) -> Option<u32> {
        self.touched(node).iter().map(|value| bits(*value)).max()
    }

    /// The width at which `node` reads a value.
    pub fn read_at(&self, node: usize, value: usize, bits: &dyn Fn(usize) -> u32) -> u32 {
        let own = bits(value);
        self.width(node, bits).filter(|_| self.one_width).map_or(own, |width| width.max(own))
    }

    /// The width at which the operator that makes a value writes it.
    pub fn written_at(&self, value: usize, bits: &dyn Fn(usize) -> u32) -> u32 {
        let maker = self.makers.get(value).copied().flatten();
        maker.map_or(bits(value), |node| self.read_at(node, value, bits))
    }
}

/// The operator whose kernel writes `value`: behind activations that are fused into it and read no value that is
/// quantized itself.
pub fn maker(graph: &Graph, target: &Target, value: &str, is_quantized: &dyn Fn(&str) -> bool) -> Option<usize> {
    let mut at = graph.index().producer(value)?;
    // A chain cannot be longer than the graph; a cycle would be.
    for _ in 0..graph.nodes().len() {
        let node = &graph.nodes()[at];
        let fused = target.rule(&node.op_type).is_some_and(|rule| rule.role == Role::FusedActivation);
        let before = node.input.first().filter(|input| fused && !is_quantized(input));
        match before.and_then(|input| graph.index().producer(input)) {
            Some(producer) => at = producer,
            None => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{ExternalData, parse_text};
    use crate::plan::place;

    /// x -> first -> Relu -> second -> y, and what each touches by name.
    fn operators(target: &str) -> (Operators, Vec<String>, Vec<usize>) {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
chain (float["N",2,4,4] x) => (float["N",2,4,4] y)
<float[2,2,1,1] a = {0.5, -0.4, 0.3, 0.9}, float[2,2,1,1] b = {1.0, 0.1, -0.2, 0.8}>
{
  [first] c = Conv (x, a)
  [relu] r = Relu (c)
  [second] y = Conv (r, b)
}
"#;
        let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        let target = Target::named(target).unwrap();
        let sites = place(&graph, &target, &BTreeSet::new()).sites;
        let node = |name: &str| graph.nodes().iter().position(|n| n.name == name).unwrap();
        let names = sites.iter().map(|s| s.value.clone()).collect();
        (Operators::of_sites(&graph, &sites, &target), names, vec![node("first"), node("second")])
    }

    #[test]
    fn an_operator_of_one_width_runs_at_the_widest_that_it_touches() {
        let (operators, values, nodes) = operators("hexagon");
        assert_eq!(values, ["x", "r", "y"]);
        let wide_middle = |value: usize| if values[value] == "r" { 16 } else { 8 };
        assert_eq!(nodes.iter().map(|n| operators.width(*n, &wide_middle)).collect::<Vec<_>>(), [Some(16), Some(16)]);
        assert_eq!(operators.read_at(nodes[0], 0, &wide_middle), 16, "x is widened for the first");
        assert_eq!(operators.written_at(1, &wide_middle), 16, "the first makes r behind its Relu");
        assert_eq!(operators.written_at(2, &wide_middle), 16, "y is narrowed after the second");
        let wide_end = |value: usize| if values[value] == "y" { 16 } else { 8 };
        assert_eq!(operators.width(nodes[0], &wide_end), Some(8));
        assert_eq!(operators.written_at(1, &wide_end), 8, "r stays, the second reads it widened");
        assert_eq!(operators.read_at(nodes[1], 1, &wide_end), 16);
    }

    #[test]
    fn elsewhere_every_value_is_read_as_it_is() {
        let (operators, values, nodes) = operators("fpga");
        let bits = |value: usize| if values[value] == "x" { 4 } else { 8 };
        assert_eq!(operators.width(nodes[0], &bits), Some(4));
        assert_eq!(operators.read_at(nodes[1], 1, &bits), 8);
        assert_eq!(operators.written_at(1, &bits), 8);
    }
}
