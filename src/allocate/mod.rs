//! Which width each layer gets: a multiple-choice knapsack, solved to proven optimality.
//!
//! One choice a layer, least total cost, every budget met.
//! The way there: dominated choices go, a Lagrangian relaxation prices the budgets, its reduced costs rule out most
//! of the rest, and a search over partial allocations, pruned by the same bound, finds and proves the optimum: with one
//! budget by dynamic programming over a core of layers that grows as far as it must.
//! What is too large for that search goes to the solver crate, which proves it or leaves a gap that is reported.
//! No wall clock decides anything: equal problems have equal answers.

mod core;
mod front;
mod minimal;
mod mip;
mod prices;
mod prove;
mod reduce;
mod search;
#[cfg(test)]
mod tests;

use self::core::{Core, Picks};
use self::prove::prove;
use crate::{Code, Error, Result};

pub use front::{Point, front};

/// Budgets that one problem may have.
pub const MAX_BUDGETS: usize = 4;

/// Relative slack for the rounding of sums: fractions of a bit, never a byte.
const ROUNDING: f64 = 1e-12;

/// One option of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Damage that it does; NaN and infinities count as worse than every finite cost.
    pub cost: f64,
    /// What it consumes of each budget; a choice with a value that is not finite is never picked.
    pub weights: Vec<f64>,
}

/// A limit on one sum of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Name with unit as in "average bits", for messages.
    pub name: String,
    /// The greatest sum allowed, relative rounding of 1e-12 forgiven; infinity for none.
    pub limit: f64,
    /// What the sums are divided by where people read averages; 1 where they read sums.
    pub over: f64,
}

/// Layers, each with its options, and budgets over all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Options of each layer.
    pub layers: Vec<Vec<Choice>>,
    /// Budgets, in the order of [`Choice::weights`].
    pub budgets: Vec<Budget>,
}

/// What found the proof of optimality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prover {
    /// The relaxation meets its bound.
    Bound,
    /// Every partial allocation that could be better was looked at.
    Search,
    /// Branch and bound of the solver crate, within its tolerance: 1e-6 of the largest cost difference left to decide.
    Solver,
}

/// How good an allocation is known to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// No allocation within the budgets costs less, up to the rounding of `f64` sums.
    Optimal(Prover),
    /// No allocation costs less by more than `gap`.
    Gap {
        /// Cost minus the lower bound, in units of cost.
        gap: f64,
        /// Why there is no proof.
        why: String,
    },
}

impl Proof {
    /// Whether optimality is proven.
    pub fn is_optimal(&self) -> bool {
        matches!(self, Proof::Optimal(_))
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Proof::Optimal(Prover::Bound) => write!(f, "optimal (meets the Lagrangian bound)"),
            Proof::Optimal(Prover::Search) => write!(f, "optimal (exhaustive search under the Lagrangian bound)"),
            Proof::Optimal(Prover::Solver) => write!(f, "optimal (branch and bound of microlp)"),
            Proof::Gap { gap, why } => write!(f, "within {gap:.3e} of the optimum ({why})"),
        }
    }
}

/// One choice a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// Index of the choice of each layer.
    pub picks: Vec<usize>,
    /// Total cost; infinite where a choice of non-finite cost could not be avoided.
    pub cost: f64,
    /// What is consumed of each budget.
    pub used: Vec<f64>,
    /// How good it is known to be.
    pub proof: Proof,
}

/// The allocation of least cost within the budgets.
///
/// # Errors
/// [`Code::Infeasible`] where no allocation meets the budgets; the message holds the least value of each.
/// [`Code::Config`] for a problem that makes no sense: more than [`MAX_BUDGETS`], a NaN limit, weights that do not
/// match the budgets, a layer without choices.
pub fn solve(problem: &Problem) -> Result<Allocation> {
    sound(problem)?;
    // Choices of non-finite cost are looked at only where the others do not suffice.
    let (core, picks) = match attempt(problem, false)? {
        (core, Some(picks)) => (core, picks),
        (_, None) => match attempt(problem, true)? {
            (core, Some(picks)) => (core, picks),
            (_, None) => return Err(infeasible(problem)),
        },
    };
    let (picks, proof) = prove(&core, picks);
    finish(problem, core.original(&picks), core.in_cost_units(proof))
}

/// The reduced problem and the first allocation found that meets the budgets.
fn attempt(problem: &Problem, with_worst: bool) -> Result<(Core, Option<Picks>)> {
    let Some(mut core) = reduce::reduce(problem, with_worst) else {
        return Err(infeasible(problem));
    };
    let picks = if core.least_fits() { core.price() } else { None };
    Ok((core, picks))
}

/// Puts an allocation of the reduced problem back and checks it against the problem as given.
fn finish(problem: &Problem, picks: Vec<usize>, proof: Proof) -> Result<Allocation> {
    let chosen = || problem.layers.iter().zip(&picks).filter_map(|(layer, &pick)| layer.get(pick));
    let cost = sum(chosen().map(|c| c.cost));
    let used: Vec<f64> = (0..problem.budgets.len()).map(|k| sum(chosen().map(|c| c.weights[k]))).collect();
    let within = used.iter().zip(&problem.budgets).all(|(&u, b)| u <= forgiving(b.limit));
    if !within || picks.len() != problem.layers.len() {
        return Err(infeasible(problem).help("this is a defect of the allocation, please report it"));
    }
    Ok(Allocation { picks, cost: if cost.is_finite() { cost } else { f64::INFINITY }, used, proof })
}

fn sound(problem: &Problem) -> Result<()> {
    let wrong = |what: String| Err(Error::new(Code::Config, what));
    if problem.budgets.len() > MAX_BUDGETS {
        return wrong(format!("{} budgets, at most {MAX_BUDGETS} are possible", problem.budgets.len()));
    }
    if let Some(budget) = problem.budgets.iter().find(|b| b.limit.is_nan()) {
        return wrong(format!("the budget of {} is not a number", budget.name));
    }
    for (at, layer) in problem.layers.iter().enumerate() {
        if layer.is_empty() {
            return wrong(format!("layer {at} has no choice"));
        }
        if layer.iter().any(|c| c.weights.len() != problem.budgets.len()) {
            return wrong(format!("layer {at} does not have one weight a budget"));
        }
    }
    Ok(())
}

/// Says which budget is too small, with the least value of each; or that they exclude each other.
fn infeasible(problem: &Problem) -> Error {
    let mut alone = vec![];
    let mut all = vec![];
    for (k, budget) in problem.budgets.iter().enumerate() {
        let least_of = |layer: &Vec<Choice>| {
            layer.iter().map(|c| c.weights[k]).filter(|w| w.is_finite()).fold(f64::INFINITY, f64::min)
        };
        let least = sum(problem.layers.iter().map(least_of));
        let (least_text, asked) = pair(least / budget.over, budget.limit / budget.over);
        let average = if budget.over == 1.0 { "" } else { " on average" };
        let line = format!("least is {least_text} {}{average}, asked {asked}", budget.name);
        if least > forgiving(budget.limit) {
            alone.push(line.clone());
        }
        all.push(line);
    }
    let message = if alone.is_empty() {
        format!("cannot be met together: {}", all.join("; "))
    } else {
        format!("cannot be met: {}", alone.join("; "))
    };
    Error::new(Code::Infeasible, message)
}

/// Two numbers with as many decimals as tell them apart: none for whole numbers, else two or more.
fn pair(a: f64, b: f64) -> (String, String) {
    let whole = a.fract() == 0.0 && b.fract() == 0.0;
    (if whole { 0..1 } else { 2..13 })
        .map(|digits| (format!("{a:.digits$}"), format!("{b:.digits$}")))
        .find(|(a, b)| a != b)
        .unwrap_or_else(|| (a.to_string(), b.to_string()))
}

fn forgiving(limit: f64) -> f64 {
    limit + limit.abs() * ROUNDING
}

/// Compensated sum: the order of layers does not show in the last digits.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0f64, 0.0f64);
    for v in values {
        let next = total + v;
        lost += if total.abs() >= v.abs() { (total - next) + v } else { (v - next) + total };
        total = next;
    }
    if lost.is_finite() { total + lost } else { total }
}
