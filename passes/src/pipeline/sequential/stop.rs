//! The layers at which the walk stops.

use crate::pipeline::taps::tap;
use crate::pipeline::weights::plain_bias;
use tapq::graph::Graph;
use tapq::plan::{Layer, LayerPlan, Plan, RoundingMethod, weight_layers};
use tapq::stats::Patches;
use tapq::{Code, Error, Result};

/// A layer on its way.
pub struct Stop<'a> {
    /// The layer.
    pub layer: Layer,
    /// What the plan wants of it.
    pub decision: &'a LayerPlan,
    /// How it reads its input.
    pub patches: Patches,
    /// Tap of its input in the network with quantized activations.
    pub input: usize,
    /// Tap of its output there.
    pub output: usize,
    /// Tap of its output in the float network.
    pub float: usize,
    /// The float bias, where weight and bias are all there is to the layer: its output is then made, not corrected.
    pub bias: Option<Vec<f32>>,
}

/// Values that the two networks are tapped at.
#[derive(Default)]
pub struct Taps {
    /// The float network.
    pub float: Vec<String>,
    /// The one with quantized activations.
    pub active: Vec<String>,
}

/// The layers of `plan` that are rounded with regard to their input, and the taps that they need.
///
/// # Errors
/// [`Code::PlanMismatch`] for a layer that cannot be rounded so.
pub fn stops<'a>(graph: &Graph, active: &Graph, plan: &'a Plan, taps: &mut Taps) -> Result<Vec<Stop<'a>>> {
    let layers = weight_layers(graph);
    let of = |d: &&LayerPlan| d.bits.is_some() && d.rounding == RoundingMethod::SecondOrder;
    let mut stops = vec![];
    for decision in plan.layers.iter().filter(of) {
        let node = active.nodes().iter().find(|n| n.name == decision.name);
        let layer = layers.iter().find(|l| l.name == decision.name);
        let (Some(node), Some(layer)) = (node, layer) else { continue };
        let Some(patches) = layer.patches(graph) else {
            return Err(Error::new(Code::PlanMismatch, "second-order rounding is not defined for this layer")
                .at(format!("layer '{}'", decision.name)));
        };
        stops.push(Stop {
            decision,
            patches,
            input: tap(&mut taps.active, &node.input[0]),
            output: tap(&mut taps.active, &node.output[0]),
            float: tap(&mut taps.float, &graph.nodes()[layer.node].output[0]),
            bias: plain_bias(graph, layer)?,
            layer: layer.clone(),
        });
    }
    Ok(stops)
}
