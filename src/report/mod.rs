//! What a person looks at: one record of a run, rendered as a terminal table, JSON and an HTML page.
//!
//! The record holds no clock, path or thread count, so that it is the same for the same inputs.

mod answers;
mod channels;
mod choices;
pub(crate) mod columns;
mod fidelity;
pub(crate) mod format;
mod front;
mod goal;
pub(crate) mod html;
mod left_out;
mod measure;
mod plots;
mod ranking;
pub(crate) mod svg;
mod tally;
mod text;

#[cfg(test)]
mod tests;

pub use channels::{WorstChannel, even_db, has_channels};
pub use choices::{ChoiceRow, ChoiceTable, choice_text};
pub use fidelity::{Compare, Fidelity, ValueFidelity, decibels, top1_agreement};
pub use front::{Front, FrontPoint, front_svg, front_text};
pub use html::html;
pub use left_out::left_out;
pub use measure::measure;
pub use ranking::{RankRow, RankTable, rank_svg, rank_text};
pub use text::text;

use crate::plan::{AllocationRecord, Calibration, GoalRecord, RoundingError};
use crate::proxy::Sensitivity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the JSON schema.
pub const REPORT_SCHEMA: u32 = 1;

/// One run of `quantize`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this schema.
    pub schema: u32,
    /// Version of the tool.
    pub tapq: String,
    /// File name of the float model, without folder.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// The target, for people.
    pub target_title: String,
    /// The proxy that scored the layers.
    pub proxy: String,
    /// Where the statistics came from.
    pub calibration: Calibration,
    /// Inputs that the file has as constants and no longer takes, with their values; absent where all are open.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fixed_inputs: BTreeMap<String, String>,
    /// What became of float16 and bfloat16; absent where the model has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widened: Option<String>,
    /// What the user should know before trusting the file.
    pub warnings: Vec<String>,
    /// Sizes before and after.
    pub size: Size,
    /// How the widths of weights were chosen.
    pub allocation: AllocationRecord,
    /// How the widths of activations were chosen; absent where all have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_allocation: Option<AllocationRecord>,
    /// What a fidelity that was asked for took; absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<GoalRecord>,
    /// Quantized against float; absent if it was not measured.
    pub fidelity: Option<Fidelity>,
    /// Weight layers, in file order.
    pub layers: Vec<LayerReport>,
    /// Values that carry Q/DQ, in order of definition.
    pub activations: Vec<ActivationReport>,
    /// What the target refused, and why.
    pub refused: Vec<Refused>,
    /// What the float passes did: pass name and reasons.
    pub passes: Vec<PassReport>,
}

/// Sizes before and after.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of the float model file.
    pub float_file: u64,
    /// Bytes of the quantized model file.
    pub quantized_file: u64,
    /// Bytes of float weights in layers that the plan knows.
    pub float_weights: u64,
    /// Bytes that their integers take in the file.
    pub stored_weights: u64,
    /// Bytes that they would take at their nominal widths.
    pub nominal_weights: u64,
    /// Bytes of large float constants that other operators hold: those of LSTM, Gather and the like.
    #[serde(default)]
    pub elsewhere: u64,
    /// Average nominal bits over the weights that are quantized.
    pub average_bits: f64,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
}

/// One weight layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Node name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Elements of the weight.
    pub params: usize,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
    /// Nominal bits; absent means float.
    pub bits: Option<u32>,
    /// ONNX type that stores the weight.
    pub stored: String,
    /// Weights that share a scale where these are blocks: the layer then multiplies in float.
    #[serde(default)]
    pub block: Option<usize>,
    /// Relative output error at each width, where it was measured.
    pub sensitivity: Option<Sensitivity>,
    /// What rounding its weight costs its output; absent where weights were rounded to the nearest.
    pub rounding: Option<RoundingError>,
    /// SQNR in dB of the layer's output in the quantized network; absent where no value was tapped.
    pub output_sqnr_db: Option<f64>,
    /// Why it got its bits.
    pub because: String,
}

/// One value that carries Q/DQ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationReport {
    /// Name of the value.
    pub value: String,
    /// Nominal bits.
    pub bits: u32,
    /// Step.
    pub scale: f32,
    /// The integer that means 0.
    pub zero_point: i32,
    /// Least and greatest value that can be represented.
    pub range: [f32; 2],
    /// Least and greatest value that was seen.
    pub seen: [f32; 2],
    /// SQNR in dB of the value in the quantized network, before its own quantization.
    pub sqnr_db: Option<f64>,
    /// How the range was found.
    pub because: String,
}

/// Something the target refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Node or request.
    pub what: String,
    /// The profile's sentence.
    pub because: String,
}

/// What one pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// Name of the pass.
    pub pass: String,
    /// What it found, and where.
    pub reasons: Vec<String>,
}
