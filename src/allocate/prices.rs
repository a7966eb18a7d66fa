//! Prices of the budgets that make the Lagrangian bound greatest, and a first allocation that meets the budgets.

use super::MAX_BUDGETS;
use super::core::{Core, Item, Picks, Use};
use super::search::{Found, Ladder, search};
use microlp::{ComparisonOp, OptimizationDirection, Problem};

/// Cutting planes that are tried with several budgets; prices that are not the best still give a valid bound.
const PLANES: usize = 60;

impl Core {
    /// Sets the prices; an allocation that meets the budgets, none where there is none.
    pub fn price(&mut self) -> Option<Picks> {
        let free = self.cheapest(&[0.0; MAX_BUDGETS]);
        if self.fits(&free) {
            return Some(free);
        }
        let first = match self.budgets {
            1 => Some(self.price_one(free)),
            _ => self.price_many(free),
        };
        first.or_else(|| self.any()).map(|picks| self.polish(picks))
    }

    /// The cheapest item of each layer at the prices; of equals the one that consumes least.
    fn cheapest(&self, prices: &Use) -> Picks {
        let of = |layer: &Vec<Item>| {
            let key = |i: &Item| (i.priced(prices), i.weights[0]);
            let order = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
            let keyed = layer.iter().map(key).enumerate();
            keyed.min_by(|(i, a), (j, b)| order(a, b).then(i.cmp(j))).map_or(0, |(at, _)| at)
        };
        self.layers.iter().map(of).collect()
    }

    /// One budget: the line through a too heavy and a fitting allocation gives the next price, until it touches.
    fn price_one(&mut self, free: Picks) -> Picks {
        let lightest = |layer: &Vec<Item>| {
            let keyed = layer.iter().enumerate();
            let order = |a: &Item, b: &Item| a.weights[0].total_cmp(&b.weights[0]).then(a.cost.total_cmp(&b.cost));
            keyed.min_by(|(i, a), (j, b)| order(a, b).then(i.cmp(j))).map_or(0, |(at, _)| at)
        };
        let mut heavy = free;
        let mut light: Picks = self.layers.iter().map(lightest).collect();
        loop {
            let (cost, used) = (self.cost(&heavy), self.used(&heavy)[0]);
            let price = (self.cost(&light) - cost) / (used - self.used(&light)[0]);
            if !price.is_finite() || price <= self.prices[0] && self.prices[0] > 0.0 && price == self.prices[0] {
                return light;
            }
            self.prices[0] = price.max(0.0);
            let next = self.cheapest(&self.prices);
            let below = cost + price * used - (self.cost(&next) + price * self.used(&next)[0]);
            if below <= 1e-13 * (cost + price * used).abs() || next == heavy || next == light {
                return light;
            }
            if self.fits(&next) { light = next } else { heavy = next }
        }
    }

    /// Several budgets: Kelley's cutting planes, each plane an allocation, the next prices from the solver.
    fn price_many(&mut self, free: Picks) -> Option<Picks> {
        let unit: Use = std::array::from_fn(|k| self.spread(k));
        let (mut planes, mut best, mut bound) = (vec![self.plane(&free, &unit)], [0.0; MAX_BUDGETS], f64::NEG_INFINITY);
        let mut fitting: Option<Picks> = None;
        for _ in 0..PLANES {
            let Some((prices, above)) = master(&planes, self.budgets) else { break };
            let prices: Use = std::array::from_fn(|k| prices[k] / unit[k]);
            let next = self.cheapest(&prices);
            let used = self.used(&next);
            let value =
                self.cost(&next) + (0..self.budgets).map(|k| prices[k] * (used[k] - self.limits[k])).sum::<f64>();
            if value > bound {
                (bound, best) = (value, prices);
            }
            if self.fits(&next) && fitting.as_ref().is_none_or(|f| self.cost(&next) < self.cost(f)) {
                fitting = Some(next.clone());
            }
            if above - bound <= 1e-9 {
                break;
            }
            planes.push(self.plane(&next, &unit));
        }
        self.prices = best;
        fitting.or_else(|| self.dearer())
    }

    fn plane(&self, picks: &[usize], unit: &Use) -> (f64, Use) {
        let used = self.used(picks);
        (self.cost(picks), std::array::from_fn(|k| (used[k] - self.limits[k]) / unit[k]))
    }

    /// Most that the layers can differ in a budget, never 0.
    fn spread(&self, k: usize) -> f64 {
        let of = |layer: &Vec<Item>| {
            let (low, high) = layer
                .iter()
                .map(|i| i.weights[k])
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), w| (l.min(w), h.max(w)));
            high - low
        };
        let spread = super::sum(self.layers.iter().map(of));
        if spread > 0.0 { spread } else { 1.0 }
    }

    /// Prices raised until the cheapest allocation fits.
    fn dearer(&self) -> Option<Picks> {
        let mut prices: Use =
            std::array::from_fn(|k| if k < self.budgets { self.prices[k].max(1e-9 / self.spread(k)) } else { 0.0 });
        for _ in 0..128 {
            let picks = self.cheapest(&prices);
            if self.fits(&picks) {
                return Some(picks);
            }
            let used = self.used(&picks);
            for k in 0..self.budgets {
                prices[k] *= if used[k] > self.limits[k] { 1.5 } else { 1.0 };
            }
        }
        None
    }

    /// Any allocation that meets the budgets, by exhaustive search under a growing cutoff.
    fn any(&self) -> Option<Picks> {
        let reduced = self.reduced_costs(&self.prices);
        let ladder = Ladder::new(self);
        let most: f64 = reduced.iter().map(|r| r.iter().copied().fold(0.0, f64::max)).sum::<f64>()
            + (0..self.budgets).map(|k| self.prices[k] * self.spread(k).max(self.limits[k].abs())).sum::<f64>();
        let most = 2.0 * most + 1.0;
        let mut cutoff = most / 4096.0;
        loop {
            match search(self, &ladder, cutoff) {
                Found::Best(picks) => return Some(picks),
                Found::Nothing if cutoff < most => cutoff *= 8.0,
                Found::Nothing | Found::TooMany => return None,
            }
        }
    }

    /// Single exchanges that save cost and still fit, the best first, until there is none.
    fn polish(&self, mut picks: Picks) -> Picks {
        loop {
            let used = self.used(&picks);
            let mut best: Option<(f64, usize, usize)> = None;
            for (l, layer) in self.layers.iter().enumerate() {
                let Some(now) = layer.get(picks[l]) else { continue };
                for (at, item) in layer.iter().enumerate() {
                    let saves = now.cost - item.cost;
                    let fits = (0..self.budgets).all(|k| used[k] - now.weights[k] + item.weights[k] <= self.limits[k]);
                    if fits && saves > best.map_or(0.0, |b| b.0) {
                        best = Some((saves, l, at));
                    }
                }
            }
            let Some((_, l, at)) = best else { return picks };
            let before = std::mem::replace(&mut picks[l], at);
            if !self.fits(&picks) {
                picks[l] = before;
                return picks;
            }
        }
    }
}

/// Greatest bound under the planes: its prices (per unit) and its value.
fn master(planes: &[(f64, Use)], budgets: usize) -> Option<(Use, f64)> {
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let bound = problem.add_var(1.0, (-1e6, 1e6));
    // Costs are at most 1 a layer, so a price of 1e6 for the whole spread is more than any can be worth.
    let prices: Vec<_> = (0..budgets).map(|_| problem.add_var(0.0, (0.0, 1e6))).collect();
    for (cost, over) in planes {
        let row: Vec<_> =
            std::iter::once((bound, 1.0)).chain(prices.iter().zip(over).map(|(&p, &o)| (p, -o))).collect();
        problem.add_constraint(&row[..], ComparisonOp::Le, *cost);
    }
    let solution = problem.solve().ok()?.into_solution().ok()?;
    let mut found = [0.0; MAX_BUDGETS];
    for (to, &price) in found.iter_mut().zip(&prices) {
        *to = solution.var_value(price).max(0.0);
    }
    Some((found, solution.var_value(bound)))
}
