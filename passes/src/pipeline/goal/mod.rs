//! As little in float, or at more bits, as it takes for the outputs to reach a fidelity.
//!
//! What each rounding does to the output is measured one at a time. From that follows what to give up, at the least
//! cost, for the roundings that remain to do no more harm than a level; and the highest level whose file reaches the goal
//! is found by bisection, each file run on samples that it was not rounded with.
//!
//! Where a device offers wider activations, these get more bits, and weights, too, if that is not enough; elsewhere operators are left in float, and with them
//! what stands between them.

mod cost;
mod harm;
mod leave;
mod widen;

use super::choice::{Assignment, Field};
use super::observed::Observed;
use super::options::Options;
use super::progress::Progress;
use super::trial::Trial;
use cost::Costs;
use harm::Harm;
use leave::{Leaving, Left, gone};
use std::collections::BTreeMap;
use tapq::graph::Graph;
use tapq::plan::{GoalRecord, Layer, Plan, Relief};
use tapq::report::decibels;
use tapq::target::{Role, Target};
use tapq::{Code, Error, Result};
use widen::{WideWeights, Widening, fit_weights};

/// What measurement on few samples says too well of a file: files aim at so much more, in dB.
const MARGIN_DB: f64 = 0.3;
/// Steps between the levels that are tried, in dB.
const STEP_DB: f64 = 0.25;
/// The lowest level that is tried, in dB below all that there is.
const MOST_DB: f64 = 100.0;

/// Makes a plan of widths.
pub type Make<'a> = &'a dyn Fn(&Assignment) -> Result<Plan>;

/// Refuses a goal that contradicts what else is asked for, or that the device has no means for.
pub fn check(options: &Options) -> Result<()> {
    let Some(goal) = options.goal_db else { return Ok(()) };
    let target = options.target;
    let budget = options.widths.is_choice() || options.widths.average_activation.is_some();
    if budget {
        let what = "--goal-sqnr asks for what a fidelity takes, and a budget says what it may take";
        return Err(Error::new(Code::Config, what).help("give one or the other"));
    }
    if !goal.is_finite() || goal > 120.0 {
        let what = format!("a goal of {goal} dB is none: float networks agree to some 120 dB");
        return Err(Error::new(Code::Config, what));
    }
    match relief(options) {
        Some(_) => Ok(()),
        None => {
            let what = format!(
                "{} offers nothing wider, and no layer in float: {}",
                target.name, target.float_fallback.because
            );
            Err(Error::new(Code::Refused, what)
                .help("leave --goal-sqnr out; `--effort balanced` makes the best of the widths"))
        }
    }
}

/// Whether the device has anything to give up where a goal asks for it.
pub fn can_relieve(options: &Options) -> bool {
    relief(options).is_some()
}

/// What can be given up on this device.
fn relief(options: &Options) -> Option<Relief> {
    let from = options.activation_bits.unwrap_or(options.target.default_activation_bits());
    let wider = options.target.activations.bits.iter().any(|b| *b > from);
    let float = options.target.float_fallback.allowed;
    wider.then_some(Relief::Wider).or(float.then_some(Relief::Float))
}

/// Gives up as little of `plan`, which `widths` made, as it takes to reach the goal.
pub fn reach(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    (plan, widths): (Plan, &Assignment),
    make: Make,
    progress: &dyn Progress,
) -> Result<Plan> {
    let (Some(goal), Some(relief)) = (options.goal_db, relief(options)) else { return Ok(plan) };
    let trial = Trial { graph, options, seen: &observed.seen };
    let sqnr_db = |plan: &Plan| Ok::<f64, Error>(decibels(trial.error(plan, progress)?));
    let from_db = sqnr_db(&plan)?;
    let values = observed.placement.sites.len();
    let record = |reached_db| GoalRecord { sqnr_db: goal, from_db, reached_db, relief, values, ..Default::default() };
    if from_db >= goal {
        return Ok(Plan { goal: Some(record(from_db)), ..plan });
    }
    let field = Field::measure(graph, observed, options, progress)?;
    let harm = Harm::measure(graph, &plan, &field, observed, options, progress)?;
    let layers = &observed.placement.layers;
    let search = |means: &Means, widths: &Assignment, from_db: f64| -> Result<Option<Found>> {
        let make = |relieved: &Relieved| make(&relieved.widths(widths, &field, layers, options.target));
        search(means, from_db, goal, &make, &sqnr_db, progress)
    };
    let means = match relief {
        Relief::Wider => Means::Activations(Widening::new(graph, &field, observed)),
        Relief::Float => Means::Float(Leaving::new(graph, observed, options, &harm)),
    };
    let Some(mut found) = search(&means, widths, from_db)? else { return Ok(plan) };
    let mut goal_record = found.relieved.record(record(found.db), graph, observed, &field, options);
    if let (Relieved::Activations(bits), false) = (&found.relieved, goal_record.is_reached()) {
        let widest = found.relieved.widths(widths, &field, layers, options.target);
        let beside = bits.iter().copied().max().unwrap_or(observed.activation_bits);
        let weights = WideWeights::new(layers, &widest.weights, options.target, beside, &harm);
        let wider = weights.offers().then(|| search(&Means::Weights(weights), &widest, found.db)).transpose()?;
        if let Some(wider) = wider.flatten().filter(|f| f.db > found.db) {
            goal_record = wider.relieved.record(
                GoalRecord { reached_db: wider.db, ..goal_record },
                graph,
                observed,
                &field,
                options,
            );
            found = wider;
        }
    }
    let mut plan = Plan { goal: Some(goal_record), ..found.plan };
    found.relieved.explain(&mut plan);
    Ok(plan)
}

/// A plan that gives something up, and what its file measures.
struct Found {
    relieved: Relieved,
    plan: Plan,
    db: f64,
}

/// The highest level of harm whose file reaches the goal; the file of the lowest where none does.
fn search(
    means: &Means,
    from_db: f64,
    goal: f64,
    make: &dyn Fn(&Relieved) -> Result<Plan>,
    sqnr_db: &dyn Fn(&Plan) -> Result<f64>,
    progress: &dyn Progress,
) -> Result<Option<Found>> {
    let [all, least] = means.bounds();
    let levels = (decibels(least) - decibels(all)).clamp(0.0, MOST_DB) / STEP_DB;
    let (mut low, mut high) = (0, levels.ceil() as usize + 1);
    let mut best: Option<Found> = None;
    let mut known: Option<(Relieved, f64)> = None;
    progress.stage("reach the goal", high.ilog2() as usize + 1);
    // Predicted and measured errors differ, but not wildly: the first try is where they would meet.
    let mut next = ((goal + MARGIN_DB - from_db) / STEP_DB).round() as usize;
    while high - low > 1 {
        let level = next.clamp(low + 1, high - 1);
        let relieved = means.within((all * 10f64.powf(-0.1 * STEP_DB * level as f64)).max(least))?;
        let plan = make(&relieved)?;
        let same = known.as_ref().filter(|(other, _)| *other == relieved).map(|(_, db)| *db);
        let db = same.map_or_else(|| sqnr_db(&plan), Ok)?;
        known = Some((relieved.clone(), db));
        progress.tick();
        let reached = db >= goal + MARGIN_DB;
        if reached || level + 1 == high && best.is_none() {
            best = Some(Found { relieved, plan, db });
        }
        if reached {
            high = level;
        } else {
            low = level;
        }
        next = low.midpoint(high);
    }
    Ok(best)
}

/// What can be given up, and how much of it for how much harm.
enum Means<'a> {
    Activations(Widening<'a>),
    Weights(WideWeights<'a>),
    Float(Leaving<'a>),
}

impl Means<'_> {
    fn bounds(&self) -> [f64; 2] {
        match self {
            Means::Activations(widening) => widening.bounds(),
            Means::Weights(weights) => weights.bounds(),
            Means::Float(leaving) => leaving.bounds(),
        }
    }

    fn within(&self, most: f64) -> Result<Relieved> {
        match self {
            Means::Activations(widening) => widening.within(most).map(Relieved::Activations),
            Means::Weights(weights) => weights.within(most).map(Relieved::Weights),
            Means::Float(leaving) => {
                let nothing = || Error::new(Code::NothingToQuantize, "no layer is left to quantize");
                leaving.within(most).map(Relieved::Float).ok_or_else(nothing)
            }
        }
    }
}

/// What is given up.
#[derive(Clone)]
enum Relieved {
    /// Widths of the groups of the field.
    Activations(Vec<u32>),
    /// Wider weights beside what has been given up before, by layer.
    Weights(BTreeMap<String, u32>),
    Float(Left),
}

impl PartialEq for Relieved {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Relieved::Activations(a), Relieved::Activations(b)) => a == b,
            (Relieved::Weights(a), Relieved::Weights(b)) => a == b,
            (Relieved::Float(a), Relieved::Float(b)) => a.nodes == b.nodes,
            _ => false,
        }
    }
}

impl Relieved {
    fn widths(&self, base: &Assignment, field: &Field, layers: &[Layer], target: &Target) -> Assignment {
        let mut widths = base.clone();
        match self {
            Relieved::Weights(bits) => {
                widths.weights.extend(bits.iter().map(|(name, bits)| (name.clone(), Some(*bits))));
            }
            Relieved::Activations(bits) => {
                widths.activations = field.by_value(bits);
                let beside = |layer: &Layer| field.width(layer.node, bits).unwrap_or(8);
                fit_weights(&mut widths.weights, layers, target, &beside);
            }
            Relieved::Float(left) => {
                let named = widths.weights.iter_mut().filter(|(name, _)| left.nodes.contains(*name));
                named.for_each(|(_, bits)| *bits = None);
                widths.float.clone_from(&left.nodes);
            }
        }
        widths
    }

    fn record(
        &self,
        record: GoalRecord,
        graph: &Graph,
        observed: &Observed,
        field: &Field,
        options: &Options,
    ) -> GoalRecord {
        let costs = Costs::of(graph, observed);
        match self {
            Relieved::Weights(bits) => GoalRecord { weights: bits.len(), ..record },
            Relieved::Activations(bits) => {
                let is_wide = |group: &usize| bits[*group] > observed.activation_bits;
                let nodes = 0..graph.nodes().len();
                let touched = nodes.filter(|n| field.groups_at(*n).iter().any(is_wide));
                let by_value = field.by_value(bits);
                let relieved = by_value.values().filter(|bits| **bits > observed.activation_bits).count();
                GoalRecord { macs: costs.macs_of(touched), relieved, ..record }
            }
            Relieved::Float(left) => {
                let gone = gone(&observed.placement, &left.placement);
                let is_layer = |node: usize| observed.placement.layers.iter().any(|l| l.node == node);
                let ran = |node: usize| {
                    let rule = options.target.rule(&graph.nodes()[node].op_type);
                    rule.is_some_and(|r| !matches!(r.role, Role::FusedActivation | Role::WeightOnly))
                };
                let others = gone.iter().filter(|node| !is_layer(**node) && ran(**node));
                GoalRecord {
                    macs: costs.macs_of(gone.iter().copied()),
                    relieved: record.values - left.placement.sites.len(),
                    operators: others.map(|node| graph.nodes()[*node].name.clone()).collect(),
                    ..record
                }
            }
        }
    }

    /// Says of each layer in float what for.
    fn explain(&self, plan: &mut Plan) {
        let (Relieved::Float(left), Some(goal)) = (self, &plan.goal) else { return };
        let layers = plan.layers.iter_mut().filter(|l| left.nodes.contains(&l.name));
        layers.for_each(|layer| layer.because = goal.reason());
    }
}
