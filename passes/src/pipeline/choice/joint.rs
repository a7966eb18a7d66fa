//! Widths of weights and activations under one budget of bit operations.
//!
//! A layer's bit operations are a product of two widths, so the two choices cannot be made apart. A price on bit
//! operations makes them separable again: at a given price, each group of values in turn takes the width that is
//! cheapest while the others stay, every layer answering with the weight width that is then best for it. The price is
//! found by bisection; for every assignment of activations that this visits, and for one width for all of them, the
//! widths of weights are then chosen exactly.

use super::budget::{Unit, picked, problem, uniform_within};
use super::field::Field;
use super::scene::{Scene, Setting};
use std::collections::BTreeSet;
use tapq::allocate::{self, Allocation};
use tapq::plan::AllocationRecord;
use tapq::{Code, Error, Result};

/// Prices that are tried.
const PRICES: usize = 24;
/// Rounds over all groups at one price; it settles in two or three.
const ROUNDS: usize = 8;

/// The setting of least predicted damage within the budgets, with the exact choice of weights beside its activations.
pub fn least_cost(scene: &Scene) -> Result<(Setting, Allocation)> {
    let Some(field) = scene.field else {
        let solution = allocate::solve(&problem(scene.units, &scene.options.widths, scene.options.target))
            .map_err(|e| with_offer(e, scene))?;
        return Ok((Setting { weights: picked(scene.units, &solution.picks), activations: vec![] }, solution));
    };
    let mut best: Option<(f64, Setting, Allocation)> = None;
    let mut failure = None;
    for activations in assignments(scene, field) {
        let units = scene.units_at(&activations);
        match allocate::solve(&problem(&units, &scene.options.widths, scene.options.target)) {
            Err(e) => drop(failure.get_or_insert(e)),
            Ok(solution) => {
                let cost = solution.cost + field.damage(&activations);
                if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    best = Some((cost, Setting { weights: picked(&units, &solution.picks), activations }, solution));
                }
            }
        }
    }
    let nothing = || Error::new(Code::Infeasible, "no widths of weights and activations meet the budgets");
    best.map(|(_, setting, solution)| (setting, solution))
        .ok_or_else(|| with_offer(failure.unwrap_or_else(nothing), scene))
}

/// Says beside a budget that cannot be met which widths there are.
fn with_offer(error: Error, scene: &Scene) -> Error {
    let offered: BTreeSet<u32> = scene.units.iter().flat_map(|u| u.options.iter().flatten().copied()).collect();
    let widths = offered.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    // Which layers are the reason is not seen from the union of all.
    let least = |u: &Unit| u.options.iter().flatten().min().copied();
    let narrowest = offered.first().copied();
    let lacking: Vec<&Unit> = scene.units.iter().filter(|u| least(u) != narrowest).collect();
    let lacking = match lacking.first().zip(narrowest) {
        Some((first, bits)) => {
            let others = lacking.len() - 1;
            let more = if others == 0 { String::new() } else { format!(" and {others} more") };
            format!("; '{}'{more} cannot have {bits}", first.layers[0].name)
        }
        None => String::new(),
    };
    match error.code() == Code::Infeasible && error.advice().is_none() {
        true => {
            error.help(format!("{} offers these layers weights of {widths} bits{lacking}", scene.options.target.name))
        }
        false => error,
    }
}

/// The uniform pair of widths within the budgets that is predicted to do the least damage.
pub fn uniform(scene: &Scene) -> Option<Setting> {
    let (widths, target) = (&scene.options.widths, scene.options.target);
    let Some(field) = scene.field else {
        let weights = uniform_within(scene.units, widths, target)?;
        return Some(Setting { weights, activations: vec![] });
    };
    let pair = |bits: &u32| {
        let activations = field.uniform(*bits);
        let units = scene.units_at(&activations);
        let weights = uniform_within(&units, widths, target)?;
        let cost: f64 = units.iter().zip(&weights).map(|(u, b)| u.cost(*b)).sum();
        Some((cost + field.damage(&activations), Setting { weights, activations }))
    };
    let pairs = field.bits().iter().filter_map(pair);
    pairs.reduce(|best, next| if next.0 < best.0 { next } else { best }).map(|(_, setting)| setting)
}

/// How the widths of activations were found, for the plan.
pub fn record(field: &Field, activations: &[u32]) -> AllocationRecord {
    AllocationRecord {
        method: "together with the weights".to_owned(),
        used: [("average activation bits".to_owned(), field.average(activations))].into(),
        sensitivity: Some(field.damage(activations)),
        proof: "by a price on bit operations; the weights beside them are chosen exactly".to_owned(),
        ..Default::default()
    }
}

/// Assignments worth an exact choice of weights: one width for all, and what each price leads to.
fn assignments(scene: &Scene, field: &Field) -> Vec<Vec<u32>> {
    let mut found: Vec<Vec<u32>> = field.bits().iter().map(|bits| field.uniform(*bits)).collect();
    let Some(limit) = scene.options.widths.max_bops else { return found };
    let descent = Descent::new(scene, field);
    let scale =
        field.groups.iter().flat_map(|g| &g.damage).chain(scene.units.iter().flat_map(|u| &u.sensitivity.error));
    let scale = scale.copied().filter(|d| d.is_finite()).fold(f64::MIN_POSITIVE, f64::max) / limit;
    let (mut low, mut high) = (scale.ln() - 40.0, scale.ln() + 20.0);
    for _ in 0..PRICES {
        let price = f64::midpoint(low, high).exp();
        let activations = descent.run(price);
        let used: f64 = (0..scene.units.len()).map(|u| descent.unit(u, &activations, price).1).sum();
        if used > limit {
            low = price.ln()
        } else {
            high = price.ln()
        }
        if !found.contains(&activations) {
            found.push(activations);
        }
    }
    found
}

/// Coordinate descent over groups of values at a price.
struct Descent<'a> {
    scene: &'a Scene<'a>,
    field: &'a Field,
    /// Units whose width of activations a group decides.
    units_of: Vec<Vec<usize>>,
}

impl<'a> Descent<'a> {
    fn new(scene: &'a Scene<'a>, field: &'a Field) -> Self {
        let mut units_of = vec![vec![]; field.groups.len()];
        for (u, unit) in scene.units.iter().enumerate() {
            for group in unit.layers.iter().flat_map(|l| field.groups_at(l.node)) {
                if units_of[group].last() != Some(&u) {
                    units_of[group].push(u);
                }
            }
        }
        Descent { scene, field, units_of }
    }

    fn run(&self, price: f64) -> Vec<u32> {
        let mut activations: Vec<u32> = self.field.groups.iter().map(|g| g.bits[g.bits.len() - 1]).collect();
        for _ in 0..ROUNDS {
            let before = activations.clone();
            for (g, group) in self.field.groups.iter().enumerate() {
                let cost = |bits: u32, damage: f64| {
                    let mut with = activations.clone();
                    with[g] = bits;
                    damage + self.units_of[g].iter().map(|u| self.unit(*u, &with, price).0).sum::<f64>()
                };
                let costs: Vec<f64> = group.bits.iter().zip(&group.damage).map(|(b, d)| cost(*b, *d)).collect();
                let least = (0..costs.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b]));
                activations[g] = least.map_or(activations[g], |i| group.bits[i]);
            }
            if activations == before {
                break;
            }
        }
        activations
    }

    /// The least of damage and priced bit operations that a unit can do, and its bit operations there.
    fn unit(&self, u: usize, activations: &[u32], price: f64) -> (f64, f64) {
        let target = self.scene.options.target;
        let unit = self.scene.unit_at(u, activations);
        let cost = |bits: &Option<u32>| {
            let operations = unit.bit_operations(*bits, target);
            (unit.cost(*bits) + price * operations, operations)
        };
        let least = unit.options.iter().map(cost).min_by(|a, b| a.0.total_cmp(&b.0));
        least.unwrap_or((f64::INFINITY, f64::INFINITY))
    }
}
