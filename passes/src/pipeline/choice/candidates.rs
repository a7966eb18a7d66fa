//! What each width would do to each layer: rounded weights, and the noise that they add to the layer's output.
//!
//! Sixteen samples do not determine the curvature of a wide layer, so rounding that is judged on the samples it was
//! made with looks far better than it is, most of all where the layer is large. Candidates are therefore rounded on
//! one half of the samples, and their noise is what they do on the other half; both ways round, where time allows.

use crate::pipeline::weights::{grid, nearest, takes_second_order, weight_rows};
use rayon::prelude::*;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::quant::{Granularity, QuantizedWeight, scale_rows};
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
    /// By half of the samples, at each width: weights rounded on that half. Empty for a layer without Gram matrix, and
    /// for a half that nothing was rounded on.
    rounded: [Vec<Rounded>; FOLDS],
}

/// A rounded weight, rows of channels by fan-in, and what the bias takes back.
struct Rounded {
    values: Vec<i16>,
    scales: Vec<f32>,
    granularity: Granularity,
    shift: Vec<f32>,
}

impl Rounded {
    fn new(found: QuantizedWeight, channels: usize, granularity: Granularity) -> Self {
        let values = found.values.iter().map(|v| *v as i16).collect();
        Rounded { values, scales: found.scales, granularity, shift: vec![0.0; channels] }
    }

    /// W'.
    fn rows(&self) -> Vec<f32> {
        let mut rows: Vec<f32> = self.values.iter().map(|q| f32::from(*q)).collect();
        scale_rows(&mut rows, &self.scales, self.granularity, self.shift.len());
        rows
    }

    /// W' - W.
    fn delta(&self, rows: &[f32]) -> Vec<f32> {
        let mut delta = self.rows();
        delta.iter_mut().zip(rows).for_each(|(q, w)| *q -= w);
        delta
    }
}

/// Widest width at which candidates are rounded with regard to their input; above it rounding to the nearest is as good,
/// and noise falls by four with each bit.
const WIDEST_SECOND_ORDER: u32 = 6;

/// Measures every layer at every width that is offered to it, rounded on each of `halves`.
pub fn measure(
    graph: &Graph,
    layers: &[(&Layer, Vec<u32>)],
    grams: &[Option<&[Gram; FOLDS]>],
    target: &Target,
    halves: &[usize],
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Candidates>> {
    let one = |((layer, bits), grams): (&(&Layer, Vec<u32>), &Option<&[Gram; FOLDS]>)| {
        let found = Candidates::new(graph, layer, bits, *grams, target, halves);
        done();
        found
    };
    layers.par_iter().zip(grams).map(one).collect()
}

impl Candidates {
    fn new(
        graph: &Graph,
        layer: &Layer,
        bits: &[u32],
        grams: Option<&[Gram; FOLDS]>,
        target: &Target,
        halves: &[usize],
    ) -> Result<Self> {
        let (channels, rows) = weight_rows(graph, layer)?;
        let usable = |g: &&[Gram; FOLDS]| {
            let fits = g.iter().all(|g| g.size * channels == rows.len() && g.rows > 0);
            fits && takes_second_order(graph, layer)
        };
        let grid = |b: u32| grid(target, layer, b, vec![]);
        let Some(grams) = grams.filter(usable) else {
            let noise = weight_errors(channels, &rows, bits, &grid);
            return Ok(Candidates { bits: bits.to_vec(), noise, power: 1.0, rounded: Default::default() });
        };
        let centred = layer.takes_bias(graph);
        let corrected = |g: usize| centred.then_some(&grams[g]);
        let mut rounded: [Vec<Rounded>; FOLDS] = Default::default();
        let mut noise = vec![0.0; bits.len()];
        for own in halves.iter().copied() {
            let other = FOLDS - 1 - own;
            let Some(prepared) = Prepared::new(&rows, channels, &grams[own], None, centred) else { continue };
            let mut last: Option<(u32, f64)> = None;
            for (i, b) in bits.iter().enumerate() {
                let wide = *b > WIDEST_SECOND_ORDER;
                let grid = grid(*b);
                let found = match wide {
                    false => prepared.round(&grid, Care::Quick),
                    true => nearest(&rows, channels, &grid),
                };
                let found = Rounded::new(found, channels, grid.granularity);
                let delta = found.delta(&rows);
                let error = match last.filter(|_| wide) {
                    None => output_error(&delta, &grams[other], corrected(own)),
                    Some((narrower, error)) => error * 0.25f64.powi((*b - narrower) as i32),
                };
                last = Some((*b, error));
                noise[i] += error / halves.len() as f64;
                let shift = match centred {
                    true => mean_change(&delta, &grams[own]).into_iter().map(|m| -m as f32).collect(),
                    false => vec![0.0; channels],
                };
                rounded[own].push(Rounded { shift, ..found });
            }
        }
        let power = (0..FOLDS).map(|g| output_error(&rows, &grams[g], corrected(g))).sum::<f64>() / FOLDS as f64;
        Ok(Candidates { bits: bits.to_vec(), noise, power, rounded })
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
        self.rounded.iter().any(|r| !r.is_empty())
    }

    /// The weight at a width, rounded on the half that a sample does not belong to, and what the bias takes back.
    pub fn weight(&self, bits: u32, half: usize) -> Option<(Vec<f32>, &[f32])> {
        let at = self.bits.iter().position(|b| *b == bits)?;
        let rounded = self.rounded[half].get(at)?;
        Some((rounded.rows(), &rounded.shift))
    }
}

/// Without moments of the input all directions count the same: relative error of rounding to the nearest.
fn weight_errors(channels: usize, rows: &[f32], bits: &[u32], grid: &dyn Fn(u32) -> Grid) -> Vec<f64> {
    let energy = rows.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE);
    let error = |b: &u32| {
        let grid = grid(*b);
        let found = Rounded::new(nearest(rows, channels, &grid), channels, grid.granularity);
        found.delta(rows).iter().map(|d| f64::from(*d).powi(2)).sum::<f64>() / energy
    };
    bits.iter().map(error).collect()
}

/// The same for a layer of the graph.
pub fn layer_weight_errors(graph: &Graph, layer: &Layer, bits: &[u32], target: &Target) -> Result<Vec<f64>> {
    let (channels, rows) = weight_rows(graph, layer)?;
    Ok(weight_errors(channels, &rows, bits, &|b| grid(target, layer, b, vec![])))
}
