//! Exhaustive search over partial allocations, layer by layer, under bounds.
//!
//! A partial allocation goes when it cannot meet a budget any more, when its excess over a Lagrangian bound reaches
//! what the cutoff allows, or when another one costs and consumes no more.
//! The bound at the best prices is tight for the whole; bounds at prices a little off are tighter for partial
//! allocations that consumed too much or too little, so a few of both are kept.

use super::core::{Core, Item, Picks, Use};
use super::{MAX_BUDGETS, ROUNDING};

/// Partial allocations that may be kept over all layers: some tenths of a second of work.
const MOST: usize = 400_000;

/// The same with several budgets, where branch and bound is the faster of the two.
const MOST_OF_SEVERAL: usize = 4_000;

/// With three budgets or more, dominance is looked for among this many neighbours only.
const NEIGHBOURS: usize = 64;

/// Partial allocations a layer that [`beam`] keeps.
const BEAM: usize = 300;

/// Bounds that every partial allocation is measured against.
const LENSES: usize = 9;

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
    excess: [f64; LENSES],
    parent: u32,
    pick: u32,
}

/// One bound: prices, reduced costs at them, and the excess that an allocation worth keeping stays below.
struct Lens {
    prices: Use,
    reduced: Vec<Vec<f64>>,
    cutoff: f64,
}

/// Looks for the cheapest allocation whose excess over the bound at the core's prices is below `cutoff`.
pub(super) fn search(core: &Core, ladder: &Ladder, cutoff: f64) -> Found {
    explore(core, ladder, cutoff, usize::MAX)
}

/// Looks for a cheap allocation among the most promising partial ones; what it does not find may yet exist.
pub(super) fn beam(core: &Core, ladder: &Ladder, cutoff: f64) -> Option<Picks> {
    match explore(core, ladder, cutoff, BEAM) {
        Found::Best(picks) => Some(picks),
        Found::Nothing | Found::TooMany => None,
    }
}

fn explore(core: &Core, ladder: &Ladder, cutoff: f64, width: usize) -> Found {
    let lenses = ladder.lenses(core, cutoff);
    let left = left(core, &lenses);
    let order = order(core, &left);
    let rest = Rest::new(core, &left, &order);
    let mut trail: Vec<Vec<(u32, u32)>> = vec![];
    let start = Partial { used: [0.0; MAX_BUDGETS], cost: 0.0, excess: [0.0; LENSES], parent: 0, pick: 0 };
    let mut states = vec![start];
    let most = if core.budgets == 1 { MOST } else { MOST_OF_SEVERAL };
    let mut kept = 0;
    for (step, &layer) in order.iter().enumerate() {
        let mut next = vec![];
        for (parent, state) in states.iter().enumerate() {
            for &pick in &left[layer] {
                let partial = state.with(parent, layer, pick, &core.layers[layer][pick], &lenses);
                if rest.may_do(core, &lenses, &partial, step + 1) {
                    next.push(partial);
                }
            }
        }
        drop_dominated(&mut next, core.budgets);
        if next.len() > width {
            next.sort_by(|a, b| a.excess[0].total_cmp(&b.excess[0]));
            next.truncate(width);
        }
        kept += next.len();
        if next.is_empty() {
            return Found::Nothing;
        }
        if kept > most && width == usize::MAX {
            return Found::TooMany;
        }
        trail.push(next.iter().map(|p| (p.parent, p.pick)).collect());
        states = next;
    }
    back(core, &order, &trail, &states)
}

impl Partial {
    fn with(&self, parent: usize, layer: usize, pick: usize, item: &Item, lenses: &[Lens]) -> Partial {
        let mut excess = self.excess;
        for (sum, lens) in excess.iter_mut().zip(lenses) {
            *sum += lens.reduced[layer][pick];
        }
        Partial {
            used: std::array::from_fn(|k| self.used[k] + item.weights[k]),
            cost: self.cost + item.cost,
            excess,
            parent: parent as u32,
            pick: pick as u32,
        }
    }
}

/// Prices around the best ones, with what the bound loses there: computed once, used at every cutoff.
pub(super) struct Ladder {
    best: f64,
    /// For each budget and side, from far to near.
    sides: Vec<Vec<(Use, f64)>>,
}

impl Ladder {
    pub fn new(core: &Core) -> Ladder {
        let best = core.bound(&core.prices);
        let rung = |k: usize, share: f64| {
            let mut prices = core.prices;
            prices[k] *= 1.0 + share;
            let bound = core.bound(&prices);
            // Rounding may only make the lens let more through.
            let rounding = 1e-13 * (best.abs() + bound.abs() + prices[k] * core.limits[k].abs());
            (prices, (best - bound).max(0.0) + rounding)
        };
        let side = |k: usize, side: f64| (1..40).map(|j| rung(k, side * 0.5f64.powi(j))).collect();
        Ladder { best, sides: (0..core.budgets).flat_map(|k| [side(k, 1.0), side(k, -1.0)]).collect() }
    }

    /// The bound at the best prices, and on both sides of each those that lose up to some cutoffs.
    fn lenses(&self, core: &Core, cutoff: f64) -> Vec<Lens> {
        let lens =
            |prices: Use, loss: f64| Lens { prices, reduced: core.reduced_costs(&prices), cutoff: cutoff + loss };
        let mut all = vec![lens(core.prices, 1e-15 * self.best.abs())];
        let aims: &[f64] = match core.budgets {
            1 => &[16.0, 4.0, 1.0, 0.25],
            2 => &[4.0, 0.5],
            _ => &[1.0],
        };
        for side in &self.sides {
            let near = |aim: &f64| side.iter().find(|(_, loss)| *loss <= aim * cutoff);
            all.extend(aims.iter().filter_map(near).map(|&(prices, loss)| lens(prices, loss)));
        }
        all.truncate(LENSES);
        all
    }
}

/// Positions of the items that no lens rules out.
fn left(core: &Core, lenses: &[Lens]) -> Vec<Vec<usize>> {
    let stays = |l: usize, at: usize| lenses.iter().all(|lens| lens.reduced[l][at] < lens.cutoff);
    core.layers.iter().enumerate().map(|(l, items)| (0..items.len()).filter(|&at| stays(l, at)).collect()).collect()
}

/// Settled layers first, then those that consume most: the small ones fill what the large ones leave.
fn order(core: &Core, left: &[Vec<usize>]) -> Vec<usize> {
    let span = |layer: usize| {
        let priced =
            left[layer].iter().map(|&at| core.layers[layer][at].priced(&core.prices) - core.layers[layer][at].cost);
        let (low, high) = priced.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), w| (l.min(w), h.max(w)));
        if left[layer].len() <= 1 { f64::INFINITY } else { high - low }
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
    fn new(core: &Core, left: &[Vec<usize>], order: &[usize]) -> Rest {
        let (mut low, mut high) = ([0.0; MAX_BUDGETS], [0.0; MAX_BUDGETS]);
        let mut rest = Rest { least: vec![low], most: vec![high] };
        for &layer in order.iter().rev() {
            for k in 0..core.budgets {
                let weights = || left[layer].iter().map(|&at| core.layers[layer][at].weights[k]);
                low[k] += weights().fold(f64::INFINITY, f64::min);
                high[k] += weights().fold(f64::NEG_INFINITY, f64::max);
            }
            rest.least.push(low);
            rest.most.push(high);
        }
        rest.least.reverse();
        rest.most.reverse();
        rest
    }

    /// Whether the budgets can still be met with an excess below every lens's cutoff.
    fn may_do(&self, core: &Core, lenses: &[Lens], partial: &Partial, step: usize) -> bool {
        let mut slack = [0.0; MAX_BUDGETS];
        for (k, slack) in slack.iter_mut().enumerate().take(core.budgets) {
            // Sums in another order round differently; what is let through here is checked exactly at the end.
            let tolerance = core.limits[k].abs() * ROUNDING;
            if partial.used[k] + self.least[step][k] > core.limits[k] + tolerance {
                return false;
            }
            *slack = (core.limits[k] - partial.used[k] - self.most[step][k] - tolerance).max(0.0);
        }
        lenses.iter().zip(&partial.excess).all(|(lens, excess)| {
            excess + lens.prices.iter().zip(&slack).map(|(p, s)| p * s).sum::<f64>() < lens.cutoff
        })
    }
}

fn drop_dominated(states: &mut Vec<Partial>, budgets: usize) {
    states.sort_by(|a, b| {
        let rest = || a.used.iter().zip(&b.used).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
        a.used[0]
            .total_cmp(&b.used[0])
            .then(a.cost.total_cmp(&b.cost))
            .then_with(|| rest().unwrap_or(std::cmp::Ordering::Equal))
    });
    let mut front = Front::default();
    let mut kept: Vec<Partial> = Vec::with_capacity(states.len());
    for state in states.iter() {
        let beaten =
            |other: &Partial| other.cost <= state.cost && other.used.iter().zip(&state.used).all(|(x, y)| x <= y);
        // The sort settled the first budget, a staircase settles the second, and more are settled by trying.
        let stays = match budgets {
            0 | 1 => !kept.last().is_some_and(beaten),
            2 => front.admits(state.used[1], state.cost),
            _ => !kept.iter().rev().take(NEIGHBOURS).any(beaten),
        };
        if stays {
            kept.push(*state);
        }
    }
    *states = kept;
}

/// What the states seen so far cost at least for what they consume of the second budget: rising use, falling cost.
#[derive(Default)]
struct Front(Vec<(f64, f64)>);

impl Front {
    /// Takes the pair in unless one seen before consumes and costs no more.
    fn admits(&mut self, used: f64, cost: f64) -> bool {
        let at = self.0.partition_point(|p| p.0 <= used);
        if at.checked_sub(1).and_then(|before| self.0.get(before)).is_some_and(|p| p.1 <= cost) {
            return false;
        }
        let from = self.0.partition_point(|p| p.0 < used);
        let beaten = self.0.get(from..).unwrap_or(&[]).iter().take_while(|p| p.1 >= cost).count();
        self.0.splice(from..from + beaten, [(used, cost)]);
        true
    }
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
