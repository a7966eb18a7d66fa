//! Rounding rows whose weights have a scale for each block of neighbours.
//!
//! ```text
//! scale of each block by squared error, weighted by the diagonal of the curvature
//!   ─> error feedback at several factors of the row's scales, best per row ─> scales fitted to the integers, one block
//!      after the other, and feedback again, where better ─> nearest, where better ─> scales fitted once more
//!   ─> all scales of a row by the slope that suits the float output
//! ```
//!
//! Columns are rounded in the order of the curvature; each keeps the block that it has in the weight.

use super::feedback::feed_back;
use super::group::Group;
use super::polish::curved;
use super::scale::{factors, least, round_within, slope};
use super::{CHUNK, Care, Grid};
use crate::product::add_product;
use crate::quant::IntFormat;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use std::ops::Range;

/// Integers in rounding order, and the scales of each row's blocks, row by row.
pub type BlockPart = (Vec<i8>, Vec<f32>);

/// Rows of one group on their way.
struct Blocks<'a> {
    group: &'a Group,
    format: IntFormat,
    /// Whether scales may be negative.
    signed: bool,
    /// Block of each column, in rounding order.
    of_column: Vec<usize>,
    /// Columns of each block, in rounding order.
    columns: Vec<Vec<usize>>,
}

/// Some rows with what has been found for them.
struct Found {
    values: Vec<i8>,
    /// Blocks x rows.
    scales: Vec<f32>,
    /// e C e' of each row.
    energy: Vec<f64>,
}

impl Group {
    /// Rounds all rows in blocks of `size` columns.
    pub fn round_in_blocks(&self, grid: &Grid, size: usize, care: Care) -> BlockPart {
        let n = self.curvature.size;
        let of_column: Vec<usize> = self.curvature.order.iter().map(|column| column / size).collect();
        let mut columns = vec![vec![]; n.div_ceil(size)];
        of_column.iter().enumerate().for_each(|(at, block)| columns[*block].push(at));
        let blocks = Blocks { group: self, format: grid.format, signed: grid.signed_scales, of_column, columns };
        let count = self.rows.len() / n.max(1);
        let chunks: Vec<BlockPart> = (0..count.div_ceil(CHUNK))
            .into_par_iter()
            .map(|c| blocks.round(care, c * CHUNK..count.min((c + 1) * CHUNK)))
            .collect();
        let mut all = (vec![], vec![]);
        for (values, scales) in chunks {
            all.0.extend(values);
            all.1.extend(scales);
        }
        all
    }
}

impl Blocks<'_> {
    fn round(&self, care: Care, chunk: Range<usize>) -> BlockPart {
        let n = self.group.curvature.size;
        let count = chunk.len();
        let range = chunk.start * n..chunk.end * n;
        let (rows, curved_rows) = (&self.group.rows[range.clone()], &self.group.curved[range.clone()]);
        let base = self.base_scales(rows, count);
        let mut found = self.best_of_factors(care, rows, &base, count);
        if care != Care::Quick {
            for _ in 0..care.refits() {
                let mut fitted = Found { values: found.values.clone(), scales: found.scales.clone(), energy: vec![] };
                self.fit(&mut fitted, rows, curved_rows);
                let again = self.feed_back(rows, &fitted.scales, count);
                found.keep_better(&fitted, n);
                found.keep_better(&again, n);
            }
            found.keep_better(&self.nearest(rows, curved_rows, base, count), n);
            self.fit(&mut found, rows, curved_rows);
            self.fit_to(&self.group.aim[range], &mut found, count);
        }
        let blocks = self.columns.len();
        let by_row = (0..count).flat_map(|r| (0..blocks).map(move |b| b * count + r)).map(|at| found.scales[at]);
        (found.values, by_row.collect())
    }

    /// The scale of least weighted error of each block, blocks x rows.
    fn base_scales(&self, rows: &[f32], count: usize) -> Vec<f32> {
        let n = self.group.curvature.size;
        let (low, high) = (self.format.min() as f32, self.format.max() as f32);
        let diagonal: Vec<f32> = (0..n).map(|i| self.group.curvature.matrix[i * n + i]).collect();
        let mut scales = vec![0.0; self.columns.len() * count];
        let mut weights = vec![];
        for (r, row) in rows.chunks_exact(n).enumerate() {
            for (b, columns) in self.columns.iter().enumerate() {
                weights.clear();
                weights.extend(columns.iter().map(|c| (row[*c], diagonal[*c])));
                let error = |scale: f32| -> f64 {
                    let inverse = 1.0 / scale;
                    let square = |(w, d): &(f32, f32)| d * (round_within(w * inverse, low, high) * scale - w).powi(2);
                    f64::from(weights.iter().map(square).sum::<f32>())
                };
                // The end of the grid that the extreme weights reach first.
                let full = |sign: f32| {
                    let steps = |w: f32| if w < 0.0 { w / low } else { w / high.max(1.0) };
                    weights.iter().map(|(w, _)| steps(sign * w)).fold(0f32, f32::max)
                };
                let best = |sign: f32| {
                    let scale = least(full(sign).max(f32::MIN_POSITIVE), |scale| error(sign * scale));
                    (error(sign * scale), sign * scale)
                };
                let tried = if self.signed { vec![best(1.0), best(-1.0)] } else { vec![best(1.0)] };
                let found = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |b| b.1);
                scales[b * count + r] = if full(1.0) > 0.0 { found } else { 1.0 };
            }
        }
        scales
    }

    fn feed_back(&self, rows: &[f32], scales: &[f32], count: usize) -> Found {
        let by_column = Some(self.of_column.as_slice());
        let (values, energy) = feed_back(rows, (scales, by_column), count, &self.group.curvature, self.format);
        Found { values, scales: scales.to_vec(), energy }
    }

    fn best_of_factors(&self, care: Care, rows: &[f32], base: &[f32], count: usize) -> Found {
        let n = self.group.curvature.size;
        let tried = factors(care, n).into_iter().map(|f| base.iter().map(|s| s * f).collect::<Vec<_>>());
        let each = tried.map(|scales| self.feed_back(rows, &scales, count));
        each.reduce(|mut best, other| {
            best.keep_better(&other, n);
            best
        })
        .unwrap_or_else(|| self.feed_back(rows, base, count))
    }

    /// Rounding to the nearest, for rows where feedback only drives weights into saturation.
    fn nearest(&self, rows: &[f32], curved_rows: &[f32], scales: Vec<f32>, count: usize) -> Found {
        let n = self.group.curvature.size;
        let (low, high) = (self.format.min() as f32, self.format.max() as f32);
        let scale = |i: usize| scales[self.of_column[i % n] * count + i / n];
        let values = rows.iter().enumerate().map(|(i, w)| round_within(w / scale(i), low, high) as i8).collect();
        let mut found = Found { values, scales, energy: vec![] };
        let rest = self.rest(&found, curved_rows, count);
        found.energy = self.energy(&found, rows, &rest, count);
        found
    }

    /// What the integers mean.
    fn floats(&self, found: &Found, count: usize) -> Vec<f32> {
        let n = self.group.curvature.size;
        let float = |(i, q): (usize, &i8)| f32::from(*q) * found.scales[self.of_column[i % n] * count + i / n];
        found.values.iter().enumerate().map(float).collect()
    }

    /// e C of each row.
    fn rest(&self, found: &Found, curved_rows: &[f32], count: usize) -> Vec<f32> {
        let mut rest = curved(&self.floats(found, count), &self.group.curvature);
        rest.iter_mut().zip(curved_rows).for_each(|(a, b)| *a -= b);
        rest
    }

    /// e C e' of each row.
    fn energy(&self, found: &Found, rows: &[f32], rest: &[f32], count: usize) -> Vec<f64> {
        let n = self.group.curvature.size;
        let errors: Vec<f32> = self.floats(found, count).iter().zip(rows).map(|(q, w)| q - w).collect();
        let of_row =
            |(e, r): (&[f32], &[f32])| e.iter().zip(r).map(|(e, r)| f64::from(*e) * f64::from(*r)).sum::<f64>();
        errors.chunks_exact(n).zip(rest.chunks_exact(n)).map(of_row).map(|energy| energy.max(0.0)).collect()
    }

    /// Fits the scales to the integers, one block after the other with the others as they are: each step is exact, so
    /// that no row gets worse.
    fn fit(&self, found: &mut Found, rows: &[f32], curved_rows: &[f32]) {
        let n = self.group.curvature.size;
        let count = rows.len() / n;
        let mut rest = self.rest(found, curved_rows, count);
        let mut part = vec![0f32; rows.len()];
        for (b, columns) in self.columns.iter().enumerate() {
            let width = columns.len();
            let integers: Vec<f32> = (0..count)
                .flat_map(|r| columns.iter().map(move |c| r * n + c))
                .map(|at| f32::from(found.values[at]))
                .collect();
            let matrix: Vec<f32> =
                columns.iter().flat_map(|c| self.group.curvature.matrix[c * n..(c + 1) * n].iter().copied()).collect();
            part.fill(0.0);
            let views = (
                ArrayView2::from_shape((count, width), &integers),
                ArrayView2::from_shape((width, n), &matrix),
                ArrayViewMut2::from_shape((count, n), &mut part),
            );
            let (Ok(left), Ok(right), Ok(mut into)) = views else { continue };
            add_product(&left, &right, &mut into);
            for r in 0..count {
                let (rest, part) = (&mut rest[r * n..(r + 1) * n], &part[r * n..(r + 1) * n]);
                let of = |curved: &[f32]| -> f64 {
                    let integers = &integers[r * width..(r + 1) * width];
                    columns.iter().zip(integers).map(|(c, q)| f64::from(curved[*c]) * f64::from(*q)).sum()
                };
                let (slope, bend) = (of(rest), of(part));
                let scale = &mut found.scales[b * count + r];
                let fitted = (f64::from(*scale) - slope / bend) as f32;
                if bend > 0.0 && fitted.is_normal() && fitted.signum() == scale.signum() {
                    let step = fitted - *scale;
                    *scale = fitted;
                    rest.iter_mut().zip(part).for_each(|(rest, part)| *rest += step * part);
                }
            }
        }
        found.energy = self.energy(found, rows, &rest, count);
    }

    /// Brings all scales of a row to the slope of the float output on what its integers make of the quantized input.
    fn fit_to(&self, aims: &[f32], found: &mut Found, count: usize) {
        let n = self.group.curvature.size;
        let floats = self.floats(found, count);
        let products = curved(&floats, &self.group.curvature);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for (r, row) in floats.chunks_exact(n).enumerate() {
            let (aim, product) = (&aims[r * n..(r + 1) * n], &products[r * n..(r + 1) * n]);
            let Some(slope) = slope(dot(aim, row), dot(product, row)) else { continue };
            for b in 0..self.columns.len() {
                let scale = &mut found.scales[b * count + r];
                *scale = (f64::from(*scale) * slope) as f32;
            }
        }
    }
}

impl Found {
    /// Takes over the rows of less energy; both have `n` columns.
    fn keep_better(&mut self, other: &Found, n: usize) {
        let count = self.energy.len();
        for r in 0..count {
            if other.energy[r] >= self.energy[r] {
                continue;
            }
            self.energy[r] = other.energy[r];
            self.values[r * n..(r + 1) * n].copy_from_slice(&other.values[r * n..(r + 1) * n]);
            for at in (r..self.scales.len()).step_by(count) {
                self.scales[at] = other.scales[at];
            }
        }
    }
}
