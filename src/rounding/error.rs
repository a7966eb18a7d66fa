//! What a change of weights does to a layer's output, on inputs whose moments are known.

use crate::stats::Gram;
use ndarray::ArrayView2;
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
        let matrix = ArrayView2::from_shape((n, n), gram.group(g));
        let means: Vec<f64> = gram.means(g).collect();
        let taken: Option<Vec<f64>> = corrected_by.map(|other| other.means(g).collect());
        let of_rows = |rows: &[f32]| -> (f64, f64) {
            let view = ArrayView2::from_shape((rows.len() / n, n), rows);
            let (Ok(view), Ok(matrix)) = (view, &matrix) else { return (0.0, 0.0) };
            let product = view.dot(matrix);
            let quadratic = |(row, product): (ndarray::ArrayView1<f32>, ndarray::ArrayView1<f32>)| {
                let square: f64 = row.iter().zip(product).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let square = (square / gram.rows as f64).max(0.0);
                let Some(taken) = &taken else { return (square, square) };
                let dot = |means: &[f64]| -> f64 { row.iter().zip(means).map(|(a, m)| f64::from(*a) * m).sum() };
                let back = dot(taken);
                (square, (square - 2.0 * back * dot(&means) + back * back).max(0.0))
            };
            view.rows().into_iter().zip(product.rows()).map(quadratic).fold((0.0, 0.0), both)
        };
        let own = &delta[g * each * n..(g + 1) * each * n];
        own.par_chunks(super::CHUNK * n).map(of_rows).collect::<Vec<_>>().into_iter().fold((0.0, 0.0), both)
    };
    (0..gram.groups).into_par_iter().map(of_group).collect::<Vec<_>>().into_iter().fold((0.0, 0.0), both)
}

/// The change of each channel's mean that rows of weight changes cause: what a bias must take back, negated.
pub fn mean_change(delta: &[f32], gram: &Gram) -> Vec<f64> {
    let n = gram.size.max(1);
    let each = (delta.len() / n / gram.groups.max(1)).max(1);
    let means: Vec<Vec<f64>> = (0..gram.groups).map(|g| gram.means(g).collect()).collect();
    let of_row = |(c, row): (usize, &[f32])| row.iter().zip(&means[c / each]).map(|(d, m)| f64::from(*d) * m).sum();
    delta.chunks_exact(n).enumerate().map(of_row).collect()
}
