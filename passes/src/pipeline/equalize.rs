//! Which layers share their channel factors: predicted pair by pair, then measured as a whole.
//!
//! An activation has one scale for all channels, so channels of small range are rounded coarsely. Where nothing but
//! homogeneous operators stands between two layers, or between a normalization and layers, the factor of a channel can
//! move from one to the other. What the activation gains, the weights behind it may lose: a weight has one scale for all
//! its input channels.

use super::biases::correct_biases;
use super::choice::{asked_width, uniform, units};
use super::observed::observe_network;
use super::options::{Equalize, Options};
use super::plans::plan_of;
use super::progress::{Progress, Silent};
use super::trial::error_as_file;
use crate::driver::Driver;
use crate::equalize::{Joint, equalize, joints};
use crate::features::Reader;
use std::sync::Arc;
use tapq::Result;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{Equalized, Rounding, RoundingMethod, weight_layers};
use tapq::stats::{Cpu, Request, ValueObservation, observe};

/// A network is worth measuring if the predicted noise of one pair falls to this share: depthwise layers come to 0.2
/// to 0.5, plain residual networks, which lose by it, to 0.6 and more.
const WORTHWHILE: f64 = 0.5;
/// The same of features behind a normalization or a gate: language models come to 0.003 to 0.4, half of them below 0.2;
/// transformers whose features are about as loud, which gain nothing, to 0.4 and more.
const WORTHWHILE_FEATURES: f64 = 0.25;
/// So many numbers of each feature say how loud it is: the widest of a dozen rows of a table is no bound for the next row,
/// and where all features fill the range, each of them can be cut off.
const LEAST_SEEN: u64 = 256;
/// A pair joins in if its predicted noise falls to this share.
const PAIR_GAIN: f64 = 0.8;
/// The whole is kept if the measured error of the output falls to this share: a quarter of a decibel.
const WHOLE_GAIN: f64 = 0.94;
/// How much of a channel's factor follows the activation's range; the rest follows the weight's.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
/// Mean square of a channel over its squared extreme: activations behind a Relu are mostly small.
const POWER_OF_EXTREME: f64 = 1.0 / 64.0;
/// Channels below this share of the widest one's range carry nothing.
const DEAD: f64 = 1e-4;

/// Finds the factors for a float graph and applies them; returns what was applied.
pub fn equalize_channels(
    graph: &mut Graph,
    options: &Options,
    driver: &mut Driver,
    progress: &dyn Progress,
) -> Result<Vec<Equalized>> {
    // Narrow weights lose more by wider ranges than activations gain.
    let alone = options.target.variant.weight_only;
    let narrow = alone || options.widths.is_choice() || options.widths.uniform.is_some_and(|b| b < 8);
    if options.equalize == Equalize::Off || (options.equalize == Equalize::Auto && narrow) {
        return Ok(vec![]);
    }
    let found = predict(graph, options)?;
    if found.is_empty() {
        return Ok(vec![]);
    }
    let mut changed = graph.clone();
    apply(&mut changed, &found, &mut Driver::new(None))?;
    if options.equalize == Equalize::Auto {
        progress.stage("equalize", 0);
        let (before, after) = (error(graph, options)?, error(&changed, options)?);
        if after > before * WHOLE_GAIN {
            return Ok(vec![]);
        }
    }
    apply(graph, &found, driver)?;
    Ok(found)
}

/// Applies factors in their order.
pub fn apply(graph: &mut Graph, factors: &[Equalized], driver: &mut Driver) -> Result<()> {
    for record in factors {
        if let Some(patch) = equalize(graph, record)? {
            driver.apply(graph, "equalize", patch)?;
        }
    }
    Ok(())
}

/// Factors of what should gain, by the ranges of channels on the samples.
fn predict(graph: &Graph, options: &Options) -> Result<Vec<Equalized>> {
    let joints = joints(graph)?;
    if joints.is_empty() {
        return Ok(vec![]);
    }
    let request = |joint: &Joint| {
        let (value, axis) = joint.value();
        Request { value: value.to_owned(), channel_axis: Some(axis), ..Default::default() }
    };
    let requests: Vec<Request> = joints.iter().map(request).collect();
    let taps: Vec<String> = requests.iter().map(|r| r.value.clone()).collect();
    let engine = Arc::new(Engine::new(graph, &taps, &EngineOptions::with_dims(&options.dims))?);
    let samples = &options.calibration.samples;
    let seen = observe(&|_| engine.clone(), &requests, samples, &[], &Cpu, &|| {})?;
    let activation_bits = options.activation_bits.unwrap_or(options.target.default_activation_bits());
    let widths = weight_layers(graph).into_iter().map(|layer| asked_width(options, &layer, activation_bits));
    let bits = widths.min().unwrap_or(8);
    let (mut found, mut is_worthwhile) = (vec![], options.equalize == Equalize::On);
    for (joint, value) in joints.iter().zip(&seen.values) {
        let is_pair = matches!(joint, Joint::Layers(_));
        let count: u64 = value.samples.iter().map(|sample| sample.count).sum();
        if !is_pair && count / (joint.channels().max(1) as u64) < LEAST_SEEN {
            continue;
        }
        let readers = joint.readers(graph)?;
        let noise = Noise::new(joint.channels(), &readers, value, (activation_bits, bits));
        if let Some((share, exponents)) = noise.best() {
            is_worthwhile |= share <= if is_pair { WORTHWHILE } else { WORTHWHILE_FEATURES };
            found.push(joint.record(graph, exponents));
        }
    }
    Ok(if is_worthwhile { found } else { vec![] })
}

/// Noise that rounding one activation and the weights behind it adds to what they make, by channel factors.
struct Noise<'a> {
    /// Greatest magnitude of each channel of the activation.
    ranges: Vec<f64>,
    /// Of each input channel, the greatest weight and the sum of squared weights.
    greatest: Vec<f64>,
    energy: Vec<f64>,
    readers: &'a [Reader<'a>],
    /// Steps of a range.
    steps: (f64, f64),
}

impl<'a> Noise<'a> {
    fn new(
        channels: usize,
        readers: &'a [Reader<'a>],
        value: &ValueObservation,
        (activation_bits, bits): (u32, u32),
    ) -> Self {
        let mut ranges = vec![0f64; channels];
        for sample in &value.samples {
            for (range, c) in ranges.iter_mut().zip(&sample.channels) {
                *range = range.max(f64::from(c.max.max(-c.min)));
            }
        }
        let (mut greatest, mut energy) = (vec![0f64; channels], vec![0.0; channels]);
        for reader in readers {
            for (at, w) in reader.values.iter().enumerate() {
                let (i, magnitude) = ((reader.input)(at), f64::from(w.abs()));
                greatest[i] = greatest[i].max(magnitude);
                energy[i] += magnitude * magnitude;
            }
        }
        let steps = (f64::from(activation_bits.min(16)).exp2() - 1.0, f64::from(bits.min(16) - 1).exp2() - 1.0);
        Noise { ranges, greatest, energy, readers, steps }
    }

    fn predicted(&self, exponents: &[i8]) -> f64 {
        let up: Vec<f64> = exponents.iter().map(|e| 2f64.powi(i32::from(*e))).collect();
        let range = self.ranges.iter().zip(&up).map(|(r, up)| r / up).fold(0.0, f64::max);
        let of_activation: f64 = self.energy.iter().zip(&up).map(|(e, up)| e * up * up).sum();
        let powers: Vec<f64> = self.ranges.iter().zip(&up).map(|(r, up)| (r / up).powi(2) * POWER_OF_EXTREME).collect();
        let of_weights: f64 = self.readers.iter().map(|reader| of_weights(reader, &up, &powers)).sum();
        (range / self.steps.0).powi(2) * of_activation + of_weights / self.steps.1.powi(2)
    }

    /// The exponents of the least predicted noise and its share of the noise without, if the pair is to join in.
    fn best(&self) -> Option<(f64, Vec<i8>)> {
        let none = vec![0; self.ranges.len()];
        let before = self.predicted(&none);
        let tried = SHARES.iter().map(|share| self.exponents(*share));
        let found = tried.map(|e| (self.predicted(&e), e)).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (found.0 < before * PAIR_GAIN && found.1 != none).then(|| (found.0 / before, found.1))
    }

    fn exponents(&self, share: f64) -> Vec<i8> {
        let widest = self.ranges.iter().copied().fold(0.0, f64::max);
        let factor = |i: usize| {
            let alive = self.ranges[i] > widest * DEAD && self.greatest[i] > 0.0;
            alive.then(|| share * self.ranges[i].log2() - (1.0 - share) * self.greatest[i].log2())
        };
        let factors: Vec<Option<f64>> = (0..self.ranges.len()).map(factor).collect();
        let alive = factors.iter().flatten().count().max(1) as f64;
        let middle = factors.iter().flatten().sum::<f64>() / alive;
        let limits = (f64::from(*Equalized::EXPONENTS.start()), f64::from(*Equalized::EXPONENTS.end()));
        let exponent = |f: &Option<f64>| f.map_or(0, |f| (f - middle).round().clamp(limits.0, limits.1) as i8);
        factors.iter().map(exponent).collect()
    }
}

/// Of each output channel its greatest weight, squared, times the power of what it reads; all of them together.
fn of_weights(reader: &Reader, up: &[f64], powers: &[f64]) -> f64 {
    let (mut widest, mut power) = (vec![0f64; reader.outputs], vec![0f64; reader.outputs]);
    let share = 1.0 / reader.taps.max(1) as f64;
    for (at, w) in reader.values.iter().enumerate() {
        let (i, o) = ((reader.input)(at), (reader.output)(at));
        widest[o] = widest[o].max(f64::from(w.abs()) * up[i]);
        power[o] += powers[i] * share;
    }
    widest.iter().zip(&power).map(|(w, p)| w * w * p).sum()
}

/// Relative squared error of the outputs with every layer at the asked width, rounded to the nearest.
fn error(graph: &Graph, options: &Options) -> Result<f64> {
    let observed = observe_network(graph, options, false, &Silent)?;
    let units = units(&observed.placement, options.target, &|_| observed.activation_bits, &observed.macs);
    let chosen = uniform(&units, options)?;
    let mut plan = plan_of(graph, options, &observed, &chosen.widths, &chosen)?;
    plan.layers.iter_mut().for_each(|layer| layer.rounding = RoundingMethod::Nearest);
    correct_biases(graph, options, &mut plan, &observed)?;
    let all: Vec<usize> = (0..options.calibration.samples.len()).collect();
    error_as_file(graph, &plan, &Rounding::default(), options, &observed.seen, &all)
}
