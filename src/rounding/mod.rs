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

mod blocks;
mod curvature;
mod error;
mod feedback;
mod group;
mod polish;
mod scale;
mod solve;
#[cfg(test)]
mod tests;

use curvature::Curvature;
pub use error::{mean_change, output_error, output_errors};

use crate::quant::{Granularity, IntFormat, QuantizedWeight};
use crate::stats::{Cross, Gram};
use group::{Group, Part, covariance};
use polish::curved;
use rayon::prelude::*;
use scale::{full_scale, least, plain_error};
use solve::solve;

/// What a rounded weight must look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Integers.
    pub format: IntFormat,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// Scales are powers of two; never those of blocks.
    pub power_of_two: bool,
    /// Whether scales of blocks may be negative.
    pub signed_scales: bool,
    /// Least scale of each row, or of all; empty for none, as for blocks (see [`crate::quant::least_weight_scale`]).
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

/// What the layers before have already done to a layer's output.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    /// Moments of the output error that the quantized input causes, float weights kept, with the input itself.
    pub cross: &'a Cross,
    /// Share of that error that rounding makes good, 0 to 1: part of it is noise of the few samples.
    pub share: f64,
}

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
        if let Granularity::Block(size) = grid.granularity {
            return self.round_in_blocks(grid, size, care);
        }
        let per_channel = grid.granularity == Granularity::Channel;
        let each = self.channels / self.groups.len().max(1);
        let mut scales: Vec<f32> =
            self.groups.par_iter().enumerate().flat_map(|(g, group)| group.grid_scales(grid, g * each)).collect();
        if !per_channel {
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
        let scales = match per_channel {
            true => parts.iter().flat_map(|p| p.1.iter().copied()).collect(),
            false => {
                let fits = parts.iter().flat_map(|p| &p.2).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
                let refit = if fits.1 > 0.0 && !grid.power_of_two { (fits.0 / fits.1) as f32 } else { scales[0] };
                vec![grid.legal(refit, 0)]
            }
        };
        QuantizedWeight { values, scales }
    }

    fn round_in_blocks(&self, grid: &Grid, size: usize, care: Care) -> QuantizedWeight {
        let mut found = QuantizedWeight { values: vec![], scales: vec![] };
        for group in &self.groups {
            let (integers, scales) = group.round_in_blocks(grid, size, care);
            group.restore(&integers, &mut found.values);
            found.scales.extend(scales);
        }
        found
    }

    fn shared_scale(&self, grid: &Grid) -> f32 {
        let rows = || self.groups.iter().map(|g| &g.rows);
        let full = full_scale(rows().flatten(), grid.format);
        let error = |scale: f32| -> f64 { rows().map(|r| plain_error(r, scale, grid.format)).sum() };
        grid.legal(least(full, error), 0)
    }
}
