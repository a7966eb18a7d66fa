//! How a layer cuts its input into the rows of X: one row per output position, one column per weight of an output
//! channel, in the order of the weight tensor.
//!
//! X is never materialised whole: [`Patches::each_tile`] shows it a few positions at a time, transposed, so that a
//! column of X is a run over positions and most of it is copied in runs, too.

use crate::plane::{Plane, Planes, Reading};
use crate::product::{add_product, add_product_of};
use crate::{Code, Error, Result};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis, s};
use std::ops::Range;

/// How a layer cuts its input into rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patches {
    /// The last axis holds the features (MatMul, Gemm without transA).
    Last,
    /// 2-D convolution patches of an NCHW input; 1-D convolutions have height 1.
    Conv {
        /// Kernel height and width.
        kernel: [usize; 2],
        /// Strides.
        stride: [usize; 2],
        /// Dilations.
        dilation: [usize; 2],
        /// Top, left, bottom, right.
        pads: [usize; 4],
        /// Groups.
        groups: usize,
    },
}

/// Some positions of X for one group.
pub struct Tile<'a> {
    /// The group.
    pub group: usize,
    /// Index in the batch.
    pub image: usize,
    /// Runs of positions within the image, in the order of the columns below; one run where nothing is left out.
    pub runs: &'a [Range<usize>],
    /// Columns of X by positions: X transposed.
    pub columns: ArrayView2<'a, f32>,
}

/// Sizes that follow from an input's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Images in the batch; for a linear layer 1.
    pub batch: usize,
    /// Groups.
    pub groups: usize,
    /// Columns of X.
    pub size: usize,
    /// Output positions of one image.
    pub positions: usize,
}

/// Positions of an image that moments are taken from: runs of neighbours at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The first position.
    pub(super) first: usize,
    /// Positions that lie side by side; the last run may be shorter.
    pub(super) run: usize,
    /// Distance of two runs.
    pub(super) pitch: usize,
    /// Positions in all.
    pub(super) count: usize,
}

impl Patches {
    /// The positions that [`Patches::each_tile`] shows at `step`.
    pub(super) fn taken(&self, dims: &[usize], step: usize) -> Result<Taken> {
        let positions = self.extent(dims)?.positions;
        let run = if step > 1 { self.row(dims).clamp(1, positions.max(1)) } else { positions.max(1) };
        let (first, pitch) = (step / 2 * run, run * step.max(1));
        let runs = (first..positions).step_by(pitch);
        let count = runs.map(|from| run.min(positions - from)).sum();
        Ok(Taken { first, run, pitch, count })
    }

    /// Height and width of the input, and of the output of a convolution.
    pub(super) fn sides(&self, dims: &[usize]) -> Result<([usize; 2], [usize; 2])> {
        let (_, _, height, width) = image(dims)?;
        Ok(([height, width], self.outputs(height, width)))
    }

    /// What the shape of the input implies.
    ///
    /// # Errors
    /// [`Code::Engine`] for a shape that no such layer reads.
    pub fn extent(&self, dims: &[usize]) -> Result<Extent> {
        let Patches::Conv { kernel, groups, .. } = self else {
            let size = dims.last().copied().unwrap_or(0);
            let positions = dims[..dims.len().saturating_sub(1)].iter().product();
            return Ok(Extent { batch: 1, groups: 1, size, positions });
        };
        let (batch, channels, height, width) = image(dims)?;
        let [rows, columns] = self.outputs(height, width);
        let size = channels / (*groups).max(1) * kernel[0] * kernel[1];
        Ok(Extent { batch, groups: *groups, size, positions: rows * columns })
    }

    /// Positions that lie side by side.
    fn row(&self, dims: &[usize]) -> usize {
        match (self, image(dims)) {
            (Patches::Conv { .. }, Ok((_, _, height, width))) => match self.outputs(height, width) {
                [1, columns] => columns.min(RUN),
                [_, columns] => columns,
            },
            _ => RUN,
        }
    }

    /// The step at which enough positions of an image are shown: eight times as many as the moments have columns,
    /// since neighbouring ones say nearly the same.
    pub fn sparse_step(&self, dims: &[usize]) -> usize {
        self.step(dims, ENOUGH)
    }

    /// The step that suffices where widths are compared: each of them errs by the same moments.
    pub fn coarse_step(&self, dims: &[usize]) -> usize {
        self.step(dims, ENOUGH_TO_COMPARE)
    }

    fn step(&self, dims: &[usize], enough: usize) -> usize {
        let Ok(extent) = self.extent(dims) else { return 1 };
        let rows = extent.positions.div_ceil(self.row(dims).max(1));
        extent.positions.div_ceil((8 * extent.size).clamp(128, enough)).clamp(1, rows.max(1))
    }

    /// Height and width of the output.
    fn outputs(&self, height: usize, width: usize) -> [usize; 2] {
        let Patches::Conv { kernel, stride, dilation, pads, .. } = self else { return [1, 1] };
        [0, 1].map(|axis| {
            let reach = dilation[axis] * (kernel[axis] - 1) + 1;
            let extent = [height, width][axis] + pads[axis] + pads[axis + 2];
            extent.checked_sub(reach).map_or(0, |r| r / stride[axis] + 1)
        })
    }

    /// Shows X of one tensor tile by tile: images outermost, then groups, then positions. Of a large image every
    /// `step`-th row of positions is shown (every `step`-th run of 16 positions of a linear layer).
    pub fn each_tile(
        &self,
        dims: &[usize],
        values: &[f32],
        step: usize,
        see: &mut dyn FnMut(Tile) -> Result<()>,
    ) -> Result<Extent> {
        let extent = self.extent(dims)?;
        let most = (TILE / extent.size.max(1)).clamp(256, 8192);
        self.each_part(dims, values, (step, most), see)
    }

    /// Shows X of one tensor image by image, and of each image group by group, all positions that are taken at `step`
    /// together.
    pub(super) fn each_image(
        &self,
        dims: &[usize],
        values: &[f32],
        step: usize,
        see: &mut dyn FnMut(Tile) -> Result<()>,
    ) -> Result<Extent> {
        self.each_part(dims, values, (step, usize::MAX), see)
    }

    /// Shows X in tiles of about `most` positions of an image.
    fn each_part(
        &self,
        dims: &[usize],
        values: &[f32],
        (step, most): (usize, usize),
        see: &mut dyn FnMut(Tile) -> Result<()>,
    ) -> Result<Extent> {
        let extent = self.extent(dims)?;
        if extent.size == 0 || extent.positions == 0 || extent.groups == 0 {
            return Ok(extent);
        }
        let tiles = self.tiles(dims, extent, step, most);
        let Patches::Conv { kernel, stride, dilation, pads, groups } = self else {
            let rows = ArrayView2::from_shape((extent.positions, extent.size), values).map_err(|_| misfit())?;
            for runs in &tiles {
                if most == usize::MAX && runs.len() > 1 {
                    let parts: Vec<_> = runs.iter().map(|run| rows.slice(s![run.clone(), ..])).collect();
                    let all = ndarray::concatenate(Axis(0), &parts).map_err(|_| misfit())?;
                    see(Tile { group: 0, image: 0, runs, columns: all.view().reversed_axes() })?;
                    continue;
                }
                for run in runs {
                    let columns = rows.slice(s![run.clone(), ..]).reversed_axes();
                    see(Tile { group: 0, image: 0, runs: std::slice::from_ref(run), columns })?;
                }
            }
            return Ok(extent);
        };
        let (batch, channels, height, width) = image(dims)?;
        let [_, columns_out] = self.outputs(height, width);
        let plane = height * width;
        let fan = channels / groups;
        let pointwise = self.is_plain();
        let geometry = Geometry { stride: *stride, pads: *pads, height, width, columns_out };
        let mut tile: Vec<f32> = vec![];
        for (image, group) in (0..batch).flat_map(|i| (0..*groups).map(move |g| (i, g))) {
            let start = (image * channels + group * fan) * plane;
            let input = &values[start..start + fan * plane];
            for runs in &tiles {
                if let (true, [run]) = (pointwise, runs.as_slice()) {
                    let view = ArrayView2::from_shape((fan, plane), input).map_err(|_| misfit())?;
                    see(Tile { group, image, runs, columns: view.slice(s![.., run.clone()]) })?;
                    continue;
                }
                let shape = (extent.size, runs.iter().map(Range::len).sum::<usize>());
                tile.resize(shape.0 * shape.1, 0.0);
                let mut lines = tile.chunks_exact_mut(shape.1);
                for plane in input.chunks_exact(plane) {
                    for (i, j) in (0..kernel[0]).flat_map(|i| (0..kernel[1]).map(move |j| (i, j))) {
                        let Some(mut line) = lines.next() else { break };
                        for run in runs {
                            let (head, rest) = line.split_at_mut(run.len());
                            geometry.fill([i * dilation[0], j * dilation[1]], plane, run.clone(), head);
                            line = rest;
                        }
                    }
                }
                let view = ArrayView2::from_shape(shape, &tile[..]).map_err(|_| misfit())?;
                see(Tile { group, image, runs, columns: view })?;
            }
        }
        Ok(extent)
    }

    /// The runs of positions of each tile.
    fn tiles(&self, dims: &[usize], extent: Extent, step: usize, most: usize) -> Vec<Vec<Range<usize>>> {
        let row = if step > 1 { self.row(dims).clamp(1, extent.positions) } else { most.min(extent.positions) };
        let mut tiles: Vec<Vec<Range<usize>>> = vec![];
        let mut filled = usize::MAX;
        for from in (step / 2 * row..extent.positions).step_by(row * step.max(1)) {
            let run = from..(from + row).min(extent.positions);
            if filled.saturating_add(run.len()) > most || tiles.is_empty() {
                tiles.push(vec![]);
                filled = 0;
            }
            filled += run.len();
            tiles.last_mut().into_iter().for_each(|tile| tile.push(run.clone()));
        }
        tiles
    }

    /// Whether X is the input as it lies there.
    fn is_plain(&self) -> bool {
        match self {
            Patches::Last => true,
            Patches::Conv { kernel, stride, pads, .. } => *kernel == [1, 1] && *stride == [1, 1] && *pads == [0; 4],
        }
    }

    /// Adds X `delta`' and `shift` to a tensor in the layout of the layer's output; `delta` holds rows of output
    /// channels by columns.
    pub fn add_product(
        &self,
        dims: &[usize],
        values: &[f32],
        delta: &[f32],
        shift: &[f32],
        out: &mut [f32],
    ) -> Result<()> {
        let extent = self.extent(dims)?;
        let channels = delta.len() / extent.size.max(1);
        let each = channels / extent.groups.max(1);
        let fits = delta.len() == channels * extent.size && channels == each * extent.groups;
        if !fits || shift.len() != channels || out.len() != extent.batch * channels * extent.positions {
            return Err(misfit());
        }
        if extent.size > 0 && extent.positions > 0 && self.add_planes(dims, values, (delta, shift), out) {
            return Ok(());
        }
        if !self.is_plain() {
            return self.add_convolution(dims, values, (delta, shift), out);
        }
        let linear = *self == Patches::Last;
        self.each_tile(dims, values, 1, &mut |tile| {
            // Nothing is left out, so a tile is one run.
            let Some(run) = tile.runs.first().cloned() else { return Ok(()) };
            let rows = tile.group * each..(tile.group + 1) * each;
            let weights = &delta[rows.start * extent.size..rows.end * extent.size];
            let weights = ArrayView2::from_shape((each, extent.size), weights).map_err(|_| misfit())?;
            let shift = ArrayView1::from(&shift[rows.clone()]);
            if linear {
                let part = &mut out[run.start * channels..run.end * channels];
                let mut into = ArrayViewMut2::from_shape((run.len(), channels), part).map_err(|_| misfit())?;
                into += &shift;
                add_product(&tile.columns.t(), &weights.t(), &mut into);
                return Ok(());
            }
            let start = (tile.image * channels + rows.start) * extent.positions;
            let part = &mut out[start..start + each * extent.positions];
            let whole = ArrayViewMut2::from_shape((each, extent.positions), part).map_err(|_| misfit())?;
            let mut into = whole.slice_move(s![.., run]);
            into += &shift.insert_axis(Axis(1));
            add_product(&weights, &tile.columns, &mut into);
            Ok(())
        })?;
        Ok(())
    }

    /// The same for a convolution whose columns are to be gathered.
    fn add_convolution(
        &self,
        dims: &[usize],
        values: &[f32],
        (delta, shift): (&[f32], &[f32]),
        out: &mut [f32],
    ) -> Result<()> {
        let extent = self.extent(dims)?;
        let (_, channels, height, width) = image(dims)?;
        let Some(reading) = self.reading() else { return Err(misfit()) };
        if shift.is_empty() || extent.size == 0 || extent.positions == 0 {
            return Ok(());
        }
        let fan = channels / extent.groups;
        let each = shift.len() / extent.groups;
        let mut planes = Planes::new(&reading, [height, width], self.outputs(height, width), fan);
        let groups = delta.chunks_exact(each * extent.size).zip(shift.chunks_exact(each)).cycle();
        let inputs = values.chunks_exact((fan * height * width).max(1));
        for ((input, part), (delta, shift)) in inputs.zip(out.chunks_exact_mut(each * extent.positions)).zip(groups) {
            planes.load(input);
            let weights = ArrayView2::from_shape((each, extent.size), delta).map_err(|_| misfit())?;
            let mut into = ArrayViewMut2::from_shape((each, extent.positions), part).map_err(|_| misfit())?;
            into += &ArrayView1::from(shift).insert_axis(Axis(1));
            add_product_of(&weights, &mut into, |columns, positions, panel| planes.fill(columns, positions, panel));
        }
        Ok(())
    }

    /// How a convolution reads a plane.
    fn reading(&self) -> Option<Reading> {
        let Patches::Conv { kernel, stride, dilation, pads, .. } = self else { return None };
        Some(Reading { kernel: *kernel, strides: *stride, pads: *pads, dilations: *dilation })
    }

    /// The same for filters that read one channel each, which need no columns; false for all others.
    fn add_planes(&self, dims: &[usize], values: &[f32], (filters, shift): (&[f32], &[f32]), out: &mut [f32]) -> bool {
        let Patches::Conv { kernel, groups, .. } = self else { return false };
        let Ok((_, channels, height, width)) = image(dims) else { return false };
        if channels != *groups || filters.len() != channels * kernel[0] * kernel[1] {
            return false;
        }
        let output = self.outputs(height, width);
        let Some(reading) = self.reading() else { return false };
        let mut plane = Plane::new(&reading, [height, width], output);
        let mut found = vec![0f32; output[0] * output[1]];
        let filters = filters.chunks_exact(plane.taps()).zip(shift).cycle();
        for ((from, to), (filter, shift)) in
            values.chunks_exact(height * width).zip(out.chunks_exact_mut(found.len())).zip(filters)
        {
            plane.load(from);
            plane.convolve(filter, *shift, &mut found);
            to.iter_mut().zip(&found).for_each(|(sum, v)| *sum += v);
        }
        true
    }
}

/// Positions of one image that moments are taken from at most, about.
const ENOUGH: usize = 1024;
/// The same where moments only compare widths.
const ENOUGH_TO_COMPARE: usize = 256;
/// Positions of a linear layer, or of a 1-D convolution, that are taken or left together.
const RUN: usize = 16;

/// Elements of a tile, where positions are neither very few nor very many: it stays in the second cache.
const TILE: usize = 1 << 16;

fn image(dims: &[usize]) -> Result<(usize, usize, usize, usize)> {
    match *dims {
        [n, c, l] => Ok((n, c, 1, l)),
        [n, c, h, w] => Ok((n, c, h, w)),
        _ => Err(Error::new(Code::Engine, format!("a convolution reads a tensor of shape {dims:?}"))),
    }
}

struct Geometry {
    stride: [usize; 2],
    pads: [usize; 4],
    height: usize,
    width: usize,
    columns_out: usize,
}

impl Geometry {
    /// What the kernel element at `offset` sees at `positions`; 0 in the padding.
    fn fill(&self, offset: [usize; 2], plane: &[f32], positions: Range<usize>, line: &mut [f32]) {
        let (mut row, mut first) = (positions.start / self.columns_out, positions.start % self.columns_out);
        let mut rest = line;
        while !rest.is_empty() {
            let run = (self.columns_out - first).min(rest.len());
            let (into, tail) = rest.split_at_mut(run);
            let y = (row * self.stride[0] + offset[0]).wrapping_sub(self.pads[0]);
            match y < self.height {
                true => self.fill_row(offset[1], &plane[y * self.width..(y + 1) * self.width], first, into),
                false => into.fill(0.0),
            }
            (row, first, rest) = (row + 1, 0, tail);
        }
    }

    fn fill_row(&self, offset: usize, source: &[f32], first: usize, into: &mut [f32]) {
        let start = (first * self.stride[1] + offset) as isize - self.pads[1] as isize;
        if self.stride[1] == 1 {
            let lead = ((-start).max(0) as usize).min(into.len());
            let from = (start + lead as isize).max(0) as usize;
            let count = (into.len() - lead).min(source.len().saturating_sub(from));
            into[..lead].fill(0.0);
            into[lead..lead + count].copy_from_slice(&source[from.min(source.len())..][..count]);
            into[lead + count..].fill(0.0);
            return;
        }
        for (i, v) in into.iter_mut().enumerate() {
            let x = start + (i * self.stride[1]) as isize;
            *v = usize::try_from(x).ok().and_then(|x| source.get(x)).copied().unwrap_or(0.0);
        }
    }
}

pub(super) fn misfit() -> Error {
    Error::new(Code::Engine, "a layer's output does not have the shape that its input and attributes imply")
}
