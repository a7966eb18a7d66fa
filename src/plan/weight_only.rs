//! Weights that are stored as integers though the operator that reads them computes in float.

use super::Plan;
use super::layers::{Layer, weight_layers};
use crate::graph::{Graph, attr_i};
use crate::onnx::{DataType, NodeProto as Node};
use crate::target::{Role, Target};
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bits of such weights: all that tables and recurrent cells have kernels or storage types for.
pub const WEIGHT_ONLY_BITS: u32 = 8;
/// Weights of fewer elements save less than the nodes that turn them back into float cost.
const LEAST_ELEMENTS: usize = 1024;

/// A node that computes in float with weights that are stored as integers.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightOnly {
    /// Position of the node.
    pub node: usize,
    /// Its name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Its weights, by input slot.
    pub weights: Vec<WeightSlot>,
}

/// One weight of such a node.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSlot {
    /// Input slot that reads it.
    pub slot: usize,
    /// Name of its initializer.
    pub weight: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// The axis with one scale per index, where the target has such scales.
    pub axis: usize,
}

/// The decision about one such node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightOnlyPlan {
    /// Node name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Initializers that hold the weights.
    pub weights: Vec<String>,
    /// Elements of the weights.
    pub params: usize,
    /// Nominal bits.
    pub bits: u32,
}

impl WeightOnly {
    /// Elements of the weights.
    pub fn params(&self) -> usize {
        self.weights.iter().map(WeightSlot::params).sum()
    }

    /// The decision to store all of it.
    pub fn plan(&self) -> WeightOnlyPlan {
        WeightOnlyPlan {
            name: self.name.clone(),
            op: self.op.clone(),
            weights: self.weights.iter().map(|w| w.weight.clone()).collect(),
            params: self.params(),
            bits: WEIGHT_ONLY_BITS,
        }
    }
}

impl Plan {
    /// The nodes whose weights can be stored alone beside the layers that the plan quantizes.
    pub fn offered_weight_only(
        &self,
        graph: &Graph,
        target: &Target,
        keep_float: &BTreeSet<String>,
    ) -> Vec<WeightOnly> {
        let with_bits = |layer: &Layer| self.layers.iter().any(|l| l.name == layer.name && l.bits.is_some());
        let quantized: Vec<Layer> = weight_layers(graph).into_iter().filter(with_bits).collect();
        weight_only(graph, target, &quantized, keep_float)
    }

    /// The nodes that the plan lists under `weight_only`, with what the graph says of their weights.
    ///
    /// # Errors
    /// [`Code::PlanMismatch`] for a node that the graph does not have or the target does not store so.
    pub fn weight_only_nodes(&self, graph: &Graph, target: &Target) -> Result<Vec<WeightOnly>> {
        let offered = self.offered_weight_only(graph, target, &BTreeSet::new());
        let of_plan = |planned: &WeightOnlyPlan| {
            let found = offered.iter().find(|node| node.plan() == *planned).cloned();
            let what = || format!("the weights of {} '{}' cannot be stored as the plan says", planned.op, planned.name);
            let help = "run without --plan to make a new plan";
            found.ok_or_else(|| Error::new(Code::PlanMismatch, what()).help(help))
        };
        self.weight_only.iter().map(of_plan).collect()
    }
}

impl WeightSlot {
    /// Elements of the weight.
    pub fn params(&self) -> usize {
        self.dims.iter().product()
    }
}

/// The nodes that the target stores the weights of and runs in float, in file order; `quantized` are the layers that
/// run with integers, and nodes named in `keep_float` are left alone.
pub(super) fn weight_only(
    graph: &Graph,
    target: &Target,
    quantized: &[Layer],
    keep_float: &BTreeSet<String>,
) -> Vec<WeightOnly> {
    let layers = weight_layers(graph);
    let candidate = |(at, node): (usize, &Node)| {
        let standard = node.domain.is_empty() || node.domain == "ai.onnx";
        let role = target.rule(&node.op_type).filter(|_| standard).map(|rule| rule.role);
        if role != Some(Role::WeightOnly) || keep_float.contains(&node.name) {
            return None;
        }
        let weights = slots(node, layers.iter().find(|l| l.node == at));
        let weights = weights.into_iter().filter_map(|(slot, axis)| weight_slot(graph, node, slot, axis)).collect();
        Some(WeightOnly { node: at, name: node.name.clone(), op: node.op_type.clone(), weights })
    };
    let mut found: Vec<WeightOnly> = graph.nodes().iter().enumerate().filter_map(candidate).collect();
    // A reader that wants the float weight would keep it in the file beside the integers.
    let stored: BTreeSet<(usize, usize, String, usize)> =
        found.iter().flat_map(|n| n.weights.iter().map(|w| (n.node, w.slot, w.weight.clone(), w.axis))).collect();
    let takes_integers = |reader: usize, name: &str, axis: usize| {
        let reads = |(slot, input): (usize, &String)| {
            let layer = || slot == 1 && quantized.iter().any(|l| l.node == reader);
            input != name || stored.contains(&(reader, slot, name.to_owned(), axis)) || layer()
        };
        let node = &graph.nodes()[reader];
        // What a body captures is not among the node's own inputs.
        node.input.iter().any(|input| input == name) && node.input.iter().enumerate().all(reads)
    };
    for node in &mut found {
        node.weights.retain(|w| {
            let readers = graph.index().readers(&w.weight);
            !graph.index().is_output(&w.weight) && readers.iter().all(|r| takes_integers(*r, &w.weight, w.axis))
        });
    }
    found.retain(|node| !node.weights.is_empty());
    found
}

/// Slots and axes of the weights that an operator may have.
fn slots(node: &Node, layer: Option<&Layer>) -> Vec<(usize, usize)> {
    match node.op_type.as_str() {
        "Gather" if attr_i(node, "axis").unwrap_or(0) == 0 => vec![(0, 0)],
        // Weights `[directions, gates x hidden, columns]`: a scale for each row, which both directions share.
        "LSTM" | "GRU" | "RNN" => vec![(1, 1), (2, 1)],
        _ => layer.map(|l| (1, l.axis)).into_iter().collect(),
    }
}

fn weight_slot(graph: &Graph, node: &Node, slot: usize, axis: usize) -> Option<WeightSlot> {
    let tensor = graph.constant(node.input.get(slot)?).filter(|t| t.data_type == DataType::FLOAT as i32)?;
    let dims: Vec<usize> = tensor.dims.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>().ok()?;
    let elements = dims.iter().try_fold(1usize, |a, b| a.checked_mul(*b))?;
    let large = elements >= LEAST_ELEMENTS && dims.len() >= 2 && axis < dims.len();
    large.then(|| WeightSlot { slot, weight: tensor.name.clone(), dims, axis })
}
