//! Rounding weights with regard to what their inputs are: second-order rounding.
//!
//! Data flow, per layer and group of channels:
//!
//! ```text
//! Gram matrix ─> curvature (centred, shrunk, damped, factored)
//! weights ─> scale by grid ─> error feedback at several scales, best per row
//!         ─> scale refitted and feedback again, where better ─> nearest, where better
//!         ─> single steps (small filters) ─> scale fitted to the float output ─> integers and scales
//! ```
//!
//! Everything works on rows of weights (one output channel each) and is deterministic: rows do not influence each
//! other, except through a scale that they share.

mod curvature;
mod error;
mod feedback;
mod polish;
mod solve;

use curvature::Curvature;
pub use error::{mean_change, output_error, output_errors};

use crate::quant::{IntFormat, QuantizedWeight};
use crate::stats::{Cross, Gram};
use feedback::feed_back;
use polish::{Row, curved};
use rayon::prelude::*;
use solve::solve;
use std::ops::Range;

/// What a rounded weight must look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Integers.
    pub format: IntFormat,
    /// One scale a row, or one for all.
    pub per_channel: bool,
    /// Scales are powers of two.
    pub power_of_two: bool,
    /// Least scale of each row, or of all; empty for none (see [`crate::quant::least_weight_scale`]).
    pub floor: Vec<f32>,
}

impl Grid {
    fn floor(&self, row: usize) -> f32 {
        let least = self.floor.get(if self.floor.len() == 1 { 0 } else { row }).copied().unwrap_or(0.0);
        least.max(f32::MIN_POSITIVE)
    }

    fn legal(&self, scale: f32, row: usize) -> f32 {
        let scale = if scale.is_finite() { scale.max(self.floor(row)) } else { self.floor(row) };
        if self.power_of_two { scale.log2().ceil().clamp(-126.0, 127.0).exp2() } else { scale }
    }
}

/// A layer whose weights can be rounded at any width: the curvature is factored once.
pub struct Layer {
    /// Rows of output channels.
    channels: usize,
    /// Weights by group, rows x size in the order of the group's curvature.
    groups: Vec<Group>,
}

struct Group {
    curvature: Curvature,
    /// Rows x size, columns in rounding order.
    rows: Vec<f32>,
    /// Product of the rows with the curvature.
    curved: Vec<f32>,
    /// Covariance of the float output with the columns: what the final scale is fitted to.
    aim: Vec<f32>,
}

/// What the layers before have already done to a layer's output.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    /// Moments of the output error that the quantized input causes, float weights kept, with the input itself.
    pub cross: &'a Cross,
    /// Share of that error that rounding makes good, 0 to 1: part of it is noise of the few samples.
    pub share: f64,
}

/// Integers in rounding order, scales, and of each row what the refit of a shared scale needs (see [`Row::fit`]).
type Part = (Vec<i8>, Vec<f32>, Vec<(f64, f64)>);

/// Rows that are rounded together; a constant, so that results do not depend on thread count.
const CHUNK: usize = 128;

/// How hard the best integers are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// One pass of error feedback at the scale of least weight error: for comparisons of widths.
    Quick,
    /// Three scales, each row keeps the best; one round of fitting the scale and feeding back again.
    Fair,
    /// Five scales and two rounds.
    Thorough,
}

impl Care {
    /// Rounds of fitting the scale and feeding back again.
    fn refits(self) -> usize {
        match self {
            Care::Quick => 0,
            Care::Fair => 1,
            Care::Thorough => 2,
        }
    }
}

/// Fan-in up to which every scale is tried and integers are moved singly: a depthwise filter has little to feed
/// errors back into, and costs nothing.
const SMALL: usize = 32;

/// Factors of the scale of least weight error at which error feedback is tried.
fn factors(care: Care, fan_in: usize) -> Vec<f32> {
    match care {
        Care::Quick => vec![1.0],
        _ if fan_in <= SMALL => (0..19).map(|i| 0.5 + 0.05 * i as f32).collect(),
        Care::Fair => vec![0.88, 1.0, 1.12],
        Care::Thorough => vec![0.8, 0.9, 1.0, 1.1, 1.2],
    }
}

impl Layer {
    /// Prepares `rows` (channels x fan-in, row-major) with the moments of the layer's input, and with what happened
    /// upstream if that input comes from a quantized network; `None` where the moments do not fit the rows.
    pub fn new(rows: &[f32], channels: usize, gram: &Gram, upstream: Option<Upstream>, centred: bool) -> Option<Layer> {
        let n = gram.size;
        let fits = n > 0 && gram.groups > 0 && gram.rows > 0 && channels.is_multiple_of(gram.groups.max(1));
        let crossed = upstream.is_none_or(|u| u.cross.data.len() == rows.len() && u.cross.sums.len() == channels);
        if !fits || rows.len() != channels * n || !crossed {
            return None;
        }
        let each = channels / gram.groups;
        let group = |g: usize| {
            let curvature = Curvature::new(gram, g, centred);
            let mut ordered = Vec::with_capacity(each * n);
            for row in rows[g * each * n..(g + 1) * each * n].chunks_exact(n) {
                ordered.extend(curvature.order.iter().map(|c| row[*c]));
            }
            let mut curved = curved(&ordered, &curvature);
            let mut aim = curved.clone();
            if let Some(upstream) = upstream {
                let errors = covariance(upstream.cross, gram, g, each, centred, &curvature.order);
                // What few samples say about the error is as little trusted as what they say about the input.
                let trust = 1.0 - curvature.shrinkage;
                aim.iter_mut().zip(&errors).for_each(|(a, e)| *a += trust as f32 * e);
                let share = (upstream.share * trust) as f32;
                curved.iter_mut().zip(&errors).for_each(|(c, e)| *c += share * e);
                let mut moves = errors;
                moves.par_chunks_mut(CHUNK * n).for_each(|chunk| solve(chunk, &curvature));
                ordered.iter_mut().zip(&moves).for_each(|(w, m)| *w += share * m);
            }
            Group { curvature, rows: ordered, curved, aim }
        };
        Some(Layer { channels, groups: (0..gram.groups).into_par_iter().map(group).collect() })
    }

    /// Integers (channels x fan-in, row-major) and scales.
    pub fn round(&self, grid: &Grid, care: Care) -> QuantizedWeight {
        let each = self.channels / self.groups.len().max(1);
        let mut scales: Vec<f32> =
            self.groups.par_iter().enumerate().flat_map(|(g, group)| group.grid_scales(grid, g * each)).collect();
        if !grid.per_channel {
            let shared = self.shared_scale(grid);
            scales = vec![shared; self.channels];
        }
        let parts: Vec<Part> = self
            .groups
            .par_iter()
            .enumerate()
            .map(|(g, group)| group.round(grid, care, &scales[g * each..(g + 1) * each], g * each))
            .collect();
        let mut values = Vec::with_capacity(self.channels * self.groups.first().map_or(0, |g| g.curvature.size));
        for (group, (integers, _, _)) in self.groups.iter().zip(&parts) {
            group.restore(integers, &mut values);
        }
        let scales = match grid.per_channel {
            true => parts.iter().flat_map(|p| p.1.iter().copied()).collect(),
            false => {
                let fits = parts.iter().flat_map(|p| &p.2).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
                let refit = if fits.1 > 0.0 && !grid.power_of_two { (fits.0 / fits.1) as f32 } else { scales[0] };
                vec![grid.legal(refit, 0)]
            }
        };
        QuantizedWeight { values, scales }
    }

    fn shared_scale(&self, grid: &Grid) -> f32 {
        let rows = || self.groups.iter().map(|g| &g.rows);
        let full = full_scale(rows().flatten(), grid.format);
        let error = |scale: f32| -> f64 { rows().map(|r| plain_error(r, scale, grid.format)).sum() };
        grid.legal(least(full, &error), 0)
    }
}

impl Group {
    fn grid_scales(&self, grid: &Grid, first: usize) -> Vec<f32> {
        if !grid.per_channel {
            return vec![];
        }
        let scale = |(r, row): (usize, &[f32])| {
            let full = full_scale(row.iter(), grid.format);
            grid.legal(least(full, &|s| plain_error(row, s, grid.format)), first + r)
        };
        self.rows.par_chunks_exact(self.curvature.size).enumerate().map(scale).collect()
    }

    fn round(&self, grid: &Grid, care: Care, scales: &[f32], first: usize) -> Part {
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
        let own_scale = grid.per_channel && !grid.power_of_two;
        let (base, mut scales) = (scales.to_vec(), scales.to_vec());
        let (mut values, mut energy) = match own_scale {
            true => self.best_of_scales(grid, care, &mut scales, first, rows),
            false => feed_back(rows, &scales, &self.curvature, grid.format),
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
        let (again, costs) = feed_back(rows, &tried, &self.curvature, grid.format);
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
        for factor in factors(care, n) {
            let tried: Vec<f32> = base.iter().enumerate().map(|(r, s)| grid.legal(s * factor, first + r)).collect();
            let (values, energy) = feed_back(rows, &tried, &self.curvature, grid.format);
            for r in 0..base.len() {
                if energy[r] < best[r] {
                    (best[r], scales[r]) = (energy[r], tried[r]);
                    kept[r * n..(r + 1) * n].copy_from_slice(&values[r * n..(r + 1) * n]);
                }
            }
        }
        (kept, best)
    }

    /// Appends the integers in the order of the weight.
    fn restore(&self, ordered: &[i8], into: &mut Vec<i32>) {
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
fn covariance(cross: &Cross, gram: &Gram, g: usize, each: usize, centred: bool, order: &[usize]) -> Vec<f32> {
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

/// The scale of least error for these integers, unless the grid forbids it.
fn refit(row: &Row, scale: &mut f32, grid: &Grid, channel: usize) {
    let (cross, squares) = row.fit();
    if cross > 0.0 && squares > 0.0 {
        let fitted = grid.legal((cross / squares) as f32, channel);
        if row.energy(fitted) < row.energy(*scale) {
            *scale = fitted;
        }
    }
}

/// Share by which a scale fitted to the float output is drawn back to the one it was.
const CAUTION: f64 = 0.05;

/// The slope of the float output on what the integers make of the quantized input, shrunk towards 1.
fn fit_to(aim: &[f32], row: &Row, scale: &mut f32, grid: &Grid, channel: usize) {
    let cross: f64 = aim.iter().zip(&*row.values).map(|(a, q)| f64::from(*a) * f64::from(*q)).sum();
    let (_, squares) = row.fit();
    let own = f64::from(*scale) * squares;
    if own > 0.0 {
        let slope = ((cross + CAUTION * own) / (own * (1.0 + CAUTION))).clamp(0.5, 2.0);
        *scale = grid.legal((f64::from(*scale) * slope) as f32, channel);
    }
}

/// The scale with which the greatest magnitude just fits; 1 for zeros, which stay exact with any scale.
fn full_scale<'a>(weights: impl Iterator<Item = &'a f32>, format: IntFormat) -> f32 {
    let greatest = weights.fold(0f32, |m, w| m.max(w.abs()));
    if greatest == 0.0 { 1.0 } else { (greatest / format.max().max(1) as f32).max(f32::MIN_POSITIVE) }
}

/// The best of 24 scales between 0.3 and 1 of `full`.
fn least(full: f32, error: &dyn Fn(f32) -> f64) -> f32 {
    let mut best = (f64::INFINITY, full);
    for step in 0..24 {
        let scale = (full * (1.0 - step as f32 * 0.03)).max(f32::MIN_POSITIVE);
        let found = error(scale);
        if found < best.0 {
            best = (found, scale);
        }
    }
    best.1
}

/// The nearest integer within bounds that are integers of at most 8 bits: clamping first leaves nothing to round that
/// adding 1.5 x 2^23 would not round half to even, and both vectorise.
#[inline]
fn round_within(x: f32, low: f32, high: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let x = if x < low { low } else { x };
    let x = if x > high { high } else { x };
    (x + MAGIC) - MAGIC
}

/// Sum of squared rounding errors.
fn plain_error(row: &[f32], scale: f32, format: IntFormat) -> f64 {
    const LANES: usize = 16;
    let (low, high, inverse) = (format.min() as f32, format.max() as f32, 1.0 / scale);
    let square = |w: f32| {
        let error = round_within(w * inverse, low, high) * scale - w;
        error * error
    };
    let mut lanes = [0f32; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        lanes.iter_mut().zip(chunk).for_each(|(sum, w)| *sum += square(*w));
    }
    lanes.iter().map(|v| f64::from(*v)).sum::<f64>()
        + chunks.remainder().iter().map(|w| f64::from(square(*w))).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{GramRequest, Patches};
    use proptest::prelude::*;

    fn random(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed | 1;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) as f64 / f64::from(1u32 << 31) - 0.5) as f32
        }
    }

    /// Moments of four samples of correlated columns.
    fn gram(n: usize, rows: usize, seed: u64) -> Gram {
        let mut next = random(seed);
        let mut gram = Gram::default();
        for _ in 0..4 {
            let mut x = vec![];
            for _ in 0..rows {
                let common = next();
                x.extend((0..n).map(|i| common * (1.0 + i as f32 / n as f32) + 0.3 * next() + 0.1));
            }
            gram.add(&[rows, n], &x, &GramRequest { layer: 0, patches: Patches::Last }).unwrap();
        }
        gram.finish();
        gram
    }

    fn grid(bits: u32, per_channel: bool) -> Grid {
        Grid { format: IntFormat::signed(bits), per_channel, power_of_two: false, floor: vec![] }
    }

    /// e C e' in float64 from the layer's own curvature.
    fn energy(layer: &Layer, weights: &[f32], found: &QuantizedWeight) -> f64 {
        let c = &layer.groups[0].curvature;
        let (n, channels) = (c.size, layer.channels);
        (0..channels)
            .map(|r| {
                let scale = f64::from(found.scales[if found.scales.len() == 1 { 0 } else { r }]);
                let error = |i: usize| {
                    let at = r * n + c.order[i];
                    f64::from(found.values[at]) * scale - f64::from(weights[at])
                };
                let e: Vec<f64> = (0..n).map(error).collect();
                (0..n).map(|i| (0..n).map(|j| e[i] * f64::from(c.matrix[i * n + j]) * e[j]).sum::<f64>()).sum::<f64>()
            })
            .sum()
    }

    fn nearest(weights: &[f32], scales: &[f32], n: usize, format: IntFormat) -> QuantizedWeight {
        let (low, high) = (f64::from(format.min()), f64::from(format.max()));
        let scale = |i: usize| scales[if scales.len() == 1 { 0 } else { i / n }];
        let round =
            |(i, w): (usize, &f32)| (f64::from(*w) / f64::from(scale(i))).round_ties_even().clamp(low, high) as i32;
        QuantizedWeight { values: weights.iter().enumerate().map(round).collect(), scales: scales.to_vec() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The bar of the method: in the norm it minimises, no row may lose to rounding to the nearest.
        #[test]
        fn never_worse_than_nearest(n in 1usize..90, channels in 1usize..6, rows in 1usize..120, bits in 2u32..9, seed: u64) {
            let gram = gram(n, rows, seed);
            let mut next = random(seed ^ 99);
            let weights: Vec<f32> = (0..channels * n).map(|_| next()).collect();
            let layer = Layer::new(&weights, channels, &gram, None, true).unwrap();
            let grid = grid(bits, true);
            let scales = layer.groups[0].grid_scales(&grid, 0);
            let plain = energy(&layer, &weights, &nearest(&weights, &scales, n, grid.format));
            for care in [Care::Fair, Care::Thorough] {
                let found = energy(&layer, &weights, &layer.round(&grid, care));
                prop_assert!(found <= plain * 1.0001 + 1e-9, "{care:?}: {found} against {plain}");
            }
        }

        /// Error feedback against the definition in float64: same integers, up to ties that rounding of f32 decides.
        #[test]
        fn feedback_matches_float64(n in 1usize..60, bits in 2u32..9, seed: u64) {
            let gram = gram(n, 40, seed);
            let mut next = random(seed ^ 7);
            let weights: Vec<f32> = (0..n).map(|_| next()).collect();
            let layer = Layer::new(&weights, 1, &gram, None, false).unwrap();
            let (group, scale) = (&layer.groups[0], 1.0 / (1 << bits) as f32);
            let format = IntFormat::signed(bits);
            let (found, cost) = feed_back(&group.rows, &[scale], &group.curvature, format);
            let (mut errors, mut wanted_cost, mut differ) = (vec![], 0.0, 0);
            for (j, integer) in found.iter().copied().enumerate() {
                let fed: f64 = (0..j).map(|k: usize| errors[k] * f64::from(group.curvature.feedback[k * n + j])).sum();
                let aim = f64::from(group.rows[j]) - fed;
                let steps = aim / f64::from(scale);
                let q = steps.round_ties_even().clamp(f64::from(format.min()), f64::from(format.max()));
                differ += usize::from(q as i8 != integer);
                // Follow the integer that was taken, so that one tie does not decide the rest.
                let taken = f64::from(integer) * f64::from(scale);
                prop_assert!((taken / f64::from(scale) - steps).abs() <= (q - steps).abs() + 1e-3);
                wanted_cost += f64::from(group.curvature.cost[j]) * (taken - aim).powi(2);
                errors.push(taken - f64::from(group.rows[j]));
            }
            prop_assert!(differ <= 1 + n / 20, "{differ} of {n} integers differ");
            prop_assert!((cost[0] - wanted_cost).abs() <= 1e-3 * wanted_cost + 1e-9, "{} {wanted_cost}", cost[0]);
        }

        /// Without correlations there is nothing to feed back: the result is rounding to the nearest.
        #[test]
        fn exact_on_a_diagonal(n in 1usize..40, bits in 2u32..9, seed: u64) {
            let mut gram = gram(n, 20, seed);
            for i in 0..n * n {
                if i / n != i % n { gram.data[i] = 0.0; }
            }
            let mut next = random(seed ^ 5);
            let weights: Vec<f32> = (0..2 * n).map(|_| next()).collect();
            let layer = Layer::new(&weights, 2, &gram, None, false).unwrap();
            let grid = Grid { power_of_two: true, ..grid(bits, true) };
            let found = layer.round(&grid, Care::Fair);
            prop_assert_eq!(&found.values, &nearest(&weights, &found.scales, n, grid.format).values);
        }

        #[test]
        fn solving_inverts_the_product(n in 1usize..100, seed: u64) {
            let gram = gram(n, 150, seed);
            let mut next = random(seed);
            let x: Vec<f32> = (0..3 * n).map(|_| next()).collect();
            let curvature = Curvature::new(&gram, 0, true);
            let mut found = curved(&x, &curvature);
            solve(&mut found, &curvature);
            for (a, b) in found.iter().zip(&x) {
                prop_assert!((a - b).abs() < 2e-2, "{a} {b}");
            }
        }
    }

    /// What the layers before did wrong is partly made good: the error on the float output falls.
    #[test]
    fn answers_for_what_came_before() {
        let (n, rows) = (12, 200);
        let mut next = random(3);
        let weights: Vec<f32> = (0..4 * n).map(|_| next()).collect();
        let (mut gram, mut cross) = (Gram::default(), Cross::default());
        let mut seen = vec![];
        for _ in 0..4 {
            let float: Vec<f32> = (0..rows * n).map(|_| next() + 0.2).collect();
            let quantized: Vec<f32> = float.iter().map(|v| (v * 6.0).round() / 6.0 * 0.9).collect();
            let product = |x: &[f32]| -> Vec<f32> {
                x.chunks_exact(n)
                    .flat_map(|x| {
                        weights.chunks_exact(n).map(move |w| w.iter().zip(x).map(|(a, b)| a * b).sum::<f32>())
                    })
                    .collect()
            };
            let residual: Vec<f32> = product(&float).iter().zip(product(&quantized)).map(|(a, b)| a - b).collect();
            gram.add_with(&[rows, n], &quantized, &Patches::Last, (&residual, 4), &mut cross).unwrap();
            seen.push((product(&float), quantized));
        }
        gram.finish();
        let error = |upstream: Option<Upstream>| -> f64 {
            let layer = Layer::new(&weights, 4, &gram, upstream, false).unwrap();
            let found = layer.round(&grid(6, true), Care::Thorough);
            let output = |x: &[f32], c: usize| -> f32 {
                (0..n).map(|i| found.values[c * n + i] as f32 * found.scales[c] * x[i]).sum()
            };
            let of_sample = |(float, quantized): &(Vec<f32>, Vec<f32>)| -> f64 {
                let pairs = float.iter().enumerate();
                pairs.map(|(i, y)| f64::from(y - output(&quantized[i / 4 * n..][..n], i % 4)).powi(2)).sum()
            };
            seen.iter().map(of_sample).sum()
        };
        let (without, with) = (error(None), error(Some(Upstream { cross: &cross, share: 0.5 })));
        assert!(with < 0.85 * without, "{with} against {without}");
    }

    #[test]
    fn moments_that_do_not_fit_are_refused() {
        let gram = gram(5, 9, 1);
        assert!(Layer::new(&[0.5; 12], 3, &gram, None, true).is_none());
        assert!(Layer::new(&[0.5; 10], 2, &Gram::default(), None, true).is_none());
    }
}
