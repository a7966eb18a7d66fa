//! Rounding to the nearest integer, halves to even, without the call into the C library that the standard
//! library makes where the processor's baseline has no instruction for it.

/// 1.5 x 2^23: a float of smaller magnitude than 2^22 has no fraction bits left once this is added.
pub(super) const MAGIC_F32: f32 = 12_582_912.0;
/// 1.5 x 2^52.
const MAGIC_F64: f64 = 6_755_399_441_055_744.0;

/// The nearest integer, halves to even; NaN and infinity stay.
#[inline]
pub fn round_half_even(x: f32) -> f32 {
    // From 2^23 on every float is an integer, and between 2^22 and there the sum still rounds to one.
    if x.abs() < 4_194_304.0 { (x + MAGIC_F32) - MAGIC_F32 } else { x.round_ties_even() }
}

/// The nearest integer, halves to even, for magnitudes below 2^51.
#[inline]
pub(crate) fn round_half_even_f64(x: f64) -> f64 {
    (x + MAGIC_F64) - MAGIC_F64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_standard_library(bits: u32, half in -4_194_305i32..4_194_305) {
            let x = f32::from_bits(bits);
            prop_assert!(round_half_even(x) == x.round_ties_even() || x.is_nan());
            let tie = half as f32 + 0.5;
            prop_assert_eq!(round_half_even(tie), tie.round_ties_even());
            prop_assert_eq!(round_half_even_f64(f64::from(half) + 0.5), (f64::from(half) + 0.5).round_ties_even());
        }
    }
}
