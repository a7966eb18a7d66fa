//! Squares of matrices of so few columns that cutting them into panels would cost more than it saves.

use super::LANES;
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, f32x16};
use ndarray::ArrayView2;

/// Columns of a narrow matrix at most.
pub const NARROW: usize = LANES;

/// A matrix of few columns, row after row; those beyond its edge are zero.
#[derive(Default)]
pub struct Lines(Vec<[f32; NARROW]>);

impl Lines {
    /// Takes another matrix, given by its columns; one of as many columns as the last, but after `clear`.
    pub fn cut(&mut self, columns: &ArrayView2<f32>) {
        self.0.resize(columns.ncols(), [0.0; NARROW]);
        for (at, column) in columns.rows().into_iter().enumerate().take(NARROW) {
            match column.to_slice() {
                Some(column) => self.0.iter_mut().zip(column).for_each(|(line, v)| line[at] = *v),
                None => self.0.iter_mut().zip(column).for_each(|(line, v)| line[at] = *v),
            }
        }
    }

    /// Forgets the last matrix.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Products of the first `size` columns with all, and sums of all, in the order of [`Panels::add_chained_square`]
    /// and [`Panels::add_sums`].
    pub fn square(&self, size: usize, chain: usize, sums: &mut [f64]) -> [[f32; NARROW]; NARROW] {
        let mut products = [[0f32; NARROW]; NARROW];
        dispatch!(Level::new(), simd => match size {
            ..=8 => narrow::<_, 8>(simd, &self.0, chain, (&mut products[..8], 0), sums),
            // Filters of 3 x 3.
            9 => narrow::<_, 9>(simd, &self.0, chain, (&mut products[..9], 0), sums),
            _ => {
                narrow::<_, 8>(simd, &self.0, chain, (&mut products[..8], 0), sums);
                narrow::<_, 8>(simd, &self.0, chain, (&mut products[8..], 8), &mut []);
            }
        });
        products
    }
}

/// The products of `R` columns from `first` on with all, and the sums of all.
#[inline(always)]
fn narrow<S: Simd, const R: usize>(
    simd: S,
    lines: &[[f32; NARROW]],
    chain: usize,
    (products, first): (&mut [[f32; NARROW]], usize),
    sums: &mut [f64],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            for lines in lines.chunks(chain.max(1)) {
                let (mut now, mut total) = ([f32x16::splat(simd, 0.0); R], f32x16::splat(simd, 0.0));
                for line in lines {
                    let right = f32x16::from_slice(simd, line);
                    total += right;
                    for (r, sum) in now.iter_mut().enumerate() {
                        *sum = f32x16::splat(simd, line[first + r]).mul_add(right, *sum);
                    }
                }
                for (product, now) in products.iter_mut().zip(now) {
                    let sum = f32x16::from_slice(simd, product) + now;
                    sum.store_slice(product);
                }
                let mut each = [0f32; NARROW];
                total.store_slice(&mut each);
                sums.iter_mut().zip(each).for_each(|(sum, v)| *sum += f64::from(v));
            }
        },
    );
}
