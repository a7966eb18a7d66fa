//! The CPU implementation: what the numbers mean.

use super::gram::Scratch;
use super::{Backend, ChannelStats, Gram, Histogram, Request, Session, TensorStats};
use crate::Result;
use crate::engine::Seen;

/// Statistics on the CPU, sequential within a tensor; callers run samples in parallel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

/// Elements that are summed in f32 before the sum moves to f64: short enough that rounding stays below 1e-6.
const BLOCK: usize = 256;
/// Independent accumulators, so that the compiler can use vector registers.
const LANES: usize = 16;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn session(&self, layers: usize) -> Box<dyn Session + '_> {
        Box::new(Pass { sums: vec![Gram::default(); layers], found: vec![], scratch: Scratch::default() })
    }
}

/// X'X by layer, and the statistics that nobody has collected yet.
struct Pass {
    sums: Vec<Gram>,
    found: Vec<TensorStats>,
    scratch: Scratch,
}

impl Session for Pass {
    fn measure(&mut self, tensor: &Seen, request: &Request, moments: bool) -> Result<()> {
        let (dims, values) = (tensor.dims(), tensor.values()?);
        for gram in request.grams.iter().filter(|_| moments) {
            self.sums[gram.layer].add(dims, &values, gram, &mut self.scratch)?;
        }
        self.found.push(Cpu.tensor(dims, &values, request));
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<TensorStats>> {
        Ok(std::mem::take(&mut self.found))
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Gram>> {
        self.sums.iter_mut().for_each(Gram::finish);
        Ok(self.sums)
    }
}

impl Cpu {
    /// Statistics of one tensor of shape `dims`.
    pub fn tensor(&self, dims: &[usize], values: &[f32], request: &Request) -> TensorStats {
        let mut stats = moments(values);
        stats.histogram = match stats.nans + stats.infinities {
            0 => Histogram::new(values, stats.min, stats.max),
            _ => {
                // Zeros are not counted, and what stands where decides which blocks are.
                let finite: Vec<f32> = values.iter().map(|v| if v.is_finite() { *v } else { 0.0 }).collect();
                Histogram::new(&finite, stats.min, stats.max)
            }
        };
        if let Some(axis) = request.axis(dims.len()) {
            stats.channels = channels(values, dims, axis);
        }
        stats
    }
}

fn moments(values: &[f32]) -> TensorStats {
    let mut stats = TensorStats { min: f32::INFINITY, max: f32::NEG_INFINITY, ..Default::default() };
    for block in values.chunks(BLOCK) {
        match all_finite(block) {
            true => add_finite(&mut stats, block),
            false => add_any(&mut stats, block),
        }
    }
    if stats.count == 0 {
        (stats.min, stats.max) = (0.0, 0.0);
    }
    stats
}

/// The greatest magnitude as an integer: comparing bit patterns has no latency chain, unlike summing floats.
fn all_finite(block: &[f32]) -> bool {
    block.iter().fold(0, |most, v| most.max(v.to_bits() & 0x7fff_ffff)) < f32::INFINITY.to_bits()
}

/// Non-finite elements are rare: the block that holds one is compacted first.
fn add_any(stats: &mut TensorStats, block: &[f32]) {
    stats.nans += block.iter().filter(|v| v.is_nan()).count() as u64;
    stats.infinities += block.iter().filter(|v| v.is_infinite()).count() as u64;
    let finite: Vec<f32> = block.iter().copied().filter(|v| v.is_finite()).collect();
    add_finite(stats, &finite);
}

fn add_finite(stats: &mut TensorStats, block: &[f32]) {
    let mut lanes = Lanes::default();
    let mut chunks = block.chunks_exact(LANES);
    for chunk in &mut chunks {
        lanes.add(chunk);
    }
    stats.count += block.len() as u64;
    lanes.store(stats);
    let whole = &block[..block.len() - chunks.remainder().len()];
    stats.sum += total(&lanes.sum, || whole.iter().map(|v| f64::from(*v)).sum());
    stats.sum_abs += total(&lanes.abs, || whole.iter().map(|v| f64::from(v.abs())).sum());
    for &v in chunks.remainder() {
        let (wide, square) = (f64::from(v), f64::from(v) * f64::from(v));
        (stats.min, stats.max) = (stats.min.min(v), stats.max.max(v));
        stats.zeros += u64::from(v == 0.0);
        stats.sum += wide;
        stats.sum_abs += wide.abs();
        stats.sum_squares += square;
        stats.sum_fourth += square * square;
    }
}

/// The sum of f32 lanes; `exact` where one of them overflowed, as those of finite elements can.
fn total(lanes: &[f32; LANES], exact: impl FnOnce() -> f64) -> f64 {
    let sum: f64 = lanes.iter().map(|s| f64::from(*s)).sum();
    if sum.is_finite() { sum } else { exact() }
}

/// Vector accumulators of one block. Squares are summed in f64: they overflow f32 where values do not.
struct Lanes {
    min: [f32; LANES],
    max: [f32; LANES],
    zeros: [u32; LANES],
    sum: [f32; LANES],
    abs: [f32; LANES],
    square: [f64; LANES],
    fourth: [f64; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes {
            min: [f32::INFINITY; LANES],
            max: [f32::NEG_INFINITY; LANES],
            zeros: [0; LANES],
            sum: [0.0; LANES],
            abs: [0.0; LANES],
            square: [0.0; LANES],
            fourth: [0.0; LANES],
        }
    }
}

impl Lanes {
    fn add(&mut self, chunk: &[f32]) {
        let chunk: &[f32; LANES] = match chunk.try_into() {
            Ok(chunk) => chunk,
            Err(_) => return,
        };
        for (i, &v) in chunk.iter().enumerate() {
            self.min[i] = if v < self.min[i] { v } else { self.min[i] };
            self.max[i] = if v > self.max[i] { v } else { self.max[i] };
            self.zeros[i] += u32::from(v == 0.0);
            self.sum[i] += v;
            self.abs[i] += v.abs();
            let square = f64::from(v) * f64::from(v);
            self.square[i] += square;
            self.fourth[i] += square * square;
        }
    }

    fn store(&self, stats: &mut TensorStats) {
        for i in 0..LANES {
            stats.min = stats.min.min(self.min[i]);
            stats.max = stats.max.max(self.max[i]);
            stats.zeros += u64::from(self.zeros[i]);
            stats.sum_squares += self.square[i];
            stats.sum_fourth += self.fourth[i];
        }
    }
}

fn channels(values: &[f32], dims: &[usize], axis: usize) -> Vec<ChannelStats> {
    let (extent, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    if extent == 0 || inner == 0 {
        return vec![];
    }
    let blank = ChannelStats { min: f32::INFINITY, max: f32::NEG_INFINITY, mean: 0.0 };
    let mut stats = vec![blank; extent];
    if inner == 1 {
        values.chunks_exact(extent).for_each(|row| add_features(&mut stats, row));
    } else {
        values.chunks_exact(inner).enumerate().for_each(|(i, plane)| add_plane(&mut stats[i % extent], plane));
    }
    let each = (values.len() / extent).max(1) as f64;
    for channel in &mut stats {
        channel.mean /= each;
        if channel.min > channel.max {
            (channel.min, channel.max) = (0.0, 0.0);
        }
    }
    stats
}

/// One element of every channel.
fn add_features(stats: &mut [ChannelStats], row: &[f32]) {
    for (channel, v) in stats.iter_mut().zip(row).filter(|(_, v)| v.is_finite()) {
        (channel.min, channel.max) = (channel.min.min(*v), channel.max.max(*v));
        channel.mean += f64::from(*v);
    }
}

/// Many elements of one channel.
fn add_plane(channel: &mut ChannelStats, plane: &[f32]) {
    for block in plane.chunks(BLOCK) {
        if !all_finite(block) {
            block.iter().for_each(|v| add_features(std::slice::from_mut(channel), &[*v]));
            continue;
        }
        let (mut sum, mut min, mut max) = ([0f32; LANES], [f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut chunks = block.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (i, v) in chunk.iter().enumerate() {
                sum[i] += v;
                min[i] = if *v < min[i] { *v } else { min[i] };
                max[i] = if *v > max[i] { *v } else { max[i] };
            }
        }
        let whole = &block[..block.len() - chunks.remainder().len()];
        channel.mean += total(&sum, || whole.iter().map(|v| f64::from(*v)).sum());
        channel.min = min.iter().fold(channel.min, |a, b| a.min(*b));
        channel.max = max.iter().fold(channel.max, |a, b| a.max(*b));
        chunks.remainder().iter().for_each(|v| add_features(std::slice::from_mut(channel), &[*v]));
    }
}
