//! Fake quantization against ONNX's words.

use super::data::{Kind, elements};
use crate::quant::FakeQuantize;
use crate::random::SplitMix64;
use crate::stats::cuda::fake::{launch, quantize};
use crate::stats::cuda::lane::Lane;
use crate::stats::cuda::machine::Machine;

/// Equal bits per tensor and per axis, NaN included.
pub(super) fn check<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(47);
    let shapes: [(&[usize], Option<usize>); 7] = [
        (&[1], None),
        (&[2, 3, 700], None),
        (&[3, 5, 9, 9], Some(1)),
        (&[2, 3, 601], Some(1)),
        (&[19, 7], Some(1)),
        (&[70, 64], Some(1)),
        (&[6, 4], Some(0)),
    ];
    for (dims, axis) in shapes {
        lane.forget();
        compare(lane, dims, axis, &mut random);
    }
    starts_anywhere(lane);
    assert!(quantize(lane, &[2, 3], &[0.0; 6], Some(1), &[step(0, &mut random)]).is_err());
}

/// Shapes of which every block has several steps of work: too much for an emulation.
pub(super) fn large<M: Machine>(lane: &mut Lane<M>) {
    let shapes: [(&[usize], Option<usize>); 4] =
        [(&[5_000_011], None), (&[9, 64, 4097], Some(1)), (&[20_001, 132], Some(1)), (&[300_007, 5], Some(1))];
    for (dims, axis) in shapes {
        compare(lane, dims, axis, &mut SplitMix64(61));
    }
}

fn compare<M: Machine>(lane: &mut Lane<M>, dims: &[usize], axis: Option<usize>, random: &mut SplitMix64) {
    let (channels, inner) = axis.map_or((1, usize::MAX), |a| (dims[a], dims[a + 1..].iter().product()));
    let steps: Vec<FakeQuantize> = (0..channels).map(|i| step(i, random)).collect();
    for kind in [Kind::Plain, Kind::Broken, Kind::Huge, Kind::Mixed, Kind::Tiny] {
        let mut values = elements(kind, dims.iter().product(), random);
        // Ties.
        values.iter_mut().step_by(3).for_each(|v| *v = (*v * 4.0).round() * 0.5 * steps[0].scale);
        let found = quantize(lane, dims, &values, axis, &steps).unwrap();
        for (i, (x, y)) in values.iter().zip(&found).enumerate() {
            let wanted = reference(*x, &steps[i / inner % channels]);
            assert!(y.to_bits() == wanted.to_bits() || y.is_nan() && wanted.is_nan(), "{dims:?} {i}: {x} {y} {wanted}");
        }
    }
}

/// Source and target that start at different places, and in place.
fn starts_anywhere<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(53);
    let steps: Vec<FakeQuantize> = (0..9).map(|i| step(i, &mut random)).collect();
    let list: Vec<f32> = steps.iter().flat_map(|s| [s.scale, s.low, s.high, s.offset, s.out_scale]).collect();
    for (from, to) in [(0, 1), (1, 1), (3, 2), (2, 0)] {
        for sizes in [[1, 1, 1033], [2, 9, 61], [57, 9, 1]] {
            lane.forget();
            let n = sizes.iter().product::<usize>();
            let values = elements(Kind::Plain, n, &mut random);
            let x = lane.put_values(&[&[f32::NAN; 4][..from], &values].concat()).unwrap() + 4 * from as u64;
            let list = lane.put_parameters(&list).unwrap();
            let y = lane.result.reserve(&mut lane.machine, 4 * (n + to)).unwrap() + 4 * to as u64;
            launch(lane, (x, y), list, sizes).unwrap();
            let found = lane.results::<f32>(n + to).unwrap();
            for (i, (x, y)) in values.iter().zip(&found[to..]).enumerate() {
                assert_eq!(*y, reference(*x, &steps[i / sizes[2] % sizes[1]]), "{from} {to} {sizes:?} {i}");
            }
        }
    }
}

fn step(i: usize, random: &mut SplitMix64) -> FakeQuantize {
    let scale = [1.0, 0.5, 0.037][i % 3] * (1.0 + (i > 2) as u32 as f32 * random.unit() as f32);
    let (low, high) = [(-128.0, 127.0), (0.0, 255.0), (-3.0, 4.0)][i % 3];
    FakeQuantize { scale, low, high, offset: (i % 4 == 1) as u32 as f32, out_scale: scale }
}

fn reference(x: f32, s: &FakeQuantize) -> f32 {
    let steps = (x / s.scale).round_ties_even();
    let clamped = if steps < s.low {
        s.low
    } else if steps > s.high {
        s.high
    } else {
        steps
    };
    // Adding 0 makes the zero of small negative numbers positive, as the CPU's fake quantization does.
    ((clamped + 0.0) + s.offset) * s.out_scale
}
