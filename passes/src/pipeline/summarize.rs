//! From what happened to what a person looks at.

use super::analyze::Analysis;
use super::choice::{integer_bytes, stored_bytes};
use super::elsewhere::{Elsewhere, elsewhere};
use super::goal;
use super::observed::{first_result, layer_results};
use super::options::{Effort, Options};
use crate::driver::AppliedPatch;
use crate::{Pass, WidenHalf};
use std::collections::{BTreeMap, BTreeSet};
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{
    ActivationPlan, GoalRecord, Layer, LayerPlan, Plan, Relief, Rounding, WEIGHT_ONLY_BITS, WeightOnly, WeightSlot,
    weight_layers,
};
use tapq::quant::IntFormat;
use tapq::report::{
    ActivationReport, Fidelity, LayerReport, PassReport, REPORT_SCHEMA, Refused, Report, Size, left_out,
};
use tapq::target::Target;

/// What the report needs of a layer once the float graph is gone.
struct LayerFacts {
    layer: Layer,
    /// See [`layer_results`].
    results: Vec<String>,
}

/// The same of a node whose weights alone are stored.
struct WeightOnlyFacts {
    node: WeightOnly,
    result: Option<String>,
}

/// What the report needs of the float graph.
pub struct Facts {
    layers: Vec<LayerFacts>,
    weight_only: Vec<WeightOnlyFacts>,
    elsewhere: Elsewhere,
}

impl Facts {
    /// Of the float graph that is about to be quantized.
    pub fn of(graph: &Graph, plan: &Plan, options: &Options) -> Result<Self> {
        let (layers, target) = (weight_layers(graph), options.target);
        let goal = plan.goal.as_ref();
        let chosen = |name: &str| match goal.filter(|goal| goal.operators.iter().any(|left| left == name)) {
            Some(goal) => Some(goal.reason()),
            None => options.keep_float.contains(name).then(|| "kept in float on request".to_owned()),
        };
        let elsewhere = elsewhere(graph, &layers, &plan.weight_only, target, &chosen);
        let facts = |layer: Layer| LayerFacts { results: layer_results(graph, &layer), layer };
        let alone = |node: WeightOnly| WeightOnlyFacts { result: first_result(graph, node.node), node };
        let weight_only = plan.weight_only_nodes(graph, target)?.into_iter().map(alone).collect();
        Ok(Facts { layers: layers.into_iter().map(facts).collect(), weight_only, elsewhere })
    }
}

/// Builds the report; file sizes are left for the caller.
pub fn report(
    facts: &Facts,
    analysis: &Analysis,
    rounding: &Rounding,
    options: &Options,
    fidelity: Option<Fidelity>,
    applied: Vec<AppliedPatch>,
) -> Report {
    let plan = &analysis.plan;
    let by_name: BTreeMap<&str, &LayerFacts> = facts.layers.iter().map(|l| (l.layer.name.as_str(), l)).collect();
    let sqnr: BTreeMap<&str, f64> =
        fidelity.iter().flat_map(|f| &f.values).map(|v| (v.value.as_str(), v.sqnr_db)).collect();
    // A layer that runs in float with stored weights is shown as the plan stores it.
    let alone: BTreeSet<&str> = facts.weight_only.iter().map(|w| w.node.name.as_str()).collect();
    let known = plan.layers.iter().filter(|p| !alone.contains(p.name.as_str()));
    let pairs: Vec<(&LayerPlan, &LayerFacts)> =
        known.filter_map(|p| Some((p, *by_name.get(p.name.as_str())?))).collect();
    let layers = pairs.iter().map(|(p, l)| (l.layer.node, layer_report(p, l, analysis, rounding, &sqnr)));
    let stored = facts.weight_only.iter().map(|w| (w.node.node, weight_only_report(w, options.target, &sqnr)));
    let mut layers: Vec<(usize, LayerReport)> = layers.chain(stored).collect();
    layers.sort_by_key(|(node, _)| *node);
    Report {
        schema: REPORT_SCHEMA,
        tapq: plan.tapq.clone(),
        target: plan.target.clone(),
        target_title: options.target.title.clone(),
        proxy: plan.proxy.clone(),
        calibration: plan.calibration.clone(),
        fixed_inputs: plan.fixed_inputs.clone(),
        widened: applied.iter().find(|a| a.pass == WidenHalf.name()).map(|a| a.reasons.join("; ")),
        warnings: warnings(options, plan, fidelity.as_ref()),
        size: Size { elsewhere: facts.elsewhere.bytes, ..size(&pairs, facts, analysis, options) },
        allocation: plan.allocation.clone(),
        activation_allocation: plan.activation_allocation.clone(),
        goal: plan.goal.clone(),
        layers: layers.into_iter().map(|(_, report)| report).collect(),
        activations: plan.activations.iter().map(|a| activation_report(a, analysis, &sqnr)).collect(),
        refused: refused(&pairs, &facts.elsewhere, plan.goal.as_ref()),
        passes: applied.into_iter().map(|a| PassReport { pass: a.pass.to_owned(), reasons: a.reasons }).collect(),
        fidelity,
        ..Default::default()
    }
}

fn warnings(options: &Options, plan: &Plan, fidelity: Option<&Fidelity>) -> Vec<String> {
    let mut warnings: Vec<String> = left_out(options.calibration).into_iter().collect();
    if options.calibration.synthetic && options.plan.is_none() {
        let what = match options.target.variant.weight_only {
            true => "samples are synthetic, so that weights are rounded to the nearest: --calib makes a better file",
            false => "ranges come from synthetic samples, not from data: expect a useless file; give --calib",
        };
        warnings.push(what.to_owned());
    }
    if options.target.variant.block_size.is_some() && plan.layers.iter().all(|l| l.block.is_none()) {
        let what = "no layer has weights in blocks, so that --block-size changes nothing: a budget such as \
                    --avg-weight-bits or --weight-only asks for them";
        warnings.push(what.to_owned());
    }
    if fidelity.is_some_and(|f| f.held_out == Some(false)) {
        warnings.push(held_out_help(options));
    }
    if fidelity.is_some_and(|f| f.sqnr_db < 10.0 && f.says_nothing.is_none()) {
        let is_open = plan.goal.is_none();
        let widest = options.target.activations.bits.iter().max().filter(|_| is_open && !plan.activations.is_empty());
        let mut advice = vec![];
        if let Some(bits) = widest.filter(|bits| plan.activations.iter().all(|a| a.bits < **bits)) {
            advice.push(format!("--act-bits {bits} gives activations {bits} bits"));
        }
        if options.effort == Effort::Fast {
            advice.push("--effort balanced may do better".to_owned());
        }
        if is_open && goal::can_relieve(options) {
            advice.push("--goal-sqnr 20 gives up what harms most".to_owned());
        }
        let more = if advice.is_empty() { String::new() } else { format!("; {}", advice.join(", ")) };
        warnings.push(format!("the quantized network is far from the float one (SQNR below 10 dB){more}"));
    }
    warnings.extend(plan.goal.as_ref().and_then(|goal| of_goal(goal, fidelity)));
    warnings
}

/// So many dB less on other samples are worth a word.
const FAR_DB: f64 = 2.0;

/// What a goal measured on calibration samples, against the file on those that were held out.
fn of_goal(goal: &GoalRecord, fidelity: Option<&Fidelity>) -> Option<String> {
    let asked = format!("the goal of {} dB", goal.sqnr_db);
    let measured = fidelity.filter(|f| f.says_nothing.is_none()).map(|f| f.sqnr_db);
    if !goal.is_reached() && measured.is_none_or(|db| db < goal.sqnr_db) {
        let given = match goal.relief {
            _ if goal.relieved == 0 && goal.weights == 0 => "and nothing given up comes nearer",
            Relief::Wider => "with the widths that there are",
            Relief::Float => "with all that can be left in float",
        };
        return Some(format!("{asked} was not reached {given}: {:.1} dB", goal.reached_db));
    }
    let held_out =
        measured.filter(|db| fidelity.is_some_and(|f| f.held_out == Some(true)) && *db < goal.sqnr_db - FAR_DB)?;
    let reached = goal.reached_db;
    Some(format!(
        "{asked} was reached on calibration samples ({reached:.1} dB), and not on those held out ({held_out:.1} dB): \
         give more samples, or a higher goal"
    ))
}

/// Says that nothing was held out, and how to hold something out.
fn held_out_help(options: &Options) -> String {
    let used = options.calibration.samples.len();
    format!(
        "fidelity was measured on the calibration samples: it flatters, most of all below 8 bits; give more than \
         {used} samples, and those beyond the first {used} judge the file"
    )
}

fn size(pairs: &[(&LayerPlan, &LayerFacts)], facts: &Facts, analysis: &Analysis, options: &Options) -> Size {
    // What is shared is stored once.
    let mut seen = BTreeSet::new();
    let pairs: Vec<&(&LayerPlan, &LayerFacts)> = pairs.iter().filter(|(p, _)| seen.insert(&p.weight)).collect();
    let mut seen = BTreeSet::new();
    let slots = facts.weight_only.iter().flat_map(|w| w.node.weights.iter().map(|slot| (w.node.op.as_str(), slot)));
    let slots: Vec<(&str, &WeightSlot)> = slots.filter(|(_, slot)| seen.insert(&slot.weight)).collect();
    let nominal = |p: &LayerPlan| p.params as u64 * u64::from(p.bits.unwrap_or(32));
    let nominal = pairs.iter().map(|(p, _)| nominal(p)).sum::<u64>();
    let alone = slots.iter().map(|(_, slot)| slot.params() as u64).sum::<u64>();
    let stored = pairs.iter().map(|(p, l)| stored_bytes(&l.layer, p.bits, options.target));
    let stored_alone = slots.iter().map(|(op, slot)| {
        let scales = if options.target.per_channel(op) { slot.dims[slot.axis] as u64 } else { 1 };
        integer_bytes(slot.params(), WEIGHT_ONLY_BITS, scales)
    });
    Size {
        float_weights: 4 * (pairs.iter().map(|(p, _)| p.params as u64).sum::<u64>() + alone),
        stored_weights: stored.chain(stored_alone).sum(),
        nominal_weights: (nominal + alone * u64::from(WEIGHT_ONLY_BITS)).div_ceil(8),
        average_bits: analysis.plan.average_weight_bits(),
        macs: analysis.macs.values().sum(),
        ..Default::default()
    }
}

fn layer_report(
    plan: &LayerPlan,
    facts: &LayerFacts,
    analysis: &Analysis,
    rounding: &Rounding,
    sqnr: &BTreeMap<&str, f64>,
) -> LayerReport {
    let stored = match plan.bits {
        Some(bits) => format!("{:?}", IntFormat::signed(bits).data_type()).to_lowercase(),
        None => "float32".to_owned(),
    };
    LayerReport {
        name: plan.name.clone(),
        op: plan.op.clone(),
        shape: facts.layer.dims.clone(),
        params: plan.params,
        macs: analysis.macs.get(&plan.name).copied().unwrap_or(0),
        bits: plan.bits,
        stored,
        block: plan.block,
        rounding: rounding.errors.get(&plan.name).copied(),
        sensitivity: analysis.sensitivities.get(&plan.name).cloned(),
        output_sqnr_db: facts.results.iter().find_map(|value| sqnr.get(value.as_str()).copied()),
        because: plan.because.clone(),
    }
}

fn weight_only_report(facts: &WeightOnlyFacts, target: &Target, sqnr: &BTreeMap<&str, f64>) -> LayerReport {
    let node = &facts.node;
    LayerReport {
        name: node.name.clone(),
        op: node.op.clone(),
        shape: node.weights.first().map(|w| w.dims.clone()).unwrap_or_default(),
        params: node.params(),
        bits: Some(WEIGHT_ONLY_BITS),
        stored: format!("{:?}", IntFormat::signed(WEIGHT_ONLY_BITS).data_type()).to_lowercase(),
        output_sqnr_db: facts.result.as_deref().and_then(|value| sqnr.get(value).copied()),
        because: format!("weights alone: {} has no integer kernel for {}", target.name, node.op),
        ..Default::default()
    }
}

fn activation_report(plan: &ActivationPlan, analysis: &Analysis, sqnr: &BTreeMap<&str, f64>) -> ActivationReport {
    let (lo, hi) = plan.affine().range();
    ActivationReport {
        value: plan.value.clone(),
        bits: plan.bits,
        scale: plan.scale,
        zero_point: plan.zero_point,
        range: [lo, hi],
        seen: analysis.seen.get(&plan.value).copied().unwrap_or([lo, hi]),
        sqnr_db: sqnr.get(plan.value.as_str()).copied(),
        because: plan.because.clone(),
    }
}

/// What the target left in float; what a goal left there was not refused.
fn refused(pairs: &[(&LayerPlan, &LayerFacts)], elsewhere: &Elsewhere, goal: Option<&GoalRecord>) -> Vec<Refused> {
    let float = pairs.iter().filter(|(p, _)| p.bits.is_none());
    let layers = float.map(|(p, _)| Refused { what: format!("{} '{}'", p.op, p.name), because: p.because.clone() });
    let chosen = goal.map(GoalRecord::reason);
    let all = layers.chain(elsewhere.refused.iter().cloned());
    all.filter(|refused| chosen.as_ref() != Some(&refused.because)).collect()
}
