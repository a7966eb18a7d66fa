//! As little in float, or at more bits, as it takes for the outputs to reach a fidelity.
//!
//! What each rounding does to the output is measured one at a time. From that follows what to give up, at the least
//! cost, for the roundings that remain to do no more harm than a level; and the highest level whose file reaches the goal
//! is found by bisection, each file run on samples that it was not rounded with.
//!
//! Where a device offers wider activations, these get more bits, and weights, too, if that is not enough; elsewhere
//! operators are left in float, and with them what stands between them.

mod cost;
mod harm;
mod leave;
mod record;
mod search;
mod widen;

use super::choice::{Assignment, Field};
use super::observed::Observed;
use super::options::Options;
use super::progress::Progress;
use super::trial::Trial;
use harm::Harm;
use leave::Leaving;
use record::Before;
use search::{Found, Means, Search};
use std::collections::{BTreeMap, BTreeSet};
use tapq::graph::Graph;
use tapq::plan::{GOAL_MARGIN_DB, GoalRecord, Plan, Relief};
use tapq::{Code, Error, Result};
use widen::{WideWeights, Widening};

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
    let target = options.target;
    let from = options.activation_bits.unwrap_or(target.default_activation_bits());
    let wider = match target.variant.weight_only {
        true => target.operators.iter().filter_map(|rule| rule.blocks.as_ref()).any(|b| b.weight_bits.len() > 1),
        false => target.activations.bits.iter().any(|b| *b > from),
    };
    let float = target.float_fallback.allowed;
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
    let before = Before { graph, options, observed };
    let mut plan = found.plan;
    let record = match relief {
        Relief::Float => before.left(&found.widths, record(found.db)),
        Relief::Wider => before.widened(&found.widths, &start.widths, &field, record(found.db)),
    };
    let left = plan.layers.iter_mut().filter(|l| found.widths.float.contains(&l.name));
    left.for_each(|layer| layer.because = record.reason());
    plan.goal = Some(record);
    Ok(plan)
}

/// Where weights are all that is quantized, those. Else activations first; where all of them at their widest are not
/// enough, weights; and once these have what they need, activations anew.
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
    if options.target.variant.weight_only {
        let weights = WideWeights::new(layers, &start.widths.weights, options.target, field.bits(), harm);
        return search.run(&Means::Weights(weights), start);
    }
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
