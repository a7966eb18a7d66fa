//! Which width each layer gets, and whether choosing was worth it.
//!
//! Candidates come from the knapsack under different readings of the measurements, and from not choosing at all. Each
//! is then measured as a whole, on samples that its weights were not rounded with, and the best one is taken; where
//! that is the uniform width, or where time allows, single bits are exchanged between layers as long as it helps.

use super::budget::{Unit, Widths, problem};
use super::candidates::Candidates;
use super::features;
use super::probe::{Changes, Delta, Probe};
use super::{Effort, Options, Progress};
use crate::pipeline::analyze::weight_rows;
use std::collections::BTreeMap;
use tapq::allocate;
use tapq::array::Array;
use tapq::engine::Options as EngineOptions;
use tapq::graph::Graph;
use tapq::plan::{AllocationRecord, Compared, Layer};
use tapq::proxy::{ProxyFile, sensitivities};
use tapq::report::{Compare, decibels, top1_agreement};
use tapq::samples::Sample;
use tapq::stats::{FOLDS, ValueObservation};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};

/// What was chosen.
pub struct Chosen {
    /// Width of each layer by name; `None` is float.
    pub widths: BTreeMap<String, Option<u32>>,
    /// How.
    pub record: AllocationRecord,
    /// The widest uniform width within the budgets, if there is one.
    pub uniform: Option<BTreeMap<String, Option<u32>>>,
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
    /// Nominal bits of activations.
    pub activation_bits: u32,
}

/// Halves of the samples that candidates are rounded on, by effort: one is half the work and half as sure.
pub fn halves(effort: Effort, samples: usize) -> &'static [usize] {
    match effort {
        _ if samples < 2 => &[],
        Effort::Fast => &[0],
        Effort::Balanced | Effort::Best => &[0, 1],
    }
}

/// How many samples and widths the measurements take, by effort.
pub struct Depth {
    /// Samples that gains are measured on.
    gain_samples: usize,
    /// Widths that gains are measured at.
    gain_bits: &'static [u32],
    /// Samples that whole configurations are compared on.
    pub compare_samples: usize,
    /// Exchanges that are measured at most.
    exchanges: usize,
}

impl Depth {
    /// What an effort means.
    pub fn of(effort: Effort) -> Depth {
        match effort {
            Effort::Fast => Depth { gain_samples: 2, gain_bits: &[4], compare_samples: 3, exchanges: 0 },
            Effort::Balanced => Depth { gain_samples: 8, gain_bits: &[4], compare_samples: 16, exchanges: 24 },
            Effort::Best => Depth { gain_samples: 16, gain_bits: &[3, 4, 5], compare_samples: 16, exchanges: 200 },
        }
    }
}

/// Errors of whole networks closer than this are taken for equal: half a percent of the error is 0.02 dB.
const MARGIN: f64 = 0.995;

/// What replaces the uniform width must be better by more than chance: 0.3 dB on so few samples.
const UNIFORM_MARGIN: f64 = 0.93;

/// The same where both were rounded in sequence once, on half of the samples: half a decibel.
pub const FILE_MARGIN: f64 = 0.89;

/// One width a unit; `None` is float.
pub type Configuration = Vec<Option<u32>>;

/// Chooses a width for each unit within the budgets.
pub fn choose(units: &mut [Unit], ground: &Ground, options: &Options, progress: &dyn Progress) -> Result<Chosen> {
    let chooser = Chooser::new(units, ground, options)?;
    let depth = Depth::of(options.effort);
    chooser.score(units, &options.proxy, &depth, progress)?;
    let problem_of = |units: &[Unit]| problem(units, &options.widths, options.target, ground.activation_bits);
    let solution = allocate::solve(&problem_of(units))?;
    let mut tried: Vec<(String, Configuration)> = vec![];
    let mut add = |name: &str, configuration: Configuration| {
        if !tried.iter().any(|(_, c)| *c == configuration) {
            tried.push((name.to_owned(), configuration));
        }
    };
    add("chosen", picked(units, &solution.picks));
    let uniform = uniform_within(units, &options.widths, options, ground.activation_bits);
    if let Some(uniform) = &uniform {
        add("uniform", uniform.clone());
    }
    for (name, other) in chooser.alternatives(units, &options.widths, options, ground.activation_bits) {
        add(&name, other);
    }
    let errors = chooser.compare(&tried.iter().map(|(_, c)| c).collect::<Vec<_>>(), depth.compare_samples, progress)?;
    let least = |a: &usize, b: &usize| errors[*a].relative_error().total_cmp(&errors[*b].relative_error());
    let mut best = (0..tried.len()).min_by(least).unwrap_or(0);
    // Found by its widths: the knapsack may have chosen the same.
    let uniform = uniform.and_then(|u| tried.iter().position(|(_, c)| *c == u));
    let bar = uniform.map_or(f64::INFINITY, |u| errors[u].relative_error() * UNIFORM_MARGIN);
    if let Some(uniform) = uniform.filter(|u| best != *u && errors[best].relative_error() > bar) {
        best = uniform;
    }
    // Nothing was measured, for want of samples: then nothing speaks for a choice.
    let measured = errors.iter().any(|e| !e.is_silent());
    if !measured {
        best = uniform.unwrap_or(0);
    }
    let mut compared: Vec<Compared> = tried
        .iter()
        .zip(&errors)
        .filter(|_| measured)
        .map(|((name, c), e)| chooser.compared(name, c, *e, units))
        .collect();
    let mut configuration = tried[best].1.clone();
    let mut method = if tried[best].0 == "chosen" { "knapsack".to_owned() } else { tried[best].0.clone() };
    let searched = options.effort == Effort::Best || (options.effort == Effort::Balanced && best != 0);
    if searched && depth.exchanges > 0 {
        let limits = problem_of(units).budgets;
        let mut search = Search { chooser: &chooser, units, options, ground, limits: &limits, depth: &depth };
        let found = search.run(&configuration, errors[best], progress)?;
        if let Some((better, error, measured)) = found.filter(|(_, error, _)| error.relative_error() <= bar) {
            compared.push(chooser.compared(&format!("{measured} exchanges"), &better, error, units));
            (configuration, method) = (better, format!("{method}, then exchanges"));
        }
    }
    let by_name = |configuration: &Configuration| {
        let layers = units.iter().zip(configuration).flat_map(|(u, b)| u.layers.iter().map(|l| (l.name.clone(), *b)));
        layers.collect::<BTreeMap<String, Option<u32>>>()
    };
    let (widths, uniform) = (by_name(&configuration), uniform.map(|u| by_name(&tried[u].1)));
    let mut record = record(units, &configuration, options, ground, method, compared, &solution);
    if !measured {
        "no choice could be measured on so few samples".clone_into(&mut record.proof);
    }
    Ok(Chosen { widths, record, uniform })
}

fn record(
    units: &[Unit],
    configuration: &Configuration,
    options: &Options,
    ground: &Ground,
    method: String,
    compared: Vec<Compared>,
    solution: &allocate::Allocation,
) -> AllocationRecord {
    let problem = problem(units, &options.widths, options.target, ground.activation_bits);
    let picks: Vec<usize> = units.iter().zip(configuration).map(|(u, b)| u.position(*b)).collect();
    let used = |k: usize| problem.layers.iter().zip(&picks).map(|(layer, p)| layer[*p].weights[k]).sum();
    let named = |values: Vec<f64>| problem.budgets.iter().map(|b| b.name.clone()).zip(values).collect();
    let proof = match picks == solution.picks {
        true => solution.proof.to_string(),
        false => "taken by measurement; the knapsack's own choice measured worse".to_owned(),
    };
    AllocationRecord {
        method,
        budgets: named(problem.budgets.iter().map(|b| b.limit).collect()),
        used: named((0..problem.budgets.len()).map(used).collect()),
        sensitivity: Some(problem.layers.iter().zip(&picks).map(|(layer, p)| layer[*p].cost).sum()),
        proof,
        compared,
    }
}

fn picked(units: &[Unit], picks: &[usize]) -> Configuration {
    units.iter().zip(picks).map(|(u, p)| u.options[*p]).collect()
}

/// The widest width that every unit offers and that meets the budgets.
fn uniform_within(units: &[Unit], widths: &Widths, options: &Options, activation_bits: u32) -> Option<Configuration> {
    let problem = problem(units, widths, options.target, activation_bits);
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

/// Runs the network with candidates in place of its weights.
pub struct Chooser<'a> {
    ground: &'a Ground<'a>,
    probe: Probe,
    /// Position in the probe of each layer of each unit; units that cannot be changed have none.
    stops: Vec<Vec<usize>>,
    rows: Vec<Vec<f32>>,
    by_half: [Vec<usize>; FOLDS],
}

impl<'a> Chooser<'a> {
    /// Prepares the network; what a unit may be is read from its candidates.
    pub fn new(units: &[Unit], ground: &'a Ground<'a>, options: &Options) -> Result<Self> {
        let mut layers: Vec<(&Layer, _)> = vec![];
        let mut stops = vec![];
        let mut rows = vec![];
        for (unit, candidates) in units.iter().zip(ground.candidates) {
            let mut own = vec![];
            if candidates.can_change() {
                for layer in &unit.layers {
                    let Some(patches) = layer.patches(ground.graph) else { continue };
                    own.push(layers.len());
                    layers.push((*layer, patches));
                }
            }
            stops.push(own);
            rows.push(weight_rows(ground.graph, unit.layers[0])?.1);
        }
        let probe = Probe::new(ground.graph, &layers, &EngineOptions { dims: options.dims.clone() })?;
        // Samples of a half are run with weights that were rounded on the other one.
        let rounded_on = |half: usize| ground.halves.contains(&(FOLDS - 1 - half));
        let all = || 0..ground.samples.len();
        let by_half = [0, 1].map(|half| all().filter(|i| rounded_on(half) && i % FOLDS == half).collect());
        Ok(Chooser { ground, probe, stops, rows, by_half })
    }

    /// What a configuration changes for samples of `half`: weights rounded on the other one.
    fn change(&self, configuration: &[(usize, u32)], half: usize) -> Vec<Delta> {
        let mut deltas = vec![];
        for (unit, bits) in configuration {
            let change = self.ground.candidates[*unit].change(*bits, FOLDS - 1 - half, &self.rows[*unit]);
            let Some((rows, shift)) = change else { continue };
            for layer in &self.stops[*unit] {
                deltas.push(Delta { layer: *layer, rows: rows.clone(), shift: shift.clone() });
            }
        }
        deltas
    }

    /// Output errors of partial configurations, each on the first `samples` samples.
    pub fn errors(
        &self,
        configurations: &[Vec<(usize, u32)>],
        samples: usize,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Compare>> {
        let mut total = vec![Compare::default(); configurations.len()];
        for half in 0..FOLDS {
            let share = samples.div_ceil(self.ground.halves.len().max(1));
            let own: Vec<usize> = self.by_half[half].iter().copied().take(share).collect();
            let inputs: Vec<&Sample> = own.iter().map(|i| &self.ground.samples[*i]).collect();
            let wanted: Vec<&Vec<Array>> = own.iter().map(|i| &self.ground.outputs[*i]).collect();
            let changes = Changes { count: configurations.len(), make: &|c| self.change(&configurations[c], half) };
            let errors = self.probe.errors(&inputs, &wanted, changes, done)?;
            total.iter_mut().zip(errors).for_each(|(t, e)| t.merge(&e));
        }
        Ok(total)
    }

    /// Relative squared output error and top-1 agreement of configurations on samples that nothing else has seen.
    pub fn fidelity(
        &self,
        configurations: &[Configuration],
        samples: &[Sample],
        wanted: &[Vec<Array>],
    ) -> Result<Vec<(f64, f64)>> {
        let rounded_on = self.ground.halves.first().copied().unwrap_or(0);
        let make = |c: usize| self.change(&quantized(&configurations[c]), FOLDS - 1 - rounded_on);
        let look = |i: usize, outputs: &[Array]| {
            let agreement = wanted[i].first().zip(outputs.first()).map_or((0, 0), |(a, b)| top1_agreement(a, b));
            (Compare::of(&wanted[i], outputs), agreement)
        };
        let samples: Vec<&Sample> = samples.iter().collect();
        let changes = Changes { count: configurations.len(), make: &make };
        let each = self.probe.visit(&samples, changes, &|| {}, &look)?;
        let of = |c: usize| {
            let (mut error, mut same, mut all) = (Compare::default(), 0, 0);
            for sample in &each {
                error.merge(&sample[c].0);
                same += sample[c].1.0;
                all += sample[c].1.1;
            }
            (error.relative_error(), same as f64 / f64::max(all as f64, 1.0))
        };
        Ok((0..configurations.len()).map(of).collect())
    }

    fn compare(
        &self,
        configurations: &[&Configuration],
        samples: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<Compare>> {
        progress.stage("compare", samples.min(self.ground.samples.len()));
        let partial: Vec<Vec<(usize, u32)>> = configurations.iter().map(|c| quantized(c)).collect();
        self.errors(&partial, samples, &|| progress.tick())
    }

    fn compared(&self, name: &str, configuration: &Configuration, error: Compare, units: &[Unit]) -> Compared {
        let params = |u: &Unit| u.layers[0].params() as f64;
        let bits = |b: &Option<u32>| f64::from(b.unwrap_or(32));
        let total: f64 = units.iter().map(params).sum();
        let average = units.iter().zip(configuration).map(|(u, b)| params(u) * bits(b)).sum::<f64>() / total.max(1.0);
        Compared { what: name.to_owned(), average_bits: average, sqnr_db: decibels(error.relative_error()) }
    }

    /// Fills in the sensitivity of every unit: what the proxy says that each width costs.
    pub fn score(&self, units: &mut [Unit], proxy: &ProxyFile, depth: &Depth, progress: &dyn Progress) -> Result<()> {
        let wanted = proxy.formula.features();
        let table = features::table(self, units, self.ground, &wanted, depth, progress)?;
        let found = sensitivities(&proxy.formula, &table)?;
        for ((unit, candidates), row) in units.iter_mut().zip(self.ground.candidates).zip(found) {
            let at = |b: &u32| table.widths().iter().position(|w| w == b).and_then(|i| row.get(i)).copied();
            unit.sensitivity.bits.clone_from(&candidates.bits);
            unit.sensitivity.error = candidates.bits.iter().map(|b| at(b).unwrap_or(0.0)).collect();
        }
        Ok(())
    }

    /// Relative output error of the network by noise of each unit: from few runs in which one unit is rounded.
    ///
    /// A unit that cannot be changed gets the median gain of the others for the same relative noise.
    pub fn gains(&self, depth: &Depth, progress: &dyn Progress) -> Result<Vec<f64>> {
        let candidates = self.ground.candidates;
        let samples = depth.gain_samples.min(self.ground.samples.len());
        let probes: Vec<Vec<(usize, u32)>> = (0..candidates.len())
            .filter(|u| !self.stops[*u].is_empty())
            .flat_map(|u| depth.gain_bits.iter().map(move |b| vec![(u, nearest(&candidates[u].bits, *b))]))
            .collect();
        progress.stage("measure gains", samples);
        let errors = self.errors(&probes, samples, &|| progress.tick())?;
        let mut logs: Vec<Vec<f64>> = vec![vec![]; candidates.len()];
        for (probe, error) in probes.iter().zip(&errors) {
            let (unit, bits) = probe[0];
            let noise = candidates[unit].noise_at(bits);
            if noise > 0.0 && error.relative_error() > 0.0 {
                logs[unit].push((error.relative_error() / noise).ln());
            }
        }
        let mean = |logs: &Vec<f64>| (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp());
        let gains: Vec<Option<f64>> = logs.iter().map(mean).collect();
        let mut relative: Vec<f64> =
            gains.iter().zip(candidates).filter_map(|(g, c)| Some((*g)? * c.power())).collect();
        relative.sort_by(f64::total_cmp);
        let typical = relative.get(relative.len() / 2).copied().unwrap_or(1.0);
        Ok(gains.iter().zip(candidates).map(|(g, c)| g.unwrap_or(typical / c.power())).collect())
    }

    /// Output error with one unit at each of its widths, the others in float or at the width of `point`.
    pub fn measured(&self, point: Option<u32>, depth: &Depth, progress: &dyn Progress) -> Result<Vec<Vec<f64>>> {
        let candidates = self.ground.candidates;
        let samples = depth.compare_samples.min(self.ground.samples.len());
        let others = |u: usize| -> Vec<(usize, u32)> {
            let at =
                |b: u32| (0..candidates.len()).filter(|o| *o != u).map(move |o| (o, nearest(&candidates[o].bits, b)));
            point.into_iter().flat_map(at).collect()
        };
        let changeable = |u: &usize| !self.stops[*u].is_empty();
        let mut found = vec![];
        progress.stage("measure widths", candidates.len() * samples);
        for (u, own) in candidates.iter().enumerate() {
            if !changeable(&u) {
                found.push(scaled(&own.noise, 1.0 / own.power()));
                (0..samples).for_each(|_| progress.tick());
                continue;
            }
            let with = |b: &u32| others(u).into_iter().chain([(u, *b)]).collect::<Vec<_>>();
            let tried: Vec<Vec<(usize, u32)>> = own.bits.iter().map(with).collect();
            found
                .push(self.errors(&tried, samples, &|| progress.tick())?.iter().map(Compare::relative_error).collect());
        }
        Ok(found)
    }

    /// Choices under other readings of the same measurements.
    fn alternatives(
        &self,
        units: &[Unit],
        widths: &Widths,
        options: &Options,
        activation_bits: u32,
    ) -> Vec<(String, Configuration)> {
        let mut found = vec![];
        let base = problem(units, widths, options.target, activation_bits);
        let mut solve = |name: &str, change: &dyn Fn(usize, Option<u32>, f64) -> f64| {
            let mut changed = base.clone();
            for (u, (unit, layer)) in units.iter().zip(&mut changed.layers).enumerate() {
                for (bits, choice) in unit.options.iter().zip(layer) {
                    choice.cost = change(u, *bits, choice.cost);
                }
            }
            // An alternative that the budgets exclude is none.
            if let Ok(solution) = allocate::solve(&changed).map(|s| picked(units, &s.picks)) {
                found.push((name.to_owned(), solution));
            }
        };
        solve("knapsack without widths below 3 bits", &|_, bits, cost| match bits {
            Some(b) if b < 3 => f64::INFINITY,
            _ => cost,
        });
        solve("knapsack by each layer's own output error", &|u, bits, cost| {
            let candidates = &self.ground.candidates[u];
            bits.map_or(cost, |b| candidates.noise_at(b) / candidates.power())
        });
        found
    }
}

/// The widths of the units that are not in float.
pub fn quantized(configuration: &Configuration) -> Vec<(usize, u32)> {
    configuration.iter().enumerate().filter_map(|(u, b)| Some((u, (*b)?))).collect()
}

fn scaled(values: &[f64], factor: f64) -> Vec<f64> {
    values.iter().map(|v| v * factor).collect()
}

/// The offered width nearest to `bits`.
fn nearest(offered: &[u32], bits: u32) -> u32 {
    offered.iter().copied().min_by_key(|b| (b.abs_diff(bits), *b)).unwrap_or(bits)
}

/// Exchanges of bits between layers, as long as the measured error falls.
struct Search<'a> {
    chooser: &'a Chooser<'a>,
    units: &'a [Unit<'a>],
    options: &'a Options<'a>,
    ground: &'a Ground<'a>,
    limits: &'a [allocate::Budget],
    depth: &'a Depth,
}

/// Exchanges whose errors are measured before the best of them is taken.
const BATCH: usize = 8;

impl Search<'_> {
    /// A better configuration, its error and the number of measured exchanges; `None` if none was found.
    fn run(
        &mut self,
        start: &Configuration,
        error: Compare,
        progress: &dyn Progress,
    ) -> Result<Option<(Configuration, Compare, usize)>> {
        let (mut current, mut best) = (start.clone(), error);
        let mut tried: Vec<Configuration> = vec![start.clone()];
        let mut measured = 0;
        while measured < self.depth.exchanges {
            let mut moves = self.moves(&current);
            moves.retain(|m| !tried.contains(m));
            moves.truncate(BATCH.min(self.depth.exchanges - measured));
            if moves.is_empty() {
                break;
            }
            let refs: Vec<&Configuration> = moves.iter().collect();
            let errors = self.chooser.compare(&refs, self.depth.compare_samples, progress)?;
            measured += moves.len();
            let first =
                (0..moves.len()).min_by(|a, b| errors[*a].relative_error().total_cmp(&errors[*b].relative_error()));
            tried.extend(moves.iter().cloned());
            if let Some(i) = first.filter(|i| errors[*i].relative_error() < best.relative_error() * MARGIN) {
                (current, best) = (moves[i].clone(), errors[i]);
            }
        }
        Ok((current != *start).then_some((current, best, measured)))
    }

    /// Legal exchanges of one step up for one unit against one down for another, the most promising first.
    fn moves(&self, current: &Configuration) -> Vec<Configuration> {
        let problem = problem(self.units, &self.options.widths, self.options.target, self.ground.activation_bits);
        let picks: Vec<usize> = self.units.iter().zip(current).map(|(u, b)| u.position(*b)).collect();
        let used: Vec<f64> = (0..self.limits.len())
            .map(|k| problem.layers.iter().zip(&picks).map(|(layer, p)| layer[*p].weights[k]).sum())
            .collect();
        let step = |u: usize, up: bool| {
            let to = if up { picks[u] + 1 } else { picks[u].checked_sub(1)? };
            (to < problem.layers[u].len()).then_some(to)
        };
        let mut moves: Vec<(f64, Configuration)> = vec![];
        let ups: Vec<usize> = (0..self.units.len()).filter(|u| step(*u, true).is_some()).collect();
        for up in ups {
            let downs = (0..self.units.len()).filter(|d| *d != up).map(Some).chain([None]);
            for down in downs {
                let mut changes = vec![(up, step(up, true).unwrap_or(0))];
                if let Some(d) = down {
                    let Some(to) = step(d, false) else { continue };
                    changes.push((d, to));
                }
                let item = |(u, to): &(usize, usize)| (&problem.layers[*u][*to], &problem.layers[*u][picks[*u]]);
                let fits = (0..used.len()).all(|k| {
                    let change: f64 = changes.iter().map(item).map(|(a, b)| a.weights[k] - b.weights[k]).sum();
                    used[k] + change <= self.limits[k].limit * (1.0 + 1e-9)
                });
                if fits {
                    let gain: f64 = changes.iter().map(item).map(|(a, b)| a.cost - b.cost).sum();
                    let mut next = current.clone();
                    changes.iter().for_each(|(u, to)| next[*u] = self.units[*u].options[*to]);
                    moves.push((gain, next));
                }
            }
        }
        moves.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        moves.into_iter().map(|(_, c)| c).collect()
    }
}

/// Every layer at the width asked for, or at the target's default.
pub fn uniform(units: &[Unit], options: &Options, activation_bits: u32) -> Result<Chosen> {
    let mut widths = BTreeMap::new();
    for layer in units.iter().flat_map(|u| &u.layers) {
        let bits = match options.widths.uniform {
            Some(bits) => bits,
            None => default_width(options, &layer.op, activation_bits),
        };
        options
            .target
            .check_weight_bits_at(&layer.op, bits, activation_bits)
            .at(|| format!("layer '{}'", layer.name))?;
        widths.insert(layer.name.clone(), Some(bits));
    }
    let proof = "nothing to choose".to_owned();
    let record = AllocationRecord { method: "uniform".to_owned(), proof, ..Default::default() };
    Ok(Chosen { widths, record, uniform: None })
}

/// 8 bits where the target runs them, else its widest.
fn default_width(options: &Options, op: &str, activation_bits: u32) -> u32 {
    let choices = options.target.weight_choices_at(op, activation_bits);
    choices.iter().copied().find(|b| *b == 8).or(choices.last().copied()).unwrap_or(8)
}

/// A width that the unit offers.
impl Unit<'_> {
    fn position(&self, bits: Option<u32>) -> usize {
        self.options.iter().position(|o| *o == bits).unwrap_or(0)
    }
}

/// Says that a choice left nothing quantized.
pub fn refuse_all_float(widths: &BTreeMap<String, Option<u32>>) -> Result<()> {
    if widths.values().any(Option::is_some) {
        return Ok(());
    }
    let what = "the budget is so generous that every layer would stay in float";
    Err(Error::new(Code::NothingToQuantize, what).help("ask for fewer bits, or use the float model"))
}
