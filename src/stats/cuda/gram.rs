//! X'X of layer inputs, summed over samples on the device.

use super::groups;
use super::kernels::Kernel;
use super::lane::Lane;
use super::machine::{Argument, Machine, Reading, long};
use crate::Result;
use crate::stats::gram::{SHARE, Scratch};
use crate::stats::moments::{SampleMoments, Samples, kept_columns};
use crate::stats::{Extent, Gram, GramRequest, Patches};

/// A sum over samples that stays on the device until it is fetched.
pub(super) struct Resident<M: Machine> {
    sum: Option<Sum<M>>,
    /// What the kernels cannot read, measured on the CPU.
    rest: Gram,
}

struct Sum<M: Machine> {
    extent: Extent,
    data: M::Buffer,
    sums: M::Buffer,
    samples: Samples,
}

impl<M: Machine> Resident<M> {
    /// Remembers a sample that was added.
    pub(super) fn note(&mut self, sample: SampleMoments) {
        if let Some(sum) = &mut self.sum {
            sum.samples.note(sample);
        }
    }
}

impl<M: Machine> Default for Resident<M> {
    fn default() -> Self {
        Resident { sum: None, rest: Gram::default() }
    }
}

/// Columns of a tile.
const TILE: usize = 64;
/// Blocks that fill the largest devices once.
const BLOCKS: usize = 528;
/// Blocks along the second axis of a grid at most.
const MOST_LINES: usize = 65535;
/// Bytes of partial tiles at most.
const MOST_PARTIAL: usize = 256 << 20;

/// What comes back of one tensor beside the sums over all samples: column sums, then products of the kept columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    extent: Extent,
    rows: usize,
}

impl Moments {
    /// Of a tensor that is added as `task` says.
    pub(super) fn of(task: Task) -> Self {
        Moments { extent: task.extent, rows: task.rows }
    }

    /// Bytes on the device, a multiple of 8.
    pub(super) fn bytes(&self) -> usize {
        let (kept, _) = kept_columns(self.extent.size);
        self.extent.groups * (8 * self.extent.size + (4 * kept * kept).next_multiple_of(8))
    }

    /// What lies at the start of `words`.
    pub(super) fn read(&self, words: &[u64]) -> SampleMoments {
        let Extent { size, groups, .. } = self.extent;
        let (kept, step) = kept_columns(size);
        let (sums, products) = words.split_at(groups * size);
        let sums = (0..groups * kept).map(|i| f64::from_bits(sums[i / kept * size + i % kept * step])).collect();
        let products: &[f32] = bytemuck::cast_slice(products);
        SampleMoments::measured(self.rows as u64, &products[..groups * kept * kept], kept, sums)
    }
}

/// What a launch needs to know of one tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// The kernel.
    pub(super) kernel: Kernel,
    /// Its view of the tensor.
    pub(super) reading: Reading,
    /// Columns and groups.
    pub(super) extent: Extent,
    /// Rows of X, of one group.
    pub(super) rows: usize,
    /// Bytes of partial sums at most, but for one image; further images are added in a further pass.
    pub(super) partial: usize,
    /// Blocks of tiles from which on images are not cut into parts.
    pub(super) blocks: usize,
}

impl Task {
    /// `None` where a size does not fit the kernels' integers, or there is nothing to do.
    pub(super) fn of(dims: &[usize], values: usize, patches: &Patches) -> Result<Option<Task>> {
        let extent = patches.extent(dims)?;
        let taken = patches.taken(dims, patches.coarse_step(dims))?;
        let small = |v: usize| i32::try_from(v).ok();
        let word = |v: usize| u32::try_from(v).ok();
        let counts = || {
            let first = Reading { taken: word(taken.count)?, first: word(taken.first)?, ..Reading::default() };
            Some(Reading { run: word(taken.run)?, pitch: word(taken.pitch)?, columns_out: 1, ..first })
        };
        let two = |v: &[usize]| Some([small(v[0])?, small(v[1])?]);
        let (kernel, reading) = match patches {
            Patches::Last => (Kernel::GramLinear, counts()),
            Patches::Conv { kernel, stride, dilation, pads, groups } => {
                let ([height, width], [_, columns_out]) = patches.sides(dims)?;
                let channels = dims[1];
                let reach = (0..2).map(|i| dilation[i] * kernel[i].saturating_sub(1)).max().unwrap_or(0);
                let reading = || {
                    let input = [small(channels)?, small(height)?, small(width)?, small(channels / (*groups).max(1))?];
                    small(channels * height * width)?;
                    i16::try_from(reach).ok()?;
                    Some(Reading {
                        input,
                        kernel: two(kernel)?,
                        stride: two(stride)?,
                        dilation: two(dilation)?,
                        pad: two(&pads[..2])?,
                        columns_out: small(columns_out)?,
                        ..counts()?
                    })
                };
                (groups::kernel(extent).unwrap_or(Kernel::GramConvolution), reading())
            }
        };
        let rows = extent.batch * taken.count;
        let fits = extent.groups <= 65535 && extent.size <= 1 << 16 && u32::try_from(rows + SHARE).is_ok();
        let whole = dims.iter().product::<usize>() == values;
        let some = extent.size * extent.groups * rows > 0;
        Ok(reading.filter(|_| fits && whole && some).map(|reading| Task {
            kernel,
            reading,
            extent,
            rows,
            partial: MOST_PARTIAL,
            blocks: BLOCKS,
        }))
    }

    fn tiles(&self) -> usize {
        let lines = self.extent.size.div_ceil(TILE);
        lines * (lines + 1) / 2
    }

    /// Parts that the rows of an image are cut into, one a block, and images of one pass. It makes no difference to the
    /// result: parts are shares, whose sums are added up one by one in any case.
    fn cut(&self) -> (usize, usize) {
        let (blocks, images) = (self.tiles() * self.extent.groups, self.extent.batch);
        let taken = self.reading.taken as usize;
        let parts = if blocks * images < self.blocks { taken.div_ceil(SHARE).clamp(1, MOST_LINES) } else { 1 };
        let most = (self.partial / (4 * TILE * TILE * blocks * parts)).min(MOST_LINES / parts);
        (parts, images.min(most.max(1)))
    }
}

/// Adds the rows of one tensor on the host that lies on the device, too.
pub(super) fn add<M: Machine>(
    lane: &mut Lane<M>,
    address: u64,
    dims: &[usize],
    values: &[f32],
    request: &GramRequest,
    into: &mut Resident<M>,
) -> Result<()> {
    match Task::of(dims, values.len(), &request.patches)? {
        Some(task) => add_at(lane, address, task, into),
        None => into.rest.add(dims, values, request, &mut Scratch::default()),
    }
}

/// Adds the rows of one tensor on the device.
pub(super) fn add_at<M: Machine>(lane: &mut Lane<M>, address: u64, task: Task, into: &mut Resident<M>) -> Result<()> {
    let moments = Moments::of(task);
    let own = lane.result.reserve(&mut lane.machine, moments.bytes())?;
    queue(lane, address, task, into, own)?;
    into.note(moments.read(&lane.results::<u64>(moments.bytes() / 8)?));
    Ok(())
}

/// Queues the same; `own` gets what [`Moments::read`] reads, for [`Resident::note`].
pub(super) fn queue<M: Machine>(
    lane: &mut Lane<M>,
    address: u64,
    task: Task,
    into: &mut Resident<M>,
    own: u64,
) -> Result<()> {
    let Extent { size, groups, .. } = task.extent;
    let (first, sum) = match into.sum.take() {
        Some(sum) if (sum.extent.size, sum.extent.groups) != (size, groups) => {
            let seen = sum.extent.size;
            into.sum = Some(sum);
            return Err(super::failure(format!("a layer saw inputs of {seen} and of {size} columns")));
        }
        Some(sum) => (false, sum),
        None => {
            let data = lane.machine.allocate(4 * groups * size * size)?;
            let sums = lane.machine.allocate(8 * groups * size)?;
            (true, Sum { extent: task.extent, data, sums, samples: Samples::default() })
        }
    };
    let sum = into.sum.insert(sum);
    let totals = (lane.machine.address(&sum.data), lane.machine.address(&sum.sums));
    launch(lane, address, task, Target { totals, own, add: !first })
}

/// Where a launch writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Matrices and column sums over all samples.
    pub(super) totals: (u64, u64),
    /// Of this tensor alone: column sums, then products of the kept columns.
    pub(super) own: u64,
    /// Whether the totals already hold something.
    pub(super) add: bool,
}

/// Queues the kernels for one tensor.
pub(super) fn launch<M: Machine>(lane: &mut Lane<M>, address: u64, task: Task, target: Target) -> Result<()> {
    use Argument::{Address, Word};
    if matches!(task.kernel, Kernel::GramGroups9 | Kernel::GramGroups27) {
        return groups::launch(lane, address, task, target);
    }
    let Extent { size, groups, .. } = task.extent;
    let ((parts, at_once), tiles, images) = (task.cut(), task.tiles(), task.extent.batch);
    let partial = lane.partial.reserve(&mut lane.machine, 4 * TILE * TILE * tiles * groups * parts * at_once)?;
    let columns = lane.partial_sums.reserve(&mut lane.machine, 8 * size * groups * parts * at_once)?;
    let (kept, step) = kept_columns(size);
    let few = target.own + 8 * (groups * size) as u64;
    let machine = &mut lane.machine;
    for first in (0..images).step_by(at_once) {
        let now = at_once.min(images - first);
        let (add, again) = (Word(u32::from(target.add || first > 0)), Word(u32::from(first > 0)));
        let read = [Address(address), Argument::Reading(task.reading)];
        let range = [Word(size as u32), Word(first as u32), Word(parts as u32)];
        let given = [&read[..], &range, &[Address(partial), Address(columns)]].concat();
        machine.launch(task.kernel, [tiles, now * parts, groups], &given)?;
        let cut = [Word(now as u32), Word(parts as u32)];
        let from_tiles = [&[Address(partial)][..], &cut, &[Word(size as u32), Address(target.totals.0), add]].concat();
        let to_few = [Address(few), Word(kept as u32), Word(step as u32), again];
        machine.launch(Kernel::GramFinish, [16 * tiles, groups, 1], &[&from_tiles[..], &to_few].concat())?;
        let sums = [&[Address(columns)][..], &cut, &[long(groups * size), Address(target.totals.1), add]].concat();
        let own = [Address(target.own), again];
        let grid = [(groups * size).div_ceil(256), 1, 1];
        machine.launch(Kernel::GramSumsFinish, grid, &[&sums[..], &own].concat())?;
    }
    Ok(())
}

/// Everything summed up so far.
pub(super) fn fetch<M: Machine>(lane: &mut Lane<M>, from: Resident<M>) -> Result<Gram> {
    let mut into = from.rest;
    if let Some(Sum { extent, data, sums, samples }) = from.sum {
        let mut matrices = vec![0f32; extent.groups * extent.size * extent.size];
        let mut columns = vec![0f64; extent.groups * extent.size];
        lane.machine.download(&data, bytemuck::cast_slice_mut(&mut matrices))?;
        lane.machine.download(&sums, bytemuck::cast_slice_mut(&mut columns))?;
        let rest = std::mem::replace(&mut into, Gram::measured(&extent, matrices, columns, samples));
        into.merge(&rest)?;
    }
    into.finish();
    Ok(into)
}
