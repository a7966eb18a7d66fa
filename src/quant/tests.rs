//! Properties of quantization against a float64 reference.

use super::*;
use proptest::prelude::*;

/// The specification in float64, except that the quotient is formed in f32 as ONNX says.
fn reference(x: f32, affine: &Affine) -> f64 {
    let steps = f64::from(x / affine.scale);
    let floor = steps.floor();
    let nearest = match steps - floor {
        d if d < 0.5 => floor,
        d if d > 0.5 => floor + 1.0,
        _ if floor.rem_euclid(2.0) == 0.0 => floor,
        _ => floor + 1.0,
    };
    let zero = f64::from(affine.zero_point);
    let q = (nearest + zero).clamp(f64::from(affine.format.min()), f64::from(affine.format.max()));
    (q - zero) * f64::from(affine.scale)
}

fn formats() -> impl Strategy<Value = IntFormat> {
    let bits = prop_oneof![1u32..=8, Just(16)];
    (bits, any::<bool>(), any::<bool>()).prop_map(|(bits, signed, narrow)| IntFormat { bits, signed, narrow })
}

proptest! {
    #[test]
    fn rounds_as_the_specification_says(x in -1e4f32..1e4, lo in -100f32..0.0, hi in 0f32..100.0,
        format in formats(), symmetric: bool, power_of_two: bool) {
        let affine = affine_for_range(lo, hi, format, symmetric, power_of_two);
        let found = f64::from(affine.dequantize(affine.quantize(x)));
        let wanted = reference(x, &affine);
        prop_assert!((found - wanted).abs() <= wanted.abs() * 1e-6, "{found} {wanted} {affine:?}");
    }

    #[test]
    fn a_round_trip_is_what_the_integer_means(x in proptest::collection::vec(-200f32..200.0, 9), lo in -100f32..0.0,
        hi in 0f32..100.0, format in formats(), symmetric: bool) {
        let affine = affine_for_range(lo, hi, format, symmetric, false);
        let mut found = x.clone();
        FakeQuantize::from(affine).apply(&mut found);
        let wanted: Vec<f32> = x.iter().map(|x| affine.dequantize(affine.quantize(*x))).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_refined_grid_holds_every_value(lo in -100f32..0.0, hi in 0f32..100.0, signed: bool, bits in 2u32..=8) {
        let affine = affine_for_range(lo, hi, IntFormat { bits, signed, narrow: false }, false, false);
        let fine = affine.refined(16);
        prop_assert_eq!(fine.format.bits, 16);
        for q in affine.format.min()..=affine.format.max() {
            let value = affine.dequantize(q);
            prop_assert_eq!(fine.dequantize(fine.quantize(value)), value);
        }
        prop_assert_eq!(fine.refined(8), fine);
    }

    #[test]
    fn errs_by_half_a_step_inside_the_range(t in 0f32..1.0, lo in -100f32..0.0, hi in 1e-3f32..100.0, bits in 2u32..=8) {
        let affine = affine_for_range(lo, hi, IntFormat::unsigned(bits), false, false);
        let (least, greatest) = affine.range();
        let x = least + t * (greatest - least);
        let error = (affine.dequantize(affine.quantize(x)) - x).abs();
        prop_assert!(error <= 0.5001 * affine.scale, "{x} {error} {affine:?}");
    }

    #[test]
    fn represents_zero_exactly(lo in -1e30f32..1e30, width in 0f32..1e30, format in formats(), symmetric: bool, power_of_two: bool) {
        let affine = affine_for_range(lo, lo + width, format, symmetric, power_of_two);
        prop_assert_eq!(affine.dequantize(affine.quantize(0.0)), 0.0);
        prop_assert!(affine.scale > 0.0 && affine.scale.is_finite());
        prop_assert!((format.min()..=format.max()).contains(&affine.zero_point));
    }

    #[test]
    fn one_sided_ranges_never_reach_past_their_end(hi in 1e-20f32..1e20, bits in 2u32..=8) {
        let affine = affine_for_range(0.0, hi, IntFormat::unsigned(bits), false, false);
        prop_assert_eq!(affine.zero_point, 0);
        prop_assert!(affine.range().1 <= hi);
        let wide = affine_for_range(0.0, hi, IntFormat::unsigned(16), false, false);
        prop_assert!(wide.range().1 <= hi);
    }

    #[test]
    fn power_of_two_scales_are_powers_of_two(lo in -1e3f32..0.0, hi in 0f32..1e3, format in formats()) {
        let affine = affine_for_range(lo, hi, format, true, true);
        prop_assert_eq!(affine.scale.log2().fract(), 0.0);
    }

    #[test]
    fn weights_err_by_half_a_step_where_nothing_saturates(
        weight in proptest::collection::vec(-10f32..10.0, 24), bits in 2u32..=8, narrow: bool) {
        let format = IntFormat { bits, signed: true, narrow };
        let quantized = quantize_weight(&weight, &[4, 6], Some(0), format, WeightRange::Max, false, &[]);
        let back = dequantize_weight(&quantized, &[4, 6], Some(0));
        for (i, (w, q)) in weight.iter().zip(&back).enumerate() {
            let scale = quantized.scales[i / 6];
            prop_assert!((w - q).abs() <= 0.5001 * scale, "{w} {q} {scale}");
            prop_assert!((format.min()..=format.max()).contains(&quantized.values[i]));
        }
    }

    #[test]
    fn mse_is_never_worse_than_max(weight in proptest::collection::vec(-10f32..10.0, 32), bits in 2u32..=8) {
        let error = |rule| {
            let q = quantize_weight(&weight, &[2, 16], Some(0), IntFormat::signed(bits), rule, false, &[]);
            let back = dequantize_weight(&q, &[2, 16], Some(0));
            weight.iter().zip(back).map(|(w, b)| f64::from(w - b).powi(2)).sum::<f64>()
        };
        prop_assert!(error(WeightRange::Mse) <= error(WeightRange::Max) * (1.0 + 1e-9));
    }

    #[test]
    fn biases_never_overflow(
        bias in -1e6f32..1e6, input in 1e-8f32..1.0, weight in 1e-12f32..1.0, bits in prop_oneof![Just(20u32), Just(32)]) {
        let scale = weight.max(least_weight_scale(bias, input, bits));
        let quantized = quantize_bias(&[bias], input, &[scale], bits);
        prop_assert!(f64::from(quantized.values[0].abs()) <= bias_limit(bits));
        let back = f64::from(quantized.values[0]) * f64::from(quantized.scales[0]);
        let step = f64::from(quantized.scales[0]);
        let slack = f64::from(bias).abs() * 1e-6;
        prop_assert!((back - f64::from(bias)).abs() <= 0.5 * step + slack, "{bias} {back} step {step}");
    }
}

#[test]
fn axis_cuts_the_right_channels() {
    let weight = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0];
    let quantized = quantize_weight(&weight, &[3, 2], Some(1), IntFormat::signed(8), WeightRange::Max, false, &[]);
    assert_eq!(quantized.scales, vec![4.0 / 127.0, 40.0 / 127.0]);
    assert_eq!(quantized.values[4..], [127, 127]);
}

#[test]
fn zeros_and_tiny_channels_stay_finite() {
    let weight = [0.0, 0.0, 1e-42, -1e-42];
    let quantized = quantize_weight(&weight, &[2, 2], Some(0), IntFormat::signed(8), WeightRange::Max, false, &[]);
    assert!(quantized.scales.iter().all(|s| s.is_normal()));
    assert_eq!(quantized.values[..2], [0, 0]);
}

#[test]
fn nan_means_zero() {
    let affine = affine_for_range(-1.0, 3.0, IntFormat::unsigned(8), false, false);
    assert_eq!(affine.quantize(f32::NAN), affine.zero_point);
    assert_eq!(affine.quantize(f32::INFINITY), 255);
    assert_eq!(affine.quantize(f32::NEG_INFINITY), 0);
}
