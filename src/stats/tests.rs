//! Statistics against float64 references.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn moments_match_float64(values in proptest::collection::vec(-1e3f32..1e3, 1..700), zeros in 0usize..50) {
        let mut values = values;
        values.extend(std::iter::repeat_n(0.0, zeros));
        let stats = Cpu.tensor(&[values.len()], &values, &Request::default()).unwrap();
        let sum = |f: fn(f64) -> f64| values.iter().map(|v| f(f64::from(*v))).sum::<f64>();
        let close = |a: f64, b: f64, scale: f64| (a - b).abs() <= 1e-5 * scale.max(1e-30);
        prop_assert!(close(stats.sum, sum(|v| v), sum(f64::abs)));
        prop_assert!(close(stats.sum_abs, sum(f64::abs), sum(f64::abs)));
        prop_assert!(close(stats.sum_squares, sum(|v| v * v), sum(|v| v * v)));
        prop_assert!(close(stats.sum_fourth, sum(|v| v.powi(4)), sum(|v| v.powi(4))));
        prop_assert_eq!(stats.zeros as usize, values.iter().filter(|v| **v == 0.0).count());
        prop_assert_eq!(stats.min, values.iter().copied().fold(f32::INFINITY, f32::min));
        prop_assert_eq!(stats.max, values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        prop_assert_eq!(stats.histogram.counts.iter().sum::<u32>() as u64 + stats.zeros, stats.count);
    }

    #[test]
    fn non_finite_elements_are_counted_and_left_out(values in proptest::collection::vec(-10f32..10.0, 1..600), at in 0usize..600) {
        let clean = Cpu.tensor(&[values.len()], &values, &Request::default()).unwrap();
        let mut poisoned = values.clone();
        poisoned.insert(at % (values.len() + 1), f32::NAN);
        poisoned.insert(at % (values.len() + 1), f32::INFINITY);
        let stats = Cpu.tensor(&[poisoned.len()], &poisoned, &Request::default()).unwrap();
        prop_assert_eq!((stats.nans, stats.infinities, stats.count), (1, 1, clean.count));
        prop_assert_eq!((stats.min, stats.max), (clean.min, clean.max));
        prop_assert!((stats.sum - clean.sum).abs() < 1e-2);
    }

    #[test]
    fn gram_of_a_convolution_matches_the_definition(
        seed in 0u64..1000, groups in 1usize..3, kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3) {
        let (channels, height, width) = (2 * groups, 7, 6);
        let values: Vec<f32> = (0..channels * height * width).map(|i| ((i as u64 * 37 + seed * 11) % 23) as f32 / 7.0 - 1.5).collect();
        let patches = Patches::Conv { kernel: [kernel, 1], stride: [stride, 1], dilation: [dilation, 1], pads: [pad, 0, 0, 1], groups };
        let mut gram = Gram::default();
        let request = GramRequest { layer: 0, patches };
        Cpu.gram(&[1, channels, height, width], &values, &request, &mut gram).unwrap();
        let at = |c: usize, y: isize, x: usize| {
            let inside = y >= 0 && (y as usize) < height && x < width;
            if inside { f64::from(values[(c * height + y as usize) * width + x]) } else { 0.0 }
        };
        let reach = dilation * (kernel - 1) + 1;
        let rows = (height + pad - reach.min(height + pad)) / stride + usize::from(reach <= height + pad);
        for g in 0..groups {
            let mut wanted = vec![0f64; gram.size * gram.size];
            for oy in 0..rows { for ox in 0..width + 1 {
                let row: Vec<f64> = (0..2).flat_map(|c| (0..kernel).map(move |k| (c, k)))
                    .map(|(c, k)| at(g * 2 + c, (oy * stride + k * dilation) as isize - pad as isize, ox)).collect();
                for (i, a) in row.iter().enumerate() { for (j, b) in row.iter().enumerate() { wanted[i * gram.size + j] += a * b; } }
            } }
            for (a, b) in gram.group(g).iter().zip(&wanted) {
                prop_assert!((f64::from(*a) - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
            }
        }
    }
}

#[test]
fn channels_are_cut_along_the_axis() {
    let request = Request { channel_axis: Some(1), ..Default::default() };
    let stats = Cpu.tensor(&[2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.], &request).unwrap();
    assert_eq!(stats.channels[0], ChannelStats { min: 1.0, max: 6.0, mean: 3.5 });
    assert_eq!(stats.channels[1], ChannelStats { min: 3.0, max: 8.0, mean: 5.5 });
}

#[test]
fn an_empty_tensor_has_no_extremes() {
    let stats = Cpu.tensor(&[0], &[], &Request::default()).unwrap();
    assert_eq!((stats.count, stats.min, stats.max), (0, 0.0, 0.0));
}
