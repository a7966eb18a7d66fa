use super::feedback::feed_back;
use super::scale::{least, round_within};
use super::*;
use crate::stats::{GramRequest, Patches, Scratch};
use proptest::prelude::*;

fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as f64 / f64::from(1u32 << 31) - 0.5) as f32
    }
}

/// Moments of four samples of correlated columns.
fn gram(n: usize, rows: usize, seed: u64) -> Gram {
    let mut next = random(seed);
    let mut gram = Gram::default();
    for _ in 0..4 {
        let mut x = vec![];
        for _ in 0..rows {
            let common = next();
            x.extend((0..n).map(|i| common * (1.0 + i as f32 / n as f32) + 0.3 * next() + 0.1));
        }
        gram.add(&[rows, n], &x, &GramRequest { layer: 0, patches: Patches::Last }, &mut Scratch::default()).unwrap();
    }
    gram.finish();
    gram
}

fn grid(bits: u32, per_channel: bool) -> Grid {
    Grid {
        format: IntFormat::signed(bits),
        granularity: Granularity::channels(per_channel),
        power_of_two: false,
        signed_scales: false,
        floor: vec![],
    }
}

/// e C e' in float64 from the layer's own curvature.
fn energy(layer: &Layer, weights: &[f32], found: &QuantizedWeight) -> f64 {
    let c = &layer.groups[0].curvature;
    let (n, channels) = (c.size, layer.channels);
    (0..channels)
        .map(|r| {
            let run = found.values.len() / found.scales.len();
            let error = |i: usize| {
                let at = r * n + c.order[i];
                f64::from(found.values[at]) * f64::from(found.scales[at / run]) - f64::from(weights[at])
            };
            let e: Vec<f64> = (0..n).map(error).collect();
            (0..n).map(|i| (0..n).map(|j| e[i] * f64::from(c.matrix[i * n + j]) * e[j]).sum::<f64>()).sum::<f64>()
        })
        .sum()
}

/// What float32 cannot tell apart: curved errors are differences of sums as large as curved weights.
fn indistinct(layer: &Layer, weights: &[f32]) -> f64 {
    let zeros = QuantizedWeight { values: vec![0; weights.len()], scales: vec![1.0] };
    1e-9 + f64::from(f32::EPSILON) * energy(layer, weights, &zeros)
}

fn nearest(weights: &[f32], scales: &[f32], n: usize, format: IntFormat) -> QuantizedWeight {
    let (low, high) = (f64::from(format.min()), f64::from(format.max()));
    let scale = |i: usize| scales[if scales.len() == 1 { 0 } else { i / n }];
    let round = |(i, w): (usize, &f32)| (f64::from(*w) / f64::from(scale(i))).round_ties_even().clamp(low, high) as i32;
    QuantizedWeight { values: weights.iter().enumerate().map(round).collect(), scales: scales.to_vec() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The bar of the method: in the norm it minimises, no row may lose to rounding to the nearest.
    #[test]
    fn never_worse_than_nearest(n in 1usize..90, channels in 1usize..6, rows in 1usize..120, bits in 2u32..9, seed: u64) {
        let gram = gram(n, rows, seed);
        let mut next = random(seed ^ 99);
        let weights: Vec<f32> = (0..channels * n).map(|_| next()).collect();
        let layer = Layer::new(&weights, channels, &gram, None, true).unwrap();
        let grid = grid(bits, true);
        let scales = layer.groups[0].grid_scales(&grid, 0);
        let plain = energy(&layer, &weights, &nearest(&weights, &scales, n, grid.format));
        for care in [Care::Fair, Care::Thorough] {
            let found = energy(&layer, &weights, &layer.round(&grid, care));
            let most = plain * 1.0001 + indistinct(&layer, &weights);
            prop_assert!(found <= most, "{care:?}: {found} against {plain}, at most {most}");
        }
    }

    /// The same in blocks, against rounding to the nearest with the scales that it starts from.
    #[test]
    fn blocks_are_never_worse_than_nearest(n in 1usize..50, channels in 1usize..5, rows in 1usize..120, bits in 2u32..9, seed: u64) {
        let size = 8;
        let gram = gram(n, rows, seed);
        let mut next = random(seed ^ 99);
        let weights: Vec<f32> = (0..channels * n).map(|_| next()).collect();
        let layer = Layer::new(&weights, channels, &gram, None, true).unwrap();
        let grid = Grid { granularity: Granularity::Block(size), ..grid(bits, true) };
        let (low, high) = (grid.format.min() as f32, grid.format.max() as f32);
        let c = &layer.groups[0].curvature;
        // The scale of least error by the diagonal, as the rounding starts from it.
        let scale = |row: &[f32], block: usize| {
            let own = || (0..n).filter(|i| c.order[*i] / size == block).map(|i| (row[c.order[i]], c.matrix[i * n + i]));
            let full = own().map(|(w, _)| if w < 0.0 { w / low } else { w / high.max(1.0) }).fold(0f32, f32::max);
            let error = |s: f32| own().map(|(w, d)| d * (round_within(w * (1.0 / s), low, high) * s - w).powi(2)).sum::<f32>();
            least(full.max(f32::MIN_POSITIVE), |s| f64::from(error(s)))
        };
        let scales: Vec<f32> =
            weights.chunks(n).flat_map(|row| (0..n.div_ceil(size)).map(move |b| (row, b))).map(|(r, b)| scale(r, b)).collect();
        let of = |i: usize| scales[i / n * n.div_ceil(size) + i % n / size];
        let each: Vec<f32> = (0..weights.len()).map(of).collect();
        let plain = energy(&layer, &weights, &nearest(&weights, &each, 1, grid.format));
        for care in [Care::Fair, Care::Thorough] {
            let found = layer.round(&grid, care);
            prop_assert_eq!(found.scales.len(), scales.len());
            prop_assert!(found.scales.iter().all(|s| s.is_normal() && *s > 0.0));
            prop_assert!(found.values.iter().all(|q| (grid.format.min()..=grid.format.max()).contains(q)));
            let each = (0..weights.len()).map(|i| found.scales[i / n * n.div_ceil(size) + i % n / size]).collect();
            let found = energy(&layer, &weights, &QuantizedWeight { scales: each, ..found });
            let most = plain * 1.0001 + indistinct(&layer, &weights);
            prop_assert!(found <= most, "{care:?}: {found} against {plain}, at most {most}");
        }
    }

    /// Error feedback against the definition in float64: same integers, up to ties that rounding of f32 decides.
    #[test]
    fn feedback_matches_float64(n in 1usize..60, bits in 2u32..9, seed: u64) {
        let gram = gram(n, 40, seed);
        let mut next = random(seed ^ 7);
        let weights: Vec<f32> = (0..n).map(|_| next()).collect();
        let layer = Layer::new(&weights, 1, &gram, None, false).unwrap();
        let (group, scale) = (&layer.groups[0], 1.0 / (1 << bits) as f32);
        let format = IntFormat::signed(bits);
        let (found, cost) = feed_back(&group.rows, (&[scale], None), 1, &group.curvature, format);
        let (mut errors, mut wanted_cost, mut differ) = (vec![], 0.0, 0);
        for (j, integer) in found.iter().copied().enumerate() {
            let fed: f64 = (0..j).map(|k: usize| errors[k] * f64::from(group.curvature.feedback[k * n + j])).sum();
            let aim = f64::from(group.rows[j]) - fed;
            let steps = aim / f64::from(scale);
            let q = steps.round_ties_even().clamp(f64::from(format.min()), f64::from(format.max()));
            differ += usize::from(q as i8 != integer);
            // Follow the integer that was taken, so that one tie does not decide the rest.
            let taken = f64::from(integer) * f64::from(scale);
            prop_assert!((taken / f64::from(scale) - steps).abs() <= (q - steps).abs() + 1e-3);
            wanted_cost += f64::from(group.curvature.cost[j]) * (taken - aim).powi(2);
            errors.push(taken - f64::from(group.rows[j]));
        }
        prop_assert!(differ <= 1 + n / 20, "{differ} of {n} integers differ");
        prop_assert!((cost[0] - wanted_cost).abs() <= 1e-3 * wanted_cost + 1e-9, "{} {wanted_cost}", cost[0]);
    }

    /// Without correlations there is nothing to feed back: the result is rounding to the nearest.
    #[test]
    fn exact_on_a_diagonal(n in 1usize..40, bits in 2u32..9, seed: u64) {
        let mut gram = gram(n, 20, seed);
        for i in 0..n * n {
            if i / n != i % n { gram.data[i] = 0.0; }
        }
        let mut next = random(seed ^ 5);
        let weights: Vec<f32> = (0..2 * n).map(|_| next()).collect();
        let layer = Layer::new(&weights, 2, &gram, None, false).unwrap();
        let grid = Grid { power_of_two: true, ..grid(bits, true) };
        let found = layer.round(&grid, Care::Fair);
        prop_assert_eq!(&found.values, &nearest(&weights, &found.scales, n, grid.format).values);
    }

    #[test]
    fn solving_inverts_the_product(n in 1usize..100, seed: u64) {
        let gram = gram(n, 150, seed);
        let mut next = random(seed);
        let x: Vec<f32> = (0..3 * n).map(|_| next()).collect();
        let curvature = Curvature::new(&gram, 0, true);
        let mut found = curved(&x, &curvature);
        solve(&mut found, &curvature);
        for (a, b) in found.iter().zip(&x) {
            prop_assert!((a - b).abs() < 2e-2, "{a} {b}");
        }
    }
}

/// What the layers before did wrong is partly made good: the error on the float output falls.
#[test]
fn answers_for_what_came_before() {
    let (n, rows) = (12, 200);
    let mut next = random(3);
    let weights: Vec<f32> = (0..4 * n).map(|_| next()).collect();
    let (mut gram, mut cross) = (Gram::default(), Cross::default());
    let mut seen = vec![];
    for _ in 0..4 {
        let float: Vec<f32> = (0..rows * n).map(|_| next() + 0.2).collect();
        let quantized: Vec<f32> = float.iter().map(|v| (v * 6.0).round() / 6.0 * 0.9).collect();
        let product = |x: &[f32]| -> Vec<f32> {
            x.chunks_exact(n)
                .flat_map(|x| weights.chunks_exact(n).map(move |w| w.iter().zip(x).map(|(a, b)| a * b).sum::<f32>()))
                .collect()
        };
        let residual: Vec<f32> = product(&float).iter().zip(product(&quantized)).map(|(a, b)| a - b).collect();
        gram.add_with(&[rows, n], &quantized, &Patches::Last, (&residual, 4), &mut cross).unwrap();
        seen.push((product(&float), quantized));
    }
    gram.finish();
    let error = |upstream: Option<Upstream>| -> f64 {
        let layer = Layer::new(&weights, 4, &gram, upstream, false).unwrap();
        let found = layer.round(&grid(6, true), Care::Thorough);
        let output = |x: &[f32], c: usize| -> f32 {
            (0..n).map(|i| found.values[c * n + i] as f32 * found.scales[c] * x[i]).sum()
        };
        let of_sample = |(float, quantized): &(Vec<f32>, Vec<f32>)| -> f64 {
            let pairs = float.iter().enumerate();
            pairs.map(|(i, y)| f64::from(y - output(&quantized[i / 4 * n..][..n], i % 4)).powi(2)).sum()
        };
        seen.iter().map(of_sample).sum()
    };
    let (without, with) = (error(None), error(Some(Upstream { cross: &cross, share: 0.5 })));
    assert!(with < 0.85 * without, "{with} against {without}");
}

#[test]
fn moments_that_do_not_fit_are_refused() {
    let gram = gram(5, 9, 1);
    assert!(Layer::new(&[0.5; 12], 3, &gram, None, true).is_none());
    assert!(Layer::new(&[0.5; 10], 2, &Gram::default(), None, true).is_none());
}
