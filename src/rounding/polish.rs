//! After rounding: the scale that suits the integers best, and single steps of integers that still lower the error.

use super::curvature::Curvature;
use crate::product::add_product;
use crate::quant::IntFormat;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Sweeps of single steps at most; nearly all of the gain is in the first two.
const SWEEPS: usize = 4;
/// Sums that run side by side.
const LANES: usize = 8;

/// One product of `rows` with the symmetric curvature, row by row.
pub fn curved(rows: &[f32], curvature: &Curvature) -> Vec<f32> {
    let n = curvature.size;
    let mut product = vec![0f32; rows.len()];
    let shape = (rows.len() / n.max(1), n);
    let matrix = ArrayView2::from_shape((n, n), &curvature.matrix);
    let views = (ArrayView2::from_shape(shape, rows), matrix, ArrayViewMut2::from_shape(shape, &mut product));
    if let (Ok(rows), Ok(matrix), Ok(mut into)) = views {
        add_product(&rows, &matrix, &mut into);
    }
    product
}

/// One row while it is improved.
pub struct Row<'a> {
    /// Float weights.
    pub weight: &'a [f32],
    /// Their product with the curvature.
    pub curved_weight: &'a [f32],
    /// Integers.
    pub values: &'a mut [i8],
    /// Product of the integers with the curvature.
    pub curved_values: &'a mut [f32],
}

impl Row<'_> {
    /// w C q and q C q: their quotient is the scale of least error.
    pub fn fit(&self) -> (f64, f64) {
        let found = (self.weight, &*self.values);
        let (mut cross, mut squares) = ([0f64; LANES], [0f64; LANES]);
        let whole = self.curved_values.len() / LANES * LANES;
        let add = |lane: usize, i: usize, cross: &mut [f64; LANES], squares: &mut [f64; LANES]| {
            let curved = f64::from(self.curved_values[i]);
            cross[lane] += curved * f64::from(found.0[i]);
            squares[lane] += curved * f64::from(found.1[i]);
        };
        for start in (0..whole).step_by(LANES) {
            (0..LANES).for_each(|lane| add(lane, start + lane, &mut cross, &mut squares));
        }
        (whole..self.curved_values.len()).for_each(|i| add(0, i, &mut cross, &mut squares));
        (cross.iter().sum(), squares.iter().sum())
    }

    /// (s q - w) C (s q - w)'.
    pub fn energy(&self, scale: f32) -> f64 {
        let (cross, squares) = self.fit();
        let scale = f64::from(scale);
        let own: f64 = self.weight.iter().zip(self.curved_weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        (scale * scale * squares - 2.0 * scale * cross + own).max(0.0)
    }

    /// Moves single integers by one while that lowers the error.
    pub fn descend(&mut self, scale: f32, curvature: &Curvature, format: IntFormat) {
        let n = curvature.size;
        let (low, high) = (format.min(), format.max());
        for _ in 0..SWEEPS {
            let mut moved = false;
            for j in 0..n {
                let slope = scale * self.curved_values[j] - self.curved_weight[j];
                let bend = scale * curvature.matrix[j * n + j];
                // A step of d lowers the error by -2 s d slope - s^2 d^2 C_jj; the margin keeps noise from cycling.
                if 2.0 * slope.abs() <= bend * 1.0001 {
                    continue;
                }
                let step = if slope > 0.0 { -1 } else { 1 };
                let next = i32::from(self.values[j]) + step;
                if next < low || next > high {
                    continue;
                }
                self.values[j] = next as i8;
                let column = &curvature.matrix[j * n..(j + 1) * n];
                let step = step as f32;
                self.curved_values.iter_mut().zip(column).for_each(|(c, m)| *c += step * m);
                moved = true;
            }
            if !moved {
                break;
            }
        }
    }
}
