//! Moments, channels and histograms against float64 and the CPU.

use super::data::{KINDS, Kind, close, elements};
use crate::random::SplitMix64;
use crate::stats::cuda::lane::Lane;
use crate::stats::cuda::machine::Machine;
use crate::stats::cuda::measure::{self, Cut, at};
use crate::stats::{Cpu, Request, TensorStats};

/// Shapes and channel axes: odd sizes, one element, planes and features shorter and longer than a block.
const SHAPES: &[(&[usize], Option<i64>)] = &[
    (&[1], None),
    (&[3, 5, 7], None),
    (&[2, 3, 1031], None),
    (&[9001], None),
    (&[1, 3, 17, 19], Some(1)),
    (&[2, 5, 1], Some(1)),
    (&[3, 2, 1027], Some(1)),
    (&[40, 4, 3], Some(1)),
    (&[2, 11, 13], Some(-1)),
    (&[37, 132], Some(1)),
    (&[1, 300], Some(-1)),
    (&[7, 1], Some(1)),
    (&[4, 6], Some(0)),
];

/// Every kernel of the statistics, on every kind of tensor, through the code that also launches on a device.
pub(super) fn check<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(41);
    for (dims, channel_axis) in SHAPES {
        let request = Request { channel_axis: *channel_axis, ..Request::default() };
        lane.forget();
        for kind in KINDS {
            let values = elements(kind, dims.iter().product(), &mut random);
            let found = tensor(lane, dims, &values, &request);
            compare(&format!("{dims:?} {channel_axis:?} {kind:?}"), dims, &values, &request, &found);
            if kind == Kind::Mixed {
                assert_eq!(tensor(lane, dims, &values, &request), found, "the same bytes every run");
            }
        }
        for before in 1..4 {
            let values = elements(Kind::Mixed, dims.iter().product(), &mut random);
            // What lies before the tensor must not be seen.
            let shifted = [&[f32::NAN; 4][..before], &values].concat();
            let address = lane.put_values(&shifted).unwrap() + 4 * before as u64;
            let found = at(lane, address, Cut::of(dims, &request)).unwrap();
            compare(&format!("{dims:?} {channel_axis:?} {before} later"), dims, &values, &request, &found);
        }
    }
    counts_blocks_of_large_tensors(lane);
}

/// Shapes of which every block has several steps of work: too much for an emulation.
pub(super) fn large<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(43);
    let shapes: [(&[usize], Option<i64>); 6] = [
        (&[5_000_011], None),
        (&[3, 7, 200_001], Some(1)),
        (&[100, 512, 49], Some(1)),
        (&[9, 64, 4096], Some(1)),
        (&[20_001, 132], Some(-1)),
        (&[300_007, 5], Some(-1)),
    ];
    for (dims, channel_axis) in shapes {
        let request = Request { channel_axis, ..Request::default() };
        for kind in [Kind::Plain, Kind::Relu, Kind::Broken] {
            let values = elements(kind, dims.iter().product(), &mut random);
            let found = tensor(lane, dims, &values, &request);
            compare(&format!("{dims:?} {channel_axis:?} {kind:?}"), dims, &values, &request, &found);
            assert_eq!(tensor(lane, dims, &values, &request), found, "the same bytes every run");
        }
    }
}

fn tensor<M: Machine>(lane: &mut Lane<M>, dims: &[usize], values: &[f32], request: &Request) -> TensorStats {
    let address = lane.put_values(values).unwrap();
    measure::tensor(lane, address, dims, values, request).unwrap()
}

fn counts_blocks_of_large_tensors<M: Machine>(lane: &mut Lane<M>) {
    lane.forget();
    let n = (1 << 17) * 2 + 77;
    let values = elements(Kind::Relu, n, &mut SplitMix64(5));
    let found = tensor(lane, &[n], &values, &Request::default());
    compare("a large tensor", &[n], &values, &Request::default(), &found);
}

fn compare(what: &str, dims: &[usize], values: &[f32], request: &Request, found: &TensorStats) {
    let wanted = Cpu.tensor(dims, values, request);
    let counts = |s: &TensorStats| (s.count, s.zeros, s.nans, s.infinities);
    assert_eq!(counts(found), counts(&wanted), "{what}");
    assert_eq!((found.min, found.max), (wanted.min, wanted.max), "{what}");
    assert_eq!(found.histogram, wanted.histogram, "{what}");
    let finite = || values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v));
    let magnitudes: f64 = finite().map(f64::abs).sum();
    close(&format!("{what}: sum"), found.sum, finite().sum(), magnitudes);
    close(&format!("{what}: magnitudes"), found.sum_abs, magnitudes, magnitudes);
    let power = |p: i32| finite().map(|v| v.powi(p)).sum::<f64>();
    close(&format!("{what}: squares"), found.sum_squares, power(2), power(2));
    close(&format!("{what}: fourth powers"), found.sum_fourth, power(4), power(4));
    assert_eq!(found.channels.len(), wanted.channels.len(), "{what}");
    for (c, (a, b)) in found.channels.iter().zip(&wanted.channels).enumerate() {
        assert_eq!((a.min, a.max), (b.min, b.max), "{what} channel {c}");
        let (sum, magnitudes, all) = channel(values, Cut::of(dims, request), c);
        close(&format!("{what} channel {c}"), a.mean, sum / all, magnitudes / all);
    }
}

/// Sum, sum of magnitudes and number of elements of a channel; the CPU's own sums of huge elements overflow.
fn channel(values: &[f32], cut: Cut, c: usize) -> (f64, f64, f64) {
    let own = values.iter().enumerate().filter(|(i, _)| i / cut.inner % cut.channels == c).map(|(_, v)| f64::from(*v));
    own.fold((0.0, 0.0, 0.0), |(sum, magnitudes, all), v| match v.is_finite() {
        true => (sum + v, magnitudes + v.abs(), all + 1.0),
        false => (sum, magnitudes, all + 1.0),
    })
}
