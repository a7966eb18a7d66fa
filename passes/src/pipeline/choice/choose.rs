//! Which width each layer gets, and whether choosing was worth it.
//!
//! Candidates come from the knapsack, with and without the narrowest widths, and from not choosing at all. Each is then
//! measured as a whole, on samples that its weights were not rounded with, and the best one is taken; where time allows,
//! single bits are exchanged between layers as long as it helps.

use super::budget::{Configuration, Unit, integers_only, picked, problem};
use super::chooser::Chooser;
use super::chosen::Chosen;
use super::field::Field;
use super::ground::Ground;
use super::joint;
use super::scene::{Scene, Setting};
use super::score::score;
use super::search::Search;
use super::verdict::Verdict;
use crate::pipeline::depth::Depth;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use tapq::Result;
use tapq::allocate;
use tapq::plan::{AllocationRecord, Compared};

/// Chooses a width for each unit within the budgets, and for each group of values of `field`.
pub fn choose(
    units: &mut [Unit],
    field: Option<&Field>,
    ground: &Ground,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Chosen> {
    integers_only(units, &options.widths, options.target);
    let chooser = Chooser::new(units, field, ground, options)?;
    let depth = Depth::of(options.effort);
    score(&chooser, units, ground, (&options.proxy, field.is_some()), &depth, progress)?;
    let scene = Scene { units, field, options };
    let (first, solution) = joint::least_cost(&scene)?;
    let mut tried: Vec<(String, Setting)> = vec![];
    let mut add = |name: &str, setting: Setting| {
        if !tried.iter().any(|(_, s)| *s == setting) {
            tried.push((name.to_owned(), setting));
        }
    };
    add("chosen", first.clone());
    // Few samples may say otherwise, but more bits for some and fewer for none is not worse.
    let uniform = joint::uniform(&scene).filter(|uniform| !first.covers(uniform));
    if let Some(uniform) = &uniform {
        add("uniform", uniform.clone());
    }
    if let Some(weights) = without_narrowest(&scene, &first.activations) {
        add("knapsack without widths below 3 bits", Setting { weights, activations: first.activations.clone() });
    }
    let settings: Vec<Setting> = tried.iter().map(|(_, s)| s.clone()).collect();
    let samples = depth.compare_samples.min(ground.samples.len());
    let errors = scene.compare(&chooser, &settings, samples, progress)?;
    // Found by its widths: the knapsack may have chosen the same.
    let uniform = uniform.and_then(|u| tried.iter().position(|(_, s)| *s == u));
    let verdict = Verdict::of(&errors, uniform, options.effort);
    let best = verdict.taken;
    let mut compared: Vec<Compared> = tried
        .iter()
        .zip(&errors)
        .filter(|_| verdict.measured)
        .map(|((name, setting), e)| scene.compared(name, setting, *e))
        .collect();
    let mut setting = tried[best].1.clone();
    let mut method = if tried[best].0 == "chosen" { "knapsack".to_owned() } else { tried[best].0.clone() };
    if depth.exchanges > 0 {
        let search = Search { chooser: &chooser, scene: &scene, samples, exchanges: depth.exchanges };
        let found = search.run(&setting, errors[best], progress)?;
        if let Some((better, error, exchanges)) = found.filter(|(_, error, _)| error.relative_error() <= verdict.bar) {
            compared.push(scene.compared(&format!("{exchanges} exchanges"), &better, error));
            (setting, method) = (better, format!("{method}, then exchanges"));
        }
    }
    let mut record = record(&scene, &setting, method, compared);
    record.proof = verdict.proof(setting == first, &solution);
    Ok(Chosen {
        widths: scene.assignment(&setting),
        record,
        activation_record: field.map(|field| joint::record(field, &setting.activations)),
        uniform: uniform.map(|u| scene.assignment(&tried[u].1)),
    })
}

fn record(scene: &Scene, setting: &Setting, method: String, compared: Vec<Compared>) -> AllocationRecord {
    let units = scene.units_at(&setting.activations);
    let problem = problem(&units, &scene.options.widths, scene.options.target);
    let picks: Vec<usize> = units.iter().zip(&setting.weights).map(|(u, b)| u.position(*b)).collect();
    let used = |k: usize| problem.layers.iter().zip(&picks).map(|(layer, p)| layer[*p].weights[k]).sum();
    let named = |values: Vec<f64>| problem.budgets.iter().map(|b| b.name.clone()).zip(values).collect();
    AllocationRecord {
        method,
        budgets: named(problem.budgets.iter().map(|b| b.limit).collect()),
        used: named((0..problem.budgets.len()).map(used).collect()),
        sensitivity: Some(problem.layers.iter().zip(&picks).map(|(layer, p)| layer[*p].cost).sum()),
        proof: String::new(),
        compared,
    }
}

/// The choice without the widths whose rounding is the least certain to be as measured.
fn without_narrowest(scene: &Scene, activations: &[u32]) -> Option<Configuration> {
    let units = scene.units_at(activations);
    let mut problem = problem(&units, &scene.options.widths, scene.options.target);
    for (unit, layer) in units.iter().zip(&mut problem.layers) {
        for (bits, choice) in unit.options.iter().zip(layer) {
            if bits.is_some_and(|b| b < 3) {
                choice.cost = f64::INFINITY;
            }
        }
    }
    // An alternative that the budgets exclude is none.
    allocate::solve(&problem).ok().map(|s| picked(&units, &s.picks))
}
