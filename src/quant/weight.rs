//! Weights: symmetric, one scale per output channel or one for all.

use super::IntFormat;
use crate::wide::wide;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How the range of a weight channel is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightRange {
    /// The greatest magnitude: nothing saturates.
    Max,
    /// The scale of least squared error on a grid of 36 between 0.3 and 1 of the greatest magnitude.
    Mse,
}

/// Integers and scales of a weight tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeight {
    /// The integers, in the order of the tensor.
    pub values: Vec<i32>,
    /// One scale, or one per index of the axis.
    pub scales: Vec<f32>,
}

/// How a tensor is cut into channels: element `i` belongs to channel `i / inner % extent`.
#[derive(Clone, Copy, Debug)]
struct Channels {
    extent: usize,
    inner: usize,
}

impl Channels {
    fn new(dims: &[usize], axis: Option<usize>) -> Self {
        match axis {
            Some(a) => Channels { extent: dims[a].max(1), inner: dims[a + 1..].iter().product::<usize>().max(1) },
            None => Channels { extent: 1, inner: dims.iter().product::<usize>().max(1) },
        }
    }

    /// Calls `visit` with the position and the channel of each of `count` elements; a division for each would
    /// cost more than the rounding.
    fn each(self, count: usize, mut visit: impl FnMut(usize, usize)) {
        let mut at = 0;
        while at < count {
            for channel in 0..self.extent {
                (at..(at + self.inner).min(count)).for_each(|i| visit(i, channel));
                at += self.inner;
            }
        }
    }
}

/// Quantizes a weight of shape `dims` with one scale per index of `axis` (or one for all).
///
/// `floor` gives the least scale of each channel (see [`super::least_weight_scale`]); empty means none.
pub fn quantize_weight(
    weight: &[f32],
    dims: &[usize],
    axis: Option<usize>,
    format: IntFormat,
    rule: WeightRange,
    power_of_two: bool,
    floor: &[f32],
) -> QuantizedWeight {
    let channels = Channels::new(dims, axis);
    let mut scales = match rule {
        WeightRange::Max => max_scales(weight, channels, format),
        WeightRange::Mse => mse_scales(weight, channels, format),
    };
    for (c, scale) in scales.iter_mut().enumerate() {
        let least = floor.get(if floor.len() == 1 { 0 } else { c }).copied().unwrap_or(0.0);
        *scale = scale.max(least);
        if power_of_two {
            *scale = scale.log2().ceil().clamp(-126.0, 127.0).exp2();
        }
    }
    let mut values = vec![0; weight.len()];
    let (low, high) = bounds(format);
    channels.each(weight.len(), |i, c| values[i] = round(weight[i], scales[c], low, high) as i32);
    QuantizedWeight { values, scales }
}

/// The floats that stored integers mean.
pub fn dequantize_weight(quantized: &QuantizedWeight, dims: &[usize], axis: Option<usize>) -> Vec<f32> {
    let channels = Channels::new(dims, axis);
    let mut floats = vec![0.0; quantized.values.len()];
    let one = quantized.scales.len() == 1;
    channels.each(floats.len(), |i, c| {
        floats[i] = quantized.values[i] as f32 * quantized.scales[if one { 0 } else { c }];
    });
    floats
}

/// Clamped first, to integers far below 2^22: what is left rounds half to even by a sum, which vectorises.
#[inline]
fn round(w: f32, scale: f32, low: f32, high: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let x = w / scale;
    let x = if x < low { low } else { x };
    let x = if x > high { high } else { x };
    (x + MAGIC) - MAGIC
}

/// Bounds of the integers, as floats.
fn bounds(format: IntFormat) -> (f32, f32) {
    (format.min() as f32, format.max() as f32)
}

/// Steps from 0 to the end of the grid that symmetric weights fill.
fn steps(format: IntFormat) -> f32 {
    format.max().max(1) as f32
}

fn magnitudes(weight: &[f32], channels: Channels) -> Vec<f32> {
    let mut greatest = vec![0f32; channels.extent];
    channels.each(weight.len(), |i, c| greatest[c] = greatest[c].max(weight[i].abs()));
    greatest
}

fn max_scales(weight: &[f32], channels: Channels, format: IntFormat) -> Vec<f32> {
    magnitudes(weight, channels).into_iter().map(|m| scale_for(m, format)).collect()
}

/// A channel of zeros gets scale 1: it stays exact with any scale.
fn scale_for(magnitude: f32, format: IntFormat) -> f32 {
    if magnitude == 0.0 { 1.0 } else { (magnitude / steps(format)).max(f32::MIN_POSITIVE) }
}

fn mse_scales(weight: &[f32], channels: Channels, format: IntFormat) -> Vec<f32> {
    let mut rows: Vec<Vec<f32>> = vec![Vec::with_capacity(weight.len() / channels.extent.max(1)); channels.extent];
    channels.each(weight.len(), |i, c| rows[c].push(weight[i]));
    rows.par_iter().map(|row| mse_scale(row, format)).collect()
}

fn mse_scale(row: &[f32], format: IntFormat) -> f32 {
    let full = scale_for(row.iter().fold(0f32, |m, w| m.max(w.abs())), format);
    let mut best = (f64::INFINITY, full);
    for step in 0..36 {
        let scale = (full * (1.0 - step as f32 * 0.02)).max(f32::MIN_POSITIVE);
        let error = squared_error(row, scale, format);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// Sum of squared rounding errors, in parallel lanes.
fn squared_error(row: &[f32], scale: f32, format: IntFormat) -> f64 {
    const LANES: usize = 8;
    let (low, high) = bounds(format);
    let square = |w: f32| {
        let error = f64::from(round(w, scale, low, high) * scale - w);
        error * error
    };
    wide(
        #[inline(always)]
        || {
            let mut lanes = [0f64; LANES];
            let mut chunks = row.chunks_exact(LANES);
            for chunk in &mut chunks {
                lanes.iter_mut().zip(chunk).for_each(|(sum, w)| *sum += square(*w));
            }
            lanes.iter().sum::<f64>() + chunks.remainder().iter().map(|w| square(*w)).sum::<f64>()
        },
    )
}
