//! Cost against one budget: the lower convex hull, exact at its corners, in one sort.

use super::core::{Core, Item};
use super::{Budget, Choice, Problem, reduce, sound, sum};
use crate::Result;

/// One corner of the front.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Index of the choice of each layer.
    pub picks: Vec<usize>,
    /// Total cost.
    pub cost: f64,
    /// What is consumed of the budget.
    pub used: f64,
}

/// Corners of the lower convex hull of cost against the one budget, lightest first.
///
/// Each corner is optimal at its own consumption; between corners [`super::solve`] gives the exact optimum.
///
/// # Errors
/// As [`super::solve`] for a problem that makes no sense; an empty front where a layer has no usable choice.
pub fn front(layers: &[Vec<Choice>]) -> Result<Vec<Point>> {
    let least = Budget { name: "weight".to_string(), limit: f64::NEG_INFINITY, over: 1.0 };
    let problem = Problem { layers: layers.to_vec(), budgets: vec![least] };
    sound(&problem)?;
    let Some(core) = reduce::reduce(&problem, false) else { return Ok(vec![]) };
    Ok(corners(layers, &core))
}

fn corners(layers: &[Vec<Choice>], core: &Core) -> Vec<Point> {
    let hulls: Vec<Vec<usize>> = core.layers.iter().map(|layer| hull(layer)).collect();
    let mut steps: Vec<(f64, usize, usize)> = vec![];
    for (l, hull) in hulls.iter().enumerate() {
        for at in hull.windows(2) {
            let (light, heavy) = (&core.layers[l][at[0]], &core.layers[l][at[1]]);
            steps.push((slope(light, heavy), l, at[1]));
        }
    }
    // Within a layer slopes rise along its hull, so the sort keeps its order.
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut picks: Vec<usize> = hulls.iter().map(|h| h.first().copied().unwrap_or(0)).collect();
    let mut points = vec![point(layers, core, &picks)];
    for (at, &(slope, l, pick)) in steps.iter().enumerate() {
        picks[l] = pick;
        if steps.get(at + 1).is_none_or(|next| next.0 > slope) {
            points.push(point(layers, core, &picks));
        }
    }
    points
}

fn point(layers: &[Vec<Choice>], core: &Core, picks: &[usize]) -> Point {
    let picks = core.original(picks);
    let chosen = || layers.iter().zip(&picks).filter_map(|(layer, &p)| layer.get(p));
    Point { cost: sum(chosen().map(|c| c.cost)), used: sum(chosen().map(|c| c.weights[0])), picks: picks.clone() }
}

fn slope(light: &Item, heavy: &Item) -> f64 {
    (heavy.cost - light.cost) / (heavy.weights[0] - light.weights[0])
}

/// Positions of the items on the lower convex hull, lightest first.
fn hull(layer: &[Item]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..layer.len()).collect();
    order.sort_by(|&a, &b| {
        layer[a].weights[0].total_cmp(&layer[b].weights[0]).then(layer[a].cost.total_cmp(&layer[b].cost))
    });
    let mut hull: Vec<usize> = vec![];
    for at in order {
        while let [.., before, last] = hull[..] {
            if slope(&layer[before], &layer[last]) < slope(&layer[last], &layer[at]) {
                break;
            }
            hull.pop();
        }
        hull.push(at);
    }
    hull
}
