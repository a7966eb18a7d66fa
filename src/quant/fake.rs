//! Quantization and dequantization in one step, in float: what a QuantizeLinear/DequantizeLinear pair does to a value.

use super::Affine;
use super::round::MAGIC_F32;
use crate::wide::wide;

/// `y = (clamp(round_half_even(x / scale), low, high) + offset) * out_scale`, all in f32; NaN stays NaN.
///
/// With `low = qmin - zero_point` this is QuantizeLinear followed by DequantizeLinear: the bounds are integers, so it
/// does not matter whether the zero point is added before or after saturation, nor whether rounding precedes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuantize {
    /// Step of the quantizer.
    pub scale: f32,
    /// Least integer, less the zero point.
    pub low: f32,
    /// Greatest integer, less the zero point; magnitudes below 2^22.
    pub high: f32,
    /// Zero point of the quantizer minus that of the dequantizer.
    pub offset: f32,
    /// Step of the dequantizer.
    pub out_scale: f32,
}

impl FakeQuantize {
    /// Quantizes and dequantizes in place, without a branch, so that it vectorises on every CPU.
    pub fn apply(&self, values: &mut [f32]) {
        let FakeQuantize { scale, low, high, offset, out_scale } = *self;
        wide(
            #[inline(always)]
            || {
                for value in values {
                    let x = *value / scale;
                    let x = if x < low { low } else { x };
                    let x = if x > high { high } else { x };
                    *value = ((x + MAGIC_F32) - MAGIC_F32 + offset) * out_scale;
                }
            },
        );
    }
}

impl From<Affine> for FakeQuantize {
    fn from(grid: Affine) -> Self {
        FakeQuantize {
            scale: grid.scale,
            low: (grid.format.min() - grid.zero_point) as f32,
            high: (grid.format.max() - grid.zero_point) as f32,
            offset: 0.0,
            out_scale: grid.scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::round_half_even;
    use proptest::prelude::*;

    /// ONNX's words: divide in f32, round half to even, add, saturate, dequantize.
    fn reference(x: f32, scale: f32, zero: i32, low: i32, high: i32) -> f32 {
        let rounded = f64::from(round_half_even(x / scale)) + f64::from(zero);
        (rounded.clamp(low.into(), high.into()) - f64::from(zero)) as f32 * scale
    }

    fn pair(scale: f32, zero: i32, low: i32, high: i32) -> FakeQuantize {
        let (low, high) = ((low - zero) as f32, (high - zero) as f32);
        FakeQuantize { scale, low, high, offset: 0.0, out_scale: scale }
    }

    proptest! {
        #[test]
        fn equals_onnx(
            x in prop_oneof![-300f32..300.0, (-600i32..600).prop_map(|i| i as f32 / 2.0), any::<f32>()],
            scale in prop_oneof![Just(1f32), Just(0.5f32), 1e-6f32..1e3],
            (low, high) in prop_oneof![Just((0, 255)), Just((-128, 127)), Just((0, 65535)), Just((-8, 7))],
            zero in 0f64..=1.0,
        ) {
            prop_assume!(!x.is_nan());
            let zero = (f64::from(low) + zero * f64::from(high - low)).round() as i32;
            let mut found = [x];
            pair(scale, zero, low, high).apply(&mut found);
            prop_assert_eq!(found[0], reference(x, scale, zero, low, high));
        }
    }

    #[test]
    fn ties_go_to_even_and_nan_stays() {
        let mut values = [0.5, 1.5, 2.5, -0.5, -1.5, 3.5, f32::NAN, f32::INFINITY];
        pair(1.0, 0, -8, 7).apply(&mut values);
        assert_eq!(values[..6], [0.0, 2.0, 2.0, 0.0, -2.0, 4.0]);
        assert!(values[6].is_nan());
        assert_eq!(values[7], 7.0);
    }
}
