//! What each layer's bias takes back of the rounding of its weight.

use super::observed::{Observed, channel_axis};
use super::options::Options;
use super::plans::made_up;
use super::weights::weight_rows;
use crate::quantize_weights::Storage;
use rayon::prelude::*;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{self, Layer, LayerPlan, Plan, RoundingMethod};
use tapq::stats::Request;

/// Fills in what each layer's bias must take back of the rounding of its weight.
pub fn correct_biases(graph: &Graph, options: &Options, plan: &mut Plan, observed: &Observed) -> Result<()> {
    if made_up(options) {
        return Ok(());
    }
    let target = options.target;
    let layers = plan::weight_layers(graph);
    let storage = Storage::new(graph, plan, target);
    let shift = |layer: &Layer| -> Result<plan::Shift> {
        let nearest = |d: &&LayerPlan| d.bits.is_some() && d.rounding == RoundingMethod::Nearest;
        let decision = plan.layers.iter().find(|d| d.name == layer.name).filter(nearest);
        let fits = |r: &Request| r.value == layer.input && r.channel_axis == Some(channel_axis(layer));
        let input = observed.requests.iter().position(fits).map(|i| &observed.seen.values[i]);
        let (Some(decision), Some(input), true) = (decision, input, layer.takes_bias(graph)) else {
            return Ok(plan::Shift::default());
        };
        let (channels, float) = weight_rows(graph, layer)?;
        let stored = storage.stored_rows(layer, decision)?;
        Ok(plan::rounding_shift(layer, channels, &float, &stored, input))
    };
    let shifts: Vec<plan::Shift> = layers.par_iter().map(shift).collect::<Result<_>>()?;
    for (layer, shift) in layers.iter().zip(shifts) {
        if let Some(decision) = plan.layers.iter_mut().find(|d| d.name == layer.name) {
            decision.bias_shift = shift;
        }
    }
    Ok(())
}
