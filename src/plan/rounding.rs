//! What rounding by the network's own activations decided: data that a rewrite stores as it is.

use super::{Layer, Shift};
use crate::quant::{Granularity, QuantizedWeight, dequantize_rows, dequantize_weight};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the integers of a weight are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundingMethod {
    /// Each weight to its nearest integer: follows from the plan and the model alone.
    #[default]
    Nearest,
    /// With regard to the layer's input, so that replaying the plan needs the samples it was made from.
    SecondOrder,
}

impl RoundingMethod {
    /// Whether it is the default, which plans leave out.
    pub fn is_nearest(&self) -> bool {
        *self == RoundingMethod::Nearest
    }
}

/// Integers, scales and bias shifts that were found by running samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounding {
    /// By name of the weight, elements in tensor order; scales of blocks follow each other channel by channel.
    pub weights: BTreeMap<String, QuantizedWeight>,
    /// By name of the layer.
    pub shifts: BTreeMap<String, Shift>,
    /// By name of the layer: what rounding costs its output.
    pub errors: BTreeMap<String, RoundingError>,
}

/// Energy of a layer's output error over the energy of its output, on its input in the quantized network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundingError {
    /// Rounded to the nearest, bias as it was.
    pub nearest: f64,
    /// Rounded with regard to the input.
    pub rounded: f64,
    /// With the mean error taken back by the bias.
    pub corrected: f64,
}

impl Layer {
    /// Weights that one output channel has.
    pub fn fan_in(&self) -> usize {
        self.params() / self.dims[self.axis].max(1)
    }

    /// Integers in the order of [`Layer::rows`] put back into the order of the tensor.
    pub fn in_tensor_order(&self, rows: QuantizedWeight) -> QuantizedWeight {
        let outer: usize = self.dims[..self.axis].iter().product();
        let (extent, inner) = (self.dims[self.axis], self.dims[self.axis + 1..].iter().product::<usize>());
        if outer == 1 {
            return rows;
        }
        let mut values = vec![0; rows.values.len()];
        let mut from = rows.values.chunks_exact(inner.max(1));
        for c in 0..extent {
            for o in 0..outer {
                let Some(run) = from.next() else { break };
                values[(o * extent + c) * inner..][..inner].copy_from_slice(run);
            }
        }
        QuantizedWeight { values, scales: rows.scales }
    }

    /// The floats that a stored weight means, as rows.
    pub fn dequantized_rows(&self, stored: &QuantizedWeight, granularity: Granularity) -> Vec<f32> {
        let axis = match granularity {
            Granularity::Tensor => None,
            Granularity::Channel => Some(self.axis),
            Granularity::Block(_) => {
                let (channels, values) = self.rows(&stored.values);
                let rows = QuantizedWeight { values, scales: stored.scales.clone() };
                return dequantize_rows(&rows, granularity, channels);
            }
        };
        self.rows(&dequantize_weight(stored, &self.dims, axis)).1
    }
}
