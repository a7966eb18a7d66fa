//! What each quantized value and each stored weight does to the output of the network, one at a time.

use crate::pipeline::choice::{Change, Changes, Field, Probe, Weight};
use crate::pipeline::depth::Depth;
use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use crate::pipeline::trial::error_as_file;
use crate::quantize_weights::Storage;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::array::Array;
use tapq::engine::Options as EngineOptions;
use tapq::graph::Graph;
use tapq::plan::{Layer, LayerPlan, Placement, Plan, Rounding, RoundingMethod};
use tapq::samples::Sample;
use tapq::stats::Patches;

/// Relative squared output error that each value and each weight causes alone; they add up where they are small.
pub struct Harm {
    /// By name of the value.
    pub values: BTreeMap<String, f64>,
    /// By name of the layer, or of the operator whose weights alone are stored.
    pub weights: BTreeMap<String, f64>,
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
        let mut weights = of_layers(graph, plan, observed, options, progress)?;
        weights.extend(of_weights_alone(graph, plan, observed, options)?);
        Ok(Harm { values, weights })
    }

    /// Of all that a placement quantizes.
    pub fn of(&self, placement: &Placement) -> f64 {
        let values = placement.sites.iter().filter_map(|site| self.values.get(&site.value));
        let alone = placement.weight_only.iter().map(|node| &node.name);
        values.sum::<f64>() + self.of_weights(placement.layers.iter().map(|layer| &layer.name).chain(alone))
    }

    /// Of the weights of these operators.
    pub fn of_weights<'n>(&self, names: impl Iterator<Item = &'n String>) -> f64 {
        names.filter_map(|name| self.weights.get(name)).sum()
    }
}

/// Operators that compute in float have no product to change: each is run as a file that stores its weights alone.
fn of_weights_alone(
    graph: &Graph,
    plan: &Plan,
    observed: &Observed,
    options: &Options,
) -> Result<BTreeMap<String, f64>> {
    let samples = options.calibration.samples.len();
    let positions: Vec<usize> = (0..Depth::of(options.effort).gain_samples.min(samples)).collect();
    let mut float = Plan { activations: vec![], ..plan.clone() };
    float.layers.iter_mut().for_each(|layer| layer.bits = None);
    let mut found = BTreeMap::new();
    for node in &plan.weight_only {
        let alone = Plan { weight_only: vec![node.clone()], ..float.clone() };
        // A weight that a layer shares is not stored without it.
        if alone.weight_only_nodes(graph, options.target).is_ok() {
            let error = error_as_file(graph, &alone, &Rounding::default(), options, &observed.seen, &positions)?;
            found.insert(node.name.clone(), error);
        }
    }
    Ok(found)
}

/// Weights are rounded to the nearest for this, however the plan has them rounded: it is about their order.
fn of_layers(
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
        let (channels, rows) = (layer.dims[layer.axis], storage.stored_rows(layer, decision)?);
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
