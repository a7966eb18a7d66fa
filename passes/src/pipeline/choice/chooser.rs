//! Runs the network with candidates in place of its weights, and with quantized activations where those are chosen.

use super::budget::{Configuration, Unit, nearest, quantized};
use super::field::Field;
use super::ground::Ground;
use super::probe::{Change, Changes, Probe, Step, Weight};
use crate::pipeline::depth::Depth;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use std::sync::Arc;
use tapq::Result;
use tapq::array::Array;
use tapq::engine::Options as EngineOptions;
use tapq::plan::Layer;
use tapq::report::{Compare, top1_agreement};
use tapq::samples::Sample;
use tapq::stats::FOLDS;

/// Configurations whose weights are in memory together.
const AT_ONCE: usize = 4;

/// Widths of some units, and values that are quantized beside them.
pub type Beside = (Vec<(usize, u32)>, Vec<Step>);

/// Runs the network with candidates in place of its weights.
pub struct Chooser<'a> {
    ground: &'a Ground<'a>,
    probe: Probe,
    /// Position in the probe of each layer of each unit; units that cannot be changed have none.
    stops: Vec<Vec<usize>>,
    by_half: [Vec<usize>; FOLDS],
}

impl<'a> Chooser<'a> {
    /// Prepares the network; what a unit may be is read from its candidates, and the values of `field` can be quantized.
    pub fn new(units: &[Unit], field: Option<&Field>, ground: &'a Ground<'a>, options: &Options) -> Result<Self> {
        let mut layers: Vec<(&Layer, _)> = vec![];
        let mut stops = vec![];
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
        }
        let values = field.map_or(&[][..], |field| &field.values);
        let probe = Probe::new(ground.graph, &layers, values, &EngineOptions::with_dims(&options.dims))?;
        // Samples of a half are run with weights that were rounded on the other one.
        let rounded_on = |half: usize| ground.halves.contains(&(FOLDS - 1 - half));
        let all = || 0..ground.samples.len();
        let by_half = [0, 1]
            .map(|half| all().filter(|i| rounded_on(half) && i % FOLDS == half && !ground.apart.contains(i)).collect());
        Ok(Chooser { ground, probe, stops, by_half })
    }

    /// What a configuration changes for samples of `half`: weights rounded on the other one.
    fn weights(&self, configuration: &[(usize, u32)], half: usize) -> Vec<Weight> {
        let mut weights = vec![];
        for (unit, bits) in configuration {
            let Some((rows, shift)) = self.ground.candidates[*unit].weight(*bits, FOLDS - 1 - half) else { continue };
            let (rows, shift): (Arc<[f32]>, Arc<[f32]>) = (rows.into(), shift.into());
            for layer in &self.stops[*unit] {
                weights.push(Weight { layer: *layer, rows: rows.clone(), shift: shift.clone() });
            }
        }
        weights
    }

    /// Output errors of partial configurations, each on the first `samples` samples.
    pub fn errors(
        &self,
        configurations: &[Vec<(usize, u32)>],
        samples: usize,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Compare>> {
        let alone: Vec<Beside> = configurations.iter().map(|c| (c.clone(), vec![])).collect();
        self.errors_on(&self.first(samples), &alone, done)
    }

    /// Output errors of whole choices beside quantized activations: on the samples that are set apart for it, or on the
    /// first `samples` where none are.
    pub fn compare(&self, configurations: &[Beside], samples: usize, done: &(dyn Fn() + Sync)) -> Result<Vec<Compare>> {
        let apart = &self.ground.apart;
        let of = |half: usize| apart.iter().copied().filter(|i| i % FOLDS == half).collect();
        let on = if apart.is_empty() { self.first(samples) } else { [0, 1].map(of) };
        self.errors_on(&on, configurations, done)
    }

    /// The first samples of each half, `samples` in all.
    fn first(&self, samples: usize) -> [Vec<usize>; FOLDS] {
        let share = samples.div_ceil(self.ground.halves.len().max(1));
        [0, 1].map(|half| self.by_half[half].iter().copied().take(share).collect())
    }

    fn errors_on(
        &self,
        on: &[Vec<usize>; FOLDS],
        configurations: &[Beside],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Compare>> {
        let mut total = vec![Compare::default(); configurations.len()];
        for (half, own) in on.iter().enumerate() {
            let inputs: Vec<&Sample> = own.iter().map(|i| &self.ground.samples[*i]).collect();
            let wanted: Vec<&Vec<Array>> = own.iter().map(|i| &self.ground.outputs[*i]).collect();
            let make = |c: usize| {
                let (weights, steps) = &configurations[c];
                Change { weights: self.weights(weights, half), steps: steps.clone() }
            };
            let changes = Changes { count: configurations.len(), make: &make };
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
        let mut found = vec![];
        for configurations in configurations.chunks(AT_ONCE) {
            found.extend(self.fidelity_of(configurations, samples, wanted)?);
        }
        Ok(found)
    }

    fn fidelity_of(
        &self,
        configurations: &[Configuration],
        samples: &[Sample],
        wanted: &[Vec<Array>],
    ) -> Result<Vec<(f64, f64)>> {
        let rounded_on = self.ground.halves.first().copied().unwrap_or(0);
        let weights = |c: &Configuration| self.weights(&quantized(c), FOLDS - 1 - rounded_on);
        // Made once for all samples.
        let made: Vec<Vec<Weight>> = configurations.iter().map(weights).collect();
        let make = |c: usize| Change { weights: made[c].clone(), steps: vec![] };
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
}

fn scaled(values: &[f64], factor: f64) -> Vec<f64> {
    values.iter().map(|v| v * factor).collect()
}
