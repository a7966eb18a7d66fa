//! What was left in float, or given wider activations, so that the outputs reach a fidelity.

use serde::{Deserialize, Serialize};

/// Ranges come from the samples that files are measured on, which flatters them: on others they had up to 3 dB less.
/// Files aim at so much more, in dB.
pub const GOAL_MARGIN_DB: f64 = 1.0;

/// A fidelity that was asked for, and what was given up for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoalRecord {
    /// SQNR in dB that the outputs were to reach.
    pub sqnr_db: f64,
    /// SQNR in dB with nothing given up.
    pub from_db: f64,
    /// SQNR in dB that was reached, measured on calibration samples that weights were not rounded with.
    pub reached_db: f64,
    /// What was given up.
    pub relief: Relief,
    /// Share of the multiply-accumulates that it concerns.
    pub macs: f64,
    /// Values that carried integers of the usual width before.
    pub values: usize,
    /// How many of them do no more.
    pub relieved: usize,
    /// Layers whose weights are wider, too.
    pub weights: usize,
    /// Operators without weights of their own that were left in float, in file order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
}

impl GoalRecord {
    /// Whether the goal was reached.
    pub fn is_reached(&self) -> bool {
        self.reached_db >= self.sqnr_db
    }

    /// What a layer that was left in float says why.
    pub fn reason(&self) -> String {
        format!("left in float for {} dB at the output", self.sqnr_db)
    }
}

/// What is given up where a goal asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relief {
    /// Operators run in float.
    #[default]
    Float,
    /// Activations have more bits.
    Wider,
}
