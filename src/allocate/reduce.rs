//! From the problem as given to its core: finite costs in 0 to 1, dominated choices and slack budgets gone.

use super::core::{Core, Item, Use};
use super::{Choice, MAX_BUDGETS, Problem, forgiving, sum};

/// The core; none where a layer has no choice of finite weight.
///
/// Choices of non-finite cost are left out where the layer has others, or priced above all others with `with_worst`.
pub(super) fn reduce(problem: &Problem, with_worst: bool) -> Option<Core> {
    let binding = binding(problem);
    let mut layers = Vec::with_capacity(problem.layers.len());
    let mut scale = 0.0f64;
    for layer in &problem.layers {
        let items = quartered(layer, &binding, with_worst);
        if items.is_empty() {
            return None;
        }
        scale = items.iter().map(|i| i.cost).filter(|c| c.is_finite()).fold(scale, f64::max);
        layers.push(items);
    }
    if scale == 0.0 {
        scale = 1.0;
    }
    // One pick of the worst costs more than any sum of finite ones, which are at most 1 a layer now.
    let worst = 2.0 * layers.len() as f64;
    for items in &mut layers {
        for item in items.iter_mut() {
            item.cost = if item.cost.is_finite() { item.cost / scale } else { worst };
        }
        drop_dominated(items);
    }
    let mut limits = [0.0; MAX_BUDGETS];
    for (at, &k) in binding.iter().enumerate() {
        limits[at] = forgiving(problem.budgets[k].limit);
    }
    Some(Core::new(layers, limits, binding.len(), scale))
}

/// Budgets that some allocation exceeds.
fn binding(problem: &Problem) -> Vec<usize> {
    let most = |k: usize| {
        let of = |layer: &Vec<Choice>| {
            layer.iter().map(|c| c.weights[k]).filter(|w| w.is_finite()).fold(f64::NEG_INFINITY, f64::max)
        };
        sum(problem.layers.iter().map(of))
    };
    (0..problem.budgets.len()).filter(|&k| most(k) > problem.budgets[k].limit).collect()
}

/// A quarter of the cost above the layer's cheapest: the difference of two huge costs cannot overflow.
fn quartered(layer: &[Choice], binding: &[usize], with_worst: bool) -> Vec<Item> {
    let usable = |c: &&Choice| c.weights.iter().all(|w| w.is_finite());
    let any_finite = layer.iter().filter(usable).any(|c| c.cost.is_finite());
    let least = layer.iter().filter(usable).map(|c| c.cost).filter(|c| c.is_finite()).fold(f64::INFINITY, f64::min);
    let mut items = vec![];
    for (index, choice) in layer.iter().enumerate().filter(|(_, c)| usable(c)) {
        let cost = match (choice.cost.is_finite(), any_finite) {
            (true, _) => choice.cost / 4.0 - least / 4.0,
            (false, true) if with_worst => f64::INFINITY,
            (false, true) => continue,
            (false, false) => 0.0,
        };
        let mut weights: Use = [0.0; MAX_BUDGETS];
        for (at, &k) in binding.iter().enumerate() {
            weights[at] = choice.weights[k];
        }
        items.push(Item { cost, weights, index });
    }
    items
}

/// Leaves the choices that no other one beats or equals in cost and every weight; of equals the first stays.
fn drop_dominated(items: &mut Vec<Item>) {
    let beats = |a: &Item, b: &Item| a.cost <= b.cost && a.weights.iter().zip(&b.weights).all(|(x, y)| x <= y);
    let all = items.clone();
    items.retain(|item| {
        !all.iter().any(|other| beats(other, item) && (!beats(item, other) || other.index < item.index))
    });
}
