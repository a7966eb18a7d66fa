//! What the search cannot finish, by branch and bound of microlp: the only module that states the problem to it whole.

use super::core::{Core, Item, Picks};
use super::{Proof, Prover};
use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOptions, TerminationReason, Variable};

/// Nodes of the branch and bound: a count, not a time, so that equal problems have equal answers.
const NODES: u64 = 5_000;

/// The same with one budget, where what the search cannot finish is near hopeless here too.
const NODES_OF_ONE: u64 = 100;

/// The better allocation of the solver's and `first`, with what is proven about it.
///
/// No allocation has an excess below `proven`.
pub(super) fn solve(core: &Core, reduced: &[Vec<f64>], first: Picks, proven: f64) -> (Picks, Proof) {
    let excess = core.excess(reduced, &first);
    let found = branch_and_bound(core, reduced, excess).filter(|(picks, _)| core.fits(picks));
    match found {
        Some((picks, true)) if core.excess(reduced, &picks) <= excess => (picks, Proof::Optimal(Prover::Solver)),
        Some((picks, _)) if core.excess(reduced, &picks) < excess => gap(core, reduced, picks, proven),
        _ => gap(core, reduced, first, proven),
    }
}

fn gap(core: &Core, reduced: &[Vec<f64>], picks: Picks, proven: f64) -> (Picks, Proof) {
    let gap = (core.excess(reduced, &picks) - proven).max(0.0);
    let why =
        format!("too many allocations of nearly this cost, gave up after {} nodes of branch and bound", nodes(core));
    (picks, Proof::Gap { gap, why })
}

fn nodes(core: &Core) -> u64 {
    if core.budgets == 1 { NODES_OF_ONE } else { NODES }
}

/// Picks, and whether they are proven; choices whose reduced cost reaches the excess cannot be better.
fn branch_and_bound(core: &Core, reduced: &[Vec<f64>], excess: f64) -> Option<(Picks, bool)> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut places: Vec<Vec<(usize, Variable)>> = vec![];
    let left: Vec<Vec<(usize, f64)>> =
        core.layers.iter().zip(reduced).map(|(l, r)| above_least(l, r, excess)).collect();
    // The solver's tolerances are absolute, so what is left to decide is brought to 1.
    let unit = left.iter().flatten().map(|(_, cost)| *cost).fold(f64::MIN_POSITIVE, f64::max);
    for layer in left {
        let of_layer: Vec<_> = layer.into_iter().map(|(at, cost)| (at, problem.add_binary_var(cost / unit))).collect();
        let one: Vec<_> = of_layer.iter().map(|(_, v)| (*v, 1.0)).collect();
        problem.add_constraint(&one[..], ComparisonOp::Eq, 1.0);
        places.push(of_layer);
    }
    for k in 0..core.budgets {
        let unit = core.limits[k].abs().max(f64::MIN_POSITIVE);
        let weight = |l: usize, at: usize| core.layers[l].get(at).map_or(0.0, |i| i.weights[k] / unit);
        let row: Vec<_> =
            places.iter().enumerate().flat_map(|(l, p)| p.iter().map(move |&(at, v)| (v, weight(l, at)))).collect();
        problem.add_constraint(&row[..], ComparisonOp::Le, core.limits[k] / unit);
    }
    let mut options = SolveOptions::default();
    options.node_limit = Some(nodes(core));
    let solution = problem.solve_with(options).ok()?.into_solution().ok()?;
    let of = |p: &Vec<(usize, Variable)>| p.iter().find(|(_, v)| solution.var_value(*v) > 0.5).map(|(at, _)| *at);
    let picks: Option<Picks> = places.iter().map(of).collect();
    Some((picks?, solution.termination_reason() == TerminationReason::ProvenOptimal))
}

/// Positions of the items that can be in a better allocation, with their cost above the cheapest of them.
fn above_least(layer: &[Item], reduced: &[f64], excess: f64) -> Vec<(usize, f64)> {
    let left =
        || layer.iter().zip(reduced).enumerate().filter(|(_, (_, r))| **r <= excess).map(|(at, (i, _))| (at, i.cost));
    let least = left().map(|(_, cost)| cost).fold(f64::INFINITY, f64::min);
    left().map(|(at, cost)| (at, cost - least)).collect()
}
