//! What widths are asked for.

use tapq::{Code, Error, Result};

/// What widths are asked for. Several budgets hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Widths {
    /// Every layer at this width.
    pub uniform: Option<u32>,
    /// At most this many nominal bits on average over the weights.
    pub average: Option<f64>,
    /// At most this many bytes of stored weights and scales.
    pub max_bytes: Option<u64>,
    /// At most this many bit operations (multiply-accumulates x weight bits x activation bits) for one sample.
    pub max_bops: Option<f64>,
    /// At most this many nominal bits on average over the elements of activations.
    pub average_activation: Option<f64>,
}

impl Widths {
    /// Whether a choice between widths of weights is asked for.
    pub fn is_choice(&self) -> bool {
        self.average.is_some() || self.max_bytes.is_some() || self.max_bops.is_some()
    }

    /// Refuses requests that contradict each other or mean nothing.
    pub fn check(&self) -> Result<()> {
        if self.uniform.is_some() && self.is_choice() {
            let what = "--weight-bits asks for one width, and a budget asks for a choice of widths";
            return Err(Error::new(Code::Config, what).help("give one or the other"));
        }
        let meaningless = |v: f64| v <= 0.0 || v.is_nan();
        match [self.average, self.max_bops, self.average_activation].into_iter().flatten().any(meaningless) {
            true => Err(Error::new(Code::Config, "a budget must be a positive number")),
            false => Ok(()),
        }
    }
}
