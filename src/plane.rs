//! Convolution of single channels, as depthwise layers do it, and the columns that other convolutions multiply.
//!
//! Each input plane is padded and split by stride phase, so that every kernel tap is one contiguous run over the
//! output; the loops then vectorise, whatever the stride, and small planes pay no overhead for each row.

use crate::product::WIDTH;
use crate::wide::wide;
use std::ops::Range;

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
        spread(channel, &self.rows, &self.columns, &mut self.values);
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

/// Puts each element of a channel where its row and its column go.
fn spread(channel: &[f32], rows: &[usize], columns: &[usize], into: &mut [f32]) {
    let contiguous = columns.windows(2).all(|pair| pair[1] == pair[0] + 1);
    for (from, start) in channel.chunks(columns.len()).zip(rows) {
        match columns.first() {
            Some(first) if contiguous => into[start + first..][..from.len()].copy_from_slice(from),
            _ => from.iter().zip(columns).for_each(|(v, at)| into[start + at] = *v),
        }
    }
}

/// Elements that are copied together; what a shorter run does not need is overwritten by the next.
const RUN: usize = 16;

/// Padded channels one after the other: a convolution's input, of which every column of X is made of runs.
pub struct Planes {
    plane: Plane,
    /// Elements of an input channel.
    area: usize,
    values: Vec<f32>,
    /// Where each column starts: channels, and the taps of the kernel within them.
    starts: Vec<usize>,
}

impl Planes {
    /// Planes for so many channels of this size.
    pub fn new(op: &Reading, image: [usize; 2], output: [usize; 2], channels: usize) -> Planes {
        let plane = Plane::new(op, image, output);
        let size = plane.values.len();
        let starts = (0..channels).flat_map(|c| plane.offsets.iter().map(move |tap| c * size + tap)).collect();
        Planes { values: vec![0.0; channels * size + RUN], starts, area: image[0] * image[1], plane }
    }

    /// Spreads the input channels; the padding around them stays zero.
    pub fn load(&mut self, channels: &[f32]) {
        let planes = self.values.chunks_exact_mut(self.plane.values.len().max(1));
        for (from, into) in channels.chunks_exact(self.area.max(1)).zip(planes) {
            spread(from, &self.plane.rows, &self.plane.columns, into);
        }
    }

    /// Copies the columns `columns` of X at up to [`WIDTH`] output positions into a panel, a row each; the panel has one
    /// row more than it is given columns.
    pub fn fill(&self, columns: Range<usize>, positions: Range<usize>, panel: &mut [[f32; WIDTH]]) {
        let width = self.plane.output[1];
        let (mut copies, mut at) = (vec![], positions.start);
        while at < positions.end {
            let (y, x) = (at / width, at % width);
            let run = (width - x).min(positions.end - at);
            let from = y * self.plane.pitch + x;
            copies.extend((0..run).step_by(RUN).map(|i| (from + i, at - positions.start + i)));
            at += run;
        }
        let flat = panel.as_flattened_mut();
        wide(
            #[inline(always)]
            || {
                for (row, start) in self.starts[columns].iter().enumerate() {
                    let line = &mut flat[row * WIDTH..][..WIDTH + RUN];
                    for (from, to) in &copies {
                        line[*to..][..RUN].copy_from_slice(&self.values[start + from..][..RUN]);
                    }
                }
            },
        );
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
