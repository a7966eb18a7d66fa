//! What a quantized number means, once, for every width.
//!
//! `q = saturate(round_half_even(x / scale) + zero_point)` and `x' = (q - zero_point) * scale`, in f32,
//! dividing, as the ONNX specification says (Operators.md, QuantizeLinear).
//! Widths without an ONNX type (3, 5, 6, 7) are restricted ranges of the next wider integer.

mod affine;
mod bias;
mod fake;
mod granularity;
mod lattice;
mod range;
mod round;
#[cfg(test)]
mod tests;
mod weight;

pub use affine::{Affine, affine_for_range};
pub use bias::{QuantizedBias, bias_limit, least_weight_scale, quantize_bias};
pub use fake::FakeQuantize;
pub use granularity::{Granularity, dequantize_rows, quantize_blocks, scale_rows};
pub use lattice::lattice_range;
pub use range::{Bound, ChosenRange, GAIN_WIDTH, RangeRule, choose_range};
pub use round::round_half_even;
pub(crate) use round::round_half_even_f64;
pub use weight::{QuantizedWeight, WeightRange, dequantize_weight, quantize_weight};

use crate::onnx::DataType;

/// An integer grid: width, sign, and whether the most negative value is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntFormat {
    /// Nominal bits, 1 to 8 or 16.
    pub bits: u32,
    /// Whether the integers are signed.
    pub signed: bool,
    /// Leaves out the most negative value, so that a signed range is symmetric.
    pub narrow: bool,
}

impl IntFormat {
    /// A signed grid of `bits`, full range.
    pub fn signed(bits: u32) -> Self {
        IntFormat { bits, signed: true, narrow: false }
    }

    /// An unsigned grid of `bits`.
    pub fn unsigned(bits: u32) -> Self {
        IntFormat { bits, signed: false, narrow: false }
    }

    /// Least integer. One signed bit is {-1, 0}, never narrowed to nothing.
    pub fn min(self) -> i32 {
        match self.signed {
            false => 0,
            true => -(1 << (self.bits - 1)) + i32::from(self.narrow && self.bits > 1),
        }
    }

    /// Greatest integer.
    pub fn max(self) -> i32 {
        match self.signed {
            false => (1 << self.bits) - 1,
            true => (1 << (self.bits - 1)) - 1,
        }
    }

    /// Bits of the ONNX type that stores it: the next wider of 4, 8 and 16.
    pub fn stored_bits(self) -> u32 {
        match self.bits {
            0..=4 => 4,
            5..=8 => 8,
            _ => 16,
        }
    }

    /// The ONNX element type that stores it.
    pub fn data_type(self) -> DataType {
        match (self.stored_bits(), self.signed) {
            (4, true) => DataType::INT4,
            (4, false) => DataType::UINT4,
            (8, true) => DataType::INT8,
            (8, false) => DataType::UINT8,
            (_, true) => DataType::INT16,
            (_, false) => DataType::UINT16,
        }
    }

    /// Whether the storage type holds more values than the grid, so that a reader cannot see the width.
    pub fn is_restricted(self) -> bool {
        self.stored_bits() != self.bits
    }
}
