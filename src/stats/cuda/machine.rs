//! What a device can do for us: memory, transfers, launches. The rest of the room is written against this, so that the
//! same launch code runs on a GPU and in the tests' emulation.

use super::kernels::Kernel;
use crate::Result;
use cudarc::driver::CudaStream;
use std::sync::Arc;

/// How a layer reads the rows of X from its input; the layout of `Reading` in `kernels/gram.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Reading {
    /// Positions taken of one image.
    pub(super) taken: u32,
    /// The first position taken.
    pub(super) first: u32,
    /// Positions that lie side by side.
    pub(super) run: u32,
    /// Distance of two runs.
    pub(super) pitch: u32,
    /// Channels, height and width of the input, and channels of one group.
    pub(super) input: [i32; 4],
    /// Height and width.
    pub(super) kernel: [i32; 2],
    /// Down and across.
    pub(super) stride: [i32; 2],
    /// Down and across.
    pub(super) dilation: [i32; 2],
    /// Top and left.
    pub(super) pad: [i32; 2],
    /// Positions in one row of the output.
    pub(super) columns_out: i32,
}

/// One argument of a kernel, of the size that the kernel declares.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// An address in device memory; 0 for none.
    Address(u64),
    /// `unsigned long long`.
    Long(u64),
    /// `unsigned`.
    Word(u32),
    /// `Reading`.
    Reading(Reading),
}

/// A size as an argument.
pub(super) fn long(value: usize) -> Argument {
    Argument::Long(value as u64)
}

/// A device, and one queue of work on it.
pub(super) trait Machine: Send {
    /// Memory of the device; what it holds at first is undefined.
    type Buffer: Send;

    /// Allocates memory whose address is a multiple of 256.
    fn allocate(&mut self, bytes: usize) -> Result<Self::Buffer>;

    /// Where a buffer lies.
    fn address(&self, buffer: &Self::Buffer) -> u64;

    /// From now on work goes to the queue `other`, behind what is queued there and behind what was queued here.
    fn join(&mut self, other: &Arc<CudaStream>) -> Result<()>;

    /// Back to the own queue, once what was queued on another is done.
    fn leave(&mut self) -> Result<()>;

    /// Waits for everything queued.
    fn wait(&mut self) -> Result<()>;

    /// Copies to the start of a buffer. The source may change once this returns.
    fn upload(&mut self, source: &[u8], into: &mut Self::Buffer) -> Result<()>;

    /// Queues a kernel.
    ///
    /// The callers of this room pass what the kernel declares: addresses of live buffers that are long enough.
    fn launch(&mut self, kernel: Kernel, grid: [usize; 3], arguments: &[Argument]) -> Result<()>;

    /// Waits for everything queued and copies the start of a buffer back.
    fn download(&mut self, from: &Self::Buffer, into: &mut [u8]) -> Result<()>;
}
