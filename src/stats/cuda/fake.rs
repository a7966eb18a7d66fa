//! Fake quantization on the device.

use super::kernels::Kernel;
use super::lane::Lane;
use super::machine::{Argument, Machine, long};
use crate::Result;
use crate::quant::FakeQuantize;

/// Blocks that fill the largest devices several times over.
const MOST_BLOCKS: usize = 4224;

/// Fake-quantized elements; one step for the tensor, or one for each index of `axis`.
pub(super) fn quantize<M: Machine>(
    lane: &mut Lane<M>,
    dims: &[usize],
    values: &[f32],
    axis: Option<usize>,
    steps: &[FakeQuantize],
) -> Result<Vec<f32>> {
    let (channels, inner) = match axis.filter(|a| *a < dims.len()) {
        Some(axis) => (dims[axis], dims[axis + 1..].iter().product()),
        None => (1, values.len()),
    };
    if steps.len() != channels || dims.iter().product::<usize>() != values.len() {
        let what = format!("{} scales for {channels} channels of a tensor of shape {dims:?}", steps.len());
        return Err(super::failure(what));
    }
    if values.is_empty() {
        return Ok(vec![]);
    }
    let x = lane.put_values(values)?;
    let list: Vec<f32> = steps.iter().flat_map(|s| [s.scale, s.low, s.high, s.offset, s.out_scale]).collect();
    let list = lane.put_parameters(&list)?;
    let y = lane.result.reserve(&mut lane.machine, 4 * values.len())?;
    launch(lane, (x, y), list, [values.len() / channels / inner, channels, inner])?;
    lane.results(values.len())
}

/// Queues it for a tensor of outer x channels x inner elements on the device.
pub(super) fn launch<M: Machine>(
    lane: &mut Lane<M>,
    (x, y): (u64, u64),
    steps: u64,
    [outer, channels, inner]: [usize; 3],
) -> Result<()> {
    use Argument::Address;
    if inner == 1 && channels > 1 {
        // Eight warps of four rows of 128 channels each.
        let across = channels.div_ceil(128);
        let grid = [across, outer.div_ceil(32).clamp(1, (MOST_BLOCKS / across).max(1)), 1];
        let given = [Address(x), Address(y), Address(steps), long(outer), long(channels)];
        return lane.machine.launch(Kernel::FakeQuantizeFeatures, grid, &given);
    }
    // Eight warps of 512 elements each.
    let planes = outer * channels;
    let grid = [(planes * (inner + 3).div_ceil(512)).div_ceil(8).clamp(1, MOST_BLOCKS), 1, 1];
    let given = [Address(x), Address(y), Address(steps), long(planes), long(channels), long(inner)];
    lane.machine.launch(Kernel::FakeQuantizePlanes, grid, &given)
}
