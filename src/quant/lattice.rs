//! Inputs that were quantized before they reached us, such as features stored as int8.
//!
//! Values that are all multiples of one step lose nothing if the scale is that step, whatever the range rule says.

use super::IntFormat;
use std::collections::BTreeSet;

/// Most distinct magnitudes of a lattice.
const MOST_DISTINCT: usize = 4096;
/// Most positions of the window that are tried.
const MOST_WINDOWS: i64 = 1 << 16;
/// Share of values that may fall outside the grid.
const OUTSIDE: f64 = 0.01;

/// The range whose scale is the step of the values, if they all are multiples of one and nearly all fit the grid.
pub fn lattice_range(values: &[&[f32]], format: IntFormat, symmetric: bool) -> Option<(f32, f32)> {
    let step = step(values)?;
    let all = || values.iter().flat_map(|v| v.iter()).map(|v| (f64::from(*v) / step).round() as i64);
    let count = values.iter().map(|v| v.len()).sum::<usize>() as f64;
    let outside = |lo: i64, hi: i64| all().filter(|n| *n < lo || *n > hi).count() as f64 / count <= OUTSIDE;
    let range = |lo: i64, hi: i64| ((lo as f64 * step) as f32, (hi as f64 * step) as f32);
    if symmetric {
        let most = i64::from(format.max());
        return outside(-most, most).then(|| range(-most, most));
    }
    let span = i64::from(format.max()) - i64::from(format.min());
    let (least, greatest) = (all().min()?.min(0), all().max()?.max(0));
    if greatest - least <= span {
        return Some(range(least, least + span));
    }
    if greatest - least > MOST_WINDOWS + span {
        return None;
    }
    let mut sorted: Vec<i64> = all().collect();
    sorted.sort_unstable();
    let kept = |lo: i64| sorted.partition_point(|n| *n <= lo + span) - sorted.partition_point(|n| *n < lo);
    // The window that keeps most; of equals the first.
    let best = (least..=(greatest - span).min(0)).max_by_key(|lo| (kept(*lo), std::cmp::Reverse(*lo)))?;
    outside(best, best + span).then(|| range(best, best + span))
}

/// The step of which every value is a multiple, within a hundredth of it.
fn step(values: &[&[f32]]) -> Option<f64> {
    let mut distinct = BTreeSet::new();
    for value in values.iter().flat_map(|v| v.iter()).filter(|v| **v != 0.0) {
        if !value.is_finite() || (distinct.insert(value.abs().to_bits()) && distinct.len() > MOST_DISTINCT) {
            return None;
        }
    }
    let magnitudes: Vec<f64> = distinct.into_iter().map(|bits| f64::from(f32::from_bits(bits))).collect();
    let greatest = magnitudes.last().filter(|_| magnitudes.len() >= 2)?;
    let gaps = magnitudes.windows(2).map(|w| w[1] - w[0]).filter(|gap| *gap > 1e-6 * greatest);
    let rough = gaps.fold(magnitudes[0], f64::min);
    let multiples = || magnitudes.iter().map(|v| (v, (v / rough).round()));
    let (dot, squares) = multiples().fold((0.0, 0.0), |(d, s), (v, q)| (d + v * q, s + q * q));
    let step = dot / squares;
    let fits = |v: &f64| (v - (v / step).round() * step).abs() <= 0.01 * step;
    magnitudes.iter().all(fits).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_step_of_stored_integers() {
        let values: Vec<f32> = (-100..120).map(|n| n as f32 * 0.37).collect();
        let (lo, hi) = lattice_range(&[&values], IntFormat::unsigned(8), false).unwrap();
        assert!((lo + 37.0).abs() < 1e-3 && (hi - 155.0 * 0.37).abs() < 1e-3, "{lo} {hi}");
        let (lo, hi) = lattice_range(&[&values], IntFormat::signed(8), true).unwrap();
        assert!((hi - 127.0 * 0.37).abs() < 1e-3 && lo == -hi);
    }

    #[test]
    fn leaves_other_values_alone() {
        let values: Vec<f32> = (0..500).map(|i| ((i * i) as f32 * 0.618).sin()).collect();
        assert_eq!(lattice_range(&[&values], IntFormat::unsigned(8), false), None);
        let wide: Vec<f32> = (-1000..1000).map(|n| n as f32).collect();
        assert_eq!(lattice_range(&[&wide], IntFormat::signed(8), true), None);
        assert_eq!(lattice_range(&[&[f32::NAN, 1.0]], IntFormat::signed(8), true), None);
        assert_eq!(lattice_range(&[&[]], IntFormat::signed(8), true), None);
    }
}
