//! What it costs to take an operator out of the integer domain.

use crate::pipeline::observed::Observed;
use std::collections::{BTreeMap, BTreeSet};
use tapq::graph::Graph;
use tapq::plan::Placement;

/// Multiply-accumulates that reading and writing one element are worth: what moves more than it computes is bound by
/// memory.
const MACS_OF_AN_ELEMENT: f64 = 8.0;

/// Cost of each operator that runs with integers, as a share of the network: of its operations and of its weights.
pub struct Costs {
    /// Multiply-accumulates by position of the node.
    macs: BTreeMap<usize, f64>,
    shares: BTreeMap<usize, f64>,
}

impl Costs {
    /// Of the operators that a placement puts among the integers.
    pub fn of(graph: &Graph, observed: &Observed) -> Self {
        let mut macs: BTreeMap<usize, f64> = BTreeMap::new();
        let mut elements: BTreeMap<usize, f64> = BTreeMap::new();
        for site in &observed.placement.sites {
            let dims = observed.value(&site.value).map_or(&[][..], |seen| &seen.dims);
            for (node, slot) in &site.readers {
                let count = dims.iter().product::<usize>() as f64;
                *elements.entry(*node).or_default() += count;
                if graph.nodes()[*node].op_type == "MatMul" && *slot == 0 {
                    macs.insert(*node, count * columns(graph, observed, *node));
                }
            }
        }
        let mut params: BTreeMap<usize, f64> = BTreeMap::new();
        for layer in &observed.placement.layers {
            macs.insert(layer.node, observed.macs.get(&layer.name).copied().unwrap_or(0) as f64);
            params.insert(layer.node, layer.params() as f64);
        }
        params.extend(observed.placement.weight_only.iter().map(|alone| (alone.node, alone.params() as f64)));
        let nodes: BTreeSet<usize> =
            [&macs, &elements, &params].iter().flat_map(|known| known.keys()).copied().collect();
        let at = |known: &BTreeMap<usize, f64>, node: usize| known.get(&node).copied().unwrap_or(0.0);
        let work = |node: usize| at(&macs, node) + MACS_OF_AN_ELEMENT * at(&elements, node);
        let all_work = nodes.iter().map(|n| work(*n)).sum::<f64>().max(1.0);
        let all_params = params.values().sum::<f64>().max(1.0);
        let share = |node: usize| work(node) / all_work + at(&params, node) / all_params;
        let shares = nodes.iter().map(|n| (*n, share(*n))).collect();
        Costs { macs, shares }
    }

    /// Cost of operators, in shares of the whole network's two.
    pub fn of_nodes(&self, nodes: impl Iterator<Item = usize>) -> f64 {
        nodes.filter_map(|node| self.shares.get(&node)).sum()
    }

    /// Share of the multiply-accumulates that `nodes` do.
    pub fn macs_of(&self, nodes: impl Iterator<Item = usize>) -> f64 {
        let all = self.macs.values().sum::<f64>().max(1.0);
        nodes.filter_map(|node| self.macs.get(&node)).sum::<f64>() / all
    }
}

/// Nodes that run with integers, read them or have their weights stored so.
pub fn inside(placement: &Placement) -> BTreeSet<usize> {
    let readers = placement.sites.iter().flat_map(|site| site.readers.iter().map(|(node, _)| *node));
    let alone = placement.weight_only.iter().map(|node| node.node);
    readers.chain(placement.layers.iter().map(|layer| layer.node)).chain(alone).collect()
}

/// Columns of the second operand of a product of two activations.
fn columns(graph: &Graph, observed: &Observed, node: usize) -> f64 {
    let other = graph.nodes()[node].input.get(1).and_then(|name| observed.value(name));
    other.and_then(|seen| seen.dims.last().copied()).unwrap_or(1) as f64
}
