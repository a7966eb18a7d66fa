//! Statistics against float64 references.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;

proptest! {
    #[test]
    fn moments_match_float64(values in proptest::collection::vec(-1e3f32..1e3, 1..700), zeros in 0usize..50) {
        let mut values = values;
        values.extend(std::iter::repeat_n(0.0, zeros));
        let stats = Cpu.tensor(&[values.len()], &values, &Request::default());
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
        let clean = Cpu.tensor(&[values.len()], &values, &Request::default());
        let mut poisoned = values.clone();
        poisoned.insert(at % (values.len() + 1), f32::NAN);
        poisoned.insert(at % (values.len() + 1), f32::INFINITY);
        let stats = Cpu.tensor(&[poisoned.len()], &poisoned, &Request::default());
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
        gram.add(&[1, channels, height, width], &values, &request, &mut Scratch::default()).unwrap();
        gram.finish();
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

/// An input and a layer's product with it, position by position, in float64.
fn product(patches: &Patches, dims: &[usize], x: &[f32], weights: &[f32], channels: usize) -> Vec<f64> {
    let Patches::Conv { kernel, stride, dilation, pads, groups } = patches else { panic!("a convolution") };
    let (c, h, w) = (dims[1], dims[2], dims[3]);
    let extent = patches.extent(dims).unwrap();
    let columns_out = (w + pads[1] + pads[3] - dilation[1] * (kernel[1] - 1) - 1) / stride[1] + 1;
    let (fan, each) = (c / groups, channels / groups);
    let mut out = vec![0f64; channels * extent.positions];
    for (o, p) in (0..channels).flat_map(|o| (0..extent.positions).map(move |p| (o, p))) {
        for i in 0..extent.size {
            let (ic, ky, kx) = (i / (kernel[0] * kernel[1]), i / kernel[1] % kernel[0], i % kernel[1]);
            let y = (p / columns_out * stride[0] + ky * dilation[0]) as isize - pads[0] as isize;
            let xx = (p % columns_out * stride[1] + kx * dilation[1]) as isize - pads[1] as isize;
            if (0..h as isize).contains(&y) && (0..w as isize).contains(&xx) {
                let at = ((o / each * fan + ic) * h + y as usize) * w + xx as usize;
                out[o * extent.positions + p] += f64::from(x[at]) * f64::from(weights[o * extent.size + i]);
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn products_and_cross_moments_match_the_definition(
        seed in 0u64..1000, groups in 1usize..4, fan in 1usize..3, kernel in 1usize..4, stride in 1usize..3, pad in 0usize..3,
    ) {
        let mut state = seed | 1;
        let mut random = |n: usize| -> Vec<f32> {
            (0..n).map(|_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(7); ((state >> 40) as f32 / 8388608.0) - 1.0 }).collect()
        };
        let dims = [1, groups * fan, 9, 7];
        let channels = 2 * groups;
        let patches = Patches::Conv { kernel: [kernel, 2], stride: [stride, 1], dilation: [1, 2], pads: [pad, 1, 0, 0], groups };
        let extent = patches.extent(&dims).unwrap();
        let (x, weights, shift) = (random(groups * fan * 63), random(channels * extent.size), random(channels));
        let before = random(channels * extent.positions);
        let wanted = product(&patches, &dims, &x, &weights, channels);
        let mut found = before.clone();
        patches.add_product(&dims, &x, &weights, &shift, &mut found).unwrap();
        for (i, (f, w)) in found.iter().zip(&wanted).enumerate() {
            let w = w + f64::from(before[i]) + f64::from(shift[i / extent.positions]);
            prop_assert!((f64::from(*f) - w).abs() < 1e-4, "{i}: {f} {w}");
        }
        // R'X against weights is the sum over positions of residual times product.
        let (mut gram, mut cross) = (Gram::default(), Cross::default());
        gram.add_with(&dims, &x, &patches, (&before, channels), &mut cross).unwrap();
        for c in 0..channels {
            let dot: f64 = (0..extent.size).map(|i| f64::from(cross.data[c * extent.size + i]) * f64::from(weights[c * extent.size + i])).sum();
            let own = c * extent.positions..(c + 1) * extent.positions;
            let w: f64 = own.clone().map(|p| f64::from(before[p]) * wanted[p]).sum();
            prop_assert!((dot - w).abs() < 1e-3 * w.abs().max(1.0), "{dot} {w}");
            prop_assert!((cross.sums[c] - own.map(|p| f64::from(before[p])).sum::<f64>()).abs() < 1e-3);
        }
        // What weights and bias make of the input is taken away without computing it.
        let lack: Vec<f32> = found.iter().zip(&before).map(|(f, b)| b - (f - b)).collect();
        let (mut again, mut lacking) = (Gram::default(), Cross::default());
        again.add_with(&dims, &x, &patches, (&lack, channels), &mut lacking).unwrap();
        gram.finish();
        cross.take_away(&weights, &shift, &gram).unwrap();
        for (a, b) in cross.data.iter().zip(&lacking.data) {
            prop_assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
        for (a, b) in cross.sums.iter().zip(&lacking.sums) {
            prop_assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }
}

/// Of a large image some rows are enough; they are taken whole, spread over it, and counted.
#[test]
fn large_images_are_seen_row_by_row() {
    let patches = Patches::Conv { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0; 4], groups: 1 };
    let dims = [1, 2, 64, 32];
    let values: Vec<f32> = (0..2 * 64 * 32).map(|i| (i % (64 * 32) / 32) as f32).collect();
    let step = patches.sparse_step(&dims);
    assert_eq!(step, 16, "2048 positions, 128 are enough for two columns");
    let mut gram = Gram::default();
    gram.add(&dims, &values, &GramRequest { layer: 0, patches }, &mut Scratch::default()).unwrap();
    assert_eq!(gram.rows, 128);
    assert_eq!(gram.sums[0], [8, 24, 40, 56].iter().map(|row| f64::from(row * 32)).sum::<f64>());
}

/// Samples that agree leave nothing to shrink, samples that contradict each other everything.
#[test]
fn shrinkage_follows_the_spread_of_samples() {
    let request = GramRequest { layer: 0, patches: Patches::Last };
    let of = |samples: &[[f32; 4]]| {
        let mut gram = Gram::default();
        samples.iter().for_each(|s| gram.add(&[2, 2], s, &request, &mut Scratch::default()).unwrap());
        gram.shrinkage(0, false)
    };
    assert_eq!(of(&[[1.0, 1.0, 2.0, 2.0]; 3]), 0.0);
    assert_eq!(of(&[[1.0, 1.0, 2.0, 2.0], [1.0, -1.0, 2.0, -2.0]]), 0.0, "nothing is left to drop");
    assert!(of(&[[1.0, 1.0, 2.0, 2.0], [1.0, -1.0, 2.0, -1.5]]) > 0.9);
    assert_eq!(of(&[[1.0, 1.0, 2.0, 2.0]]), 1.0, "one sample says nothing about its spread");
}

#[test]
fn channels_are_cut_along_the_axis() {
    let request = Request { channel_axis: Some(1), ..Default::default() };
    let stats = Cpu.tensor(&[2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.], &request);
    assert_eq!(stats.channels[0], ChannelStats { min: 1.0, max: 6.0, mean: 3.5 });
    assert_eq!(stats.channels[1], ChannelStats { min: 3.0, max: 8.0, mean: 5.5 });
}

#[test]
fn an_empty_tensor_has_no_extremes() {
    let stats = Cpu.tensor(&[0], &[], &Request::default());
    assert_eq!((stats.count, stats.min, stats.max), (0, 0.0, 0.0));
}

#[test]
fn huge_elements_do_not_overflow_the_sums() {
    let values = [3.0e38f32; 96];
    let request = Request { channel_axis: Some(0), ..Default::default() };
    let stats = Cpu.tensor(&[2, 48], &values, &request);
    let whole = f64::from(3.0e38f32);
    assert!((stats.mean() - whole).abs() < whole * 1e-6 && (stats.sum_abs - 96.0 * whole).abs() < whole * 1e-3);
    assert!(stats.channels.iter().all(|c| (c.mean - whole).abs() < whole * 1e-6), "{:?}", stats.channels);
}

/// A device that fails at its second tensor, and what stands in for it.
struct Failing {
    stand_in: bool,
}

/// What was measured before the failure.
struct FailingSession(Vec<TensorStats>);

impl Backend for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn session(&self, _: usize) -> Box<dyn Session + '_> {
        Box::new(FailingSession(vec![]))
    }

    fn instead(&self, failure: &Error) -> Option<&dyn Backend> {
        (self.stand_in && failure.code() == crate::Code::Device).then_some(&Cpu)
    }
}

impl Session for FailingSession {
    fn measure(&mut self, tensor: &Seen, request: &Request, _: bool) -> Result<()> {
        self.0.push(Cpu.tensor(tensor.dims(), &tensor.values()?, request));
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<TensorStats>> {
        match self.0.len() {
            1 => Ok(self.0.clone()),
            _ => Err(Error::new(crate::Code::Device, "out of memory")),
        }
    }

    fn finish(self: Box<Self>) -> Result<Vec<Gram>> {
        Err(Error::new(crate::Code::Device, "out of memory"))
    }
}

#[test]
fn the_stand_in_of_a_failed_device_starts_from_the_beginning() {
    let graph = crate::engine::tests::small_graph();
    let options = crate::engine::Options::default();
    let engine = Arc::new(crate::engine::Engine::new(&graph, &["x".to_owned()], &options).unwrap());
    let gram = GramRequest { layer: 0, patches: Patches::Last };
    let requests = [Request { value: "x".to_owned(), grams: vec![gram], ..Request::default() }];
    let sample = |i: usize| {
        let input = crate::array::Array::from_f32(vec![1, 2], vec![i as f32, 1.0]);
        crate::samples::Sample { inputs: vec![("x".to_owned(), input)] }
    };
    let samples: Vec<_> = (0..6).map(sample).collect();
    let on = |backend: &dyn Backend| observe(&|_| engine.clone(), &requests, &samples, &[3], backend, &|| {});
    let (found, wanted) = (on(&Failing { stand_in: true }).unwrap(), on(&Cpu).unwrap());
    assert_eq!((found.values[0].samples.len(), &found.grams), (6, &wanted.grams));
    assert_eq!((wanted.grams[0][0].rows, wanted.grams[0][1].rows), (3, 2));
    let error = on(&Failing { stand_in: false }).unwrap_err();
    assert_eq!((error.code(), error.message()), (crate::Code::Device, "out of memory"));
}

#[test]
fn layers_that_read_alike_are_measured_once() {
    let graph = crate::engine::tests::small_graph();
    let options = crate::engine::Options::default();
    let engine = Arc::new(crate::engine::Engine::new(&graph, &["x".to_owned()], &options).unwrap());
    let sample = |i: usize| {
        let input = crate::array::Array::from_f32(vec![1, 2], vec![i as f32 - 1.5, 0.25]);
        crate::samples::Sample { inputs: vec![("x".to_owned(), input)] }
    };
    let samples: Vec<_> = (0..4).map(sample).collect();
    let see = |layers: &[usize]| {
        let gram = |layer: &usize| GramRequest { layer: *layer, patches: Patches::Last };
        let grams = layers.iter().map(gram).collect();
        let requests = [Request { value: "x".to_owned(), grams, ..Request::default() }];
        observe(&|_| engine.clone(), &requests, &samples, &[], &Cpu, &|| {}).unwrap().grams
    };
    let (alone, together) = (see(&[0]), see(&[2, 0, 3]));
    assert_eq!(together.len(), 4);
    assert!(together[1].iter().all(|gram| gram.rows == 0));
    for layer in [0, 2, 3] {
        assert_eq!(together[layer], alone[0]);
    }
}

proptest! {
    #[test]
    fn pooled_statistics_are_those_of_both(
        a in proptest::collection::vec(-3f32..5.0, 1..200), b in proptest::collection::vec(-9f32..2.0, 1..200),
    ) {
        let pad = |v: &[f32]| [v, &vec![0.0; v.len() % 2]].concat();
        let (a, b) = (pad(&a), pad(&b));
        let request = Request { channel_axis: Some(1), ..Default::default() };
        let of = |v: &[f32]| Cpu.tensor(&[v.len() / 2, 2], v, &request);
        let (mut found, wanted) = (of(&a), of(&[a.clone(), b.clone()].concat()));
        found.pool(&of(&b));
        let exact = |s: &TensorStats| (s.count, s.zeros, s.nans, s.min.to_bits(), s.max.to_bits());
        prop_assert_eq!(exact(&found), exact(&wanted));
        prop_assert!((found.sum_squares - wanted.sum_squares).abs() < 1e-6 * wanted.sum_squares.max(1.0));
        for (x, y) in found.channels.iter().zip(&wanted.channels) {
            prop_assert!((x.min, x.max) == (y.min, y.max) && (x.mean - y.mean).abs() < 1e-6, "{x:?} {y:?}");
        }
        // A bin's centre moves by half a bin at most.
        let mass = |h: &Histogram| h.bins().map(|(_, n)| u64::from(n)).sum::<u64>();
        let mean = |h: &Histogram| h.bins().map(|(x, n)| x * f64::from(n)).sum::<f64>() / mass(h).max(1) as f64;
        prop_assert_eq!(mass(&found.histogram), mass(&wanted.histogram));
        let bin = f64::from(wanted.max - wanted.min) / Histogram::BINS as f64;
        prop_assert!((mean(&found.histogram) - mean(&wanted.histogram)).abs() <= 1.01 * bin + 1e-9);
    }
}

#[test]
fn memory_does_not_grow_with_many_samples() {
    let graph = crate::engine::tests::small_graph();
    let options = crate::engine::Options::default();
    let engine = Arc::new(crate::engine::Engine::new(&graph, &["x".to_owned()], &options).unwrap());
    let many = 2 * KEPT_APART + 5;
    let sample = |i: usize| {
        let input = crate::array::Array::from_f32(vec![1, 2], vec![i as f32, 1.0]);
        crate::samples::Sample { inputs: vec![("x".to_owned(), input)] }
    };
    let samples: Vec<_> = (0..many).map(sample).collect();
    let gram = GramRequest { layer: 0, patches: Patches::Last };
    for grams in [vec![], vec![gram]] {
        let (moments, value) = (!grams.is_empty(), "x".to_owned());
        let requests = [Request { value, grams, channel_axis: Some(-1), ..Request::default() }];
        let seen = observe(&|_| engine.clone(), &requests, &samples, &[], &Cpu, &|| {}).unwrap();
        let value = &seen.values[0];
        assert_eq!((seen.outputs.len(), value.count, value.samples.len()), (many, many, KEPT_APART));
        let weights: Vec<usize> = value.weighted().map(|(_, n)| n).collect();
        assert_eq!((weights[4], weights[5], weights.iter().sum::<usize>()), (3, 2, many));
        // The third sample, and those that were pooled with it.
        let (pooled, step) = (&value.samples[2], KEPT_APART as f64);
        assert_eq!((pooled.count, pooled.max), (6, 2.0 + 2.0 * KEPT_APART as f32));
        assert!((pooled.channels[0].mean - (2.0 + step)).abs() < 1e-9);
        if moments {
            let grams = &seen.grams[0];
            assert_eq!((grams[0].samples.count(), grams[1].samples.count()), (many.div_ceil(2), many / 2));
            assert!(grams.iter().all(|g| (0.0..=1.0).contains(&g.shrinkage(0, true))));
        }
    }
}
