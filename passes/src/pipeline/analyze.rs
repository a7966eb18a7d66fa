//! From graph and samples to a plan.

use super::biases::correct_biases;
use super::choice::{Assignment, Field, Unit, choose, is_choice, refuse_all_float, uniform, units, with_ground};
use super::goal;
use super::observed::{Observed, observe_network};
use super::options::{Effort, Options};
use super::plans::{activations_of, plan_of, round_all_by_second_order};
use super::progress::Progress;
use super::trial::{settle, settle_ranges, settle_rounding};
use super::versions::versions;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{Layer, LayerPlan, Plan, RoundingMethod};
use tapq::proxy::Sensitivity;
use tapq::quant::RangeRule;
use tapq::stats::ValueObservation;

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
    pub fn of_plan(plan: Plan, graph: &Graph) -> Self {
        let computed = plan.activations.iter().filter(|a| graph.constant(&a.value).is_none());
        let compared = computed.map(|a| a.value.clone()).collect();
        let (sensitivities, macs, seen) = Default::default();
        Analysis { plan, sensitivities, macs, seen, compared }
    }
}

/// Observes, measures, scores, allocates.
pub fn analyze(graph: &Graph, options: &Options, progress: &dyn Progress) -> Result<Analysis> {
    // What no width could mend is said before anything is measured.
    versions(graph, options.target, &[], 8)?;
    goal::check(options)?;
    let mut observed = observe_network(graph, options, options.widths.is_choice(), progress)?;
    let grams = std::mem::take(&mut observed.seen.grams);
    let field = match is_choice(options)? {
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
        false => uniform(&units, options)?,
        true => with_ground(graph, &observed, grams, &mut units, options, progress, |units, ground| {
            choose(units, together, ground, options, progress)
        })?,
    };
    let sensitivities = sensitivities_by_name(&units);
    drop(units);
    if let Some((field, apart)) = field.zip(apart) {
        chosen.set_activations(&field, apart);
    }
    refuse_all_float(&chosen.widths.weights)?;
    let mut plan = plan_of(graph, options, &observed, &chosen.widths, &chosen)?;
    if let Some(uniform) = chosen.uniform.as_ref().filter(|u| options.effort > Effort::Fast && **u != chosen.widths) {
        let other = plan_of(graph, options, &observed, uniform, &chosen)?;
        plan = settle(graph, options, &observed.seen, plan, other, progress)?;
    }
    let mut rule = RangeRule::LeastError;
    if options.effort > Effort::Fast {
        let placed = |l: &&LayerPlan| observed.placement.layers.iter().any(|p| p.name == l.name);
        let widths = Assignment {
            weights: plan.layers.iter().filter(placed).map(|l| (l.name.clone(), l.bits)).collect(),
            activations: plan.activations.iter().map(|a| (a.value.clone(), a.bits)).collect(),
            ..Default::default()
        };
        let make = |rule, half| activations_of(graph, options, &observed, &widths, (rule, half));
        rule = settle_ranges(graph, options, &observed, &mut plan, &make, progress)?;
    }
    correct_biases(graph, options, &mut plan, &observed)?;
    plan = settle_rounding(graph, options, &observed.seen, plan, progress)?;
    if options.goal_db.is_some() {
        let base = plan.clone();
        let make = |widths: &Assignment| {
            let mut plan = plan_of(graph, options, &observed, widths, &chosen)?;
            plan.allocation.clone_from(&base.allocation);
            if rule != RangeRule::LeastError {
                plan.activations = activations_of(graph, options, &observed, widths, (rule, None))?;
            }
            correct_biases(graph, options, &mut plan, &observed)?;
            if base.layers.iter().any(|l| l.rounding == RoundingMethod::SecondOrder) {
                round_all_by_second_order(graph, &mut plan);
            }
            Ok(plan)
        };
        plan = goal::reach(graph, options, &observed, (plan, &chosen.widths), &make, progress)?;
    }
    let measured = observed.requests.iter().zip(&observed.seen.values).filter(|(r, _)| !r.only_tap);
    let extremes = measured.map(|(r, v)| (r.value.clone(), extremes(v))).collect();
    let Observed { macs, taps, .. } = observed;
    Ok(Analysis { plan, sensitivities, macs, seen: extremes, compared: taps })
}

fn sensitivities_by_name(units: &[Unit]) -> BTreeMap<String, Sensitivity> {
    let measured = units.iter().filter(|u| !u.sensitivity.bits.is_empty());
    measured.flat_map(|u| u.layers.iter().map(|l| (l.name.clone(), u.sensitivity.clone()))).collect()
}

fn extremes(value: &ValueObservation) -> [f32; 2] {
    let fold =
        |f: fn(f32, f32) -> f32, of: fn(&tapq::stats::TensorStats) -> f32| value.samples.iter().map(of).reduce(f);
    [fold(f32::min, |s| s.min).unwrap_or(0.0), fold(f32::max, |s| s.max).unwrap_or(0.0)]
}
