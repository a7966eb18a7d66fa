//! What a run shows at a tap: a tensor on the host, or one that stays on the GPU that runs the network.

use crate::Result;
use cudarc::driver::CudaStream;
use std::borrow::Cow;
use std::sync::Arc;

/// A tapped float tensor, borrowed for the duration of one callback.
#[derive(Clone, Copy, Debug)]
pub struct TapView<'a> {
    /// Extent of each axis.
    pub dims: &'a [usize],
    /// Elements in row-major order.
    pub values: &'a [f32],
}

/// A tapped float tensor, wherever it lies, borrowed for the duration of one callback.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// On the host.
    Host(TapView<'a>),
    /// On a GPU.
    Device(OnDevice<'a>),
}

/// A tensor in the memory of a GPU.
#[derive(Clone, Copy)]
pub struct OnDevice<'a> {
    /// Extent of each axis.
    pub dims: &'a [usize],
    /// Address of the first element; the others follow in row-major order.
    pub address: u64,
    /// The queue of work that makes the elements, and that will use their memory again. None where they are there
    /// already, and stay.
    pub queue: Option<&'a Arc<CudaStream>>,
    /// Waits for the elements and copies them.
    pub(crate) fetch: &'a dyn Fn() -> Result<Vec<f32>>,
}

impl Seen<'_> {
    /// Extent of each axis.
    pub fn dims(&self) -> &[usize] {
        match self {
            Seen::Host(view) => view.dims,
            Seen::Device(tensor) => tensor.dims,
        }
    }

    /// The elements in row-major order, copied where they lie on a device.
    ///
    /// # Errors
    /// [`crate::Code::Engine`] where the device fails.
    pub fn values(&self) -> Result<Cow<'_, [f32]>> {
        match self {
            Seen::Host(view) => Ok(Cow::Borrowed(view.values)),
            Seen::Device(tensor) => Ok(Cow::Owned((tensor.fetch)()?)),
        }
    }
}
