//! The reduced problem and its prices.

use super::{MAX_BUDGETS, Proof};

/// What is consumed of each budget; unused places are 0.
pub(super) type Use = [f64; MAX_BUDGETS];

/// Position of the picked item in each layer of the core.
pub(super) type Picks = Vec<usize>;

/// A choice that is left.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Cost above the cheapest choice of the layer, scaled.
    pub cost: f64,
    pub weights: Use,
    /// Index of the choice in the problem as given.
    pub index: usize,
}

impl Item {
    /// Cost of the item with what it consumes, at the prices.
    pub fn priced(&self, prices: &Use) -> f64 {
        self.cost + self.weights.iter().zip(prices).map(|(w, p)| w * p).sum::<f64>()
    }
}

/// Layers of items that do not dominate each other, and the budgets that bind.
#[derive(Clone, Debug)]
pub(super) struct Core {
    pub layers: Vec<Vec<Item>>,
    pub limits: Use,
    pub budgets: usize,
    /// Price of a unit of each budget, at least 0.
    pub prices: Use,
    /// Quarter of the unit of cost.
    scale: f64,
}

impl Core {
    pub fn new(layers: Vec<Vec<Item>>, limits: Use, budgets: usize, scale: f64) -> Core {
        Core { layers, limits, budgets, prices: [0.0; MAX_BUDGETS], scale }
    }

    /// Whether each budget alone can be met.
    pub fn least_fits(&self) -> bool {
        (0..self.budgets).all(|k| {
            let least = |layer: &Vec<Item>| layer.iter().map(|i| i.weights[k]).fold(f64::INFINITY, f64::min);
            super::sum(self.layers.iter().map(least)) <= self.limits[k]
        })
    }

    pub fn picked<'a>(&'a self, picks: &'a [usize]) -> impl Iterator<Item = &'a Item> {
        self.layers.iter().zip(picks).filter_map(|(layer, &pick)| layer.get(pick))
    }

    pub fn used(&self, picks: &[usize]) -> Use {
        std::array::from_fn(|k| super::sum(self.picked(picks).map(|i| i.weights[k])))
    }

    pub fn cost(&self, picks: &[usize]) -> f64 {
        super::sum(self.picked(picks).map(|i| i.cost))
    }

    pub fn fits(&self, picks: &[usize]) -> bool {
        self.used(picks).iter().zip(&self.limits).take(self.budgets).all(|(u, l)| u <= l)
    }

    /// The priced cost of every item above the least of its layer.
    pub fn reduced_costs(&self, prices: &Use) -> Vec<Vec<f64>> {
        let of = |layer: &Vec<Item>| {
            let priced: Vec<f64> = layer.iter().map(|i| i.priced(prices)).collect();
            let least = priced.iter().copied().fold(f64::INFINITY, f64::min);
            priced.iter().map(|p| p - least).collect()
        };
        self.layers.iter().map(of).collect()
    }

    /// The Lagrangian bound on the cost at the prices.
    pub fn bound(&self, prices: &Use) -> f64 {
        let least = |layer: &Vec<Item>| layer.iter().map(|i| i.priced(prices)).fold(f64::INFINITY, f64::min);
        let budgets = (0..self.budgets).map(|k| -prices[k] * self.limits[k]);
        super::sum(self.layers.iter().map(least).chain(budgets))
    }

    /// Cost above the Lagrangian bound: a sum of terms that are not negative, so nothing cancels.
    pub fn excess(&self, reduced: &[Vec<f64>], picks: &[usize]) -> f64 {
        let used = self.used(picks);
        let slack = (0..self.budgets).map(|k| self.prices[k] * (self.limits[k] - used[k]));
        super::sum(reduced.iter().zip(picks).filter_map(|(r, &p)| r.get(p).copied()).chain(slack))
    }

    /// Indices of the choices in the problem as given.
    pub fn original(&self, picks: &[usize]) -> Vec<usize> {
        self.picked(picks).map(|i| i.index).collect()
    }

    pub fn in_cost_units(&self, proof: Proof) -> Proof {
        match proof {
            Proof::Gap { gap, why } => Proof::Gap { gap: gap * self.scale * 4.0, why },
            optimal => optimal,
        }
    }
}
