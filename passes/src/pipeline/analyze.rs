//! From graph and samples to a plan.

use super::budget::Unit;
use super::choose::{self, Chosen, Ground};
use super::settle::settle;
use super::summarize::layer_results;
use super::{Effort, Options, Progress, candidates, sequential};
use crate::quantize_weights::stored_weight;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tapq::array::Array;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::onnx;
use tapq::plan::{
    self, AllocationRecord, Calibration, Layer, LayerPlan, PLAN_SCHEMA, Placement, Plan, Rounding, RoundingMethod,
    layer_digest, model_digest, place, plan_activations,
};
use tapq::proxy::{self, Sensitivity};
use tapq::quant::IntFormat;
use tapq::samples::Sample;
use tapq::stats::{Cpu, FOLDS, Gram, GramRequest, Observation, Request, ValueObservation, observe};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};

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
    /// The float network that was observed, and the values that it taps.
    pub observed: Option<(Engine, Vec<String>)>,
}

impl Analysis {
    /// A replayed plan: nothing is measured, the float network is kept only for the comparison.
    pub fn of_plan(graph: &Graph, plan: Plan, options: &Options) -> Result<Self> {
        let observed = match options.verify {
            true => {
                let values: Vec<String> = plan.activations.iter().map(|a| a.value.clone()).collect();
                Some((Engine::new(graph, &values, &EngineOptions { dims: options.dims.clone() })?, values))
            }
            false => None,
        };
        let (sensitivities, macs, seen) = Default::default();
        Ok(Analysis { plan, sensitivities, macs, seen, observed })
    }
}

/// What one run of the samples through the float network says, before anything is decided.
pub struct Observed {
    /// Nominal bits of activations.
    pub activation_bits: u32,
    /// What can be quantized.
    pub placement: Placement,
    requests: Vec<Request>,
    taps: Vec<String>,
    engine: Engine,
    /// Statistics and float outputs.
    pub seen: Observation,
    /// Multiply-accumulates of each layer by name.
    pub macs: BTreeMap<String, u64>,
}

impl Observed {
    /// Float outputs of other samples.
    pub fn outputs(&self, samples: &[Sample]) -> Result<Vec<Vec<Array>>> {
        samples.par_iter().map(|sample| self.engine.run(sample, &mut |_, _| {})).collect()
    }
}

/// Places and observes; with Gram matrices if widths are to be chosen.
pub fn observe_network(graph: &Graph, options: &Options, choice: bool, progress: &dyn Progress) -> Result<Observed> {
    let target = options.target;
    options.widths.check()?;
    let activation_bits = options.activation_bits.unwrap_or(target.default_activation_bits());
    target.check_activation_bits(activation_bits)?;
    check_names(graph, &options.keep_float)?;
    let placement = place(graph, target, &options.keep_float);
    refuse_empty(graph, &placement, target)?;
    check_weights(graph, &placement)?;
    let requests = requests(graph, &placement, choice);
    let taps: Vec<String> = requests.iter().map(|r| r.value.clone()).collect();
    let engine = Engine::new(graph, &taps, &EngineOptions { dims: options.dims.clone() })?;
    let samples = &options.calibration.samples;
    progress.stage("observe", samples.len());
    let seen = observe(&engine, &requests, samples, &Cpu, &|| progress.tick())?;
    let macs = macs(graph, &placement, &requests, &seen);
    Ok(Observed { activation_bits, placement, requests, taps, engine, seen, macs })
}

/// Observes, measures, scores, allocates.
pub fn analyze(graph: &Graph, options: &Options, progress: &dyn Progress) -> Result<Analysis> {
    let mut observed = observe_network(graph, options, options.widths.is_choice(), progress)?;
    let grams = std::mem::take(&mut observed.seen.grams);
    let mut units = units(&observed.placement, options.target, observed.activation_bits, &observed.macs);
    let chosen = match options.widths.is_choice() {
        false => choose::uniform(&units, options, observed.activation_bits)?,
        true => with_ground(graph, &observed, grams, &mut units, options, progress, |units, ground| {
            choose::choose(units, ground, options, progress)
        })?,
    };
    let sensitivities = sensitivities_by_name(&units);
    choose::refuse_all_float(&chosen.widths)?;
    drop(units);
    let Chosen { widths, record, uniform } = chosen;
    let mut plan = plan_of(graph, options, &observed, &widths, record)?;
    if let Some(uniform) = uniform.filter(|u| options.effort > Effort::Fast && *u != widths) {
        let other = plan_of(graph, options, &observed, &uniform, plan.allocation.clone())?;
        plan = settle(graph, options, &observed.seen, plan, other, progress)?;
    }
    correct_biases(graph, options.target, &mut plan, &observed)?;
    let measured = observed.requests.iter().zip(&observed.seen.values).filter(|(r, _)| !r.only_tap);
    let extremes = measured.map(|(r, v)| (r.value.clone(), extremes(v))).collect();
    let Observed { macs, engine, taps, .. } = observed;
    Ok(Analysis { plan, sensitivities, macs, seen: extremes, observed: Some((engine, taps)) })
}

/// The plan that these widths make.
pub fn plan_of(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    widths: &BTreeMap<String, Option<u32>>,
    record: AllocationRecord,
) -> Result<Plan> {
    let target = options.target;
    let (placement, values) =
        narrow_placement(graph, options, &observed.placement, widths, &observed.requests, &observed.seen);
    let input = plan::InputFacts { range: options.input_range, samples: &options.calibration.samples };
    let bits = observed.activation_bits;
    let activations = plan_activations(graph, target, &placement.sites, &values, bits, &input);
    let layers = layer_plans(graph, widths, options)?;
    let (opset, ir) = versions(graph, target, &layers, bits)?;
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
        allocation: record,
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

/// Says of each layer that one width for all was taken.
pub fn explain_uniform(plan: &mut Plan) {
    for layer in plan.layers.iter_mut().filter(|l| l.bits.is_some()) {
        "one width for all: no choice measured better".clone_into(&mut layer.because);
    }
}

fn check_names(graph: &Graph, keep_float: &BTreeSet<String>) -> Result<()> {
    match keep_float.iter().find(|name| !graph.nodes().iter().any(|n| n.name == **name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(Code::Config, format!("no node is called '{name}'"))
            .help("`xtask inspect` lists the layers and their names")),
    }
}

fn refuse_empty(graph: &Graph, placement: &Placement, target: &Target) -> Result<()> {
    if !placement.layers.is_empty() {
        return Ok(());
    }
    if graph.nodes().is_empty() {
        return Err(Error::new(Code::NothingToQuantize, "the graph is empty"));
    }
    let what = format!("no layer of this model runs with integers on {}", target.name);
    let reason = placement.float_layers.first().map(|(l, because)| format!("'{}': {because}", l.name));
    let help = "weights must be float32 constants of Conv, Gemm or MatMul; `xtask inspect` lists what was found";
    Err(Error::new(Code::NothingToQuantize, what).help(reason.unwrap_or_else(|| help.to_owned())))
}

fn check_weights(graph: &Graph, placement: &Placement) -> Result<()> {
    for layer in &placement.layers {
        for name in [Some(&layer.weight), layer.bias.as_ref()].into_iter().flatten() {
            let Some(tensor) = graph.constant(name) else { continue };
            let place = || format!("node '{}', tensor '{name}'", layer.name);
            let values = onnx::floats(tensor, graph.external()).at(place)?;
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                let what = format!("element {i} of {} is {}", values.len(), values[i]);
                return Err(Error::new(Code::NonFinite, what).help("export the model again from sound weights"))
                    .at(place);
            }
        }
    }
    Ok(())
}

/// Fan-in up to which a layer's Gram matrix is kept (64 MB); wider layers are scored by weight error.
pub const MOST_GRAM_COLUMNS: usize = 4096;

/// One request a site; Gram matrices of the layers that read it, if a choice needs them.
fn requests(graph: &Graph, placement: &Placement, grams: bool) -> Vec<Request> {
    let small = |layer: &Layer| layer.params() / layer.dims[layer.axis].max(1) <= MOST_GRAM_COLUMNS;
    let gram = |(i, layer): (usize, &Layer)| {
        Some(GramRequest { layer: i, patches: layer.patches(graph).filter(|_| small(layer))? })
    };
    let of_value = |value: &str| {
        let readers = placement.layers.iter().enumerate().filter(|(_, l)| grams && l.input == value);
        readers.filter_map(gram).collect()
    };
    let channel_axis = |value: &str| placement.layers.iter().find(|l| l.input == value).map(channel_axis);
    let request = |value: &String| Request {
        value: value.clone(),
        channel_axis: channel_axis(value),
        grams: of_value(value),
        only_tap: false,
    };
    let mut requests: Vec<Request> = placement.sites.iter().map(|s| request(&s.value)).collect();
    for value in unseen_results(graph, placement) {
        requests.push(Request { value, only_tap: true, ..Default::default() });
    }
    requests
}

/// The axis of a layer's input that its channels run along.
fn channel_axis(layer: &Layer) -> i64 {
    if layer.op.starts_with("Conv") { 1 } else { -1 }
}

/// Results of layers that no site shows: tapped as well, so that the report has an error for every layer.
fn unseen_results(graph: &Graph, placement: &Placement) -> Vec<String> {
    let is_site = |value: &String| placement.sites.iter().any(|s| s.value == *value);
    let mut found: Vec<String> = vec![];
    for layer in &placement.layers {
        let results = layer_results(graph, layer);
        let shown = results.iter().any(|r| is_site(r) || found.contains(r));
        found.extend(results.into_iter().next().filter(|_| !shown));
    }
    found
}

fn macs(graph: &Graph, placement: &Placement, requests: &[Request], seen: &Observation) -> BTreeMap<String, u64> {
    let dims_of = |value: &str| requests.iter().position(|r| r.value == value).map(|i| &seen.values[i].dims);
    let layers = placement.layers.iter();
    layers.filter_map(|l| Some((l.name.clone(), l.macs(graph, dims_of(&l.input)?)))).collect()
}

/// Groups layers by stored weight.
pub fn units<'a>(
    placement: &'a Placement,
    target: &Target,
    activation_bits: u32,
    macs: &BTreeMap<String, u64>,
) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit> = vec![];
    for layer in &placement.layers {
        let cost = macs.get(&layer.name).copied().unwrap_or(0);
        if let Some(unit) = units.iter_mut().find(|u| u.layers[0].weight == layer.weight) {
            unit.layers.push(layer);
            unit.macs += cost;
            continue;
        }
        let mut choices: Vec<Option<u32>> =
            target.weight_choices_at(&layer.op, activation_bits).iter().map(|b| Some(*b)).collect();
        choices.sort_unstable();
        choices.extend(target.float_fallback.allowed.then_some(None));
        units.push(Unit { layers: vec![layer], macs: cost, options: choices, sensitivity: Sensitivity::default() });
    }
    units
}

/// Measures what each width does to each unit, and hands that to `then`; the Gram matrices are gone by then.
pub fn with_ground<T>(
    graph: &Graph,
    observed: &Observed,
    grams: Vec<[Gram; FOLDS]>,
    units: &mut [Unit],
    options: &Options,
    progress: &dyn Progress,
    then: impl FnOnce(&mut [Unit], &Ground) -> Result<T>,
) -> Result<T> {
    let offered = |u: &Unit| u.options.iter().flatten().copied().collect::<Vec<u32>>();
    let layers: Vec<(&Layer, Vec<u32>)> = units.iter().map(|u| (u.layers[0], offered(u))).collect();
    let at = |layer: &Layer| observed.placement.layers.iter().position(|l| l.name == layer.name);
    let of_layers: Vec<_> = layers.iter().map(|(l, _)| at(l).and_then(|i| grams.get(i))).collect();
    let halves = choose::halves(options.effort, options.calibration.samples.len());
    progress.stage("round candidates", layers.len());
    let candidates = candidates::measure(graph, &layers, &of_layers, options.target, halves, &|| progress.tick())?;
    drop(of_layers);
    drop(grams);
    let input = |u: &Unit| {
        let request = |r: &Request| r.value == u.layers[0].input && !r.only_tap;
        observed.requests.iter().position(request).map(|i| &observed.seen.values[i])
    };
    let ground = Ground {
        graph,
        samples: &options.calibration.samples,
        outputs: &observed.seen.outputs,
        candidates: &candidates,
        inputs: units.iter().map(input).collect(),
        target: options.target,
        halves,
        activation_bits: observed.activation_bits,
    };
    then(units, &ground)
}

/// A layer's output channels and its weight as rows of channels by fan-in.
pub fn weight_rows(graph: &Graph, layer: &Layer) -> Result<(usize, Vec<f32>)> {
    let missing = || Error::new(Code::InvalidGraph, format!("weight '{}' is not a constant", layer.weight));
    let tensor = graph.constant(&layer.weight).ok_or_else(missing)?;
    Ok(layer.rows(&onnx::floats(tensor, graph.external())?))
}

fn sensitivities_by_name(units: &[Unit]) -> BTreeMap<String, Sensitivity> {
    let measured = units.iter().filter(|u| !u.sensitivity.bits.is_empty());
    measured.flat_map(|u| u.layers.iter().map(|l| (l.name.clone(), u.sensitivity.clone()))).collect()
}

/// Layers that the choice keeps in float leave the integer domain, and their activations with them.
fn narrow_placement<'s>(
    graph: &Graph,
    options: &Options,
    placement: &Placement,
    widths: &BTreeMap<String, Option<u32>>,
    requests: &[Request],
    seen: &'s Observation,
) -> (Placement, Vec<&'s ValueObservation>) {
    let mut keep_float = options.keep_float.clone();
    keep_float.extend(widths.iter().filter(|(_, bits)| bits.is_none()).map(|(name, _)| name.clone()));
    let mut placement = match keep_float.len() == options.keep_float.len() {
        true => placement.clone(),
        false => place(graph, options.target, &keep_float),
    };
    // A smaller integer domain reads no value that the larger one did not; a value that it newly had to
    // quantize would be unobserved, and is left in float.
    let measured = |r: &Request, value: &str| r.value == value && !r.only_tap;
    let observed = |value: &str| requests.iter().position(|r| measured(r, value)).map(|i| &seen.values[i]);
    placement.retain_sites(|s| observed(&s.value).is_some());
    let values = placement.sites.iter().filter_map(|s| observed(&s.value)).collect();
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
/// have 8 bits, the noise of activations is the larger part, and nothing measured was gained.
fn ask_for_second_order(graph: &Graph, plan: &mut Plan) {
    let narrow = plan.layers.iter().any(|l| l.bits.is_some_and(|b| b < 8));
    if !narrow {
        return;
    }
    let layers = plan::weight_layers(graph);
    for decision in &mut plan.layers {
        let layer = layers.iter().find(|l| l.name == decision.name);
        if decision.bits.is_some_and(|b| b <= 8) && layer.is_some_and(|l| sequential::takes_second_order(graph, l)) {
            decision.rounding = RoundingMethod::SecondOrder;
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
    let rounding = sequential::round_sequentially(graph, plan, options, &options.calibration.samples, progress)?;
    sequential::write_shifts(plan, &rounding.shifts);
    Ok(rounding)
}

/// Fills in what each layer's bias must take back of the rounding of its weight.
pub fn correct_biases(graph: &Graph, target: &Target, plan: &mut Plan, observed: &Observed) -> Result<()> {
    let layers = plan::weight_layers(graph);
    let shift = |layer: &Layer| -> Result<plan::Shift> {
        let nearest = |d: &&LayerPlan| d.bits.is_some() && d.rounding == RoundingMethod::Nearest;
        let decision = plan.layers.iter().find(|d| d.name == layer.name).filter(nearest);
        let fits = |r: &Request| r.value == layer.input && r.channel_axis == Some(channel_axis(layer));
        let input = observed.requests.iter().position(fits).map(|i| &observed.seen.values[i]);
        let (Some(decision), Some(input), true) = (decision, input, layer.takes_bias(graph)) else {
            return Ok(plan::Shift::default());
        };
        let (channels, float) = weight_rows(graph, layer)?;
        let (_, stored) = layer.rows(&stored_weight(graph, plan, target, layer, decision)?);
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

/// Says whether a replayed plan asks for the opset and IR version that its widths need.
pub fn check_versions(plan: &Plan, graph: &Graph, target: &Target) -> Result<()> {
    let activation_bits = plan.activations.iter().map(|a| a.bits).max().unwrap_or(8);
    let (opset, ir) = versions(graph, target, &plan.layers, activation_bits)?;
    match (plan.opset, plan.ir) == (opset, ir) {
        true => Ok(()),
        false => Err(Error::new(
            Code::PlanMismatch,
            format!(
                "the plan asks for opset {} and IR {}, its widths need opset {opset} and IR {ir}",
                plan.opset, plan.ir
            ),
        )),
    }
}

/// Opset and IR version that the file needs, never lower than the model's own.
pub fn versions(graph: &Graph, target: &Target, layers: &[LayerPlan], activation_bits: u32) -> Result<(i64, i64)> {
    // Activations below 8 bits are stored as 8: Clip, which carries their width, takes no 4-bit integers.
    let widths = layers.iter().filter_map(|l| l.bits).chain([activation_bits.max(8)]);
    let types = widths.map(|b| IntFormat::signed(b).data_type() as i32);
    let (least_opset, least_ir) =
        types.map(tapq::graph::least_versions).fold((13, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let opset = graph.opset().max(least_opset);
    let needed = least_ir.max(crate::ir_for_opset(opset));
    let limits = &target.onnx;
    // Exporters often declare a newer IR than the file needs; a runtime's ceiling is a reason not to.
    let declared = graph.model().ir_version;
    let raised = if opset > graph.opset() { declared.max(needed) } else { declared.max(least_ir) };
    let ir = if raised > limits.max_ir { needed } else { raised };
    if opset > limits.max_opset || ir > limits.max_ir {
        let what = format!(
            "the file needs opset {opset} and IR {ir}; {} reads up to opset {} and IR {}",
            target.name, limits.max_opset, limits.max_ir
        );
        return Err(
            Error::new(Code::Refused, what).help("export the model with an older opset, or ask for other widths")
        );
    }
    Ok((opset, ir))
}

fn extremes(value: &ValueObservation) -> [f32; 2] {
    let fold =
        |f: fn(f32, f32) -> f32, of: fn(&tapq::stats::TensorStats) -> f32| value.samples.iter().map(of).reduce(f);
    [fold(f32::min, |s| s.min).unwrap_or(0.0), fold(f32::max, |s| s.max).unwrap_or(0.0)]
}
