//! X'X of convolutions whose groups have few columns each: a thread adds up whole shares, of which no tile is made.

use super::gram::{Target, Task};
use super::kernels::Kernel;
use super::lane::Lane;
use super::machine::{Argument, Machine};
use crate::Result;
use crate::stats::Extent;
use crate::stats::gram::SHARE;

/// Columns that the kernels have room for.
const FEW: usize = 9;
const SOME: usize = 27;
/// With fewer groups most lanes would idle, and a tile has more threads for the sums of one group.
const LEAST_GROUPS: usize = 4;
/// Groups of a block, and of one that finishes.
const LANES: usize = 32;
const FINISHED: usize = 128;

/// The kernel for such groups; `None` where tiles are better.
pub(super) fn kernel(extent: Extent) -> Option<Kernel> {
    let kernel = if extent.size <= FEW { Kernel::GramGroups9 } else { Kernel::GramGroups27 };
    (extent.groups >= LEAST_GROUPS && extent.size <= SOME).then_some(kernel)
}

/// Queues the kernels for one tensor.
///
/// The sums of shares wait in memory for the last step: up to 1.6 KB for a share of a group, of as many images as
/// [`Task::partial`] allows, of one at least.
pub(super) fn launch<M: Machine>(lane: &mut Lane<M>, address: u64, task: Task, target: Target) -> Result<()> {
    use Argument::{Address, Word};
    let Extent { size, groups, batch, .. } = task.extent;
    // Pairs of columns, each with itself among them, and columns.
    let sums = size * (size + 1) / 2 + size;
    let shares = (task.reading.taken as usize).div_ceil(SHARE);
    let bytes = 4 * sums * groups * shares;
    let at_once = (task.partial / bytes).min(batch).max(1);
    let partial = lane.partial.reserve(&mut lane.machine, bytes * at_once)?;
    let few = target.own + 8 * (groups * size) as u64;
    let (word, flag) = (|size: usize| Word(size as u32), |set: bool| Word(u32::from(set)));
    for first in (0..batch).step_by(at_once) {
        let now = at_once.min(batch - first);
        let read = [Address(address), Argument::Reading(task.reading), word(groups), word(size)];
        let part = [word(first), word(shares), Address(partial)];
        let grid = [now * shares, groups.div_ceil(LANES), 1];
        lane.machine.launch(task.kernel, grid, &[&read[..], &part].concat())?;
        let from = [Address(partial), word(groups), word(now), word(shares), word(size)];
        let all = [Address(target.totals.0), Address(target.totals.1), flag(target.add || first > 0)];
        let own = [Address(few), Address(target.own), flag(first > 0)];
        let grid = [groups.div_ceil(FINISHED), sums, 1];
        lane.machine.launch(Kernel::GramGroupsFinish, grid, &[&from[..], &all, &own].concat())?;
    }
    Ok(())
}
