//! Statistics of one tensor: moments in one pass, then a histogram between the extremes found, without waiting between.

use super::kernels::Kernel;
use super::lane::Lane;
use super::machine::{Argument, Machine, long};
use crate::Result;
use crate::stats::{ChannelStats, Cpu, Histogram, Request, TensorStats};

/// How a tensor is cut into channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Elements before the channel axis; rows where `inner` is 1.
    pub(super) outer: usize,
    /// Channels; 1 for a tensor without.
    pub(super) channels: usize,
    /// Elements of one channel that lie side by side.
    pub(super) inner: usize,
    /// Whether the channels' statistics are asked for.
    pub(super) wanted: bool,
}

impl Cut {
    /// How `request` cuts a tensor of `dims`.
    pub(super) fn of(dims: &[usize], request: &Request) -> Cut {
        match request.axis(dims.len()) {
            Some(axis) => Cut {
                outer: dims[..axis].iter().product(),
                channels: dims[axis],
                inner: dims[axis + 1..].iter().product(),
                wanted: true,
            },
            None => Cut { outer: 1, channels: 1, inner: dims.iter().product(), wanted: false },
        }
    }

    /// Elements.
    pub(super) fn len(&self) -> usize {
        self.outer * self.channels * self.inner
    }

    fn features(&self) -> bool {
        self.wanted && self.inner == 1 && self.channels > 1
    }

    /// Blocks across, and shares of the elements of each.
    fn grid(&self) -> (usize, usize) {
        let (across, work) = match self.features() {
            true => (self.channels.div_ceil(FEATURES), self.outer.div_ceil(ROWS)),
            false => (self.channels, (self.outer * (self.inner + 3)).div_ceil(SEGMENT).div_ceil(WARPS)),
        };
        let most = if self.features() { MOST_FEATURE_BLOCKS } else { MOST_BLOCKS };
        (across, work.clamp(1, (most / across).max(1)))
    }
}

/// Channels of one block of `moments_features`, and rows that it reads at a time.
const FEATURES: usize = 128;
const ROWS: usize = 32;
/// Elements that a warp of `moments_planes` reads at a time, four chunks, and warps of a block.
const SEGMENT: usize = 512;
const WARPS: usize = 8;
const THREADS: usize = 32 * WARPS;
/// Blocks that fill the largest devices once; more would only have less to do each.
const MOST_BLOCKS: usize = 528;
/// The same for `moments_features`, of which fewer run side by side.
const MOST_FEATURE_BLOCKS: usize = 396;
/// The same for blocks that count.
const COUNTING: usize = 660;
/// Bytes of `Moments`, `Channel` and of the bins.
const MOMENTS: usize = 64;
const CHANNEL: usize = 16;
const BINS: usize = 4 * Histogram::BINS;

/// Statistics of a tensor on the host that lies on the device, too. Empty tensors are left to the CPU.
pub(super) fn tensor<M: Machine>(
    lane: &mut Lane<M>,
    address: u64,
    dims: &[usize],
    values: &[f32],
    request: &Request,
) -> Result<TensorStats> {
    let cut = Cut::of(dims, request);
    if values.is_empty() || cut.len() != values.len() {
        return Ok(Cpu.tensor(dims, values, request));
    }
    at(lane, address, cut)
}

/// Statistics of a tensor on the device, of at least one element. The address is a multiple of 4.
pub(super) fn at<M: Machine>(lane: &mut Lane<M>, address: u64, cut: Cut) -> Result<TensorStats> {
    let result = lane.result.reserve(&mut lane.machine, bytes(cut))?;
    queue(lane, address, cut, result)?;
    Ok(read(&lane.results::<u64>(bytes(cut) / 8)?, cut))
}

/// Bytes of the results.
pub(super) fn bytes(cut: Cut) -> usize {
    MOMENTS + BINS + if cut.wanted { CHANNEL * cut.channels } else { 0 }
}

/// Queues everything that is measured of a tensor; `result` gets what [`read`] reads.
pub(super) fn queue<M: Machine>(lane: &mut Lane<M>, address: u64, cut: Cut, result: u64) -> Result<()> {
    launch_moments(lane, address, cut, result)?;
    launch_histogram(lane, address, cut, Histogram::counted(cut.len()), result)
}

/// Queues the pass over the elements, whose blocks leave their moments in the lane; bins of `result` are cleared.
pub(super) fn launch_moments<M: Machine>(lane: &mut Lane<M>, address: u64, cut: Cut, result: u64) -> Result<()> {
    use Argument::{Address, Word};
    let (across, splits) = cut.grid();
    let [blocks, parts] = partials(lane, cut)?;
    let out = [blocks, parts, Address(result + MOMENTS as u64), Word(Histogram::BINS as u32)];
    let (kernel, sizes) = match cut.features() {
        true => (Kernel::MomentsFeatures, vec![long(cut.outer), long(cut.channels)]),
        false => (Kernel::MomentsPlanes, vec![long(cut.outer), long(cut.channels), long(cut.inner)]),
    };
    lane.machine.launch(kernel, [across, splits, 1], &[&[Address(address)], &sizes[..], &out].concat())
}

/// Where the blocks leave their moments, and those of the channels.
fn partials<M: Machine>(lane: &mut Lane<M>, cut: Cut) -> Result<[Argument; 2]> {
    let (across, splits) = cut.grid();
    let blocks = lane.partial.reserve(&mut lane.machine, MOMENTS * across * splits)?;
    let parts = match cut.wanted {
        true => lane.partial_sums.reserve(&mut lane.machine, CHANNEL * cut.channels * splits)?,
        false => 0,
    };
    Ok([Argument::Address(blocks), Argument::Address(parts)])
}

/// Queues what follows the pass of [`launch_moments`] over the same tensor: the whole from its blocks, and a histogram
/// of every `every`-th block of elements, `counted` blocks in all.
pub(super) fn launch_histogram<M: Machine>(
    lane: &mut Lane<M>,
    address: u64,
    cut: Cut,
    (every, counted): (usize, usize),
    result: u64,
) -> Result<()> {
    use Argument::{Address, Word};
    let (across, splits) = cut.grid();
    let [blocks, parts] = partials(lane, cut)?;
    let finishing = 1 + if cut.wanted { cut.channels.div_ceil(THREADS) } else { 0 };
    // A block counts four blocks of elements at a time.
    let grid = [finishing + counted.div_ceil(4).clamp(1, COUNTING), 1, 1];
    let read = [Address(address), long(cut.len()), long(every), long(counted)];
    let whole = [blocks, long(across * splits), Address(result), Address(result + MOMENTS as u64)];
    let channels = Address(result + (MOMENTS + BINS) as u64);
    let channels = [parts, long(cut.channels), Word(splits as u32), channels];
    lane.machine.launch(Kernel::Histogram, grid, &[read, whole, channels].concat())
}

/// The layout of `Moments`, the bins, and `Channel`s, at the start of `words`.
pub(super) fn read(words: &[u64], cut: Cut) -> TensorStats {
    let words = &words[..bytes(cut) / 8];
    let (low, high) = (|w: u64| f32::from_bits(w as u32), |w: u64| f32::from_bits((w >> 32) as u32));
    let (nans, infinities) = (words[5], words[6]);
    let (mut min, mut max) = (low(words[7]), high(words[7]));
    if min > max {
        (min, max) = (0.0, 0.0);
    }
    let (bins, channels) = words[MOMENTS / 8..].split_at(BINS / 8);
    let each = (cut.len() / cut.channels.max(1)).max(1) as f64;
    let channel = |pair: &[u64]| match (low(pair[1]), high(pair[1])) {
        (min, max) if min > max => ChannelStats::default(),
        (min, max) => ChannelStats { min, max, mean: f64::from_bits(pair[0]) / each },
    };
    TensorStats {
        count: cut.len() as u64 - nans - infinities,
        zeros: words[4],
        nans,
        infinities,
        min,
        max,
        sum: f64::from_bits(words[0]),
        sum_abs: f64::from_bits(words[1]),
        sum_squares: f64::from_bits(words[2]),
        sum_fourth: f64::from_bits(words[3]),
        channels: channels.chunks_exact(2).map(channel).collect(),
        histogram: Histogram { lo: min, hi: max, counts: bytemuck::cast_slice(bins).to_vec() },
    }
}
