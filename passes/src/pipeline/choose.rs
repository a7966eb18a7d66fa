//! Which width each layer gets, and whether choosing was worth it.
//!
//! Candidates come from the knapsack, with and without the narrowest widths, and from not choosing at all. Each is then
//! measured as a whole, on samples that its weights were not rounded with, and the best one is taken; where time allows,
//! single bits are exchanged between layers as long as it helps.

use super::activations::ChosenActivations;
use super::budget::{Unit, Widths, problem};
use super::candidates::Candidates;
use super::chooser::Chooser;
use super::field::Field;
use super::scene::{Scene, Setting};
use super::search::Search;
use super::verdict::Verdict;
use super::{Effort, Options, Progress, joint};
use std::collections::BTreeMap;
use tapq::allocate;
use tapq::array::Array;
use tapq::graph::Graph;
use tapq::plan::{AllocationRecord, Compared};
use tapq::samples::Sample;
use tapq::stats::{FOLDS, ValueObservation};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};

/// Widths by name: of layers, where `None` is float, and of values; a value that is missing has the width of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Width of each layer.
    pub weights: BTreeMap<String, Option<u32>>,
    /// Width of each value whose width was chosen.
    pub activations: BTreeMap<String, u32>,
}

/// What was chosen.
pub struct Chosen {
    /// The widths.
    pub widths: Assignment,
    /// How those of weights were found.
    pub record: AllocationRecord,
    /// How those of activations were found, where they were chosen.
    pub activation_record: Option<AllocationRecord>,
    /// The widest uniform widths within the budgets, if there are any.
    pub uniform: Option<Assignment>,
}

impl Chosen {
    /// Takes over widths of activations that were chosen by a budget of their own.
    pub fn set_activations(&mut self, field: &Field, apart: ChosenActivations) {
        let mut uniform = self.uniform.take().unwrap_or_else(|| self.widths.clone());
        self.widths.activations = field.by_value(&apart.bits);
        uniform.activations = field.by_value(apart.uniform.as_ref().unwrap_or(&apart.bits));
        self.uniform = Some(uniform);
        self.activation_record = Some(apart.record);
    }
}

/// What a choice rests on.
pub struct Ground<'a> {
    /// The float network.
    pub graph: &'a Graph,
    /// Calibration samples.
    pub samples: &'a [Sample],
    /// Float outputs of each.
    pub outputs: &'a [Vec<Array>],
    /// Measured candidates, one for each unit.
    pub candidates: &'a [Candidates],
    /// What was seen of the input of each unit.
    pub inputs: Vec<Option<&'a ValueObservation>>,
    /// The device.
    pub target: &'a Target,
    /// Halves of the samples that candidates were rounded on.
    pub halves: &'a [usize],
    /// Positions of the samples that whole choices are compared on alone; see [`set_apart`].
    pub apart: Vec<usize>,
}

/// Halves of the samples that candidates are rounded on, by effort: one is half the work and half as sure.
pub fn halves(effort: Effort, samples: usize) -> &'static [usize] {
    match effort {
        _ if samples < 2 => &[],
        Effort::Fast => &[0],
        Effort::Balanced | Effort::Best => &[0, 1],
    }
}

/// Positions of the samples that whole choices are compared on and no other measurement has seen; none with more
/// effort, where every sample takes each part in turn, and files are compared on other samples in the end.
///
/// What has the least of many noisy costs looks better on the samples of those costs than it is.
pub fn set_apart(effort: Effort, samples: usize) -> Vec<usize> {
    let judging = samples / FOLDS;
    let count = match effort {
        Effort::Fast => Depth::of(effort).compare_samples.min(judging / 2),
        Effort::Balanced | Effort::Best => 0,
    };
    (judging - count..judging).map(|i| FOLDS * i + 1).collect()
}

/// How many samples and widths the measurements take, by effort.
pub struct Depth {
    /// Samples that gains of layers are measured on.
    pub gain_samples: usize,
    /// Samples that the damage of activations is measured on: finer grids than those of weights, so more of them.
    pub field_samples: usize,
    /// Widths that gains and damage are measured at.
    pub gain_bits: &'static [u32],
    /// Samples that whole configurations are compared on.
    pub compare_samples: usize,
    /// Exchanges that are measured at most.
    pub exchanges: usize,
}

impl Depth {
    /// What an effort means.
    pub fn of(effort: Effort) -> Depth {
        let [gain_samples, field_samples, compare_samples, exchanges] = match effort {
            Effort::Fast => [2, 4, 4, 0],
            // What exchanges gain on so few samples is as much chance as merit.
            Effort::Balanced => [8, 8, 16, 0],
            Effort::Best => [16, 16, 16, 200],
        };
        let gain_bits: &[u32] = if effort == Effort::Best { &[3, 4, 5] } else { &[4] };
        Depth { gain_samples, field_samples, gain_bits, compare_samples, exchanges }
    }
}

/// One width a unit; `None` is float.
pub type Configuration = Vec<Option<u32>>;

/// Chooses a width for each unit within the budgets, and for each group of values of `field`.
pub fn choose(
    units: &mut [Unit],
    field: Option<&Field>,
    ground: &Ground,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Chosen> {
    let chooser = Chooser::new(units, field, ground, options)?;
    let depth = Depth::of(options.effort);
    chooser.score(units, &options.proxy, field.is_some(), &depth, progress)?;
    let scene = Scene { units, field, options };
    let (first, solution) = joint::least_cost(&scene)?;
    let mut tried: Vec<(String, Setting)> = vec![];
    let mut add = |name: &str, setting: Setting| {
        if !tried.iter().any(|(_, s)| *s == setting) {
            tried.push((name.to_owned(), setting));
        }
    };
    add("chosen", first.clone());
    let uniform = joint::uniform(&scene);
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

/// The widths of a solution.
pub fn picked(units: &[Unit], picks: &[usize]) -> Configuration {
    units.iter().zip(picks).map(|(u, p)| u.options[*p]).collect()
}

/// The widest width that every unit offers and that meets the budgets.
pub fn uniform_within(units: &[Unit], widths: &Widths, target: &Target) -> Option<Configuration> {
    let problem = problem(units, widths, target);
    let mut common: Vec<u32> = units.first()?.options.iter().flatten().copied().collect();
    common.retain(|b| units.iter().all(|u| u.options.contains(&Some(*b))));
    common.sort_unstable();
    let fits = |bits: &u32| {
        problem.budgets.iter().enumerate().all(|(k, budget)| {
            let used: f64 = units.iter().zip(&problem.layers).map(|(u, l)| l[u.position(Some(*bits))].weights[k]).sum();
            used <= budget.limit * (1.0 + 1e-9)
        })
    };
    common.into_iter().rev().find(fits).map(|bits| vec![Some(bits); units.len()])
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

/// Every layer at the width asked for, or at the target's default.
pub fn uniform(units: &[Unit], options: &Options) -> Result<Chosen> {
    let mut weights = BTreeMap::new();
    for (layer, beside) in units.iter().flat_map(|u| u.layers.iter().zip(&u.beside)) {
        let bits = match options.widths.uniform {
            Some(bits) => bits,
            None => default_width(options, &layer.op, *beside),
        };
        options.target.check_weight_bits_at(&layer.op, bits, *beside).at(|| format!("layer '{}'", layer.name))?;
        weights.insert(layer.name.clone(), Some(bits));
    }
    let proof = "nothing to choose".to_owned();
    let record = AllocationRecord { method: "uniform".to_owned(), proof, ..Default::default() };
    let widths = Assignment { weights, ..Default::default() };
    Ok(Chosen { widths, record, activation_record: None, uniform: None })
}

/// 8 bits where the target runs them, else its widest.
fn default_width(options: &Options, op: &str, activation_bits: u32) -> u32 {
    let choices = options.target.weight_choices_at(op, activation_bits);
    choices.iter().copied().find(|b| *b == 8).or(choices.last().copied()).unwrap_or(8)
}

/// Says that a choice left nothing quantized.
pub fn refuse_all_float(widths: &BTreeMap<String, Option<u32>>) -> Result<()> {
    if widths.values().any(Option::is_some) {
        return Ok(());
    }
    let what = "the budget is so generous that every layer would stay in float";
    Err(Error::new(Code::NothingToQuantize, what).help("ask for fewer bits, or use the float model"))
}
