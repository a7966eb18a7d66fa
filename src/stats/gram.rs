//! Gram matrices X'X of the inputs of weight layers, grouped convolutions per group.
//!
//! X has one row per output position and one column per weight of an output channel, in the order of the
//! weight tensor. For a linear layer rows are positions and columns input features.
//!
//! The order of sums of [`Gram::add`] is fixed, so that every backend gets the same bits: the rows of one image are cut
//! into shares of [`SHARE`]. The products of a share are one chain of fused multiplications and additions that starts
//! at zero; shares are added up one by one to the sum of the image, and images to the sum of all and, for the kept
//! columns, to the sum of the sample. Column sums are taken alike, in f32 within a share and in f64 beyond.

use super::cross::Cross;
use super::moments::{SampleMoments, Samples, kept_columns, pairs};
use super::patches::{Extent, Patches, Tile, misfit};
use crate::product::{Block, Lines, NARROW, Panels};
use crate::{Code, Error, Result};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};

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
    /// `groups` row-major `size` x `size` matrices, complete after [`Gram::finish`].
    pub data: Vec<f32>,
    /// `groups` x `size` column sums.
    pub sums: Vec<f64>,
    /// Moments of some columns of each sample that was merged: what says how far the sum can be trusted.
    pub samples: Samples,
    /// Moments of the kept columns of all samples so far, where they were needed.
    so_far: Option<SampleMoments>,
    /// Whether the upper halves are filled in.
    mirrored: bool,
}

/// Rows whose products are one chain.
pub(super) const SHARE: usize = 64;

/// Memory that sums need on the way.
#[derive(Default)]
pub struct Scratch {
    panels: Panels,
    lines: Lines,
    image: Vec<f64>,
}

impl Gram {
    /// Adds the rows of one tensor: of a sample.
    pub fn add(&mut self, dims: &[usize], values: &[f32], request: &GramRequest, scratch: &mut Scratch) -> Result<()> {
        self.prepare(dims, &request.patches)?;
        let (n, (kept, step)) = (self.size, kept_columns(self.size));
        let mut own = SampleMoments {
            rows: 0,
            products: vec![0.0; self.groups * pairs(kept)],
            sums: vec![0.0; self.groups * kept],
        };
        scratch.lines.clear();
        let patches = &request.patches;
        patches.each_image(dims, values, patches.coarse_step(dims), &mut |tile| {
            let g = tile.group;
            let products = &mut own.products[g * pairs(kept)..(g + 1) * pairs(kept)];
            let matrix = &mut self.data[g * n * n..(g + 1) * n * n];
            scratch.image.clear();
            scratch.image.resize(n, 0.0);
            if n > NARROW {
                scratch.panels.cut(&tile.columns.t());
                scratch.panels.add_sums(SHARE, &mut scratch.image);
                let mut into = ArrayViewMut2::from_shape((n, n), matrix).map_err(|_| misfit())?;
                scratch.panels.add_chained_square(SHARE, &mut into, &mut |block| keep(block, (kept, step), products));
            } else {
                scratch.lines.cut(&tile.columns);
                let found = scratch.lines.square(n, SHARE, &mut scratch.image);
                let below = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
                products.iter_mut().zip(below).for_each(|(sum, (i, j))| *sum += found[i][j]);
                for (line, found) in matrix.chunks_exact_mut(n).zip(&found) {
                    line.iter_mut().zip(found).for_each(|(sum, v)| *sum += v);
                }
            }
            self.sums[g * n..(g + 1) * n].iter_mut().zip(&scratch.image).for_each(|(sum, v)| *sum += v);
            let few = scratch.image.iter().step_by(step);
            own.sums[g * kept..(g + 1) * kept].iter_mut().zip(few).for_each(|(sum, v)| *sum += v);
            own.rows += if g == 0 { tile.columns.ncols() as u64 } else { 0 };
            Ok(())
        })?;
        self.rows += own.rows;
        self.samples.note(own);
        (self.so_far, self.mirrored) = (None, false);
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
        let fits = residual.len() == extent.batch * channels * extent.positions
            && channels.is_multiple_of(extent.groups.max(1));
        if !fits {
            return Err(misfit());
        }
        if cross.data.is_empty() {
            *cross = Cross { data: vec![0.0; channels * extent.size], sums: vec![0.0; channels] };
        }
        let each = channels / extent.groups.max(1);
        let (before, mut panels) = (self.before(), Panels::default());
        patches.each_tile(dims, values, patches.sparse_step(dims), &mut |tile| {
            self.add_tile(&tile, &mut panels)?;
            let rows = tile.group * each..(tile.group + 1) * each;
            let part = gather(residual, patches, &tile, extent.positions, channels, rows.clone());
            let part = ArrayView2::from_shape((each, tile.columns.ncols()), &part).map_err(|_| misfit())?;
            let data = &mut cross.data[rows.start * extent.size..rows.end * extent.size];
            let mut into = ArrayViewMut2::from_shape((each, extent.size), data).map_err(|_| misfit())?;
            match extent.size > NARROW {
                true => panels.add_product(&part, &mut into),
                false => add_small_product(&part, &tile.columns, &mut into),
            }
            for (sum, line) in cross.sums[rows].iter_mut().zip(part.rows()) {
                *sum += line.iter().map(|v| f64::from(*v)).sum::<f64>();
            }
            Ok(())
        })?;
        self.end_sample(before);
        Ok(())
    }

    /// Completes the matrices once everything is added: until then only their lower half is kept up.
    pub fn finish(&mut self) {
        let n = self.size;
        if !self.mirrored {
            self.data.chunks_exact_mut((n * n).max(1)).for_each(|matrix| mirror(matrix, n));
            self.mirrored = true;
        }
        self.so_far = None;
    }

    /// Adds another sum of the same layer.
    pub fn merge(&mut self, other: &Gram) -> Result<()> {
        if other.size == 0 {
            return Ok(());
        }
        self.allocate(other.size, other.groups)?;
        self.samples.note_all(&other.samples);
        self.so_far = None;
        self.rows += other.rows;
        self.mirrored = self.mirrored && other.mirrored;
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// A sum that was measured elsewhere, with both halves of its matrices.
    pub(super) fn measured(extent: &Extent, data: Vec<f32>, sums: Vec<f64>, samples: Samples) -> Gram {
        let rows = samples.kept.iter().map(|s| s.rows).sum();
        Gram { size: extent.size, groups: extent.groups, rows, data, sums, samples, so_far: None, mirrored: true }
    }

    /// Drops the moments of single samples: what nothing is rounded on needs no [`Gram::shrinkage`].
    pub fn forget_samples(&mut self) {
        self.samples = Samples::default();
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
        let (kept, count) = (self.kept(), self.samples.kept.len());
        if count < 2 {
            return 1.0;
        }
        let all: Vec<f64> = self.means(g).collect();
        let mean = |i: usize| if centred { all[i * self.step()] } else { 0.0 };
        let means: Vec<f64> = (0..kept).map(mean).collect();
        let pairs = pairs(kept);
        let (mut sum, mut square) = (vec![0f64; pairs], vec![0f64; pairs]);
        for sample in &self.samples.kept {
            let share = 1.0 / sample.rows.max(1) as f64;
            let seen: Vec<f64> = sample.sums[g * kept..(g + 1) * kept].iter().map(|s| s * share).collect();
            let mut products = &sample.products[g * pairs..(g + 1) * pairs];
            let (mut sum, mut square) = (&mut sum[..], &mut square[..]);
            for i in 1..kept {
                let (row, below) = products.split_at(i);
                let ((sums, more_sums), (squares, more_squares)) = (sum.split_at_mut(i), square.split_at_mut(i));
                for j in 0..i {
                    let moment = f64::from(row[j]) * share - means[i] * seen[j] - (seen[i] - means[i]) * means[j];
                    sums[j] += moment;
                    squares[j] += moment * moment;
                }
                (products, sum, square) = (below, more_sums, more_squares);
            }
        }
        let (mut spread, mut squares) = (0.0, 0.0);
        for (sum, square) in sum.iter().zip(&square) {
            let average = sum / count as f64;
            spread += (square / count as f64 - average * average).max(0.0) / (count - 1) as f64;
            squares += average * average;
        }
        if squares > 0.0 { (spread / squares).min(1.0) } else { 0.0 }
    }

    fn kept(&self) -> usize {
        kept_columns(self.size).0
    }

    /// Distance of the kept columns.
    fn step(&self) -> usize {
        kept_columns(self.size).1
    }

    /// What [`Gram::moments`] were before another sample is added.
    fn before(&mut self) -> SampleMoments {
        self.so_far.take().unwrap_or_else(|| self.moments())
    }

    /// Moments of the kept columns so far.
    fn moments(&self) -> SampleMoments {
        let (n, kept, step) = (self.size, self.kept(), self.step());
        let mut products = Vec::with_capacity(self.groups * pairs(kept));
        for matrix in self.data.chunks_exact((n * n).max(1)) {
            for (i, row) in matrix.chunks_exact(n * step).take(kept).enumerate() {
                match step {
                    1 => products.extend_from_slice(&row[..i]),
                    _ => products.extend((0..i).map(|j| row[j * step])),
                }
            }
        }
        let sums = self.sums.chunks_exact(n.max(1)).flat_map(|own| own.iter().step_by(step).take(kept).copied());
        SampleMoments { rows: self.rows, products, sums: sums.collect() }
    }

    /// Keeps what the sums grew by since `before`: no product is computed for it.
    fn end_sample(&mut self, before: SampleMoments) {
        let (now, mut grown) = (self.moments(), before);
        grown.rows = now.rows - grown.rows;
        grown.products.iter_mut().zip(&now.products).for_each(|(then, now)| *then = now - *then);
        grown.sums.iter_mut().zip(&now.sums).for_each(|(then, now)| *then = now - *then);
        self.samples.note(grown);
        self.so_far = Some(now);
        self.mirrored = false;
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

    /// Adds the products of a tile; it is left in `panels`, unless it has only a few columns.
    fn add_tile(&mut self, tile: &Tile, panels: &mut Panels) -> Result<()> {
        let (n, g) = (self.size, tile.group);
        if g == 0 {
            self.rows += tile.columns.ncols() as u64;
        }
        let whole = &mut self.data[g * n * n..(g + 1) * n * n];
        match n > NARROW {
            true => {
                panels.cut(&tile.columns.t());
                panels.add_square(&mut ArrayViewMut2::from_shape((n, n), whole).map_err(|_| misfit())?);
            }
            false => add_dots(&tile.columns, whole, n),
        }
        let sums = &mut self.sums[g * n..(g + 1) * n];
        for (sum, line) in sums.iter_mut().zip(tile.columns.rows()) {
            *sum += line.to_slice().map_or_else(|| line.iter().map(|v| f64::from(*v)).sum(), total);
        }
        Ok(())
    }
}

/// Adds the sums of an image to the products of kept columns.
fn keep(block: &Block, (kept, step): (usize, usize), products: &mut [f32]) {
    let (down, across) = block.at;
    for (i, line) in (down..).zip(&block.sums).filter(|(i, _)| i % step == 0 && i / step < kept) {
        let first = across.next_multiple_of(step);
        let own = &mut products[pairs(i / step)..];
        let some = line.iter().skip(first - across).step_by(step);
        own[..i / step].iter_mut().skip(first / step).zip(some).for_each(|(sum, v)| *sum += v);
    }
}

/// The residual of some channels at the positions of a tile: channels x positions.
fn gather(
    residual: &[f32],
    patches: &Patches,
    tile: &Tile,
    positions: usize,
    channels: usize,
    rows: std::ops::Range<usize>,
) -> Vec<f32> {
    let mut part = Vec::with_capacity(rows.len() * tile.columns.ncols());
    for row in rows {
        for run in tile.runs {
            match patches {
                Patches::Last => part.extend(run.clone().map(|p| residual[p * channels + row])),
                Patches::Conv { .. } => {
                    let start = (tile.image * channels + row) * positions;
                    part.extend_from_slice(&residual[start + run.start..start + run.end]);
                }
            }
        }
    }
    part
}

/// The products of all pairs of columns, added to a lower triangle.
fn add_dots(columns: &ArrayView2<f32>, whole: &mut [f32], n: usize) {
    for i in 0..n {
        for j in 0..=i {
            whole[i * n + j] += dot_of(columns.row(i), columns.row(j));
        }
    }
}

/// `into += part columns'`.
pub(super) fn add_small_product(part: &ArrayView2<f32>, columns: &ArrayView2<f32>, into: &mut ArrayViewMut2<f32>) {
    for (part, mut into) in part.rows().into_iter().zip(into.rows_mut()) {
        into.iter_mut().zip(columns.rows()).for_each(|(sum, column)| *sum += dot_of(part, column));
    }
}

fn dot_of(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f32 {
    match (a.to_slice(), b.to_slice()) {
        (Some(a), Some(b)) => dot(a, b),
        _ => a.dot(&b),
    }
}

/// Scalar product in parallel lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0f32; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (x, y) in (&mut left).zip(&mut right) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Fills in what lies above the diagonal.
fn mirror(matrix: &mut [f32], n: usize) {
    for i in 0..n {
        for j in i + 1..n {
            matrix[i * n + j] = matrix[j * n + i];
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
