//! Errors of candidate ranges: all widths and clips in one launch.

use super::kernels::Kernel;
use super::lane::Lane;
use super::machine::{Argument, Machine};
use crate::Result;

/// A range to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Step of the grid; positive.
    pub scale: f64,
    /// Least value that is represented; negative infinity for no bound.
    pub lo: f64,
    /// Greatest value that is represented; infinity for no bound.
    pub hi: f64,
}

/// Weighted squared errors of a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RangeErrors {
    /// Of rounding every point to a multiple of the scale.
    pub rounding: f64,
    /// Of the points above the range.
    pub above: f64,
    /// Of the points below the range.
    pub below: f64,
}

impl RangeErrors {
    /// What the choice of a range goes by.
    pub fn total(&self) -> f64 {
        self.rounding + self.above + self.below
    }
}

/// Errors of all candidates over points of equal number and weight.
pub(super) fn errors<M: Machine>(
    lane: &mut Lane<M>,
    at: &[f64],
    weight: &[f64],
    candidates: &[Candidate],
) -> Result<Vec<RangeErrors>> {
    let points = at.len().min(weight.len());
    if candidates.is_empty() {
        return Ok(vec![]);
    }
    let near = lane.put_values(&[&at[..points], &weight[..points]].concat())?;
    let list: Vec<f64> = candidates.iter().flat_map(|c| [c.scale, c.lo, c.hi]).collect();
    let list = lane.put_parameters(&list)?;
    launch(lane, near, points, list, candidates.len())?;
    let found = lane.results::<f64>(3 * candidates.len())?;
    Ok(found.chunks_exact(3).map(|e| RangeErrors { rounding: e[0], above: e[1], below: e[2] }).collect())
}

/// Queues the search over points, positions before weights, and candidates on the device.
pub(super) fn launch<M: Machine>(lane: &mut Lane<M>, at: u64, points: usize, list: u64, count: usize) -> Result<()> {
    use Argument::{Address, Word};
    let result = lane.result.reserve(&mut lane.machine, 24 * count)?;
    let weight = at + 8 * points as u64;
    let given = [Address(at), Address(weight), Word(points as u32), Address(list), Address(result)];
    lane.machine.launch(Kernel::RangeSearch, [count, 1, 1], &given)
}
