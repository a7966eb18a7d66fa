//! What each quantized value and each rounded weight does to the output of the network, one at a time.

use crate::pipeline::choice::{Change, Changes, Field, Probe, Weight};
use crate::pipeline::depth::Depth;
use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use crate::quantize_weights::Storage;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::array::Array;
use tapq::engine::Options as EngineOptions;
use tapq::graph::Graph;
use tapq::plan::{Layer, LayerPlan, Plan, RoundingMethod};
use tapq::samples::Sample;
use tapq::stats::Patches;

/// Relative squared output error that each value and each weight causes alone; they add up where they are small.
#[derive(Default)]
pub struct Harm {
    /// By name of the value.
    pub values: BTreeMap<String, f64>,
    /// By name of the layer.
    pub layers: BTreeMap<String, f64>,
}

impl Harm {
    /// Of the values in `field` at the width of all, and of the weights that `plan` stores.
    pub fn measure(
        graph: &Graph,
        plan: &Plan,
        field: &Field,
        observed: &Observed,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let values = field.harm(observed.activation_bits);
        Ok(Harm { values, layers: of_weights(graph, plan, observed, options, progress)? })
    }

    /// Of all that is left in a placement.
    pub fn of<'n>(&self, values: impl Iterator<Item = &'n str>, layers: impl Iterator<Item = &'n str>) -> f64 {
        let of = |known: &BTreeMap<String, f64>, name: &str| known.get(name).copied().unwrap_or(0.0);
        values.map(|name| of(&self.values, name)).sum::<f64>() + layers.map(|name| of(&self.layers, name)).sum::<f64>()
    }
}

/// Weights are rounded to the nearest for this, however the plan has them rounded: it is about their order.
fn of_weights(
    graph: &Graph,
    plan: &Plan,
    observed: &Observed,
    options: &Options,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, f64>> {
    let nearest = |d: &LayerPlan| LayerPlan { rounding: RoundingMethod::Nearest, ..d.clone() };
    let decision = |l: &Layer| plan.layers.iter().find(|d| d.name == l.name && d.bits.is_some()).map(nearest);
    let rounded: Vec<(&Layer, LayerPlan, Patches)> = observed
        .placement
        .layers
        .iter()
        .filter_map(|layer| Some((layer, decision(layer)?, layer.patches(graph)?)))
        .collect();
    let layers: Vec<(&Layer, Patches)> = rounded.iter().map(|(l, _, patches)| (*l, patches.clone())).collect();
    let probe = Probe::new(graph, &layers, &[], &EngineOptions::with_dims(&options.dims))?;
    let storage = Storage::new(graph, plan, options.target);
    let change = |i: usize| -> Result<Change> {
        let (layer, decision, _) = &rounded[i];
        let (channels, rows) = (layer.dims[layer.axis], layer.rows(&storage.stored_weight(layer, decision)?).1);
        let mut shift = decision.bias_shift.0.clone();
        shift.resize(channels, 0.0);
        Ok(Change { weights: vec![Weight { layer: i, rows: rows.into(), shift: shift.into() }], steps: vec![] })
    };
    // A weight that cannot be stored is an error of the rewrite, which names it.
    let make = |i: usize| change(i).unwrap_or_default();
    let samples = &options.calibration.samples;
    let count = Depth::of(options.effort).gain_samples.min(samples.len());
    let inputs: Vec<&Sample> = samples.iter().take(count).collect();
    let wanted: Vec<&Vec<Array>> = observed.seen.outputs.iter().take(count).collect();
    progress.stage("measure weights", count);
    let changes = Changes { count: rounded.len(), make: &make };
    let errors = probe.errors(&inputs, &wanted, changes, &|| progress.tick())?;
    let harm = |(layer, error): (&(&Layer, LayerPlan, Patches), f64)| (layer.0.name.clone(), error);
    let errors = errors.iter().map(|e| e.relative_error());
    Ok(rounded.iter().zip(errors).map(harm).collect())
}
