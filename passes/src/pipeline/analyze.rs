//! From graph and samples to a plan.

use super::activations;
use super::budget::Unit;
use super::choose::{self, Assignment, Chosen, Ground};
use super::field::Field;
use super::observed::{Observed, channel_axis, observe_network};
use super::ranges::settle_ranges;
use super::settle::{settle, settle_rounding};
use super::versions::versions;
use super::{Effort, Options, Progress, candidates, sequential};
use crate::quantize_weights::Storage;
use rayon::prelude::*;
use std::collections::BTreeMap;
use tapq::graph::Graph;
use tapq::onnx;
use tapq::plan::{
    self, ActivationPlan, Calibration, Layer, LayerPlan, PLAN_SCHEMA, Placement, Plan, Rounding, RoundingMethod,
    layer_digest, model_digest, place, plan_activations,
};
use tapq::proxy::{self, Sensitivity};
use tapq::quant::RangeRule;
use tapq::stats::{FOLDS, Gram, Request, ValueObservation};
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// What analysis found; reports show more of it than the plan keeps.
pub struct Analysis {
    /// Every decision.
    pub plan: Plan,
    /// Sensitivity of each layer by name, where it was measured.
    pub sensitivities: BTreeMap<String, Sensitivity>,
    /// Multiply-accumulates of each layer by name.
    pub macs: BTreeMap<String, u64>,
    /// Extremes that were seen of each activation.
    pub seen: BTreeMap<String, [f32; 2]>,
    /// Values at which the float and the quantized network are to be compared.
    pub compared: Vec<String>,
}

impl Analysis {
    /// A replayed plan: nothing is measured.
    pub fn of_plan(plan: Plan) -> Self {
        let compared = plan.activations.iter().map(|a| a.value.clone()).collect();
        let (sensitivities, macs, seen) = Default::default();
        Analysis { plan, sensitivities, macs, seen, compared }
    }
}

/// Observes, measures, scores, allocates.
pub fn analyze(graph: &Graph, options: &Options, progress: &dyn Progress) -> Result<Analysis> {
    let mut observed = observe_network(graph, options, options.widths.is_choice(), progress)?;
    let grams = std::mem::take(&mut observed.seen.grams);
    let field = match activations::is_choice(options)? {
        true => Some(Field::measure(graph, &observed, options, progress)?),
        false => None,
    };
    // A budget of its own decides about activations before anything else; otherwise they are chosen with the weights.
    let apart = match (&field, options.widths.average_activation) {
        (Some(field), Some(average)) => Some(field.choose(average, options, &observed.seen.outputs, progress)?),
        _ => None,
    };
    let beside = |layer: &Layer| {
        let chosen = field.as_ref().zip(apart.as_ref()).and_then(|(f, a)| f.width(layer.node, &a.bits));
        chosen.unwrap_or(observed.activation_bits)
    };
    let mut units = units(&observed.placement, options.target, &beside, &observed.macs);
    let together = field.as_ref().filter(|_| apart.is_none());
    if together.is_some() {
        units.iter_mut().for_each(|unit| unit.offer_beside_any(options.target));
    }
    let mut chosen = match options.widths.is_choice() {
        false => choose::uniform(&units, options)?,
        true => with_ground(graph, &observed, grams, &mut units, options, progress, |units, ground| {
            choose::choose(units, together, ground, options, progress)
        })?,
    };
    let sensitivities = sensitivities_by_name(&units);
    drop(units);
    if let Some((field, apart)) = field.zip(apart) {
        chosen.set_activations(&field, apart);
    }
    choose::refuse_all_float(&chosen.widths.weights)?;
    let mut plan = plan_of(graph, options, &observed, &chosen.widths, &chosen)?;
    if let Some(uniform) = chosen.uniform.as_ref().filter(|u| options.effort > Effort::Fast && **u != chosen.widths) {
        let other = plan_of(graph, options, &observed, uniform, &chosen)?;
        plan = settle(graph, options, &observed.seen, plan, other, progress)?;
    }
    if options.effort > Effort::Fast {
        let placed = |l: &&LayerPlan| observed.placement.layers.iter().any(|p| p.name == l.name);
        let widths: BTreeMap<String, Option<u32>> =
            plan.layers.iter().filter(placed).map(|l| (l.name.clone(), l.bits)).collect();
        let bits: BTreeMap<String, u32> = plan.activations.iter().map(|a| (a.value.clone(), a.bits)).collect();
        let make = |rule, half| activations_of(graph, options, &observed, (&widths, &bits), (rule, half));
        settle_ranges(graph, options, &observed, &mut plan, &make, progress)?;
    }
    correct_biases(graph, options.target, &mut plan, &observed)?;
    plan = settle_rounding(graph, options, &observed.seen, plan, progress)?;
    let measured = observed.requests.iter().zip(&observed.seen.values).filter(|(r, _)| !r.only_tap);
    let extremes = measured.map(|(r, v)| (r.value.clone(), extremes(v))).collect();
    let Observed { macs, taps, .. } = observed;
    Ok(Analysis { plan, sensitivities, macs, seen: extremes, compared: taps })
}

/// The plan that these widths make, with the records of the choice.
pub fn plan_of(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    widths: &Assignment,
    chosen: &Chosen,
) -> Result<Plan> {
    let target = options.target;
    let chosen_widths = (&widths.weights, &widths.activations);
    let activations = activations_of(graph, options, observed, chosen_widths, (RangeRule::LeastError, None));
    let layers = layer_plans(graph, &widths.weights, options)?;
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
        opset,
        ir,
        allocation: chosen.record.clone(),
        activation_allocation: chosen.activation_record.clone(),
        equalized: vec![],
        layers,
        activations,
    };
    ask_for_second_order(graph, &mut plan);
    if options.widths.is_choice() && plan.allocation.method == "uniform" {
        explain_uniform(&mut plan);
    }
    Ok(plan)
}

/// The activations that these widths make, from the samples of one half or of both.
fn activations_of(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    (weights, bits): (&BTreeMap<String, Option<u32>>, &BTreeMap<String, u32>),
    (rule, half): (RangeRule, Option<usize>),
) -> Vec<ActivationPlan> {
    let (placement, values) = narrow_placement(graph, options, observed, weights);
    let input = plan::InputFacts { range: options.input_range, samples: &options.calibration.samples };
    let bits = |value: &str| bits.get(value).copied().unwrap_or(observed.activation_bits);
    let halves: Vec<ValueObservation> =
        half.map_or(vec![], |half| values.iter().map(|value| value.of_half(half)).collect());
    let values = if half.is_some() { halves.iter().collect() } else { values };
    plan_activations(graph, options.target, &placement.sites, &values, &bits, rule, &input)
}

/// Says of each layer that one width for all was taken.
pub fn explain_uniform(plan: &mut Plan) {
    for layer in plan.layers.iter_mut().filter(|l| l.bits.is_some()) {
        "one width for all: no choice measured better".clone_into(&mut layer.because);
    }
}

/// Groups layers by stored weight; `beside` is the width of activations that a layer runs at.
pub fn units<'a>(
    placement: &'a Placement,
    target: &Target,
    beside: &dyn Fn(&Layer) -> u32,
    macs: &BTreeMap<String, u64>,
) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit> = vec![];
    for layer in &placement.layers {
        let (cost, at) = (macs.get(&layer.name).copied().unwrap_or(0), beside(layer));
        if let Some(unit) = units.iter_mut().find(|u| u.layers[0].weight == layer.weight) {
            unit.layers.push(layer);
            unit.macs.push(cost);
            unit.beside.push(at);
            unit.keep_offered(target);
            continue;
        }
        let mut options: Vec<Option<u32>> = target.weight_choices_at(&layer.op, at).iter().map(|b| Some(*b)).collect();
        options.sort_unstable();
        options.extend(target.float_fallback.allowed.then_some(None));
        let sensitivity = Sensitivity::default();
        units.push(Unit { layers: vec![layer], macs: vec![cost], beside: vec![at], options, sensitivity });
    }
    units
}

/// Measures what each width does to each unit, and hands that to `then`; the Gram matrices are gone by then.
pub fn with_ground<T>(
    graph: &Graph,
    observed: &Observed,
    mut grams: Vec<[Gram; FOLDS]>,
    units: &mut [Unit],
    options: &Options,
    progress: &dyn Progress,
    then: impl FnOnce(&mut [Unit], &Ground) -> Result<T>,
) -> Result<T> {
    let offered = |u: &Unit| u.options.iter().flatten().copied().collect::<Vec<u32>>();
    let layers: Vec<(&Layer, Vec<u32>)> = units.iter().map(|u| (u.layers[0], offered(u))).collect();
    let halves = choose::halves(options.effort, options.calibration.samples.len());
    // Halves that only judge need no moments of single samples.
    let judging = |fold: &usize| !halves.contains(fold);
    grams.iter_mut().for_each(|of_layer| (0..FOLDS).filter(judging).for_each(|fold| of_layer[fold].forget_samples()));
    progress.stage("round candidates", layers.len());
    let at = |layer: &Layer| observed.placement.layers.iter().position(|l| l.name == layer.name);
    let of_layers: Vec<_> = layers.iter().map(|(l, _)| at(l).and_then(|i| grams.get(i))).collect();
    let candidates = candidates::measure(graph, &layers, &of_layers, options.target, halves, &|| progress.tick())?;
    drop(of_layers);
    drop(grams);
    let ground = Ground {
        graph,
        samples: &options.calibration.samples,
        outputs: &observed.seen.outputs,
        candidates: &candidates,
        inputs: units.iter().map(|u| observed.value(&u.layers[0].input)).collect(),
        target: options.target,
        halves,
        apart: choose::set_apart(options.effort, options.calibration.samples.len()),
    };
    then(units, &ground)
}

/// A layer's output channels and its weight as rows of channels by fan-in.
pub fn weight_rows(graph: &Graph, layer: &Layer) -> Result<(usize, Vec<f32>)> {
    let missing = || Error::new(Code::InvalidGraph, format!("weight '{}' is not a constant", layer.weight));
    let tensor = graph.constant(&layer.weight).ok_or_else(missing)?;
    Ok(layer.rows(&onnx::floats(tensor, graph.external())?))
}

/// The bias of each channel of a layer that adds it to the product of input and weight and does nothing else; zeros
/// where it has none.
pub fn plain_bias(graph: &Graph, layer: &Layer) -> Result<Option<Vec<f32>>> {
    let channels = layer.dims[layer.axis];
    if layer.op != "MatMul" && !layer.takes_bias(graph) {
        return Ok(None);
    }
    let Some(tensor) = layer.bias.as_ref().and_then(|name| graph.constant(name)) else {
        return Ok(Some(vec![0.0; channels]));
    };
    let values = onnx::floats(tensor, graph.external())?;
    let by_channel = values.len() == channels && tensor.dims.last() == Some(&(channels as i64));
    Ok(by_channel.then_some(values))
}

fn sensitivities_by_name(units: &[Unit]) -> BTreeMap<String, Sensitivity> {
    let measured = units.iter().filter(|u| !u.sensitivity.bits.is_empty());
    measured.flat_map(|u| u.layers.iter().map(|l| (l.name.clone(), u.sensitivity.clone()))).collect()
}

/// Layers that the choice keeps in float leave the integer domain, and their activations with them.
fn narrow_placement<'s>(
    graph: &Graph,
    options: &Options,
    observed: &'s Observed,
    widths: &BTreeMap<String, Option<u32>>,
) -> (Placement, Vec<&'s ValueObservation>) {
    let mut keep_float = options.keep_float.clone();
    keep_float.extend(widths.iter().filter(|(_, bits)| bits.is_none()).map(|(name, _)| name.clone()));
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

fn layer_plans(graph: &Graph, widths: &BTreeMap<String, Option<u32>>, options: &Options) -> Result<Vec<LayerPlan>> {
    let record = |layer: &Layer| {
        let bits = widths.get(&layer.name).copied().flatten();
        Ok(LayerPlan {
            name: layer.name.clone(),
            op: layer.op.clone(),
            weight: layer.weight.clone(),
            params: layer.params(),
            digest: layer_digest(graph, layer)?,
            bits,
            range: bits.map(proxy::range_rule),
            rounding: RoundingMethod::Nearest,
            bias_shift: plan::Shift::default(),
            because: because(layer, widths, options),
        })
    };
    plan::weight_layers(graph).iter().map(record).collect()
}

fn because(layer: &Layer, widths: &BTreeMap<String, Option<u32>>, options: &Options) -> String {
    match widths.get(&layer.name) {
        None if options.keep_float.contains(&layer.name) => "kept in float on request".to_owned(),
        None => match options.target.refusal(&layer.op, None, None) {
            Some(refusal) => refusal.because.clone(),
            None => format!("{} has no integer kernel for this {}", options.target.name, layer.op),
        },
        Some(None) => options.target.float_fallback.because.clone(),
        Some(Some(_)) if options.widths.is_choice() => "least total sensitivity within the budget".to_owned(),
        Some(Some(_)) if options.widths.uniform.is_some() => "uniform width on request".to_owned(),
        Some(Some(_)) => "the target's default width".to_owned(),
    }
}

/// Layers below 8 bits are rounded with regard to their input, and then those at 8 bits beside them, too. Where all
/// have 8 bits, the noise of activations is the larger part, and measurement decides ([`settle_rounding`]).
fn ask_for_second_order(graph: &Graph, plan: &mut Plan) {
    if plan.layers.iter().any(|l| l.bits.is_some_and(|b| b < 8)) {
        round_all_by_second_order(graph, plan);
    }
}

/// Asks for second-order rounding of every layer that can have it.
pub fn round_all_by_second_order(graph: &Graph, plan: &mut Plan) {
    let layers = plan::weight_layers(graph);
    for decision in &mut plan.layers {
        let layer = layers.iter().find(|l| l.name == decision.name);
        if decision.bits.is_some_and(|b| b <= 8) && layer.is_some_and(|l| sequential::takes_second_order(graph, l)) {
            decision.rounding = RoundingMethod::SecondOrder;
            decision.bias_shift = plan::Shift::default();
        }
    }
}

/// Rounds the weights that the plan wants rounded with regard to their input, and completes the plan's biases.
pub fn round(graph: &Graph, plan: &mut Plan, options: &Options, progress: &dyn Progress) -> Result<Rounding> {
    if plan.layers.iter().all(|l| l.rounding == RoundingMethod::Nearest) {
        return Ok(Rounding::default());
    }
    let digest = options.calibration.digest();
    if plan.calibration.digest != digest {
        let what = format!(
            "the plan rounds weights with regard to samples of digest {}, those given have {digest}",
            plan.calibration.digest
        );
        return Err(Error::new(Code::PlanMismatch, what).help("give the samples that the plan was made from"));
    }
    let rounding = sequential::round_sequentially(graph, plan, options, &options.calibration.samples, true, progress)?;
    sequential::write_shifts(plan, &rounding.shifts);
    Ok(rounding)
}

/// Fills in what each layer's bias must take back of the rounding of its weight.
pub fn correct_biases(graph: &Graph, target: &Target, plan: &mut Plan, observed: &Observed) -> Result<()> {
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
        let (_, stored) = layer.rows(&storage.stored_weight(layer, decision)?);
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

fn calibration(options: &Options) -> Calibration {
    Calibration {
        source: options.calibration.source.clone(),
        samples: options.calibration.samples.len(),
        digest: options.calibration.digest(),
    }
}

fn extremes(value: &ValueObservation) -> [f32; 2] {
    let fold =
        |f: fn(f32, f32) -> f32, of: fn(&tapq::stats::TensorStats) -> f32| value.samples.iter().map(of).reduce(f);
    [fold(f32::min, |s| s.min).unwrap_or(0.0), fold(f32::max, |s| s.max).unwrap_or(0.0)]
}
