//! Products of matrices, added to what is there.
//!
//! Sums run over [`DEPTH`] steps of the inner dimension in one chain of fused multiplications and additions, and are
//! then added to the result: the same bits however rows and columns are cut, and on every processor that fuses.

use crate::wide::wide;
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, f32x16};
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
        dispatch!(Level::new(), simd => square(simd, self, into));
    }

    /// The same, diagonal included, with sums of `chain` rows each that are added to one another before they are added
    /// to `into`; `see` gets these, block by block.
    pub fn add_chained_square(&self, chain: usize, into: &mut ArrayViewMut2<f32>, see: &mut impl FnMut(&Block)) {
        dispatch!(Level::new(), simd => chained_square(simd, self, chain, into, see));
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

#[inline(always)]
fn square<S: Simd>(simd: S, panels: &Panels, into: &mut ArrayViewMut2<f32>) {
    simd.vectorize(
        #[inline(always)]
        || match <S::f32s as SimdBase<S>>::LEN {
            LANES => triangle::<S, 2>(simd, panels, into),
            _ => triangle::<S, 1>(simd, panels, into),
        },
    );
}

/// Rows of the triangle that are computed together: a part of a panel.
const PART: usize = 8;

#[inline(always)]
fn chained_square<S: Simd>(
    simd: S,
    panels: &Panels,
    chain: usize,
    into: &mut ArrayViewMut2<f32>,
    see: &mut impl FnMut(&Block),
) {
    simd.vectorize(
        #[inline(always)]
        || match <S::f32s as SimdBase<S>>::LEN {
            LANES => chained_triangle::<S, 2>(simd, panels, chain.max(1), into, see),
            _ => chained_triangle::<S, 1>(simd, panels, chain.max(1), into, see),
        },
    );
}

#[inline(always)]
fn chained_triangle<S: Simd, const V: usize>(
    simd: S,
    panels: &Panels,
    chain: usize,
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
            let mut block = Block { at: (at * PART, column * WIDTH), sums: [[0.0; WIDTH]; PART] };
            for (panel, strip) in panel.chunks(chain).zip(strip.chunks(chain)) {
                let mut now = [[0f32; WIDTH]; PART];
                match column == own && part + PART <= LANES {
                    // The rest of the panel lies above the diagonal.
                    true => sum_up::<S, PART, 1>(simd, |k| strip[k], panel, LANES, &mut now),
                    false => sum_up::<S, PART, V>(simd, |k| strip[k], panel, WIDTH, &mut now),
                }
                for (sums, now) in block.sums.iter_mut().zip(&now) {
                    sums.iter_mut().zip(now).for_each(|(sum, v)| *sum += v);
                }
            }
            add_to(&block.sums, &mut into);
            see(&block);
        }
    }
}

#[inline(always)]
fn triangle<S: Simd, const V: usize>(simd: S, panels: &Panels, into: &mut ArrayViewMut2<f32>) {
    let mut strip = vec![[0f32; PART]; DEPTH.min(panels.rows)];
    for (at, mut into) in into.axis_chunks_iter_mut(Axis(0), PART).enumerate() {
        let (own, part) = (at * PART / WIDTH, at * PART % WIDTH);
        let Some(rows) = panels.panels().nth(own) else { break };
        for (from, rows) in rows.chunks(DEPTH).enumerate() {
            let strip = &mut strip[..rows.len()];
            for (to, line) in strip.iter_mut().zip(rows) {
                *to = from_fn(|r| line[part + r]);
            }
            let all = panels.panels().zip(into.axis_chunks_iter_mut(Axis(1), WIDTH)).take(own + 1);
            for (at, (panel, mut into)) in all.enumerate() {
                let panel = &panel[from * DEPTH..][..strip.len()];
                match at == own && part + PART <= LANES {
                    // The rest of the panel lies above the diagonal.
                    true => tile::<S, PART, 1>(simd, |k| strip[k], panel, LANES, &mut into),
                    false => tile::<S, PART, V>(simd, |k| strip[k], panel, WIDTH, &mut into),
                }
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

/// The product of up to `R` rows, given column by column, and the first `width` columns of a panel.
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
                sum.store_slice(&mut to[first + v * LANES..][..LANES]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use proptest::prelude::*;

    /// Numbers between -1 and 1.
    fn matrix(rows: usize, columns: usize, seed: u64, turned: bool) -> Array2<f32> {
        let mut random = crate::random::SplitMix64(seed);
        let shape = if turned { (columns, rows) } else { (rows, columns) };
        let found = Array2::from_shape_fn(shape, |_| (2.0 * random.unit() - 1.0) as f32);
        if turned { found.reversed_axes() } else { found }
    }

    fn exact(left: &Array2<f32>, right: &Array2<f32>) -> Array2<f64> {
        left.mapv(f64::from).dot(&right.mapv(f64::from))
    }

    fn near(found: f32, want: f64, inner: usize) -> bool {
        (f64::from(found) - want).abs() <= 1e-6 * (1.0 + inner as f64)
    }

    proptest! {
        #[test]
        fn products_are_those_of_doubles(
            rows in 1usize..40, inner in 0usize..1100, columns in 1usize..80, seed: u64,
            turns in [any::<bool>(), any::<bool>(), any::<bool>()],
        ) {
            let (left, right) = (matrix(rows, inner, seed, turns[0]), matrix(inner, columns, !seed, turns[1]));
            let start = matrix(rows, columns, seed ^ 5, turns[2]);
            let (mut once, mut cut) = (start.clone(), start.clone());
            add_product(&left.view(), &right.view(), &mut once.view_mut());
            // What a larger matrix left behind must not be seen.
            let mut panels = Panels::default();
            panels.cut(&matrix(inner + 3, columns + 40, seed, false).view());
            panels.cut(&right.view());
            panels.add_product(&left.view(), &mut cut.view_mut());
            prop_assert_eq!(&once, &cut);
            let want = exact(&left, &right);
            for ((at, found), start) in once.indexed_iter().zip(&start) {
                prop_assert!(near(*found, want[at] + f64::from(*start), inner), "{at:?}: {found} {}", want[at]);
            }
        }

        #[test]
        fn squares_are_those_of_doubles(
            rows in 0usize..1100, columns in 1usize..80, seed: u64, turned: bool,
        ) {
            let x = matrix(rows, columns, seed, turned);
            let start = matrix(columns, columns, !seed, false);
            let mut found = start.clone();
            let mut panels = Panels::default();
            panels.cut(&x.view());
            panels.add_square(&mut found.view_mut());
            let want = exact(&x.t().to_owned(), &x);
            for ((i, j), found) in found.indexed_iter().filter(|((i, j), _)| j <= i) {
                let want = want[[i, j]] + f64::from(start[[i, j]]);
                prop_assert!(near(*found, want, rows), "{i} {j}: {found} {want}");
            }
        }
    }

    proptest! {
        #[test]
        fn chained_squares_add_up_short_chains(rows in 0usize..300, columns in 1usize..80, seed: u64, turned: bool) {
            let x = matrix(rows, columns, seed, turned);
            let start = matrix(columns, columns, !seed, false);
            let (mut found, mut panels) = (start.clone(), Panels::default());
            let (mut seen, mut sums) = (start.clone(), vec![0f64; columns]);
            panels.cut(&x.view());
            panels.add_sums(CHAIN, &mut sums);
            panels.add_chained_square(CHAIN, &mut found.view_mut(), &mut |block| {
                for (r, line) in block.sums.iter().enumerate() {
                    for (c, v) in line.iter().enumerate() {
                        if let Some(to) = seen.get_mut((block.at.0 + r, block.at.1 + c)) {
                            *to += v;
                        }
                    }
                }
            });
            let narrow = (columns <= NARROW).then(|| {
                let (mut lines, mut sums) = (Lines::default(), vec![0f64; columns]);
                lines.cut(&x.t());
                (lines.square(columns, CHAIN, &mut sums), sums)
            });
            prop_assert!(narrow.iter().all(|n| n.1 == sums));
            for i in 0..columns {
                let chain = |from: usize| (from..(from + CHAIN).min(rows)).fold(0f32, |sum, k| sum + x[[k, i]]);
                prop_assert_eq!(sums[i], (0..rows).step_by(CHAIN).map(|k| f64::from(chain(k))).sum::<f64>());
                for j in 0..=i {
                    let chain = |from: usize| {
                        (from..(from + CHAIN).min(rows)).fold(0f32, |sum, k| x[[k, i]].mul_add(x[[k, j]], sum))
                    };
                    let want = (0..rows).step_by(CHAIN).fold(0f32, |sum, k| sum + chain(k));
                    prop_assert_eq!(found[[i, j]], seen[[i, j]]);
                    prop_assert!(narrow.iter().all(|n| start[[i, j]] + n.0[i][j] == found[[i, j]]));
                    match fuses() {
                        true => prop_assert_eq!(found[[i, j]], start[[i, j]] + want),
                        false => prop_assert!(near(found[[i, j]], f64::from(start[[i, j]] + want), rows)),
                    }
                }
            }
        }
    }

    const CHAIN: usize = 64;

    #[test]
    fn narrow_vectors_give_the_same_bits_as_wide_ones() {
        let (left, right) = (matrix(19, 700, 1, false), matrix(700, 45, 2, false));
        let mut found = Array2::zeros((19, 45));
        add_product(&left.view(), &right.view(), &mut found.view_mut());
        // One chain of fused steps for every 512, as the module says.
        for ((i, j), found) in found.indexed_iter() {
            let chain =
                |from: usize, to: usize| (from..to).fold(0f32, |sum, k| left[[i, k]].mul_add(right[[k, j]], sum));
            let fused = chain(0, 512) + chain(512, 700);
            match fuses() {
                true => assert_eq!(*found, fused, "{i} {j}"),
                false => assert!(near(*found, f64::from(fused), 700), "{i} {j}"),
            }
        }
    }
}
