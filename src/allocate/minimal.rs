//! One budget: dynamic programming over a core of layers that grows until nothing outside it can matter.
//!
//! At the best price every layer has an item of no reduced cost, its base. An optimum differs from the bases in few
//! layers, those with another item at nearly no reduced cost, so layers are added in that order (Pisinger 1995, "A
//! minimal algorithm for the multiple-choice knapsack problem"). A state is the bases changed in the layers added so
//! far; what the layers to come can do for it at best is bounded by their cheapest rate, and as that rises, states die.

use super::ROUNDING;
use super::core::{Core, Picks};

/// States that may be kept over all layers: some tenths of a second of work.
const MOST: usize = 1_000_000;

/// The bases changed in some layers.
#[derive(Clone, Copy)]
struct State {
    used: f64,
    /// Sum of the reduced costs.
    excess: f64,
    parent: u32,
    pick: u32,
}

/// A layer that can be changed.
struct Layer {
    at: usize,
    /// Items but the base: position, what it consumes above the base, reduced cost.
    items: Vec<(u32, f64, f64)>,
    /// Least reduced cost for each unit consumed less, and for each consumed more.
    rates: [f64; 2],
}

/// The cheapest allocation, from one that meets the budget; none where that takes too many states.
pub(super) fn search(core: &Core, reduced: &[Vec<f64>], first: &Picks) -> Option<Picks> {
    let bases: Picks = reduced.iter().map(|r| least(r)).collect();
    let mut best = Best { excess: core.excess(reduced, first), picks: first.clone() };
    let layers = layers(core, reduced, &bases, best.excess);
    let rests = rests(&layers);
    let (price, limit) = (core.prices[0], core.limits[0]);
    let tolerance = limit.abs() * ROUNDING;
    let mut states = vec![State { used: core.used(&bases)[0], excess: 0.0, parent: 0, pick: 0 }];
    let mut trail: Vec<Vec<(u32, u32)>> = vec![];
    let mut kept = 0;
    best.look(core, &states, (price, limit + tolerance), |_| bases.clone());
    for (step, layer) in layers.iter().enumerate() {
        let next = grown(&states, layer, bases[layer.at] as u32, price, best.excess);
        trail.push(next.iter().map(|s| (s.parent, s.pick)).collect());
        kept += next.len();
        if kept > MOST {
            return None;
        }
        best.look(core, &next, (price, limit + tolerance), |at| picks(&bases, &layers[..=step], &trail, at));
        let [less, more] = rests[step + 1];
        let bound = |state: &State| {
            let slack = limit - state.used;
            // Sums in another order round differently: in doubt a state stays.
            let beyond = |amount: f64, rate: f64| (amount - tolerance).max(0.0) * rate;
            let doubtless = if slack >= 0.0 { beyond(slack, price.min(more)) } else { beyond(-slack, less) };
            state.excess + if doubtless.is_nan() { 0.0 } else { doubtless }
        };
        // A state that cannot be better any more goes, and the others keep their place in the trail.
        states.clear();
        for (at, state) in next.iter().enumerate().filter(|(_, s)| bound(s) < best.excess) {
            states.push(State { parent: at as u32, ..*state });
        }
        if states.is_empty() {
            break;
        }
    }
    Some(best.picks)
}

/// The best allocation so far.
struct Best {
    excess: f64,
    picks: Picks,
}

impl Best {
    /// Takes the best of the states that meet the budget, if it is better.
    fn look(&mut self, core: &Core, states: &[State], (price, limit): (f64, f64), picks: impl Fn(usize) -> Picks) {
        let total = |s: &State| s.excess + price * (limit - s.used).max(0.0);
        let mut better: Vec<(f64, usize)> = states
            .iter()
            .enumerate()
            .filter(|(_, s)| s.used <= limit && total(s) < self.excess)
            .map(|(at, s)| (total(s), at))
            .collect();
        better.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // Some may meet the budget only by the rounding of their sum.
        let found = better.into_iter().map(|(excess, at)| (excess, picks(at))).find(|(_, p)| core.fits(p));
        if let Some((excess, picks)) = found {
            (self.excess, self.picks) = (excess, picks);
        }
    }
}

/// Position of the least value; of equals the first.
fn least(values: &[f64]) -> usize {
    values.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
}

/// Layers with an item that can be in a better allocation, those with the cheapest rates first.
fn layers(core: &Core, reduced: &[Vec<f64>], bases: &Picks, excess: f64) -> Vec<Layer> {
    let mut layers = vec![];
    for (at, (items, reduced)) in core.layers.iter().zip(reduced).enumerate() {
        let base = items.get(bases[at]).map_or(0.0, |i| i.weights[0]);
        let others = items.iter().zip(reduced).enumerate().filter(|(pick, (_, r))| *pick != bases[at] && **r < excess);
        let items: Vec<(u32, f64, f64)> = others.map(|(p, (i, r))| (p as u32, i.weights[0] - base, *r)).collect();
        let rate = |sign: f64| {
            let of = items.iter().filter(|(_, more, _)| more * sign > 0.0).map(|(_, more, r)| r / more.abs());
            of.fold(f64::INFINITY, f64::min)
        };
        let rates = [rate(-1.0), rate(1.0)];
        if !items.is_empty() {
            layers.push(Layer { at, items, rates });
        }
    }
    layers.sort_by(|a, b| {
        let cheapest = |l: &Layer| l.rates[0].min(l.rates[1]);
        cheapest(a).total_cmp(&cheapest(b)).then(a.at.cmp(&b.at))
    });
    layers
}

/// Before each step and after the last, the cheapest rates of the layers to come.
fn rests(layers: &[Layer]) -> Vec<[f64; 2]> {
    let mut rests = vec![[f64::INFINITY; 2]];
    for layer in layers.iter().rev() {
        let last = rests.last().copied().unwrap_or([f64::INFINITY; 2]);
        rests.push([last[0].min(layer.rates[0]), last[1].min(layer.rates[1])]);
    }
    rests.reverse();
    rests
}

/// Every state with every item of the layer, in order of what is consumed; what consumes and costs no less goes.
fn grown(states: &[State], layer: &Layer, base: u32, price: f64, cutoff: f64) -> Vec<State> {
    let with = |pick: u32, more: f64, reduced: f64| {
        let one = states.iter().map(move |s| State { used: s.used + more, excess: s.excess + reduced, pick, ..*s });
        one.filter(|s| s.excess < cutoff).collect::<Vec<_>>()
    };
    let mut merged = with(base, 0.0, 0.0);
    for (pick, more, reduced) in &layer.items {
        merged = merge(&merged, &with(*pick, *more, *reduced), price);
    }
    merged
}

/// Both in one order, without what is dominated: cost is excess less the price of what is consumed.
fn merge(a: &[State], b: &[State], price: f64) -> Vec<State> {
    let mut merged: Vec<State> = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    // Excess falls below the last one kept by what was consumed more, or the state is dominated.
    let mut take = |state: &State| {
        let stays = merged.last().is_none_or(|l| state.excess - l.excess < price * (state.used - l.used));
        if stays {
            merged.push(*state);
        }
    };
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let first = x.used.total_cmp(&y.used).then(x.excess.total_cmp(&y.excess)).is_le();
        take(if first { x } else { y });
        if first { i += 1 } else { j += 1 }
    }
    a[i..].iter().chain(&b[j..]).for_each(take);
    merged
}

/// The bases with what a state of the last of these layers changed.
fn picks(bases: &Picks, layers: &[Layer], trail: &[Vec<(u32, u32)>], mut at: usize) -> Picks {
    let mut picks = bases.clone();
    for (layer, step) in layers.iter().zip(trail).rev() {
        let Some((parent, pick)) = step.get(at).copied() else { break };
        picks[layer.at] = pick as usize;
        at = parent as usize;
    }
    picks
}
