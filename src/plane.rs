//! Convolution of single channels, as depthwise layers do it.
//!
//! Each input plane is padded and split by stride phase, so that every kernel tap is one contiguous run over the
//! output; the loops then vectorise, whatever the stride, and small planes pay no overhead for each row.

use crate::wide::wide;

/// Elements of output that are accumulated at once, so that they stay in the first cache.
const BLOCK: usize = 2048;

/// How a filter reads a plane.
pub struct Reading {
    /// Height and width of the filter.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub strides: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Steps between elements of the filter.
    pub dilations: [usize; 2],
}

/// One padded channel, its rows and columns sorted by stride phase, and where each tap of the kernel starts in it.
pub struct Plane {
    values: Vec<f32>,
    /// Where each element of an input row goes, and where each row starts.
    columns: Vec<usize>,
    rows: Vec<usize>,
    /// Elements between two output rows.
    pitch: usize,
    offsets: Vec<usize>,
    accumulator: Vec<f32>,
    output: [usize; 2],
}

impl Plane {
    /// A plane for images of this size.
    pub fn new(op: &Reading, image: [usize; 2], output: [usize; 2]) -> Plane {
        let ([sh, sw], kernel) = (op.strides, op.kernel);
        let phase_rows = (image[0] + op.pads[0] + op.pads[2]).div_ceil(sh);
        let pitch = (image[1] + op.pads[1] + op.pads[3]).div_ceil(sw);
        let area = phase_rows * pitch;
        let row = |y: usize| (y % sh) * sw * area + (y / sh) * pitch;
        let column = |x: usize| (x % sw) * area + x / sw;
        let taps = (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x)));
        Plane {
            values: vec![0.0; sh * sw * area],
            columns: (0..image[1]).map(|x| column(x + op.pads[1])).collect(),
            rows: (0..image[0]).map(|y| row(y + op.pads[0])).collect(),
            pitch,
            offsets: taps.map(|(y, x)| row(y * op.dilations[0]) + column(x * op.dilations[1])).collect(),
            accumulator: Vec::new(),
            output,
        }
    }

    /// Elements of a filter.
    pub fn taps(&self) -> usize {
        self.offsets.len()
    }

    /// Spreads an input channel; the padding around it stays zero.
    pub fn load(&mut self, channel: &[f32]) {
        let contiguous = self.columns.windows(2).all(|pair| pair[1] == pair[0] + 1);
        for (from, start) in channel.chunks(self.columns.len()).zip(&self.rows) {
            match self.columns.first() {
                Some(first) if contiguous => {
                    self.values[start + first..][..from.len()].copy_from_slice(from);
                }
                _ => from.iter().zip(&self.columns).for_each(|(v, at)| self.values[start + at] = *v),
            }
        }
    }

    /// One output channel.
    pub fn convolve(&mut self, filter: &[f32], bias: f32, output: &mut [f32]) {
        let width = self.output[1];
        let block = (BLOCK / self.pitch).max(1);
        for (index, rows) in output.chunks_mut(block * width).enumerate() {
            let length = (rows.len() / width - 1) * self.pitch + width;
            self.accumulator.clear();
            self.accumulator.resize(length, bias);
            let values = &self.values[index * block * self.pitch..];
            wide(
                #[inline(always)]
                || accumulate(&mut self.accumulator, values, &self.offsets, filter),
            );
            for (to, from) in rows.chunks_mut(width).zip(self.accumulator.chunks(self.pitch)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }
}

/// Adds `values[offset..]` times the filter's tap for every tap; three at a time spares memory traffic.
#[inline(always)]
fn accumulate(sums: &mut [f32], values: &[f32], offsets: &[usize], filter: &[f32]) {
    let n = sums.len();
    for (at, taps) in offsets.chunks(3).zip(filter.chunks(3)) {
        if let ([a, b, c], [fa, fb, fc]) = (at, taps) {
            let (a, b, c) = (&values[*a..][..n], &values[*b..][..n], &values[*c..][..n]);
            for i in 0..n {
                sums[i] += fa * a[i] + fb * b[i] + fc * c[i];
            }
        } else {
            for (at, tap) in at.iter().zip(taps) {
                sums.iter_mut().zip(&values[*at..][..n]).for_each(|(sum, v)| *sum += tap * v);
            }
        }
    }
}
