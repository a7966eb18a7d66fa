//! Range errors against the same sums in the same order.

use crate::random::SplitMix64;
use crate::stats::cuda::lane::Lane;
use crate::stats::cuda::machine::Machine;
use crate::stats::cuda::range::{Candidate, RangeErrors, errors};

/// Equal bits for every candidate.
pub(super) fn check<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(43);
    for points in [1, 63, 700, 1024, 1025, 2048] {
        lane.forget();
        let mut at: Vec<f64> = (0..points).map(|_| random.unit() * 9.0 - 4.0).collect();
        at.sort_by(f64::total_cmp);
        let weight: Vec<f64> = (0..points).map(|_| random.unit() * 1e4).collect();
        let clips = |bits: i32| {
            (1..65).map(move |i| {
                let hi = 0.1 * f64::from(i);
                Candidate { scale: hi / f64::from((1 << (bits - 1)) - 1), lo: -hi, hi }
            })
        };
        let mut candidates: Vec<Candidate> = (2..9).flat_map(clips).collect();
        candidates.push(Candidate { scale: 0.25, lo: f64::NEG_INFINITY, hi: f64::INFINITY });
        let found = errors(lane, &at, &weight, &candidates).unwrap();
        let wanted: Vec<RangeErrors> = candidates.iter().map(|c| reference(&at, &weight, *c)).collect();
        assert_eq!(found, wanted, "{points} points");
    }
    assert_eq!(errors(lane, &[1.0], &[1.0], &[]).unwrap(), []);
}

fn reference(at: &[f64], weight: &[f64], c: Candidate) -> RangeErrors {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let inverse = 1.0 / c.scale;
    let sum = |error: &dyn Fn(f64) -> Option<f64>| {
        at.iter().zip(weight).filter_map(|(x, w)| Some(w * error(*x)?.powi(2))).sum::<f64>()
    };
    RangeErrors {
        rounding: sum(&|x| Some(((x * inverse + MAGIC) - MAGIC) * c.scale - x)),
        above: sum(&|x| (x > c.hi).then_some(x - c.hi)),
        below: sum(&|x| (x < c.lo).then_some(c.lo - x)),
    }
}
