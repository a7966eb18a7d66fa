//! Products of matrices, added to what is there.
//!
//! Sums run over [`DEPTH`] steps of the inner dimension in one chain of fused multiplications and additions, and are
//! then added to the result: the same bits however rows and columns are cut, and on every processor that fuses.

mod narrow;
#[cfg(test)]
mod tests;

use crate::wide::wide;
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, f32x16};
pub use narrow::{Lines, NARROW};
use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};
use std::array::from_fn;
use std::ops::Range;

/// Columns of a panel.
pub const WIDTH: usize = 32;
/// Elements of a vector; a processor without such makes it of narrower ones.
const LANES: usize = 16;
/// Steps of the inner dimension that are taken together: a panel of so many stays in the second cache.
const DEPTH: usize = 512;

/// So many neighbouring columns of a matrix, row after row; those beyond its edge are zero.
pub type Panel = [[f32; WIDTH]];

/// `into += left right`, fastest where the rows of all three lie in runs.
pub fn add_product(left: &ArrayView2<f32>, right: &ArrayView2<f32>, into: &mut ArrayViewMut2<f32>) {
    debug_assert_eq!((left.ncols(), into.dim()), (right.nrows(), (left.nrows(), right.ncols())));
    add_product_of(left, into, |rows, columns, panel| fill(panel, &right.slice(s![rows, columns])));
}

/// The same with a right matrix that is made part by part: `fill` gets a range of its rows and one of up to [`WIDTH`]
/// columns and writes them into the first lines of a panel, which has one line more than there are rows.
pub fn add_product_of(
    left: &ArrayView2<f32>,
    into: &mut ArrayViewMut2<f32>,
    mut fill: impl FnMut(Range<usize>, Range<usize>, &mut Panel),
) {
    let inner = left.ncols();
    let mut panel = vec![[0f32; WIDTH]; DEPTH.min(inner) + 1];
    for (at, mut into) in into.axis_chunks_iter_mut(Axis(1), WIDTH).enumerate() {
        let columns = at * WIDTH..at * WIDTH + into.ncols();
        for from in (0..inner).step_by(DEPTH) {
            let to = (from + DEPTH).min(inner);
            fill(from..to, columns.clone(), &mut panel[..to - from + 1]);
            add_one(&left.slice(s![.., from..to]), &panel[..to - from], &mut into);
        }
    }
}

/// A matrix cut into panels, for more than one product.
#[derive(Default)]
pub struct Panels {
    rows: usize,
    /// One panel after another.
    data: Vec<[f32; WIDTH]>,
}

impl Panels {
    /// Cuts another matrix, into the memory of the last.
    pub fn cut(&mut self, matrix: &ArrayView2<f32>) {
        let (rows, columns) = matrix.dim();
        self.rows = rows;
        self.data.resize(rows * columns.div_ceil(WIDTH), [0.0; WIDTH]);
        for (panel, part) in self.data.chunks_exact_mut(rows.max(1)).zip(matrix.axis_chunks_iter(Axis(1), WIDTH)) {
            fill(panel, &part);
        }
    }

    /// `into += left M`, where M is the matrix.
    pub fn add_product(&self, left: &ArrayView2<f32>, into: &mut ArrayViewMut2<f32>) {
        for (panel, mut into) in self.panels().zip(into.axis_chunks_iter_mut(Axis(1), WIDTH)) {
            for (panel, left) in panel.chunks(DEPTH).zip(left.axis_chunks_iter(Axis(1), DEPTH)) {
                add_one(&left, panel, &mut into);
            }
        }
    }

    /// The lower half of `into += M' M`, diagonal included; what lies above it in the same panels changes, too.
    pub fn add_square(&self, into: &mut ArrayViewMut2<f32>) {
        dispatch!(Level::new(), simd => square(simd, self, (DEPTH, DEPTH), into, &mut |_| {}));
    }

    /// The same with sums of `chain` rows each that are added to one another before they are added to `into`; `see` gets
    /// these, block by block.
    pub fn add_chained_square(&self, chain: usize, into: &mut ArrayViewMut2<f32>, see: &mut impl FnMut(&Block)) {
        dispatch!(Level::new(), simd => square(simd, self, (usize::MAX, chain.max(1)), into, see));
    }

    /// Adds the sum of each column: of `chain` rows each in f32, row by row.
    pub fn add_sums(&self, chain: usize, sums: &mut [f64]) {
        for (panel, sums) in self.panels().zip(sums.chunks_mut(WIDTH)) {
            for rows in panel.chunks(chain.max(1)) {
                let mut now = [0f32; WIDTH];
                rows.iter().for_each(|row| now.iter_mut().zip(row).for_each(|(sum, v)| *sum += v));
                sums.iter_mut().zip(now).for_each(|(sum, v)| *sum += f64::from(v));
            }
        }
    }

    fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.data.chunks_exact(self.rows.max(1))
    }
}

/// Some of the sums of a square.
pub struct Block {
    /// The first row and the first column; those on and below the diagonal count.
    pub at: (usize, usize),
    /// The sums; past the last row or column of the square they are zero.
    pub sums: [[f32; WIDTH]; PART],
}

/// Copies up to [`WIDTH`] columns.
fn fill(panel: &mut Panel, columns: &ArrayView2<f32>) {
    if columns.ncols() < WIDTH {
        panel.fill([0.0; WIDTH]);
    }
    wide(
        #[inline(always)]
        || match columns.strides()[1] {
            1 => copy(panel, columns),
            _ => turn(panel, columns),
        },
    );
}

#[inline(always)]
fn copy(panel: &mut Panel, columns: &ArrayView2<f32>) {
    for (to, from) in panel.iter_mut().zip(columns.rows()) {
        let Some(from) = from.to_slice() else { continue };
        match <&[f32; WIDTH]>::try_from(from) {
            Ok(whole) => *to = *whole,
            Err(_) => to[..from.len()].copy_from_slice(from),
        }
    }
}

/// Rows of all columns of a panel that stay in the first cache.
const STEP: usize = 16;

#[inline(always)]
fn turn(panel: &mut Panel, columns: &ArrayView2<f32>) {
    for (to, part) in panel.chunks_mut(STEP).zip(columns.axis_chunks_iter(Axis(0), STEP)) {
        for (at, column) in part.columns().into_iter().enumerate().take(WIDTH) {
            match column.to_slice() {
                Some(column) => to.iter_mut().zip(column).for_each(|(to, v)| to[at] = *v),
                None => to.iter_mut().zip(column).for_each(|(to, v)| to[at] = *v),
            }
        }
    }
}

/// `into += left panel`.
fn add_one(left: &ArrayView2<f32>, panel: &Panel, into: &mut ArrayViewMut2<f32>) {
    dispatch!(Level::new(), simd => one_panel(simd, left, panel, into));
}

#[inline(always)]
fn one_panel<S: Simd>(simd: S, left: &ArrayView2<f32>, panel: &Panel, into: &mut ArrayViewMut2<f32>) {
    // As many sums as the registers hold, beside what they are made of.
    simd.vectorize(
        #[inline(always)]
        || match <S::f32s as SimdBase<S>>::LEN {
            LANES if into.ncols() > LANES => strips::<S, 8, 2>(simd, left, panel, into),
            LANES => strips::<S, 8, 1>(simd, left, panel, into),
            _ => strips::<S, 6, 1>(simd, left, panel, into),
        },
    );
}

/// A product with one panel, `R` rows at a time.
#[inline(always)]
fn strips<S: Simd, const R: usize, const V: usize>(
    simd: S,
    left: &ArrayView2<f32>,
    panel: &Panel,
    into: &mut ArrayViewMut2<f32>,
) {
    let depth = panel.len();
    let width = if into.ncols() > LANES { WIDTH } else { LANES };
    let mut turned: Vec<[f32; R]> = vec![];
    for (strip, mut into) in left.axis_chunks_iter(Axis(0), R).zip(into.axis_chunks_iter_mut(Axis(0), R)) {
        let rows: [&[f32]; R] = from_fn(|r| {
            let row = (r < strip.nrows()).then(|| strip.row(r).to_slice()).flatten();
            row.and_then(|row| row.get(..depth)).unwrap_or_default()
        });
        if rows.iter().all(|row| row.len() == depth) {
            let rows = rows.map(|row| &row[..depth]);
            tile::<S, R, V>(simd, |k| from_fn(|r| rows[r][k]), panel, width, &mut into);
            continue;
        }
        turned.clear();
        turned.resize(depth, [0f32; R]);
        for (to, column) in turned.iter_mut().zip(strip.columns()) {
            match column.to_slice().map(<&[f32; R]>::try_from) {
                Some(Ok(whole)) => *to = *whole,
                _ => to.iter_mut().zip(column).for_each(|(to, v)| *to = *v),
            }
        }
        let turned = &turned[..depth];
        tile::<S, R, V>(simd, |k| turned[k], panel, width, &mut into);
    }
}

/// Rows of the triangle that are computed together: a part of a panel.
const PART: usize = 8;

#[inline(always)]
fn square<S: Simd>(
    simd: S,
    panels: &Panels,
    cut: (usize, usize),
    into: &mut ArrayViewMut2<f32>,
    see: &mut impl FnMut(&Block),
) {
    simd.vectorize(
        #[inline(always)]
        || match <S::f32s as SimdBase<S>>::LEN {
            LANES => triangle::<S, 2>(simd, panels, cut, into, see),
            _ => triangle::<S, 1>(simd, panels, cut, into, see),
        },
    );
}

/// The rows of `together` steps are added up in chains, these to one another, and that to the result.
#[inline(always)]
fn triangle<S: Simd, const V: usize>(
    simd: S,
    panels: &Panels,
    (together, chain): (usize, usize),
    into: &mut ArrayViewMut2<f32>,
    see: &mut impl FnMut(&Block),
) {
    let mut strip = vec![[0f32; PART]; panels.rows];
    for (at, mut into) in into.axis_chunks_iter_mut(Axis(0), PART).enumerate() {
        let (own, part) = (at * PART / WIDTH, at * PART % WIDTH);
        let Some(rows) = panels.panels().nth(own) else { break };
        for (to, line) in strip.iter_mut().zip(rows) {
            *to = from_fn(|r| line[part + r]);
        }
        let all = panels.panels().zip(into.axis_chunks_iter_mut(Axis(1), WIDTH)).take(own + 1);
        for (column, (panel, mut into)) in all.enumerate() {
            for (panel, strip) in panel.chunks(together).zip(strip.chunks(together)) {
                let mut block = Block { at: (at * PART, column * WIDTH), sums: [[0.0; WIDTH]; PART] };
                for (panel, strip) in panel.chunks(chain).zip(strip.chunks(chain)) {
                    match column == own && part + PART <= LANES {
                        // The rest of the panel lies above the diagonal.
                        true => sum_up::<S, PART, 1>(simd, |k| strip[k], panel, LANES, &mut block.sums),
                        false => sum_up::<S, PART, V>(simd, |k| strip[k], panel, WIDTH, &mut block.sums),
                    }
                }
                add_to(&block.sums, &mut into);
                see(&block);
            }
        }
    }
}

/// Adds the product of up to `R` rows, given column by column, and the first `width` columns of a panel.
#[inline(always)]
fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    left: impl Fn(usize) -> [f32; R],
    panel: &Panel,
    width: usize,
    into: &mut ArrayViewMut2<f32>,
) {
    let mut sums = [[0f32; WIDTH]; R];
    sum_up::<S, R, V>(simd, left, panel, width, &mut sums);
    add_to(&sums, into);
}

/// Adds the product of up to `R` rows, given column by column, and the first `width` columns of a panel to sums.
#[inline(always)]
fn sum_up<S: Simd, const R: usize, const V: usize>(
    simd: S,
    left: impl Fn(usize) -> [f32; R],
    panel: &Panel,
    width: usize,
    sums: &mut [[f32; WIDTH]; R],
) {
    for first in (0..width).step_by(V * LANES) {
        let mut wide = [[f32x16::splat(simd, 0.0); V]; R];
        for (k, line) in panel.iter().enumerate() {
            let right: [f32x16<S>; V] = from_fn(|v| f32x16::from_slice(simd, &line[first + v * LANES..][..LANES]));
            let left = left(k);
            for (sums, left) in wide.iter_mut().zip(left) {
                let left = f32x16::splat(simd, left);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
        }
        for (to, sums) in sums.iter_mut().zip(&wide) {
            for (v, sum) in sums.iter().enumerate() {
                let to = &mut to[first + v * LANES..][..LANES];
                (f32x16::from_slice(simd, to) + *sum).store_slice(to);
            }
        }
    }
}

#[inline(always)]
fn add_to<const R: usize>(sums: &[[f32; WIDTH]; R], into: &mut ArrayViewMut2<f32>) {
    for (sums, mut line) in sums.iter().zip(into.rows_mut()) {
        match line.as_slice_mut().map(<&mut [f32; WIDTH]>::try_from) {
            Some(Ok(whole)) => whole.iter_mut().zip(sums).for_each(|(v, sum)| *v += sum),
            _ => line.iter_mut().zip(sums).for_each(|(v, sum)| *v += sum),
        }
    }
}

/// Whether products are fused with sums here, as they are on a GPU.
#[cfg(test)]
pub fn fuses() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Level::new().as_avx2().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}
