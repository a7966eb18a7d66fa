//! As little in float, or at more bits, as it takes for the outputs to reach a fidelity.
//!
//! What each rounding does to the output is measured one at a time. From that follows an order in which roundings are
//! given up, the most harmful for their cost first; and of the networks on this path, from none given up to all, the
//! first whose file reaches the goal is found by bisection, each file run on samples that it was not rounded with.
//!
//! Where a device offers wider activations, these get more bits; elsewhere operators are left in float, and with them
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
use leave::{Left, gone};
use std::collections::BTreeSet;
use tapq::graph::Graph;
use tapq::plan::{GoalRecord, Layer, Plan, Relief};
use tapq::report::decibels;
use tapq::target::{Role, Target};
use tapq::{Code, Error, Result};

/// What measurement on few samples says too well of a file: files aim at so much more, in dB.
const MARGIN_DB: f64 = 0.3;

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
            let what = format!("{} offers nothing wider, and no layer in float: {}", target.name, target.float_fallback.because);
            Err(Error::new(Code::Refused, what).help("leave --goal-sqnr out; `--effort balanced` makes the best of the widths"))
        }
    }
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
    let record = |reached_db| GoalRecord { sqnr_db: goal, from_db, reached_db, relief, ..Default::default() };
    if from_db >= goal {
        let values = observed.placement.sites.len();
        return Ok(Plan { goal: Some(GoalRecord { values, ..record(from_db) }), ..plan });
    }
    let field = Field::measure(graph, observed, options, progress)?;
    let path = match relief {
        Relief::Wider => {
            let work = widen::work(graph, &field, observed);
            Path::Wider(widen::path(&field, observed.activation_bits, &|g| work[g]))
        }
        Relief::Float => {
            let harm = Harm::measure(graph, &plan, &field, observed, options, progress)?;
            Path::Float(leave::path(graph, observed, options, &harm, 0.0))
        }
    };
    let at = |step: usize| -> Result<(Plan, f64)> {
        let plan = make(&path.widths(step, widths, &field, &observed.placement.layers, options.target))?;
        let db = sqnr_db(&plan)?;
        Ok((plan, db))
    };
    progress.stage("reach the goal", path.len().max(2).ilog2() as usize + 1);
    let (mut low, mut high, mut best) = (0, path.len(), None);
    while high - low > 1 {
        let middle = low.midpoint(high);
        let (plan, db) = at(middle)?;
        progress.tick();
        if db >= goal + MARGIN_DB {
            (high, best) = (middle, Some((middle, plan, db)));
        } else {
            low = middle;
            if best.is_none() && middle + 1 == path.len() {
                best = Some((middle, plan, db));
            }
        }
    }
    let Some((step, mut plan, reached_db)) = best else { return Ok(plan) };
    let record = GoalRecord { values: observed.placement.sites.len(), ..record(reached_db) };
    plan.goal = Some(path.record(step, record, graph, observed, &field, options));
    path.explain(step, &mut plan, goal);
    Ok(plan)
}

/// Networks of which each gives up a little more than the one before it.
enum Path {
    Wider(Vec<Vec<u32>>),
    Float(Vec<Left>),
}

impl Path {
    /// Steps that leave something quantized.
    fn len(&self) -> usize {
        match self {
            Path::Wider(steps) => steps.len(),
            Path::Float(steps) => steps.iter().filter(|left| !left.placement.layers.is_empty()).count(),
        }
    }

    fn widths(&self, step: usize, base: &Assignment, field: &Field, layers: &[Layer], target: &Target) -> Assignment {
        let mut widths = base.clone();
        match self {
            Path::Wider(steps) => {
                widths.activations = field.by_value(&steps[step]);
                let beside = |layer: &Layer| field.width(layer.node, &steps[step]).unwrap_or(8);
                widen::fit_weights(&mut widths.weights, layers, target, &beside);
            }
            Path::Float(steps) => {
                let left = &steps[step].nodes;
                widths.weights.iter_mut().filter(|(name, _)| left.contains(*name)).for_each(|(_, bits)| *bits = None);
                widths.float.clone_from(left);
            }
        }
        widths
    }

    fn record(
        &self,
        step: usize,
        record: GoalRecord,
        graph: &Graph,
        observed: &Observed,
        field: &Field,
        options: &Options,
    ) -> GoalRecord {
        let costs = Costs::of(graph, observed);
        match self {
            Path::Wider(steps) => {
                let wide = |value: &usize| steps[step][*value] > observed.activation_bits;
                let touched: BTreeSet<usize> =
                    (0..graph.nodes().len()).filter(|n| field.groups_at(*n).iter().any(wide)).collect();
                let by_value = field.by_value(&steps[step]);
                let relieved = by_value.values().filter(|bits| **bits > observed.activation_bits).count();
                GoalRecord { macs: costs.macs_of(touched.into_iter()), relieved, ..record }
            }
            Path::Float(steps) => {
                let after = &steps[step].placement;
                let gone = gone(&observed.placement, after);
                let is_layer = |node: usize| observed.placement.layers.iter().any(|l| l.node == node);
                let ran = |node: usize| {
                    let rule = options.target.rule(&graph.nodes()[node].op_type);
                    rule.is_some_and(|r| !matches!(r.role, Role::FusedActivation | Role::WeightOnly))
                };
                let others = gone.iter().filter(|node| !is_layer(**node) && ran(**node));
                GoalRecord {
                    macs: costs.macs_of(gone.iter().copied()),
                    relieved: record.values - after.sites.len(),
                    operators: others.map(|node| graph.nodes()[*node].name.clone()).collect(),
                    ..record
                }
            }
        }
    }

    /// Says of each layer in float what for.
    fn explain(&self, step: usize, plan: &mut Plan, goal: f64) {
        let Path::Float(steps) = self else { return };
        for layer in plan.layers.iter_mut().filter(|l| steps[step].nodes.contains(&l.name)) {
            layer.because = format!("left in float for {goal} dB at the output");
        }
    }
}
