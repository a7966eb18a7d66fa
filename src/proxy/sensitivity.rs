//! Sensitivities: what each width costs each layer.
//!
//! A proxy turns weights and activation statistics into one number per layer and width, higher is worse.
//! Allocation sees nothing else.

use crate::quant::WeightRange;
use serde::{Deserialize, Serialize};

/// Sensitivity of one layer at each width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Widths, ascending.
    pub bits: Vec<u32>,
    /// What each width is expected to cost: for proxies that run the network, its relative squared output error.
    pub error: Vec<f64>,
}

/// The range rule that a width gets: nothing saturates at 8 bits and above, least squared error below.
pub fn range_rule(bits: u32) -> WeightRange {
    if bits >= 8 { WeightRange::Max } else { WeightRange::Mse }
}
