//! What a change of weights does to a layer's output, on inputs whose moments are known.

use crate::product::add_product;
use crate::stats::Gram;
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

/// Mean over positions of the squared change of the output, summed over channels.
///
/// `delta` holds rows of weight changes. With `corrected_by` the bias takes back the mean change on the inputs of
/// that matrix, which need not be those of `gram`: that is how an honest error is measured, on samples that the
/// rounding has not seen.
pub fn output_error(delta: &[f32], gram: &Gram, corrected_by: Option<&Gram>) -> f64 {
    let (as_it_is, corrected) = output_errors(delta, gram, corrected_by);
    if corrected_by.is_some() { corrected } else { as_it_is }
}

/// The same without and with the mean change taken back.
pub fn output_errors(delta: &[f32], gram: &Gram, corrected_by: Option<&Gram>) -> (f64, f64) {
    let n = gram.size;
    if n == 0 || gram.groups == 0 || gram.rows == 0 || !delta.len().is_multiple_of(n * gram.groups) {
        return (0.0, 0.0);
    }
    let each = delta.len() / n / gram.groups;
    let both = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
    let of_group = |g: usize| -> (f64, f64) {
        let matrix = gram.group(g);
        let means: Vec<f64> = gram.means(g).collect();
        let taken: Option<Vec<f64>> = corrected_by.map(|other| other.means(g).collect());
        let of_rows = |rows: &[f32]| -> (f64, f64) {
            let of_row = |(row, square): (&[f32], f64)| {
                let square = (square / gram.rows as f64).max(0.0);
                let Some(taken) = &taken else { return (square, square) };
                let back = dot(row, taken);
                (square, (square - 2.0 * back * dot(row, &means) + back * back).max(0.0))
            };
            rows.chunks_exact(n).zip(quadratic(rows, matrix, n)).map(of_row).fold((0.0, 0.0), both)
        };
        let own = &delta[g * each * n..(g + 1) * each * n];
        own.par_chunks(super::CHUNK * n).map(of_rows).collect::<Vec<_>>().into_iter().fold((0.0, 0.0), both)
    };
    (0..gram.groups).into_par_iter().map(of_group).collect::<Vec<_>>().into_iter().fold((0.0, 0.0), both)
}

/// Columns of the product that are computed together.
const BLOCK: usize = 192;

/// Row by row x C x', of whose symmetric C only the blocks on and below the diagonal are read.
fn quadratic(rows: &[f32], matrix: &[f32], n: usize) -> Vec<f64> {
    let count = rows.len() / n.max(1);
    let mut found = vec![0f64; count];
    let (Ok(view), Ok(matrix)) = (ArrayView2::from_shape((count, n), rows), ArrayView2::from_shape((n, n), matrix))
    else {
        return found;
    };
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let mut product = Array2::zeros((count, end - start));
        add_product(&view.slice(s![.., end..]), &matrix.slice(s![end.., start..end]), &mut product.view_mut());
        product *= 2.0;
        let within = matrix.slice(s![start..end, start..end]);
        add_product(&view.slice(s![.., start..end]), &within, &mut product.view_mut());
        for ((sum, row), product) in found.iter_mut().zip(rows.chunks_exact(n)).zip(product.rows()) {
            let product = product.to_slice().unwrap_or(&[]);
            *sum += dot(&row[start..end], product);
        }
    }
    found
}

/// Scalar product in parallel lanes.
fn dot<T: Copy + Into<f64>>(row: &[f32], other: &[T]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0f64; LANES];
    let (mut left, mut right) = (row.chunks_exact(LANES), other.chunks_exact(LANES));
    for (x, y) in (&mut left).zip(&mut right) {
        for i in 0..LANES {
            lanes[i] += f64::from(x[i]) * y[i].into();
        }
    }
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| f64::from(*x) * (*y).into()).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The change of each channel's mean that rows of weight changes cause: what a bias must take back, negated.
pub fn mean_change(delta: &[f32], gram: &Gram) -> Vec<f64> {
    let n = gram.size.max(1);
    let each = (delta.len() / n / gram.groups.max(1)).max(1);
    let means: Vec<Vec<f64>> = (0..gram.groups).map(|g| gram.means(g).collect()).collect();
    let of_row = |(c, row): (usize, &[f32])| dot(row, &means[c / each]);
    delta.chunks_exact(n).enumerate().map(of_row).collect()
}
