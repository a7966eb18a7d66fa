//! Rounding with error feedback: each column is rounded where the errors of the columns before it want it.
//!
//! GPTQ (Frantar et al., arXiv 2210.17323) in the form of QuIP's LDLQ (Chee et al., arXiv 2307.13304, section 3):
//! with C = (U + I) D (U + I)' the error (q - w) C (q - w)' equals the sum of D times the squared rounding errors, if
//! column j is rounded at `w_j - sum over k < j of (q_k - w_k) U_kj`. No inverse of C is needed.

use super::curvature::Curvature;
use super::scale::round_within;
use crate::product::add_product;
use crate::quant::IntFormat;
use crate::wide::wide;
use ndarray::{ArrayView2, ArrayViewMut2, s};

/// Columns that are rounded before their feedback reaches the columns behind them in one product.
const BLOCK: usize = 32;

/// Rounds `count` rows (rows x size, columns in the order of the curvature); returns the integers in the same layout, and
/// e C e' of each row.
///
/// There are one or several sets of `scales`, each with one scale a row, and the set of each column.
pub fn feed_back(
    rows: &[f32],
    (scales, sets): (&[f32], Option<&[usize]>),
    count: usize,
    curvature: &Curvature,
    format: IntFormat,
) -> (Vec<i8>, Vec<f64>) {
    let n = curvature.size;
    let (low, high) = (format.min() as f32, format.max() as f32);
    let inverse: Vec<f32> = scales.iter().map(|s| 1.0 / s).collect();
    // Column-major inside, so that the loops over rows are the ones that vectorise.
    let weights = turned(rows, n, count);
    let mut integers = vec![0i8; n * count];
    let mut errors = vec![0f32; n * count];
    let mut energy = vec![0f64; count];
    let mut wanted = vec![0f32; BLOCK * count];
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let wanted = &mut wanted[..(end - start) * count];
        before(curvature, &errors[..start * count], start, end, count, wanted);
        wide(
            #[inline(always)]
            || {
                for j in start..end {
                    let (known, open) = errors.split_at_mut(j * count);
                    let target = &mut wanted[(j - start) * count..][..count];
                    for k in start..j {
                        let u = curvature.feedback[k * n + j];
                        target.iter_mut().zip(&known[k * count..]).for_each(|(t, e)| *t += u * e);
                    }
                    let cost = curvature.cost[j];
                    let (weights, open) = (&weights[j * count..][..count], &mut open[..count]);
                    let set = sets.map_or(0, |sets| sets[j]) * count;
                    let (inverse, scales) = (&inverse[set..][..count], &scales[set..][..count]);
                    let integers = &mut integers[j * count..][..count];
                    for r in 0..count {
                        let aim = weights[r] - target[r];
                        let integer = round_within(aim * inverse[r], low, high);
                        let stored = integer * scales[r];
                        open[r] = stored - weights[r];
                        target[r] = cost * (stored - aim) * (stored - aim);
                        integers[r] = low_byte(integer);
                    }
                    energy.iter_mut().zip(target.iter()).for_each(|(sum, e)| *sum += f64::from(*e));
                }
            },
        );
    }
    (turned(&integers, count, n), energy)
}

/// A float that is an integer of a byte, as one: the low byte of its sum with 1.5 x 2^23, which vectorises.
#[inline(always)]
fn low_byte(integer: f32) -> i8 {
    (integer + 12_582_912.0).to_bits() as i8
}

/// Columns that are turned at once: those of one line of the cache.
const LINE: usize = 16;

/// The transpose of a matrix of rows of `n`.
pub fn turned<T: Copy + Default>(rows: &[T], n: usize, count: usize) -> Vec<T> {
    let mut into = vec![T::default(); rows.len()];
    for start in (0..n).step_by(LINE) {
        for (r, row) in rows.chunks_exact(n).enumerate() {
            for (j, v) in row[start..(start + LINE).min(n)].iter().enumerate() {
                into[(start + j) * count + r] = *v;
            }
        }
    }
    into
}

/// What the errors of the first `start` columns ask of columns `start..end`: columns x rows.
pub fn before(curvature: &Curvature, errors: &[f32], start: usize, end: usize, count: usize, into: &mut [f32]) {
    into.fill(0.0);
    let n = curvature.size;
    let Ok(upper) = ArrayView2::from_shape((start, n), &curvature.feedback[..start * n]) else { return };
    let Ok(errors) = ArrayView2::from_shape((start, count), errors) else { return };
    let Ok(mut into) = ArrayViewMut2::from_shape((end - start, count), into) else { return };
    add_product(&upper.slice(s![.., start..end]).t(), &errors, &mut into);
}
