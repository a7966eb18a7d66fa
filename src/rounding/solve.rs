//! Rows times the inverse of the curvature, by its factors.

use super::curvature::Curvature;
use super::feedback::{before, turned};
use crate::product::add_product;
use ndarray::{ArrayView2, ArrayViewMut2, s};

/// Columns that are solved before they are taken out of the others in one product.
const BLOCK: usize = 32;

/// Replaces each row d of `rows` (rows x size, in the order of the curvature) by x with x C = d.
pub fn solve(rows: &mut [f32], curvature: &Curvature) {
    let n = curvature.size;
    let count = rows.len() / n.max(1);
    // Column-major inside, so that the loops over rows are the ones that vectorise.
    let mut x = turned(rows, n, count);
    let mut part = vec![0f32; BLOCK * count];
    backward(&mut x, curvature, count, &mut part);
    for (column, cost) in x.chunks_exact_mut(count.max(1)).zip(&curvature.cost) {
        column.iter_mut().for_each(|v| *v /= cost);
    }
    forward(&mut x, curvature, count, &mut part);
    rows.copy_from_slice(&turned(&x, count, n));
}

/// y with y (U + I)' = x, last column first.
fn backward(x: &mut [f32], curvature: &Curvature, count: usize, part: &mut [f32]) {
    let n = curvature.size;
    for start in (0..n).step_by(BLOCK).rev() {
        let end = (start + BLOCK).min(n);
        let part = &mut part[..(end - start) * count];
        part.fill(0.0);
        let upper = ArrayView2::from_shape((n, n), &curvature.feedback);
        let solved = ArrayView2::from_shape((n - end, count), &x[end * count..]);
        let into = ArrayViewMut2::from_shape((end - start, count), &mut *part);
        if let (Ok(upper), Ok(solved), Ok(mut into)) = (upper, solved, into) {
            add_product(&upper.slice(s![start..end, end..]), &solved, &mut into);
        }
        for j in (start..end).rev() {
            let (open, known) = x.split_at_mut((j + 1) * count);
            let column = &mut open[j * count..];
            column.iter_mut().zip(&part[(j - start) * count..]).for_each(|(v, p)| *v -= p);
            for k in j + 1..end {
                let u = curvature.feedback[j * n + k];
                column.iter_mut().zip(&known[(k - j - 1) * count..]).for_each(|(v, y)| *v -= u * y);
            }
        }
    }
}

/// x with x (U + I) = t, first column first.
fn forward(x: &mut [f32], curvature: &Curvature, count: usize, part: &mut [f32]) {
    let n = curvature.size;
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let part = &mut part[..(end - start) * count];
        before(curvature, &x[..start * count], start, end, count, part);
        for j in start..end {
            let (known, open) = x.split_at_mut(j * count);
            let column = &mut open[..count];
            column.iter_mut().zip(&part[(j - start) * count..]).for_each(|(v, p)| *v -= p);
            for k in start..j {
                let u = curvature.feedback[k * n + j];
                column.iter_mut().zip(&known[k * count..]).for_each(|(v, y)| *v -= u * y);
            }
        }
    }
}
