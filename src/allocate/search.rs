//! Exhaustive search over partial allocations, layer by layer, under a bound.
//!
//! A partial allocation goes when it cannot meet a budget any more, when its excess over the Lagrangian bound reaches
//! the cutoff, or when another one costs and consumes no more.

use super::MAX_BUDGETS;
use super::core::{Core, Picks, Use};

/// Partial allocations that may be kept over all layers; about a second of work.
const MOST: usize = 1_000_000;

/// With several budgets, dominance is looked for among this many neighbours only.
const NEIGHBOURS: usize = 64;

pub(super) enum Found {
    /// The cheapest allocation whose excess is below the cutoff.
    Best(Picks),
    /// There is none.
    Nothing,
    /// The search would take too long.
    TooMany,
}

#[derive(Clone, Copy)]
struct Partial {
    used: Use,
    cost: f64,
    excess: f64,
    parent: u32,
    pick: u32,
}

/// Looks for the cheapest allocation whose excess is below `cutoff`.
pub(super) fn search(core: &Core, reduced: &[Vec<f64>], cutoff: f64) -> Found {
    let order = order(core, reduced, cutoff);
    let rest = Rest::new(core, reduced, cutoff, &order);
    let mut trail: Vec<Vec<(u32, u32)>> = vec![];
    let mut states = vec![Partial { used: [0.0; MAX_BUDGETS], cost: 0.0, excess: 0.0, parent: 0, pick: 0 }];
    let mut kept = 0;
    for (step, &layer) in order.iter().enumerate() {
        let mut next = vec![];
        for (parent, state) in states.iter().enumerate() {
            for (pick, (item, &r)) in core.layers[layer].iter().zip(&reduced[layer]).enumerate() {
                if state.excess + r >= cutoff {
                    continue;
                }
                let used = std::array::from_fn(|k| state.used[k] + item.weights[k]);
                let partial = Partial {
                    used,
                    cost: state.cost + item.cost,
                    excess: state.excess + r,
                    parent: parent as u32,
                    pick: pick as u32,
                };
                if rest.may_do(core, &partial, step + 1, cutoff) {
                    next.push(partial);
                }
            }
        }
        drop_dominated(&mut next, core.budgets);
        kept += next.len();
        if next.is_empty() {
            return Found::Nothing;
        }
        if kept > MOST {
            return Found::TooMany;
        }
        trail.push(next.iter().map(|p| (p.parent, p.pick)).collect());
        states = next;
    }
    back(core, &order, &trail, &states)
}

/// Layers with a choice left last, those that consume most first: the small ones fill what the large ones leave.
fn order(core: &Core, reduced: &[Vec<f64>], cutoff: f64) -> Vec<usize> {
    let span = |layer: usize| {
        let left = || {
            core.layers[layer]
                .iter()
                .zip(&reduced[layer])
                .filter(|(_, r)| **r < cutoff)
                .map(|(i, _)| core.priced(i) - i.cost)
        };
        let (low, high) = left().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), w| (l.min(w), h.max(w)));
        if left().count() <= 1 { f64::INFINITY } else { high - low }
    };
    let mut order: Vec<(f64, usize)> = (0..core.layers.len()).map(|l| (span(l), l)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, l)| l).collect()
}

/// Least and most that the layers after each step can consume.
struct Rest {
    least: Vec<Use>,
    most: Vec<Use>,
}

impl Rest {
    fn new(core: &Core, reduced: &[Vec<f64>], cutoff: f64, order: &[usize]) -> Rest {
        let mut rest = Rest { least: vec![[0.0; MAX_BUDGETS]], most: vec![[0.0; MAX_BUDGETS]] };
        for &layer in order.iter().rev() {
            let left = || core.layers[layer].iter().zip(&reduced[layer]).filter(|(_, r)| **r < cutoff).map(|(i, _)| i);
            let (mut low, mut high) = ([0.0; MAX_BUDGETS], [0.0; MAX_BUDGETS]);
            for k in 0..core.budgets {
                low[k] = left().map(|i| i.weights[k]).fold(f64::INFINITY, f64::min);
                high[k] = left().map(|i| i.weights[k]).fold(f64::NEG_INFINITY, f64::max);
            }
            let add = |to: Option<&Use>, what: Use| std::array::from_fn(|k| to.map_or(0.0, |t| t[k]) + what[k]);
            rest.least.push(add(rest.least.last(), low));
            rest.most.push(add(rest.most.last(), high));
        }
        rest.least.reverse();
        rest.most.reverse();
        rest
    }

    /// Whether the budgets can still be met with an excess below the cutoff.
    fn may_do(&self, core: &Core, partial: &Partial, step: usize, cutoff: f64) -> bool {
        let (least, most) = (&self.least[step], &self.most[step]);
        let mut excess = partial.excess;
        for k in 0..core.budgets {
            // Sums in another order round differently; what is let through here is checked exactly at the end.
            let tolerance = core.limits[k].abs() * super::ROUNDING;
            if partial.used[k] + least[k] > core.limits[k] + tolerance {
                return false;
            }
            excess += core.prices[k] * (core.limits[k] - partial.used[k] - most[k] - tolerance).max(0.0);
        }
        excess < cutoff
    }
}

fn drop_dominated(states: &mut Vec<Partial>, budgets: usize) {
    states.sort_by(|a, b| {
        let used = a.used.iter().zip(&b.used).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
        a.used[0].total_cmp(&b.used[0]).then(a.cost.total_cmp(&b.cost)).then(used.unwrap_or(std::cmp::Ordering::Equal))
    });
    let neighbours = if budgets == 1 { 1 } else { NEIGHBOURS };
    let mut kept: Vec<Partial> = Vec::with_capacity(states.len());
    for state in states.iter() {
        let beaten =
            |other: &Partial| other.cost <= state.cost && other.used.iter().zip(&state.used).all(|(x, y)| x <= y);
        if !kept.iter().rev().take(neighbours).any(beaten) {
            kept.push(*state);
        }
    }
    *states = kept;
}

/// Follows the cheapest end state that meets the budgets back to its picks.
fn back(core: &Core, order: &[usize], trail: &[Vec<(u32, u32)>], ends: &[Partial]) -> Found {
    let mut best: Vec<usize> = (0..ends.len()).collect();
    best.sort_by(|&a, &b| ends[a].cost.total_cmp(&ends[b].cost).then(a.cmp(&b)));
    let picked = |end: usize| {
        let (mut at, mut picks) = (end, vec![0; order.len()]);
        for (&layer, step) in order.iter().zip(trail).rev() {
            let (parent, pick) = step[at];
            (picks[layer], at) = (pick as usize, parent as usize);
        }
        picks
    };
    best.into_iter().map(picked).find(|picks| core.fits(picks)).map_or(Found::Nothing, Found::Best)
}
