//! Sensitivities: what each width costs each layer.
//!
//! A scorer turns weights and activation statistics into one number per layer and width, higher is worse.
//! Allocation sees nothing else.

use crate::Result;
use crate::quant::{IntFormat, WeightRange, dequantize_weight, quantize_weight};
use crate::stats::Gram;
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The name that plans and metadata give the scorer of this module.
pub const OUTPUT_ERROR: &str = "gram-output-error";

/// What the scorer needs to know of one layer.
pub struct LayerData {
    /// The weight, rows of output channels by columns of fan-in.
    pub rows: Vec<f32>,
    /// Output channels.
    pub channels: usize,
    /// X'X of the layer's input, where it is defined.
    pub gram: Option<Gram>,
    /// One scale per output channel, or one for all.
    pub per_channel: bool,
}

/// Sensitivity of one layer at each width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Widths, ascending.
    pub bits: Vec<u32>,
    /// Energy of the output error over energy of the output, at each width.
    pub error: Vec<f64>,
}

/// Relative output error of each layer at each of its widths, everything else in float:
/// tr(D G D') / tr(W G W') with D the weight error and G the Gram matrix of the layer's input.
/// Without a Gram matrix, G is the identity.
pub fn output_errors(layers: &[(LayerData, Vec<u32>)], narrow: bool, power_of_two: bool) -> Result<Vec<Sensitivity>> {
    let one = |(layer, bits): &(LayerData, Vec<u32>)| {
        let energy = quadratic(layer, &layer.rows).max(f64::MIN_POSITIVE);
        let error = |b: &u32| {
            let delta = weight_error(layer, IntFormat { bits: *b, signed: true, narrow }, power_of_two);
            quadratic(layer, &delta) / energy
        };
        Sensitivity { bits: bits.clone(), error: bits.iter().map(error).collect() }
    };
    Ok(layers.par_iter().map(one).collect())
}

/// The range rule that a width gets: nothing saturates at 8 bits and above, least squared error below.
pub fn range_rule(bits: u32) -> WeightRange {
    if bits >= 8 { WeightRange::Max } else { WeightRange::Mse }
}

fn weight_error(layer: &LayerData, format: IntFormat, power_of_two: bool) -> Vec<f32> {
    let dims = [layer.channels, layer.rows.len() / layer.channels.max(1)];
    let axis = layer.per_channel.then_some(0);
    let quantized = quantize_weight(&layer.rows, &dims, axis, format, range_rule(format.bits), power_of_two, &[]);
    let mut error = dequantize_weight(&quantized, &dims, axis);
    error.iter_mut().zip(&layer.rows).for_each(|(q, w)| *q -= w);
    error
}

/// Sum over output channels of v G v'.
fn quadratic(layer: &LayerData, rows: &[f32]) -> f64 {
    let Some(gram) = layer.gram.as_ref().filter(|g| g.size * layer.channels == rows.len() && g.groups > 0) else {
        return rows.iter().map(|v| f64::from(*v).powi(2)).sum();
    };
    let each = layer.channels / gram.groups;
    (0..gram.groups).map(|g| group_quadratic(gram, g, &rows[g * each * gram.size..][..each * gram.size])).sum()
}

fn group_quadratic(gram: &Gram, group: usize, rows: &[f32]) -> f64 {
    let shape = (rows.len() / gram.size.max(1), gram.size);
    let views =
        (ArrayView2::from_shape(shape, rows), ArrayView2::from_shape((gram.size, gram.size), gram.group(group)));
    let (Ok(v), Ok(g)) = views else { return 0.0 };
    let product = v.dot(&g);
    product.iter().zip(v.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>().max(0.0)
}
