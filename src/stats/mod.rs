//! Activation statistics: one pass over each tensor of each sample.
//!
//! [`Backend`] is what a GPU implementation joins: in a [`Session`] it sees the tensors of some samples one by one.
//! Samples are dealt to sessions, and merged, in an order that does not depend on thread count.

mod cpu;
mod cross;
pub mod cuda;
mod gram;
mod histogram;
mod moments;
mod observe;
mod patches;
#[cfg(test)]
mod tests;

pub use cpu::Cpu;
pub use cross::Cross;
pub use gram::{Gram, GramRequest, Scratch};
pub use histogram::Histogram;
pub use observe::{FOLDS, KEPT_APART, Observation, ValueObservation, observe};
pub use patches::{Extent, Patches, Tile};

use crate::engine::{Place, Seen};
use crate::{Error, Result};

/// What to measure of a tensor.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Name of the value.
    pub value: String,
    /// The axis whose indices are channels, if per-channel statistics are wanted; negative counts from the end.
    pub channel_axis: Option<i64>,
    /// Gram matrices of the layers that read the value.
    pub grams: Vec<GramRequest>,
    /// Only tap the value, for a later comparison; measure nothing.
    pub only_tap: bool,
}

impl Request {
    /// The axis whose indices are channels in a tensor of `rank` axes, counted from the front.
    pub fn axis(&self, rank: usize) -> Option<usize> {
        let axis = self.channel_axis.map(|a| if a < 0 { a + rank as i64 } else { a })?;
        usize::try_from(axis).ok().filter(|a| *a < rank)
    }
}

/// Statistics of one tensor of one sample. NaN and infinity are counted and left out of everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorStats {
    /// Finite elements.
    pub count: u64,
    /// Elements that are exactly zero.
    pub zeros: u64,
    /// NaN elements.
    pub nans: u64,
    /// Infinite elements.
    pub infinities: u64,
    /// Least element; 0 if there is none.
    pub min: f32,
    /// Greatest element; 0 if there is none.
    pub max: f32,
    /// Sum of the elements.
    pub sum: f64,
    /// Sum of magnitudes.
    pub sum_abs: f64,
    /// Sum of squares.
    pub sum_squares: f64,
    /// Sum of fourth powers.
    pub sum_fourth: f64,
    /// Extremes and sum of each channel, if asked.
    pub channels: Vec<ChannelStats>,
    /// Histogram of the non-zero elements over `min..=max`.
    pub histogram: Histogram,
}

/// Statistics of one channel of one tensor of one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelStats {
    /// Least element.
    pub min: f32,
    /// Greatest element.
    pub max: f32,
    /// Mean of the elements.
    pub mean: f64,
}

impl TensorStats {
    /// Adds what was seen of another sample, as if both were one.
    pub fn pool(&mut self, other: &TensorStats) {
        let (mine, theirs) = (self.count as f64, other.count as f64);
        if other.count > 0 && self.count == 0 {
            (self.min, self.max) = (other.min, other.max);
        } else if other.count > 0 {
            (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        }
        if self.channels.is_empty() {
            self.channels.clone_from(&other.channels);
        } else {
            let share = if theirs > 0.0 { theirs / (mine + theirs) } else { 0.0 };
            for (channel, other) in self.channels.iter_mut().zip(&other.channels) {
                channel.min = channel.min.min(other.min);
                channel.max = channel.max.max(other.max);
                channel.mean += (other.mean - channel.mean) * share;
            }
        }
        self.count += other.count;
        self.zeros += other.zeros;
        self.nans += other.nans;
        self.infinities += other.infinities;
        self.sum += other.sum;
        self.sum_abs += other.sum_abs;
        self.sum_squares += other.sum_squares;
        self.sum_fourth += other.sum_fourth;
        self.histogram.pool(&other.histogram);
    }

    /// Mean of the elements.
    pub fn mean(&self) -> f64 {
        self.sum / (self.count.max(1) as f64)
    }

    /// Variance of the elements.
    pub fn variance(&self) -> f64 {
        (self.sum_squares / (self.count.max(1) as f64) - self.mean().powi(2)).max(0.0)
    }
}

/// Who measures tensors. The CPU implementation is the meaning; others agree within 1e-5 relative.
pub trait Backend: Send + Sync {
    /// What reports call it.
    fn name(&self) -> &'static str;

    /// Starts a pass over some samples, in which the inputs of `layers` layers have their moments summed.
    fn session(&self, layers: usize) -> Box<dyn Session + '_>;

    /// Where the network should run, so that its tensors need not move.
    fn place(&self) -> Place {
        Place::Host
    }

    /// Who measures everything again from the start where this one failed; nobody, if the failure is to be told.
    fn instead(&self, _failure: &Error) -> Option<&dyn Backend> {
        None
    }
}

/// A pass over samples: every tensor is handed over once, in the order of the samples.
pub trait Session: Send {
    /// Measures one tensor; with `moments`, X'X is added up for each layer that `request` names.
    ///
    /// # Errors
    /// [`crate::Code::Engine`] for a shape that no such layer reads, [`crate::Code::Device`] where a device fails.
    fn measure(&mut self, tensor: &Seen, request: &Request, moments: bool) -> Result<()>;

    /// Statistics of the tensors measured since the last call, in their order. A device need not be waited for before.
    ///
    /// # Errors
    /// [`crate::Code::Device`] where a device fails.
    fn collect(&mut self) -> Result<Vec<TensorStats>>;

    /// The sums by layer, complete.
    ///
    /// # Errors
    /// [`crate::Code::Device`] where a device fails.
    fn finish(self: Box<Self>) -> Result<Vec<Gram>>;
}
