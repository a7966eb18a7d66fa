//! The curvature of a layer's squared output error in its weights, prepared for rounding.
//!
//! A row w of weights (one output channel) that becomes q errs at the output by (q - w) C (q - w)' per position,
//! where C is the second moment of the layer's input. A layer with a bias takes the mean error back, so that C is
//! the covariance there. C is shrunk towards its diagonal, which is what a few samples do not know, and damped.

use crate::stats::Gram;
use crate::wide::wide;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, s};
use std::ops::Range;

/// Added to the diagonal, as a share of its mean.
const DAMPING: f64 = 0.01;
/// A little is kept of what samples agree on so badly that none of it should be.
const MOST_SHRINKAGE: f64 = 0.95;

/// Second moment of one group's input, columns in the order in which they are rounded.
pub struct Curvature {
    /// Columns.
    pub size: usize,
    /// `order[i]` is the column of the weight that is rounded as the i-th: large diagonal first, so that the
    /// errors of what matters can still be answered by what follows.
    pub order: Vec<usize>,
    /// `size` x `size`, symmetric, row-major, in that order.
    pub matrix: Vec<f32>,
    /// C = (U + I) D (U + I)' with U strictly upper triangular: column j says how rounding errors of earlier
    /// columns move the best value of column j.
    pub feedback: Vec<f32>,
    /// D: what a squared rounding error of each column costs once later columns have answered it.
    pub cost: Vec<f32>,
    /// Share of what the samples say about pairs of columns that is noise, see [`Gram::shrinkage`].
    pub shrinkage: f64,
}

impl Curvature {
    /// Prepares group `g`; `centred` for a layer whose bias takes the mean error back.
    pub fn new(gram: &Gram, g: usize, centred: bool) -> Curvature {
        let n = gram.size;
        let share = 1.0 / gram.rows.max(1) as f64;
        let means: Vec<f64> = gram.means(g).collect();
        let taken = if centred { 1.0 - MEAN_SHARE } else { 0.0 };
        let data = gram.group(g);
        let moment = |a: usize, b: usize| f64::from(data[a * n + b]) * share - taken * means[a] * means[b];
        let diagonal: Vec<f64> = (0..n).map(|i| moment(i, i).max(0.0)).collect();
        let mean = diagonal.iter().sum::<f64>() / n.max(1) as f64;
        // A column that never sees anything keeps a positive diagonal, so that the factor exists.
        let extra = DAMPING * mean + f64::from(f32::MIN_POSITIVE).sqrt();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
        let shrinkage = gram.shrinkage(g, centred);
        let keep = 1.0 - shrinkage.min(MOST_SHRINKAGE);
        let mut matrix = vec![0f32; n * n];
        // The factor is taken with both orders reversed, from the lower half.
        let mut lower = vec![0f64; n * n];
        for (i, a) in order.iter().enumerate() {
            let (row, reversed) = (&mut matrix[i * n..(i + 1) * n], &mut lower[(n - 1 - i) * n..(n - i) * n]);
            for ((j, b), into) in order.iter().enumerate().zip(row) {
                let value = if i == j { diagonal[*a] + extra } else { moment(*a, *b) * keep };
                (*into, reversed[n - 1 - j]) = (value as f32, value);
            }
        }
        let (feedback, cost) = factor(lower, n);
        Curvature { size: n, order, matrix, feedback, cost, shrinkage }
    }
}

/// Share of the mean's part that stays in the curvature of a layer whose bias takes the mean error back: the mean
/// that the deployed layer sees is not quite the one of the samples.
const MEAN_SHARE: f64 = 0.2;

/// Columns of the panel that one step of the factorization eliminates.
const PANEL: usize = 48;

/// U (row-major, strictly upper) and D of C = (U + I) D (U + I)', where `lower` is C with both orders reversed: the
/// Cholesky factor of that.
fn factor(mut lower: Vec<f64>, n: usize) -> (Vec<f32>, Vec<f32>) {
    cholesky(&mut lower, n);
    let pivots: Vec<f64> = (0..n).map(|i| lower[i * n + i]).collect();
    let mut upper = vec![0f32; n * n];
    for i in 1..n {
        let into = upper[(n - 1 - i) * n..(n - i) * n].iter_mut().rev();
        into.zip(&lower[i * n..i * n + i]).zip(&pivots).for_each(|((u, l), pivot)| *u = (l / pivot) as f32);
    }
    let cost = pivots.iter().rev().map(|pivot| pivot.powi(2) as f32).collect();
    (upper, cost)
}

/// Replaces the lower triangle of a symmetric positive definite matrix by its Cholesky factor.
///
/// A pivot that rounding made non-positive is raised: the matrices here are damped, so it is noise.
fn cholesky(a: &mut [f64], n: usize) {
    let floor = (0..n).map(|i| a[i * n + i]).fold(0.0, f64::max) * 1e-12 + f64::MIN_POSITIVE.sqrt();
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        wide(
            #[inline(always)]
            || eliminate(a, n, start..end, floor),
        );
        subtract_panel(a, n, start, end);
    }
}

/// The factor's columns of one panel.
#[inline(always)]
fn eliminate(a: &mut [f64], n: usize, panel: Range<usize>, floor: f64) {
    let start = panel.start;
    for j in panel {
        let row = &a[j * n + start..j * n + j];
        let pivot = (a[j * n + j] - dot(row, row)).max(floor).sqrt();
        a[j * n + j] = pivot;
        let (head, tail) = a.split_at_mut((j + 1) * n);
        let row = &head[j * n + start..j * n + j];
        for other in tail.chunks_exact_mut(n) {
            other[j] = (other[j] - dot(&other[start..j], row)) / pivot;
        }
    }
}

/// Scalar product in parallel lanes.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0f64; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (x, y) in (&mut left).zip(&mut right) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Subtracts the panel's part from what follows it, block column by block column of the lower triangle.
fn subtract_panel(a: &mut [f64], n: usize, start: usize, end: usize) {
    let width = end - start;
    let panel: Vec<f64> = a[end * n..].chunks_exact(n).flat_map(|row| row[start..end].iter().copied()).collect();
    for block in (end..n).step_by(4 * PANEL) {
        let stop = (block + 4 * PANEL).min(n);
        let view = |from: usize, to: usize| {
            ArrayView2::from_shape((to - from, width), &panel[(from - end) * width..(to - end) * width])
        };
        let (Ok(left), Ok(right)) = (view(block, n), view(block, stop)) else { return };
        let Ok(mut rest) = ArrayViewMut2::from_shape((n - block, n), &mut a[block * n..]) else { return };
        general_mat_mul(-1.0, &left, &right.t(), 1.0, &mut rest.slice_mut(s![.., block..stop]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// X'X of a random matrix.
    pub fn gram(n: usize, rows: usize, seed: u64) -> Gram {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) as f64 / f64::from(1u32 << 31) - 0.4) as f32
        };
        let x: Vec<f32> = (0..rows * n).map(|i| next() * (1.0 + (i % n) as f32)).collect();
        let request = crate::stats::GramRequest { layer: 0, patches: crate::stats::Patches::Last };
        let mut gram = Gram::default();
        gram.add(&[rows, n], &x, &request, &mut crate::stats::Scratch::default()).unwrap();
        gram
    }

    proptest! {
        #[test]
        fn feedback_factors_the_matrix(n in 1usize..130, extra in 0usize..40, seed: u64) {
            let gram = gram(n, n + extra, seed);
            let found = Curvature::new(&gram, 0, true);
            let c = |i: usize, j: usize| f64::from(found.matrix[i * n + j]);
            let u = |i: usize, j: usize| if i == j { 1.0 } else { f64::from(found.feedback[i * n + j]) };
            let largest = (0..n).map(|i| c(i, i)).fold(0.0, f64::max);
            for i in 0..n {
                for j in i..n {
                    let product: f64 = (j..n).map(|k| u(i, k) * f64::from(found.cost[k]) * u(j, k)).sum();
                    prop_assert!((product - c(i, j)).abs() < 1e-4 * largest, "{i} {j}: {product} {}", c(i, j));
                }
            }
        }
    }

    #[test]
    fn columns_that_see_nothing_are_harmless() {
        let mut gram = gram(4, 9, 3);
        for i in 0..4 {
            (gram.data[4 + i], gram.data[i * 4 + 1]) = (0.0, 0.0);
        }
        gram.sums[1] = 0.0;
        let found = Curvature::new(&gram, 0, true);
        assert_eq!(found.order[3], 1);
        assert!(found.feedback.iter().all(|v| v.is_finite()));
    }
}
