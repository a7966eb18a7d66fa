//! Gram matrices X'X of the inputs of weight layers, grouped convolutions per group.
//!
//! X has one row per output position and one column per weight of an output channel, in the order of the
//! weight tensor. For a linear layer rows are positions and columns input features.

use crate::{Code, Error, Result};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

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
}

/// Rows of X that are materialised at a time: bounds memory and stays in cache.
const TILE: usize = 256;

impl Gram {
    /// Adds the rows of one tensor.
    pub fn add(&mut self, dims: &[usize], values: &[f32], request: &GramRequest) -> Result<()> {
        match &request.patches {
            Patches::Last => {
                let size = dims.last().copied().unwrap_or(0);
                self.prepare(size, 1)?;
                values.chunks(size.max(1) * TILE).for_each(|tile| self.add_tile(0, tile));
                self.rows += (values.len() / size.max(1)) as u64;
                Ok(())
            }
            Patches::Conv { .. } => self.add_conv(dims, values, &request.patches),
        }
    }

    /// Adds another sum of the same layer.
    pub fn merge(&mut self, other: &Gram) -> Result<()> {
        if other.size == 0 {
            return Ok(());
        }
        self.prepare(other.size, other.groups)?;
        self.rows += other.rows;
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// The matrix of one group.
    pub fn group(&self, g: usize) -> &[f32] {
        &self.data[g * self.size * self.size..(g + 1) * self.size * self.size]
    }

    fn prepare(&mut self, size: usize, groups: usize) -> Result<()> {
        if self.data.is_empty() {
            *self =
                Gram { size, groups, rows: 0, data: vec![0.0; groups * size * size], sums: vec![0.0; groups * size] };
        }
        match self.size == size && self.groups == groups {
            true => Ok(()),
            false => {
                Err(Error::new(Code::Engine, format!("a layer saw inputs of {} and of {size} columns", self.size)))
            }
        }
    }

    fn add_tile(&mut self, group: usize, tile: &[f32]) {
        let n = self.size;
        let rows = tile.len() / n.max(1);
        let into = &mut self.data[group * n * n..(group + 1) * n * n];
        gemm_transposed(tile, rows, n, into);
        let sums = &mut self.sums[group * n..(group + 1) * n];
        for row in tile.chunks_exact(n.max(1)) {
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        }
    }

    fn add_conv(&mut self, dims: &[usize], values: &[f32], patches: &Patches) -> Result<()> {
        let Patches::Conv { kernel, stride, dilation, pads, groups } = patches else { return Ok(()) };
        let (batch, channels, height, width) = match *dims {
            [n, c, l] => (n, c, 1, l),
            [n, c, h, w] => (n, c, h, w),
            _ => return Err(Error::new(Code::Engine, format!("a convolution reads a tensor of shape {dims:?}"))),
        };
        let fan = channels / (*groups).max(1);
        let out = |extent: usize, axis: usize| {
            let reach = dilation[axis] * (kernel[axis] - 1) + 1;
            (extent + pads[axis] + pads[axis + 2]).checked_sub(reach).map_or(0, |r| r / stride[axis] + 1)
        };
        let (rows_out, cols_out) = (out(height, 0), out(width, 1));
        self.prepare(fan * kernel[0] * kernel[1], *groups)?;
        let plane = height * width;
        let geometry = Geometry { kernel: *kernel, stride: *stride, dilation: *dilation, pads: *pads, height, width };
        let mut tile = Vec::with_capacity(TILE * self.size);
        for image in 0..batch {
            for g in 0..*groups {
                let start = (image * channels + g * fan) * plane;
                let input = &values[start..start + fan * plane];
                for position in 0..rows_out * cols_out {
                    geometry.push_patch(input, fan, position / cols_out, position % cols_out, &mut tile);
                    if tile.len() == TILE * self.size {
                        self.add_tile(g, &tile);
                        tile.clear();
                    }
                }
                self.add_tile(g, &tile);
                tile.clear();
            }
        }
        self.rows += (batch * rows_out * cols_out) as u64;
        Ok(())
    }
}

struct Geometry {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
    height: usize,
    width: usize,
}

impl Geometry {
    fn push_patch(&self, input: &[f32], channels: usize, row: usize, column: usize, into: &mut Vec<f32>) {
        for c in 0..channels {
            let plane = &input[c * self.height * self.width..(c + 1) * self.height * self.width];
            for i in 0..self.kernel[0] {
                let y = (row * self.stride[0] + i * self.dilation[0]).wrapping_sub(self.pads[0]);
                for j in 0..self.kernel[1] {
                    let x = (column * self.stride[1] + j * self.dilation[1]).wrapping_sub(self.pads[1]);
                    into.push(if y < self.height && x < self.width { plane[y * self.width + x] } else { 0.0 });
                }
            }
        }
    }
}

/// `into += x' x` for a row-major `rows` x `n` tile.
fn gemm_transposed(x: &[f32], rows: usize, n: usize, into: &mut [f32]) {
    let tile = ArrayView2::from_shape((rows, n), &x[..rows * n]);
    let sum = ArrayViewMut2::from_shape((n, n), into);
    if let (Ok(tile), Ok(mut sum)) = (tile, sum) {
        general_mat_mul(1.0, &tile.t(), &tile, 1.0, &mut sum);
    }
}
