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
use cost::{Costs, inside};
use harm::Harm;
use leave::Leaving;
use std::collections::{BTreeMap, BTreeSet};
use tapq::graph::Graph;
use tapq::plan::{GOAL_MARGIN_DB, GoalRecord, Plan, Relief};
use tapq::report::decibels;
use tapq::target::Role;
use tapq::{Code, Error, Result};
use widen::{WideWeights, Widening};

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
    let sqnr_db = |plan: &Plan| trial.held_out_db(plan, progress);
    let start = Found { widths: widths.clone(), db: sqnr_db(&plan)?, plan };
    let from_db = start.db;
    let record = |db| GoalRecord { sqnr_db: goal, from_db, reached_db: db, relief, ..Default::default() };
    if from_db >= goal + GOAL_MARGIN_DB {
        let values = observed.placement.sites.len();
        return Ok(Plan { goal: Some(GoalRecord { values, ..record(from_db) }), ..start.plan });
    }
    let field = Field::measure(graph, observed, options, progress)?;
    let harm = Harm::measure(graph, &start.plan, &field, observed, options, progress)?;
    let search = Search { goal, make, sqnr_db: &sqnr_db, progress };
    let found = match relief {
        Relief::Float => search.run(&Means::Float(Leaving::new(graph, observed, options, &harm)), &start)?,
        Relief::Wider => widen(graph, options, observed, &field, &harm, &search, &start)?,
    };
    let context = Context { graph, options, observed };
    let mut plan = found.plan;
    let record = match relief {
        Relief::Float => context.left(&found.widths, record(found.db)),
        Relief::Wider => context.widened(&found.widths, &start.widths, &field, record(found.db)),
    };
    let left = plan.layers.iter_mut().filter(|l| found.widths.float.contains(&l.name));
    left.for_each(|layer| layer.because = record.reason());
    plan.goal = Some(record);
    Ok(plan)
}

/// Activations first; where all of them at their widest are not enough, weights; and once these have what they need,
/// activations anew.
fn widen(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    field: &Field,
    harm: &Harm,
    search: &Search,
    start: &Found,
) -> Result<Found> {
    let layers = &observed.placement.layers;
    let activations =
        |needed: &BTreeSet<usize>| Means::Activations(Widening::new(graph, field, observed, options.target, needed));
    let narrow = activations(&BTreeSet::new());
    let found = search.run(&narrow, start)?;
    let widest = Found { widths: narrow.within(narrow.bounds()[1], &start.widths)?, ..found.clone() };
    let weights = WideWeights::new(layers, &widest.widths.weights, options.target, field.bits(), harm);
    if search.is_reached(&found) || !weights.offers() {
        return Ok(found);
    }
    let all = search.run(&Means::Weights(weights), &widest)?;
    if !search.is_reached(&all) {
        // Where nothing came nearer, that is what was found before.
        return Ok(if all.db > found.db { all } else { found });
    }
    let wide: BTreeMap<String, Option<u32>> =
        all.widths.weights.iter().filter(|(name, bits)| widest.widths.weights[*name] != **bits).map(cloned).collect();
    // A kernel of wide weights takes wide activations; which of its values are wide is the rest's to decide.
    let of_layer = |name: &String| layers.iter().find(|l| l.name == *name).map(|l| field.groups_at(l.node));
    let worth = |g: &usize| field.groups[*g].damage.first().copied().unwrap_or(0.0);
    let most = |groups: Vec<usize>| groups.into_iter().max_by(|a, b| worth(a).total_cmp(&worth(b)));
    let needed: BTreeSet<usize> = wide.keys().filter_map(of_layer).filter_map(most).collect();
    let mut from = start.clone();
    from.widths.weights.extend(wide);
    let fewer = search.run(&activations(&needed), &from)?;
    Ok(if search.is_reached(&fewer) { fewer } else { all })
}

fn cloned((name, bits): (&String, &Option<u32>)) -> (String, Option<u32>) {
    (name.clone(), *bits)
}

/// A plan that gives something up, the widths that made it, and the SQNR of its file.
#[derive(Clone)]
struct Found {
    widths: Assignment,
    plan: Plan,
    db: f64,
}

/// Finds what reaches a fidelity.
struct Search<'a> {
    /// SQNR in dB.
    goal: f64,
    make: Make<'a>,
    sqnr_db: &'a dyn Fn(&Plan) -> Result<f64>,
    progress: &'a dyn Progress,
}

impl Search<'_> {
    fn is_reached(&self, found: &Found) -> bool {
        found.db >= self.goal + GOAL_MARGIN_DB
    }

    /// The file of the highest level of harm that reaches the goal with the margin; else the one that reaches it
    /// without, or that comes nearest.
    fn run(&self, means: &Means, from: &Found) -> Result<Found> {
        let [all, least] = means.bounds();
        let levels = (decibels(least) - decibels(all)).clamp(0.0, MOST_DB) / STEP_DB;
        let (mut low, mut high) = (0, levels.ceil() as usize + 1);
        self.progress.stage("reach the goal", high.ilog2() as usize + 1);
        let (mut best, mut last): (Option<Found>, Option<Found>) = (None, None);
        // Less rounding is not always less noise.
        let mut nearest = from.clone();
        // Predicted and measured errors differ, but not wildly: the first try is where they would meet.
        let mut next = ((self.goal + GOAL_MARGIN_DB - from.db) / STEP_DB).round() as usize;
        while high - low > 1 {
            let level = next.clamp(low + 1, high - 1);
            let most = (all * 10f64.powf(-0.1 * STEP_DB * level as f64)).max(least);
            let widths = means.within(most, &from.widths)?;
            let found = match last.take().filter(|found| found.widths == widths) {
                Some(same) => same,
                None => {
                    let plan = (self.make)(&widths)?;
                    Found { db: (self.sqnr_db)(&plan)?, widths, plan }
                }
            };
            self.progress.tick();
            if self.is_reached(&found) {
                high = level;
                best = Some(found.clone());
            } else {
                low = level;
                if found.db.min(self.goal) > nearest.db {
                    nearest = found.clone();
                }
            }
            last = Some(found);
            next = low.midpoint(high);
        }
        Ok(best.unwrap_or(nearest))
    }
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

    /// `base`, changed as little as it takes for no more harm than `most`.
    fn within(&self, most: f64, base: &Assignment) -> Result<Assignment> {
        let mut widths = base.clone();
        match self {
            Means::Activations(widening) => widening.within(most, &mut widths)?,
            Means::Weights(weights) => weights.within(most, &mut widths)?,
            Means::Float(leaving) => leaving.within(most, &mut widths),
        }
        Ok(widths)
    }
}

/// What a record is made from.
struct Context<'a> {
    graph: &'a Graph,
    options: &'a Options<'a>,
    observed: &'a Observed,
}

impl Context<'_> {
    /// What is wider than it was.
    fn widened(&self, now: &Assignment, before: &Assignment, field: &Field, record: GoalRecord) -> GoalRecord {
        let from = self.observed.activation_bits;
        let is_wide = |value: &String| now.activations.get(value).is_some_and(|bits| *bits > from);
        let groups: BTreeSet<usize> = field.group_of(is_wide);
        let nodes = 0..self.graph.nodes().len();
        let touched = nodes.filter(|node| field.groups_at(*node).iter().any(|g| groups.contains(g)));
        let wider = now.weights.iter().filter(|(name, bits)| before.weights.get(*name) != Some(*bits));
        GoalRecord {
            macs: Costs::of(self.graph, self.observed).macs_of(touched),
            values: field.values.len(),
            relieved: field.values.iter().filter(|value| is_wide(value)).count(),
            weights: wider.count(),
            ..record
        }
    }

    /// What is in float and was not.
    fn left(&self, now: &Assignment, record: GoalRecord) -> GoalRecord {
        let before = &self.observed.placement;
        let after = leave::placement(self.graph, self.observed, self.options, &now.float);
        let stays = inside(&after);
        let is_gone = |node: &usize| !stays.contains(node) || now.float.contains(&self.graph.nodes()[*node].name);
        let gone: Vec<usize> = inside(before).into_iter().filter(is_gone).collect();
        let is_layer = |node: usize| before.layers.iter().any(|l| l.node == node);
        let ran = |node: usize| {
            let rule = self.options.target.rule(&self.graph.nodes()[node].op_type);
            rule.is_some_and(|r| !matches!(r.role, Role::FusedActivation | Role::WeightOnly))
        };
        let is_alone = |node: usize| before.weight_only.iter().any(|alone| alone.node == node);
        let others = gone.iter().filter(|node| !is_layer(**node) && (ran(**node) || is_alone(**node)));
        GoalRecord {
            macs: Costs::of(self.graph, self.observed).macs_of(gone.iter().copied()),
            values: before.sites.len(),
            relieved: before.sites.len() - after.sites.len(),
            operators: others.map(|node| self.graph.nodes()[*node].name.clone()).collect(),
            ..record
        }
    }
}
