//! Plans: what widths make of the observed network.

use super::choice::{Assignment, Chosen};
use super::observed::Observed;
use super::options::{Effort, Options};
use super::versions::versions;
use super::weights::takes_second_order;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{
    self, ActivationPlan, Calibration, Layer, LayerPlan, PLAN_SCHEMA, Placement, Plan, RoundingMethod, layer_digest,
    model_digest, place, plan_activations, plan_constants,
};
use tapq::proxy;
use tapq::quant::RangeRule;
use tapq::samples::fixed_texts;
use tapq::stats::ValueObservation;

/// The plan that these widths make, with the records of the choice.
pub fn plan_of(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    widths: &Assignment,
    chosen: &Chosen,
) -> Result<Plan> {
    let target = options.target;
    let activations = activations_of(graph, options, observed, widths, (RangeRule::LeastError, None))?;
    let layers = layer_plans(graph, &widths.weights, observed, options)?;
    let widest = activations.iter().map(|a| a.bits).max().unwrap_or(8);
    let (opset, ir) = versions(graph, target, &layers, widest)?;
    let mut plan = Plan {
        schema: PLAN_SCHEMA,
        tapq: env!("CARGO_PKG_VERSION").to_owned(),
        target: target.name.clone(),
        target_digest: plan::text_digest(&tapq::yaml::print(target)?),
        model: model_digest(graph)?,
        proxy: options.proxy.label(),
        calibration: calibration(options),
        fixed_inputs: fixed_texts(options.fixed),
        variant: target.variant,
        thorough: options.effort > Effort::Fast,
        opset,
        ir,
        allocation: chosen.record.clone(),
        activation_allocation: chosen.activation_record.clone(),
        goal: None,
        equalized: vec![],
        layers,
        weight_only: vec![],
        activations,
    };
    let keep_float = options.keep_float.union(&widths.float).cloned().collect();
    let stored = plan.offered_weight_only(graph, target, &keep_float);
    plan.weight_only = stored.iter().map(plan::WeightOnly::plan).collect();
    ask_for_second_order(graph, options, &mut plan);
    if options.widths.is_choice() && plan.allocation.method == "uniform" {
        explain_uniform(&mut plan);
    }
    Ok(plan)
}

/// The activations that these widths make, from the samples of one half or of both.
pub fn activations_of(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    widths: &Assignment,
    (rule, half): (RangeRule, Option<usize>),
) -> Result<Vec<ActivationPlan>> {
    let (placement, values) = narrow_placement(graph, options, observed, widths);
    let input = plan::InputFacts { range: options.input_range, samples: &options.calibration.samples };
    let bits = |value: &str| widths.activations.get(value).copied().unwrap_or(observed.activation_bits);
    let halves: Vec<ValueObservation> =
        half.map_or(vec![], |half| values.iter().map(|value| value.of_half(half)).collect());
    let values = if half.is_some() { halves.iter().collect() } else { values };
    let target = options.target;
    let mut planned = plan_activations(graph, target, &placement.sites, &values, &bits, rule, &input);
    planned.extend(plan_constants(graph, target, &placement.constants, &planned)?);
    Ok(planned)
}

/// Says of each layer that one width for all was taken.
pub fn explain_uniform(plan: &mut Plan) {
    for layer in plan.layers.iter_mut().filter(|l| l.bits.is_some()) {
        "one width for all: no choice measured better".clone_into(&mut layer.because);
    }
}

/// Operators that the choice keeps in float leave the integer domain, and their activations with them.
fn narrow_placement<'s>(
    graph: &Graph,
    options: &Options,
    observed: &'s Observed,
    widths: &Assignment,
) -> (Placement, Vec<&'s ValueObservation>) {
    let mut keep_float = options.keep_float.clone();
    keep_float.extend(widths.float.iter().cloned());
    let layers = &observed.placement.layers;
    let multiplies_in_float = |layer: &&Layer| {
        let bits = widths.weights.get(&layer.name);
        bits.is_some_and(|b| b.is_none_or(|b| layer.block_size(options.target, b).is_some()))
    };
    keep_float.extend(layers.iter().filter(multiplies_in_float).map(|layer| layer.name.clone()));
    let mut placement = match keep_float.len() == options.keep_float.len() {
        true => observed.placement.clone(),
        false => place(graph, options.target, &keep_float),
    };
    // A smaller integer domain reads no value that the larger one did not; a value that it newly had to
    // quantize would be unobserved, and is left in float.
    placement.retain_sites(|s| observed.value(&s.value).is_some());
    let values = placement.sites.iter().filter_map(|s| observed.value(&s.value)).collect();
    (placement, values)
}

fn layer_plans(
    graph: &Graph,
    widths: &BTreeMap<String, Option<u32>>,
    observed: &Observed,
    options: &Options,
) -> Result<Vec<LayerPlan>> {
    let record = |layer: &Layer| {
        let bits = widths.get(&layer.name).copied().flatten();
        Ok(LayerPlan {
            name: layer.name.clone(),
            op: layer.op.clone(),
            weight: layer.weight.clone(),
            params: layer.params(),
            digest: layer_digest(graph, layer)?,
            bits,
            block: bits.and_then(|bits| layer.block_size(options.target, bits)),
            range: bits.map(proxy::range_rule),
            rounding: RoundingMethod::Nearest,
            bias_shift: plan::Shift::default(),
            because: because(layer, widths, observed, options),
        })
    };
    plan::weight_layers(graph).iter().map(record).collect()
}

fn because(layer: &Layer, widths: &BTreeMap<String, Option<u32>>, observed: &Observed, options: &Options) -> String {
    match widths.get(&layer.name) {
        None if options.keep_float.contains(&layer.name) => "kept in float on request".to_owned(),
        None if options.target.variant.weight_only => observed
            .placement
            .float_layers
            .iter()
            .find(|(l, _)| l.name == layer.name)
            .map_or_else(String::new, |(_, because)| because.clone()),
        None => match options.target.refusal(&layer.op, None, None) {
            Some(refusal) => refusal.because.clone(),
            None => format!("{} has no integer kernel for this {}", options.target.name, layer.op),
        },
        Some(None) => options.target.float_fallback.because.clone(),
        Some(Some(_)) if options.widths.is_choice() => "least total sensitivity within the budget".to_owned(),
        Some(Some(_)) if options.widths.uniform.is_some() => "uniform width on request".to_owned(),
        Some(Some(_)) if options.target.variant.weight_only => "weights alone, on request".to_owned(),
        Some(Some(bits)) => {
            // Who sees fewer than the usual 8 bits asks why.
            let refused = || options.target.refusal(&layer.op, Some(8), Some(observed.activation_bits)).is_some();
            let more = if *bits < 8 && refused() { "; why not 8 bits: `xtask targets TARGET`" } else { "" };
            format!("the target's default width{more}")
        }
    }
}

/// Whether weights alone are quantized, beside samples that were made up: a language model reads words at random there,
/// and rounding with regard to them is worse than rounding without.
pub fn made_up(options: &Options) -> bool {
    options.target.variant.weight_only && options.calibration.synthetic
}

/// Layers below 8 bits are rounded with regard to their input, and then those at 8 bits beside them, too, as weights
/// alone are at any width. Where all have 8 bits beside activations of few bits, the noise of activations is the larger part, and measurement decides ([`settle_rounding`]).
fn ask_for_second_order(graph: &Graph, options: &Options, plan: &mut Plan) {
    let wanted = options.target.variant.weight_only || plan.layers.iter().any(|l| l.bits.is_some_and(|b| b < 8));
    if wanted && !made_up(options) {
        round_all_by_second_order(graph, plan);
    }
}

/// Asks for second-order rounding of every layer that can have it.
pub fn round_all_by_second_order(graph: &Graph, plan: &mut Plan) {
    let layers = plan::weight_layers(graph);
    for decision in &mut plan.layers {
        let layer = layers.iter().find(|l| l.name == decision.name);
        if decision.bits.is_some_and(|b| b <= 8) && layer.is_some_and(|l| takes_second_order(graph, l)) {
            decision.rounding = RoundingMethod::SecondOrder;
            decision.bias_shift = plan::Shift::default();
        }
    }
}

fn calibration(options: &Options) -> Calibration {
    Calibration {
        source: options.calibration.source.clone(),
        samples: options.calibration.samples.len(),
        digest: options.calibration.digest(),
    }
}
