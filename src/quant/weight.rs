//! Weights: symmetric, one scale per output channel or one for all.

use super::{IntFormat, round_half_even};
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
            Some(a) => Channels { extent: dims[a], inner: dims[a + 1..].iter().product() },
            None => Channels { extent: 1, inner: dims.iter().product::<usize>().max(1) },
        }
    }

    fn of(self, i: usize) -> usize {
        i / self.inner.max(1) % self.extent.max(1)
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
    let values = weight.iter().enumerate().map(|(i, &w)| round(w, scales[channels.of(i)], format)).collect();
    QuantizedWeight { values, scales }
}

/// The floats that stored integers mean.
pub fn dequantize_weight(quantized: &QuantizedWeight, dims: &[usize], axis: Option<usize>) -> Vec<f32> {
    let channels = Channels::new(dims, axis);
    let scale_of = |i: usize| quantized.scales[if quantized.scales.len() == 1 { 0 } else { channels.of(i) }];
    quantized.values.iter().enumerate().map(|(i, &q)| q as f32 * scale_of(i)).collect()
}

fn round(w: f32, scale: f32, format: IntFormat) -> i32 {
    round_half_even(w / scale).clamp(format.min() as f32, format.max() as f32) as i32
}

/// Steps from 0 to the end of the grid that symmetric weights fill.
fn steps(format: IntFormat) -> f32 {
    format.max().max(1) as f32
}

fn magnitudes(weight: &[f32], channels: Channels) -> Vec<f32> {
    let mut greatest = vec![0f32; channels.extent];
    for (i, w) in weight.iter().enumerate() {
        let c = channels.of(i);
        greatest[c] = greatest[c].max(w.abs());
    }
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
    for (i, w) in weight.iter().enumerate() {
        rows[channels.of(i)].push(*w);
    }
    rows.par_iter().map(|row| mse_scale(row, format)).collect()
}

fn mse_scale(row: &[f32], format: IntFormat) -> f32 {
    let full = scale_for(row.iter().fold(0f32, |m, w| m.max(w.abs())), format);
    let mut best = (f64::INFINITY, full);
    for step in 0..36 {
        let scale = (full * (1.0 - step as f32 * 0.02)).max(f32::MIN_POSITIVE);
        let error: f64 = row.iter().map(|&w| f64::from(round(w, scale, format) as f32 * scale - w).powi(2)).sum();
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}
