//! Statistics on a GPU with our own kernels, through the CUDA driver.
//!
//! A user needs the driver and nothing else: the kernels are stored as PTX, and the driver library is loaded when a
//! device is opened. Each kernel (`kernels/*.cu`) has the CPU implementation in this crate as its meaning:
//!
//! * moments agree within 1e-5 relative to the sum of magnitudes, extremes and counts exactly;
//! * histograms, range errors and fake-quantized values are equal bit by bit;
//! * X'X, its column sums and the moments of samples are equal bit by bit where the processor fuses products with sums:
//!   `stats/gram.rs` fixes their order.
//!
//! The order of every sum is fixed by the tensor's shape and the alignment of its start, whatever the number of
//! multiprocessors: a run repeats byte by byte.

mod bench;
mod driver;
mod fake;
mod gram;
mod groups;
pub mod kernels;
mod lane;
mod machine;
mod measure;
pub mod nvrtc;
mod pass;
mod probe;
mod range;
#[cfg(test)]
mod tests;

pub use bench::{Bench, BenchRow, bench};
pub use probe::{Device, LEAST_CAPABILITY, LEAST_DRIVER, Probe, probe};
pub use range::{Candidate, RangeErrors};

use super::{Backend, Session};
use crate::engine::Place;
use crate::quant::FakeQuantize;
use crate::{Code, Error, Result};
use cudarc::driver::CudaContext;
use driver::{Driver, Functions};
use lane::{Lane, Lanes};
use pass::Pass;
use std::sync::Arc;

/// Streams that work side by side: one copies while another computes.
const STREAMS: usize = 3;

/// A GPU that measures tensors. Callers on several threads share its streams.
///
/// Each stream keeps one copy of the largest tensor, and the partial sums of one kernel. Sums of X'X stay on the device
/// until their session ends: 4 bytes for each pair of columns of a layer's input.
pub struct Cuda {
    lanes: Lanes<Driver>,
    device: Device,
    network_stays: Option<String>,
}

impl Cuda {
    /// Opens a device and loads the kernels.
    ///
    /// # Errors
    /// [`Code::Device`] where there is no driver, an old one, no such device, or one below compute capability 7.0.
    pub fn open(ordinal: usize) -> Result<Cuda> {
        let (device, context) = context(ordinal)?;
        let functions = Arc::new(Functions::load(&context)?);
        driver::keep_memory(&context);
        let lane = |_| Ok(Lane::new(Driver::new(&context, functions.clone())?));
        let lanes = Lanes::new((0..STREAMS).map(lane).collect::<Result<_>>()?);
        let network_stays = match ordinal {
            0 => Place::Cuda.why_not(),
            _ => Some("it runs on cuda:0 alone; choose a GPU with CUDA_VISIBLE_DEVICES".to_owned()),
        };
        Ok(Cuda { lanes, device, network_stays })
    }

    /// What was opened.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Why the network itself stays on the processor, in one line; `None` where it runs on the device.
    pub fn network_stays(&self) -> Option<&str> {
        self.network_stays.as_deref()
    }

    /// Quantizes and dequantizes a tensor of shape `dims`, with one step, or one for each index of `axis`.
    ///
    /// # Errors
    /// [`Code::Device`] if the steps do not fit the shape, or the device fails.
    pub fn fake_quantize(
        &self,
        dims: &[usize],
        values: &[f32],
        axis: Option<usize>,
        steps: &[FakeQuantize],
    ) -> Result<Vec<f32>> {
        self.lanes.with(|lane| fake::quantize(lane, dims, values, axis, steps))
    }

    /// Squared errors of candidate ranges over points `at` with `weight`, in the order of the candidates.
    ///
    /// # Errors
    /// [`Code::Device`] if the device fails.
    pub fn range_errors(&self, at: &[f64], weight: &[f64], candidates: &[Candidate]) -> Result<Vec<RangeErrors>> {
        self.lanes.with(|lane| range::errors(lane, at, weight, candidates))
    }
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn session(&self, layers: usize) -> Box<dyn Session + '_> {
        Box::new(Pass::new(&self.lanes, layers))
    }

    fn place(&self) -> Place {
        if self.network_stays.is_none() { Place::Cuda } else { Place::Host }
    }
}

/// The device and its context.
fn context(ordinal: usize) -> Result<(Device, Arc<CudaContext>)> {
    let found = probe();
    let device = match found.devices.into_iter().find(|d| d.ordinal == ordinal) {
        Some(device) if device.suits() => device,
        Some(device) => {
            let (major, minor) = device.capability;
            let what = format!("{} has compute capability {major}.{minor}, needed is 7.0", device.name);
            return Err(failure(what));
        }
        None => {
            return Err(failure(found.why_not.unwrap_or_else(|| format!("there is no device cuda:{ordinal}"))));
        }
    };
    let opened = driver::quiet(|| CudaContext::new(ordinal));
    let opened = opened.ok_or_else(|| failure("the CUDA driver library lacks functions; reinstall the driver"))?;
    let context = opened.map_err(|e| failure(format!("cuda:{ordinal} cannot be opened: {}", driver::describe(e))))?;
    Ok((device, context))
}

fn failure(what: impl Into<String>) -> Error {
    Error::new(Code::Device, what)
}
