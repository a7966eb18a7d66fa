//! What each width would do to each layer: rounded weights, and the noise that they add to the layer's output.
//!
//! Sixteen samples do not determine the curvature of a wide layer, so rounding that is judged on the samples it was
//! made with looks far better than it is, most of all where the layer is large. Every candidate is therefore rounded
//! twice, on each half of the samples, and its noise is what each does on the other half.

use super::analyze::{MOST_GRAM_COLUMNS, weight_rows};
use rayon::prelude::*;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::quant::{IntFormat, QuantizedWeight, dequantize_weight, quantize_weight};
use tapq::rounding::{Care, Grid, Layer as Prepared, mean_change, output_error};
use tapq::stats::{FOLDS, Gram};
use tapq::target::Target;

/// One layer at the widths that it may have.
pub struct Candidates {
    /// Widths, ascending.
    pub bits: Vec<u32>,
    /// At each width: mean squared change of the layer's output, summed over channels, on samples that the rounding
    /// has not seen.
    pub noise: Vec<f64>,
    /// Mean squared output, summed over channels; without the mean where a bias takes it.
    power: f64,
    /// At each width: squared error of weights rounded to the nearest over their squares.
    pub weight_error: Vec<f64>,
    /// By half of the samples, at each width: weights rounded on that half. Empty for a layer without Gram matrix.
    rounded: [Vec<Rounded>; FOLDS],
}

/// A rounded weight, rows of channels by fan-in, and what the bias takes back.
struct Rounded {
    values: Vec<i8>,
    scales: Vec<f32>,
    shift: Vec<f32>,
}

impl Rounded {
    /// W' - W.
    fn delta(&self, rows: &[f32]) -> Vec<f32> {
        let fan = rows.len() / self.shift.len().max(1);
        let scale = |c: usize| self.scales[if self.scales.len() == 1 { 0 } else { c }];
        let pairs = self.values.iter().zip(rows).enumerate();
        pairs.map(|(i, (q, w))| f32::from(*q) * scale(i / fan.max(1)) - w).collect()
    }
}

/// Measures every layer at every width that is offered to it.
pub fn measure(
    graph: &Graph,
    layers: &[(&Layer, Vec<u32>)],
    grams: &[Option<&[Gram; FOLDS]>],
    target: &Target,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Candidates>> {
    let one = |((layer, bits), grams): (&(&Layer, Vec<u32>), &Option<&[Gram; FOLDS]>)| {
        let found = Candidates::new(graph, layer, bits, *grams, target);
        done();
        found
    };
    layers.par_iter().zip(grams).map(one).collect()
}

impl Candidates {
    fn new(graph: &Graph, layer: &Layer, bits: &[u32], grams: Option<&[Gram; FOLDS]>, target: &Target) -> Result<Self> {
        let (channels, rows) = weight_rows(graph, layer)?;
        let usable = |g: &&[Gram; FOLDS]| {
            let fits = g.iter().all(|g| g.size * channels == rows.len() && g.rows > 0);
            fits && layer.channelwise && layer.fan_in() <= MOST_GRAM_COLUMNS
        };
        let grid = |b: u32| Grid {
            format: IntFormat { bits: b, signed: true, narrow: target.weights.narrow_range },
            per_channel: target.per_channel(&layer.op),
            power_of_two: target.weights.power_of_two,
            floor: vec![],
        };
        let Some(grams) = grams.filter(usable) else {
            let (noise, power) = by_weights(channels, &rows, bits, &grid);
            let weight_error = noise.clone();
            return Ok(Candidates { bits: bits.to_vec(), noise, power, weight_error, rounded: Default::default() });
        };
        let centred = layer.takes_bias(graph);
        let corrected = |g: usize| centred.then_some(&grams[g]);
        let mut rounded: [Vec<Rounded>; FOLDS] = Default::default();
        let mut noise = vec![0.0; bits.len()];
        for own in 0..FOLDS {
            let other = FOLDS - 1 - own;
            let Some(prepared) = Prepared::new(&rows, channels, &grams[own], None, centred) else { continue };
            for (i, b) in bits.iter().enumerate() {
                let found = compact(&prepared, &grid(*b), channels);
                let delta = found.delta(&rows);
                noise[i] += output_error(&delta, &grams[other], corrected(own)) / FOLDS as f64;
                let shift = match centred {
                    true => mean_change(&delta, &grams[own]).into_iter().map(|m| -m as f32).collect(),
                    false => vec![0.0; channels],
                };
                rounded[own].push(Rounded { shift, ..found });
            }
        }
        let (weight_error, _) = by_weights(channels, &rows, bits, &grid);
        let power = (0..FOLDS).map(|g| output_error(&rows, &grams[g], corrected(g))).sum::<f64>() / FOLDS as f64;
        Ok(Candidates { bits: bits.to_vec(), noise, power, weight_error, rounded })
    }

    /// Mean squared output, never zero.
    pub fn power(&self) -> f64 {
        self.power.max(f64::MIN_POSITIVE)
    }

    /// The noise at one of the widths.
    pub fn noise_at(&self, bits: u32) -> f64 {
        self.bits.iter().position(|b| *b == bits).map_or(0.0, |at| self.noise[at])
    }

    /// Whether the network can be run with these candidates.
    pub fn can_change(&self) -> bool {
        self.rounded.iter().all(|r| !r.is_empty())
    }

    /// Change of the weight at a width, rounded on the half that a sample does not belong to, and of the bias.
    pub fn change(&self, bits: u32, half: usize, rows: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
        let at = self.bits.iter().position(|b| *b == bits)?;
        let rounded = self.rounded[half].get(at)?;
        Some((rounded.delta(rows), rounded.shift.clone()))
    }
}

fn compact(prepared: &Prepared, grid: &Grid, channels: usize) -> Rounded {
    let QuantizedWeight { values, scales } = prepared.round(grid, Care::Quick);
    Rounded { values: values.iter().map(|v| *v as i8).collect(), scales, shift: vec![0.0; channels] }
}

/// Without moments of the input all directions count the same: relative error of rounding to the nearest, and 1.
fn by_weights(channels: usize, rows: &[f32], bits: &[u32], grid: &dyn Fn(u32) -> Grid) -> (Vec<f64>, f64) {
    let dims = [channels, rows.len() / channels.max(1)];
    let power = rows.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE);
    let noise = |b: &u32| {
        let grid = grid(*b);
        let axis = grid.per_channel.then_some(0);
        let found =
            quantize_weight(rows, &dims, axis, grid.format, tapq::proxy::range_rule(*b), grid.power_of_two, &[]);
        let floats = dequantize_weight(&found, &dims, axis);
        floats.iter().zip(rows).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / power
    };
    (bits.iter().map(noise).collect(), 1.0)
}
