//! One layer on its way: rounded by what its input and its lack are in the quantized network.

use super::stop::Stop;
use crate::pipeline::weights::{grid, nearest};
use crate::quantize_weights::Storage;
use tapq::graph::Graph;
use tapq::plan::{Rounding, RoundingError, Shift};
use tapq::quant::dequantize_rows;
use tapq::rounding::{Care, Grid, Layer as Prepared, Upstream, mean_change, output_error, output_errors};
use tapq::stats::{Cross, Gram};
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// Share of the upstream error that a layer makes good.
const SHARE: f64 = 0.4;

/// How layers are rounded.
#[derive(Clone, Copy)]
pub struct Manner {
    /// How long scales are searched.
    pub care: Care,
    /// Whether errors are measured, which only a report shows.
    pub explain: bool,
}

/// A rounded layer: its rows and bias, or for a layer that is more than those what to add to its output for them.
pub struct Rounded {
    /// Channels by fan-in.
    pub rows: Vec<f32>,
    /// One number a channel.
    pub bias: Vec<f32>,
}

/// Rounds one layer by the moments of its input and of what its output lacks, and records what that came to.
pub fn round_layer(
    (graph, target, storage): (&Graph, &Target, &Storage),
    stop: &Stop,
    rows: &[f32],
    (gram, cross): (&Gram, &Cross),
    manner: Manner,
    rounding: &mut Rounding,
) -> Result<Rounded> {
    let layer = &stop.layer;
    let channels = layer.dims[layer.axis];
    let takes_bias = layer.takes_bias(graph);
    let bits = stop.decision.bits.unwrap_or(8);
    let grid = grid(target, layer, bits, storage.weight_floor(layer, stop.decision)?);
    if !rounding.weights.contains_key(&layer.weight) {
        let upstream = Upstream { cross, share: SHARE };
        let unfit = || Error::new(Code::Engine, "the layer's input does not fit its weight").at(layer.name.clone());
        let prepared = Prepared::new(rows, channels, gram, Some(upstream), takes_bias).ok_or_else(unfit)?;
        rounding.weights.insert(layer.weight.clone(), layer.in_tensor_order(prepared.round(&grid, manner.care)));
    }
    let stored = layer.dequantized_rows(&rounding.weights[&layer.weight], grid.granularity);
    let delta: Vec<f32> = stored.iter().zip(rows).map(|(q, w)| q - w).collect();
    let shift = match takes_bias {
        // What the output lacks in the mean: what came from upstream, and what rounding adds.
        true => {
            let upstream = cross.sums.iter().map(|sum| sum / gram.rows.max(1) as f64);
            Shift::legible(upstream.zip(mean_change(&delta, gram)).map(|(lack, added)| lack - added).collect())
        }
        false => Shift(vec![0.0; channels]),
    };
    if manner.explain {
        rounding.errors.insert(layer.name.clone(), rounding_error(rows, channels, &delta, &grid, gram, takes_bias));
    }
    let kept = if takes_bias { shift.clone() } else { Shift::default() };
    rounding.shifts.insert(layer.name.clone(), kept);
    Ok(match &stop.bias {
        Some(bias) => Rounded { rows: stored, bias: bias.iter().zip(&shift.0).map(|(b, s)| b + s).collect() },
        None => Rounded { rows: delta, bias: shift.0 },
    })
}

/// What rounding costs the layer's output on the input that it has in the quantized network.
fn rounding_error(
    rows: &[f32],
    channels: usize,
    delta: &[f32],
    grid: &Grid,
    gram: &Gram,
    takes_bias: bool,
) -> RoundingError {
    let mut nearest = dequantize_rows(&nearest(rows, channels, grid), grid.granularity, channels);
    nearest.iter_mut().zip(rows).for_each(|(q, w)| *q -= w);
    let energy = output_error(rows, gram, None).max(f64::MIN_POSITIVE);
    let (rounded, corrected) = output_errors(delta, gram, takes_bias.then_some(gram));
    let nearest = output_error(&nearest, gram, None);
    RoundingError { nearest: nearest / energy, rounded: rounded / energy, corrected: corrected / energy }
}
