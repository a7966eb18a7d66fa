//! Gram matrices X'X of the inputs of weight layers, grouped convolutions per group.
//!
//! X has one row per output position and one column per weight of an output channel, in the order of the
//! weight tensor. For a linear layer rows are positions and columns input features.

use super::patches::{Patches, Tile, misfit};
use crate::{Code, Error, Result};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, s};

/// A Gram matrix to accumulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GramRequest {
    /// Which layer it is for; callers' key.
    pub layer: usize,
    /// How the layer reads its input.
    pub patches: Patches,
}

/// Sum over samples of X'X, one matrix a group, with column sums.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gram {
    /// Columns of X: weights of one output channel.
    pub size: usize,
    /// Groups.
    pub groups: usize,
    /// Rows seen.
    pub rows: u64,
    /// `groups` row-major `size` x `size` matrices.
    pub data: Vec<f32>,
    /// `groups` x `size` column sums.
    pub sums: Vec<f64>,
    /// Moments of some columns of each sample that was merged: what says how far the sum can be trusted.
    pub samples: Vec<SampleMoments>,
}

/// Second moments and means of a few columns of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleMoments {
    /// By group: as many rows as columns are kept, row-major.
    moments: Vec<f32>,
    /// By group: one a column.
    means: Vec<f64>,
}

/// Columns of each group whose moments are kept sample by sample.
const KEPT: usize = 128;

/// Sum over samples of R'X and of the rows of R, where R has one row per output position and one column per output
/// channel: what is left to explain of a layer's output, against what the layer sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cross {
    /// Channels x columns of X, row-major; a grouped convolution's channels see the columns of their group.
    pub data: Vec<f32>,
    /// One sum a channel.
    pub sums: Vec<f64>,
}

impl Cross {
    /// Adds another sum of the same layer.
    pub fn merge(&mut self, other: &Cross) {
        if self.data.is_empty() {
            return self.clone_from(other);
        }
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
    }
}

impl Gram {
    /// Adds the rows of one tensor.
    pub fn add(&mut self, dims: &[usize], values: &[f32], request: &GramRequest) -> Result<()> {
        self.prepare(dims, &request.patches)?;
        let extent = request.patches.each_tile(dims, values, &mut |tile| {
            self.add_tile(&tile);
            Ok(())
        })?;
        self.rows += (extent.batch * extent.positions) as u64;
        Ok(())
    }

    /// Adds the rows of one tensor, and to `cross` their products with `residual`, a tensor in the layout of the
    /// layer's output of `channels` channels.
    pub fn add_with(
        &mut self,
        dims: &[usize],
        values: &[f32],
        patches: &Patches,
        (residual, channels): (&[f32], usize),
        cross: &mut Cross,
    ) -> Result<()> {
        self.prepare(dims, patches)?;
        let extent = patches.extent(dims)?;
        let fits = residual.len() == extent.batch * channels * extent.positions && channels.is_multiple_of(extent.groups.max(1));
        if !fits {
            return Err(misfit());
        }
        if cross.data.is_empty() {
            *cross = Cross { data: vec![0.0; channels * extent.size], sums: vec![0.0; channels] };
        }
        let each = channels / extent.groups.max(1);
        patches.each_tile(dims, values, &mut |tile| {
            self.add_tile(&tile);
            let rows = tile.group * each..(tile.group + 1) * each;
            let part = match patches {
                Patches::Last => {
                    let part = &residual[tile.positions.start * channels..tile.positions.end * channels];
                    ArrayView2::from_shape((tile.positions.len(), channels), part).map(ArrayView2::reversed_axes)
                }
                Patches::Conv { .. } => {
                    let start = (tile.image * channels + rows.start) * extent.positions;
                    let whole = ArrayView2::from_shape(
                        (each, extent.positions),
                        &residual[start..start + each * extent.positions],
                    );
                    whole.map(|w| w.slice_move(s![.., tile.positions.clone()]))
                }
            };
            let part = part.map_err(|_| misfit())?;
            let data = &mut cross.data[rows.start * extent.size..rows.end * extent.size];
            let mut into = ArrayViewMut2::from_shape((each, extent.size), data).map_err(|_| misfit())?;
            general_mat_mul(1.0, &part, &tile.columns.t(), 1.0, &mut into);
            for (sum, line) in cross.sums[rows].iter_mut().zip(part.rows()) {
                *sum += line.iter().map(|v| f64::from(*v)).sum::<f64>();
            }
            Ok(())
        })?;
        self.rows += (extent.batch * extent.positions) as u64;
        Ok(())
    }

    /// Adds another sum of the same layer.
    pub fn merge(&mut self, other: &Gram) -> Result<()> {
        if other.size == 0 {
            return Ok(());
        }
        self.allocate(other.size, other.groups)?;
        match other.samples.is_empty() {
            true => self.samples.push(other.moments()),
            false => self.samples.extend(other.samples.iter().cloned()),
        }
        self.rows += other.rows;
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// The matrix of one group.
    pub fn group(&self, g: usize) -> &[f32] {
        &self.data[g * self.size * self.size..(g + 1) * self.size * self.size]
    }

    /// Column means of one group.
    pub fn means(&self, g: usize) -> impl Iterator<Item = f64> + '_ {
        let rows = self.rows.max(1) as f64;
        self.sums[g * self.size..(g + 1) * self.size].iter().map(move |s| s / rows)
    }

    /// The share of the off-diagonal elements that should be dropped because they are noise of few samples, 0 to 1:
    /// their summed variance over samples against their summed squares (Schäfer and Strimmer, "A shrinkage approach
    /// to large-scale covariance matrix estimation", 2005, target D). 1 with fewer than two samples.
    pub fn shrinkage(&self, g: usize, centred: bool) -> f64 {
        let (kept, count) = (self.kept(), self.samples.len());
        if count < 2 {
            return 1.0;
        }
        let all: Vec<f64> = self.means(g).collect();
        let mean = |i: usize| if centred { all[i * self.step()] } else { 0.0 };
        let (mut spread, mut squares) = (0.0, 0.0);
        for (i, j) in (0..kept).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let of_sample = |s: &SampleMoments| {
                let (a, b) = (s.means[g * kept + i], s.means[g * kept + j]);
                let moment = f64::from(s.moments[(g * kept + i) * kept + j]);
                moment - mean(i) * b - a * mean(j) + mean(i) * mean(j)
            };
            let (sum, square) = self.samples.iter().map(of_sample).fold((0.0, 0.0), |a, v| (a.0 + v, a.1 + v * v));
            let average = sum / count as f64;
            spread += (square / count as f64 - average * average).max(0.0) / (count - 1) as f64;
            squares += average * average;
        }
        if squares > 0.0 { (spread / squares).min(1.0) } else { 0.0 }
    }

    fn kept(&self) -> usize {
        self.size.min(KEPT)
    }

    /// Distance of the kept columns.
    fn step(&self) -> usize {
        self.size / self.kept().max(1)
    }

    /// What is kept of a sample.
    fn moments(&self) -> SampleMoments {
        let (kept, step, n) = (self.kept(), self.step(), self.size);
        let rows = self.rows.max(1) as f64;
        let columns = || (0..self.groups).flat_map(move |g| (0..kept).map(move |i| (g, i * step)));
        let row = |(g, i): (usize, usize)| (0..kept).map(move |j| (f64::from(self.group(g)[i * n + j * step]) / rows) as f32);
        SampleMoments {
            moments: columns().flat_map(row).collect(),
            means: columns().map(|(g, i)| self.sums[g * n + i] / rows).collect(),
        }
    }

    fn prepare(&mut self, dims: &[usize], patches: &Patches) -> Result<()> {
        let extent = patches.extent(dims)?;
        self.allocate(extent.size, extent.groups)
    }

    fn allocate(&mut self, size: usize, groups: usize) -> Result<()> {
        if self.data.is_empty() {
            let (data, sums) = (vec![0.0; groups * size * size], vec![0.0; groups * size]);
            *self = Gram { size, groups, data, sums, ..Default::default() };
        }
        match self.size == size && self.groups == groups {
            true => Ok(()),
            false => {
                Err(Error::new(Code::Engine, format!("a layer saw inputs of {} and of {size} columns", self.size)))
            }
        }
    }

    fn add_tile(&mut self, tile: &Tile) {
        let (n, g) = (self.size, tile.group);
        let into = &mut self.data[g * n * n..(g + 1) * n * n];
        if let Ok(mut into) = ArrayViewMut2::from_shape((n, n), into) {
            general_mat_mul(1.0, &tile.columns, &tile.columns.t(), 1.0, &mut into);
        }
        let sums = &mut self.sums[g * n..(g + 1) * n];
        match tile.columns.is_standard_layout() || tile.columns.strides()[1] == 1 {
            true => sums.iter_mut().zip(tile.columns.rows()).for_each(|(s, line)| *s += total(line.to_slice().unwrap_or(&[]))),
            false => {
                for row in tile.columns.columns() {
                    sums.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
                }
            }
        }
    }
}

/// Sum in short f32 runs, each short enough that rounding stays below 1e-6.
fn total(line: &[f32]) -> f64 {
    let run = |run: &[f32]| {
        let mut lanes = [0f32; 8];
        let mut chunks = run.chunks_exact(8);
        for chunk in &mut chunks {
            lanes.iter_mut().zip(chunk).for_each(|(a, b)| *a += b);
        }
        let rest: f32 = chunks.remainder().iter().sum();
        lanes.iter().map(|v| f64::from(*v)).sum::<f64>() + f64::from(rest)
    };
    line.chunks(64).map(run).sum()
}
