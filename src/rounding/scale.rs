//! Scales: where they are looked for, and what suits integers that are known.

use super::polish::Row;
use super::{Care, Grid, SMALL};
use crate::quant::IntFormat;
use crate::wide::wide;

/// Factors of the scale of least weight error at which error feedback is tried.
pub fn factors(care: Care, fan_in: usize) -> Vec<f32> {
    match care {
        Care::Quick => vec![1.0],
        _ if fan_in <= SMALL => (0..19).map(|i| 0.5 + 0.05 * i as f32).collect(),
        Care::Fair => vec![0.88, 1.0, 1.12],
        Care::Thorough => vec![0.8, 0.9, 1.0, 1.1, 1.2],
    }
}

/// The scale of least error for these integers, unless the grid forbids it.
pub fn refit(row: &Row, scale: &mut f32, grid: &Grid, channel: usize) {
    let (cross, squares) = row.fit();
    if cross > 0.0 && squares > 0.0 {
        let fitted = grid.legal((cross / squares) as f32, channel);
        let cost = |scale: f32| f64::from(scale) * (f64::from(scale) * squares - 2.0 * cross);
        if cost(fitted) < cost(*scale) {
            *scale = fitted;
        }
    }
}

/// Share by which a scale fitted to the float output is drawn back to the one it was.
const CAUTION: f64 = 0.05;

/// The slope of the float output on what the integers make of the quantized input, shrunk towards 1.
pub fn fit_to(aim: &[f32], row: &Row, scale: &mut f32, grid: &Grid, channel: usize) {
    let cross: f64 = aim.iter().zip(&*row.values).map(|(a, q)| f64::from(*a) * f64::from(*q)).sum();
    let (_, squares) = row.fit();
    if let Some(slope) = slope(cross, f64::from(*scale) * squares) {
        *scale = grid.legal((f64::from(*scale) * slope) as f32, channel);
    }
}

/// What to multiply scales with, from the covariance of what they make with the float output and with itself.
pub fn slope(cross: f64, own: f64) -> Option<f64> {
    (own > 0.0).then(|| ((cross + CAUTION * own) / (own * (1.0 + CAUTION))).clamp(0.5, 2.0))
}

/// The scale with which the greatest magnitude just fits; 1 for zeros, which stay exact with any scale.
pub fn full_scale<'a>(weights: impl Iterator<Item = &'a f32>, format: IntFormat) -> f32 {
    let greatest = weights.fold(0f32, |m, w| m.max(w.abs()));
    if greatest == 0.0 { 1.0 } else { (greatest / format.max().max(1) as f32).max(f32::MIN_POSITIVE) }
}

/// The best of 24 scales between 0.3 and 1 of `full`.
pub fn least(full: f32, error: impl Fn(f32) -> f64) -> f32 {
    let mut best = (f64::INFINITY, full);
    for step in 0..24 {
        let scale = (full * (1.0 - step as f32 * 0.03)).max(f32::MIN_POSITIVE);
        let found = error(scale);
        if found < best.0 {
            best = (found, scale);
        }
    }
    best.1
}

/// The nearest integer within bounds that are integers of at most 8 bits: clamping first leaves nothing to round that
/// adding 1.5 x 2^23 would not round half to even, and both vectorise.
#[inline(always)]
pub fn round_within(x: f32, low: f32, high: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let x = if x < low { low } else { x };
    let x = if x > high { high } else { x };
    (x + MAGIC) - MAGIC
}

/// Sum of squared rounding errors.
pub fn plain_error(row: &[f32], scale: f32, format: IntFormat) -> f64 {
    const LANES: usize = 16;
    let (low, high, inverse) = (format.min() as f32, format.max() as f32, 1.0 / scale);
    let square = |w: f32| {
        let error = round_within(w * inverse, low, high) * scale - w;
        error * error
    };
    wide(
        #[inline(always)]
        || {
            let mut lanes = [0f32; LANES];
            let mut chunks = row.chunks_exact(LANES);
            for chunk in &mut chunks {
                lanes.iter_mut().zip(chunk).for_each(|(sum, w)| *sum += square(*w));
            }
            lanes.iter().map(|v| f64::from(*v)).sum::<f64>()
                + chunks.remainder().iter().map(|w| f64::from(square(*w))).sum::<f64>()
        },
    )
}
