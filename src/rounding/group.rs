//! Rounding the rows of one group of channels.

use super::curvature::Curvature;
use super::feedback::feed_back;
use super::polish::{Row, curved};
use super::scale::{factors, fit_to, full_scale, least, plain_error, refit, round_within};
use super::{CHUNK, Care, Grid, SMALL};
use crate::quant::Granularity;
use crate::stats::{Cross, Gram};
use rayon::prelude::*;
use std::ops::Range;

/// The channels that read the same columns.
pub struct Group {
    /// What an error of their weights costs.
    pub curvature: Curvature,
    /// Rows x size, columns in rounding order.
    pub rows: Vec<f32>,
    /// Product of the rows with the curvature.
    pub curved: Vec<f32>,
    /// Covariance of the float output with the columns: what the final scale is fitted to.
    pub aim: Vec<f32>,
}

/// Integers in rounding order, scales, and of each row what the refit of a shared scale needs (see [`Row::fit`]).
pub type Part = (Vec<i8>, Vec<f32>, Vec<(f64, f64)>);

impl Group {
    /// The scale of least weight error of each row; none where all share one.
    pub fn grid_scales(&self, grid: &Grid, first: usize) -> Vec<f32> {
        if grid.granularity == Granularity::Tensor {
            return vec![];
        }
        let scale = |(r, row): (usize, &[f32])| {
            let full = full_scale(row.iter(), grid.format);
            grid.legal(least(full, |s| plain_error(row, s, grid.format)), first + r)
        };
        self.rows.par_chunks_exact(self.curvature.size).enumerate().map(scale).collect()
    }

    /// Rounds the rows from these scales on; the first row is channel `first`.
    pub fn round(&self, grid: &Grid, care: Care, scales: &[f32], first: usize) -> Part {
        let n = self.curvature.size;
        let chunks: Vec<Part> = scales
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(c, scales)| {
                let at = c * CHUNK;
                let rows = at * n..(at + scales.len()) * n;
                self.round_chunk(grid, care, scales, first + at, rows)
            })
            .collect();
        let mut all = (vec![], vec![], vec![]);
        for (values, scales, fits) in chunks {
            all.0.extend(values);
            all.1.extend(scales);
            all.2.extend(fits);
        }
        all
    }

    fn round_chunk(&self, grid: &Grid, care: Care, scales: &[f32], first: usize, range: Range<usize>) -> Part {
        let n = self.curvature.size;
        let (rows, curved_rows, aims) = (&self.rows[range.clone()], &self.curved[range.clone()], &self.aim[range]);
        let own_scale = grid.granularity == Granularity::Channel && !grid.power_of_two;
        let (base, mut scales) = (scales.to_vec(), scales.to_vec());
        let (mut values, mut energy) = match own_scale {
            true => self.best_of_scales(grid, care, &mut scales, first, rows),
            false => feed_back(rows, (&scales, None), scales.len(), &self.curvature, grid.format),
        };
        if own_scale && care == Care::Quick {
            return (values, scales, vec![]);
        }
        let mut products = self.products(&values);
        for _ in 0..if own_scale && n > SMALL { care.refits() } else { 0 } {
            self.refit(grid, first, (rows, curved_rows), (&mut values, &mut products), &mut scales, &mut energy);
        }
        self.prefer_nearest(
            grid,
            first,
            (rows, curved_rows, &base),
            (&mut values, &mut products),
            &mut scales,
            &mut energy,
        );
        let mut fits = Vec::with_capacity(scales.len());
        for (r, scale) in scales.iter_mut().enumerate() {
            let range = r * n..(r + 1) * n;
            let aim = &aims[range.clone()];
            let mut row = Row {
                weight: &rows[range.clone()],
                curved_weight: &curved_rows[range.clone()],
                values: &mut values[range.clone()],
                curved_values: &mut products[range],
            };
            if own_scale {
                refit(&row, scale, grid, first + r);
            }
            if n <= SMALL {
                row.descend(*scale, &self.curvature, grid.format);
            }
            if own_scale {
                fit_to(aim, &row, scale, grid, first + r);
            }
            fits.push(row.fit());
        }
        (values, scales, fits)
    }

    /// Takes rounding to the nearest for rows where feedback only drove weights into saturation.
    fn prefer_nearest(
        &self,
        grid: &Grid,
        first: usize,
        (rows, curved_rows, base): (&[f32], &[f32], &[f32]),
        (values, products): (&mut [i8], &mut [f32]),
        scales: &mut [f32],
        energy: &mut [f64],
    ) {
        let n = self.curvature.size;
        let (low, high) = (grid.format.min() as f32, grid.format.max() as f32);
        let scale = |r: usize| grid.legal(base[r], first + r);
        let nearest: Vec<i8> =
            rows.iter().enumerate().map(|(i, w)| round_within(w / scale(i / n), low, high) as i8).collect();
        let found = self.products(&nearest);
        for r in 0..base.len() {
            let range = r * n..(r + 1) * n;
            let scale = scale(r);
            // e C e' of the errors themselves: differences of large sums would drown small ones.
            let error = |i: usize| f64::from(f32::from(nearest[i]) * scale - rows[i]);
            let curved = |i: usize| f64::from(found[i] * scale - curved_rows[i]);
            let cost: f64 = range.clone().map(|i| error(i) * curved(i)).sum::<f64>();
            if cost < energy[r] {
                (energy[r], scales[r]) = (cost, scale);
                values[range.clone()].copy_from_slice(&nearest[range.clone()]);
                products[range.clone()].copy_from_slice(&found[range]);
            }
        }
    }

    /// Products of integers with the curvature.
    fn products(&self, values: &[i8]) -> Vec<f32> {
        let floats: Vec<f32> = values.iter().map(|q| f32::from(*q)).collect();
        curved(&floats, &self.curvature)
    }

    /// Fits the scales to the integers and feeds back again; a row keeps what is better.
    fn refit(
        &self,
        grid: &Grid,
        first: usize,
        (rows, curved_rows): (&[f32], &[f32]),
        (values, products): (&mut [i8], &mut [f32]),
        scales: &mut [f32],
        energy: &mut [f64],
    ) {
        let n = self.curvature.size;
        let mut tried = scales.to_vec();
        for (r, scale) in tried.iter_mut().enumerate() {
            let range = r * n..(r + 1) * n;
            let row = Row {
                weight: &rows[range.clone()],
                curved_weight: &curved_rows[range.clone()],
                values: &mut values[range.clone()],
                curved_values: &mut products[range],
            };
            refit(&row, scale, grid, first + r);
            if *scale != scales[r] {
                (energy[r], scales[r]) = (row.energy(*scale), *scale);
            }
        }
        let (again, costs) = feed_back(rows, (&tried, None), tried.len(), &self.curvature, grid.format);
        let found = self.products(&again);
        for r in 0..tried.len() {
            if costs[r] >= energy[r] {
                continue;
            }
            let range = r * n..(r + 1) * n;
            energy[r] = costs[r];
            values[range.clone()].copy_from_slice(&again[range.clone()]);
            products[range.clone()].copy_from_slice(&found[range]);
        }
    }

    /// Error feedback at several scales; each row keeps the best.
    fn best_of_scales(
        &self,
        grid: &Grid,
        care: Care,
        scales: &mut [f32],
        first: usize,
        rows: &[f32],
    ) -> (Vec<i8>, Vec<f64>) {
        let n = self.curvature.size;
        let base = scales.to_vec();
        let mut best = vec![f64::INFINITY; base.len()];
        let mut kept = vec![0i8; rows.len()];
        let factors = factors(care, n);
        // A filter alone fills no vector: all of its scales are tried side by side.
        let together = if n <= SMALL { factors.len() } else { 1 };
        let rows = rows.repeat(together);
        for factors in factors.chunks(together) {
            let tried = factors.iter().flat_map(|f| base.iter().enumerate().map(move |(r, s)| (r, s * f)));
            let tried: Vec<f32> = tried.map(|(r, scale)| grid.legal(scale, first + r)).collect();
            let (values, energy) = feed_back(&rows, (&tried, None), tried.len(), &self.curvature, grid.format);
            for (at, (values, energy)) in values.chunks_exact(n).zip(energy).enumerate() {
                let r = at % base.len();
                if energy < best[r] {
                    (best[r], scales[r]) = (energy, tried[at]);
                    kept[r * n..(r + 1) * n].copy_from_slice(values);
                }
            }
        }
        (kept, best)
    }

    /// Appends the integers in the order of the weight.
    pub fn restore(&self, ordered: &[i8], into: &mut Vec<i32>) {
        let n = self.curvature.size;
        for row in ordered.chunks_exact(n) {
            let start = into.len();
            into.resize(start + n, 0);
            for (q, c) in row.iter().zip(&self.curvature.order) {
                into[start + c] = i32::from(*q);
            }
        }
    }
}

/// Covariance of the output error of a group's channels with their columns, in rounding order.
pub fn covariance(cross: &Cross, gram: &Gram, g: usize, each: usize, centred: bool, order: &[usize]) -> Vec<f32> {
    let (n, rows) = (gram.size, gram.rows.max(1) as f64);
    let means = &gram.sums[g * n..(g + 1) * n];
    let mut found = Vec::with_capacity(each * n);
    for channel in g * each..(g + 1) * each {
        let mean = if centred { cross.sums[channel] / rows } else { 0.0 };
        let row = &cross.data[channel * n..(channel + 1) * n];
        found.extend(order.iter().map(|c| (f64::from(row[*c]) / rows - mean * means[*c] / rows) as f32));
    }
    found
}
