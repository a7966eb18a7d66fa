//! What a layer's weight is to whoever rounds it: rows of channels, a grid, and rounding to the nearest.

use crate::quantize_weights::weight_format;
use tapq::graph::Graph;
use tapq::onnx;
use tapq::plan::Layer;
use tapq::quant::{Granularity, QuantizedWeight, quantize_blocks, quantize_weight};
use tapq::rounding::Grid;
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// Fan-in up to which a layer's Gram matrix is kept (64 MB); wider layers are scored by weight error.
pub const MOST_GRAM_COLUMNS: usize = 4096;

/// A layer's output channels and its weight as rows of channels by fan-in.
pub fn weight_rows(graph: &Graph, layer: &Layer) -> Result<(usize, Vec<f32>)> {
    let missing = || Error::new(Code::InvalidGraph, format!("weight '{}' is not a constant", layer.weight));
    let tensor = graph.constant(&layer.weight).ok_or_else(missing)?;
    Ok(layer.rows(&onnx::floats(tensor, graph.external())?))
}

/// The bias of each channel of a layer that adds it to the product of input and weight and does nothing else; zeros
/// where it has none.
pub fn plain_bias(graph: &Graph, layer: &Layer) -> Result<Option<Vec<f32>>> {
    let channels = layer.dims[layer.axis];
    if layer.op != "MatMul" && !layer.takes_bias(graph) {
        return Ok(None);
    }
    let Some(tensor) = layer.bias.as_ref().and_then(|name| graph.constant(name)) else {
        return Ok(Some(vec![0.0; channels]));
    };
    let values = onnx::floats(tensor, graph.external())?;
    let by_channel = values.len() == channels && tensor.dims.last() == Some(&(channels as i64));
    Ok(by_channel.then_some(values))
}

/// Whether this layer's weight, at 8 bits or less, can be rounded with regard to its input.
pub fn takes_second_order(graph: &Graph, layer: &Layer) -> bool {
    layer.channelwise && layer.patches(graph).is_some() && layer.fan_in() <= MOST_GRAM_COLUMNS
}

/// What the target wants of a layer's weight at a width; `floor` as in [`Grid::floor`].
pub fn grid(target: &Target, layer: &Layer, bits: u32, floor: Vec<f32>) -> Grid {
    let granularity = layer.granularity(target, bits);
    Grid {
        format: weight_format(target, bits, granularity),
        granularity,
        power_of_two: target.weights.power_of_two,
        signed_scales: target.signed_scales(&layer.op),
        floor,
    }
}

/// Rows rounded to the nearest, as a weight without moments of its input is.
pub fn nearest(rows: &[f32], channels: usize, grid: &Grid) -> QuantizedWeight {
    let rule = tapq::proxy::range_rule(grid.format.bits);
    let axis = match grid.granularity {
        Granularity::Tensor => None,
        Granularity::Channel => Some(0),
        Granularity::Block(size) => {
            return quantize_blocks(rows, (channels, size), grid.format, rule, grid.signed_scales);
        }
    };
    let dims = [channels, rows.len() / channels.max(1)];
    quantize_weight(rows, &dims, axis, grid.format, rule, grid.power_of_two, &grid.floor)
}
