//! The network that layers are rounded in: with quantized activations.

use crate::driver::Driver;
use crate::insert_qdq::insert_qdq;
use crate::pipeline::rewrite::prepare;
use crate::quantize_weights::quantize_weights;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{Plan, Rounding, RoundingMethod};
use tapq::target::Target;

/// The graph with quantized activations; layers that are not rounded here have their quantized weights, too.
pub fn quantize_activations(graph: &Graph, plan: &Plan, target: &Target) -> Result<Graph> {
    let mut active = graph.clone();
    let mut driver = Driver::new(None);
    prepare(&mut active, plan, &mut driver)?;
    let mut others = plan.clone();
    for layer in others.layers.iter_mut().filter(|l| l.rounding == RoundingMethod::SecondOrder) {
        layer.bits = None;
    }
    if let Some(patch) = quantize_weights(&active, &others, target, &Rounding::default())? {
        driver.apply(&mut active, "quantize-weights", patch)?;
    }
    if let Some(patch) = insert_qdq(&active, plan, target)? {
        driver.apply(&mut active, "insert-qdq", patch)?;
    }
    Ok(active)
}
