//! Hardware profiles: what a device runs with integers, and what it refuses, as data with sources.
//!
//! One YAML file a target in `targets/`, compiled into the binary; unknown keys are errors.
//! Every refusal carries a `because` sentence: that sentence is the diagnostic, the report line and the documentation.

mod blocks;
mod check;
mod explain;
mod load;
mod narrow;
mod query;
mod readme;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use explain::table;
pub use load::names;
pub use readme::readme;

/// A hardware profile.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Short name, as on the command line.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What runs the file there, and what this profile assumes of it.
    pub runtime: String,
    /// Opset and IR limits.
    pub onnx: OnnxLimits,
    /// Format of quantized activations.
    pub activations: ActivationFormat,
    /// Format of quantized weights.
    pub weights: WeightFormat,
    /// How the bias of a quantized layer is stored.
    pub bias: BiasFormat,
    /// Bits that an integer bias may use, where the accumulator is narrower than the int32 that stores it.
    #[serde(default = "full_bias", skip_serializing_if = "is_full_bias")]
    pub bias_bits: u32,
    /// Whether a layer may stay in float, and in which type the device then runs it.
    pub float_fallback: FloatFallback,
    /// Residual Add after a convolution.
    pub residual_add: ResidualAdd,
    /// Operators that run with integers; every other operator stays in float.
    pub operators: Vec<OperatorRule>,
    /// What users ask for and this device cannot do.
    #[serde(default)]
    pub refuse: Vec<Refusal>,
    /// Memories and costs, each number with its source.
    #[serde(default)]
    pub facts: Vec<Fact>,
    /// Where the rules above come from.
    pub sources: Vec<String>,
    /// What a request has narrowed the profile to; see [`Target::narrowed`].
    #[serde(skip)]
    pub variant: Variant,
}

/// What a request narrows a profile to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Variant {
    /// Activations stay in float: weights alone are stored as integers, in blocks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub weight_only: bool,
    /// Width of all activations, where an operator then takes other weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_bits: Option<u32>,
    /// Weights of a block, instead of what the profile has first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<usize>,
}

impl Variant {
    /// Whether it is the profile as it is.
    pub fn is_plain(&self) -> bool {
        *self == Variant::default()
    }
}

/// Opset and IR limits of the runtime.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OnnxLimits {
    /// Highest opset of the default domain that the runtime imports.
    pub max_opset: i64,
    /// Highest IR version that the runtime imports.
    pub max_ir: i64,
    /// Domains beside ONNX's whose operators the runtime has: `com.microsoft`, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

/// Format of quantized activations (always per-tensor).
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ActivationFormat {
    /// Allowed bit-widths; the first is the default.
    pub bits: Vec<u32>,
    /// Whether the integers are signed.
    pub signed: bool,
    /// Whether a value that a Relu or Clip keeps from being negative has unsigned integers, whatever `signed` says.
    #[serde(default)]
    pub unsigned_where_positive: bool,
    /// Whether the zero point must be 0.
    pub symmetric: bool,
    /// Whether scales must be powers of two.
    #[serde(default)]
    pub power_of_two: bool,
    /// Widths below the storage type are expressed by a Clip between Q and DQ (QCDQ).
    #[serde(default)]
    pub clip_to_width: bool,
    /// Whether constant operands of arithmetic are stored as integers, where the operator would else leave the device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub constant_operands: bool,
    /// Whether all activations of one operator must have one width; where they differ, a second Q/DQ pair converts.
    #[serde(default)]
    pub one_width_per_operator: bool,
}

/// Format of quantized weights (always symmetric, zero point 0).
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WeightFormat {
    /// One scale per output channel, where the operator rule does not say otherwise.
    pub per_channel: bool,
    /// Whether scales must be powers of two.
    #[serde(default)]
    pub power_of_two: bool,
    /// Leave out the most negative integer, so that the range is symmetric.
    #[serde(default)]
    pub narrow_range: bool,
}

/// How the bias of a quantized layer is stored.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum BiasFormat {
    /// int32 with scale = input scale x weight scale, zero point 0.
    Int32,
    /// Float, untouched.
    Float,
}

/// The type in which a layer that is not quantized runs on the device.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FloatFallback {
    /// Whether the allocation may keep a layer in float.
    pub allowed: bool,
    /// Bits that one weight then takes on the device (16 for fp16, 32 for fp32).
    pub weight_bits: u32,
    /// Whether the runtime rounds float weights on its own between Q/DQ pairs, so that such a layer must be kept apart from the
    /// pair in front of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
    /// The sentence that reports show.
    pub because: String,
}

/// How a residual Add that follows a convolution is quantized.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ResidualAdd {
    /// An ordinary arithmetic operator: both inputs and the output carry Q/DQ.
    BothInputs,
    /// Only the branch that is not fused into the convolution carries Q/DQ (TensorRT).
    SkipBranch,
    /// Both inputs carry Q/DQ of one shared scale.
    SharedScale,
    /// Stays in float.
    Float,
}

/// What an operator does with integers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Has weights or multiplies activations: quantized wherever it is found.
    Compute,
    /// Has an integer kernel with its own output scale: quantized between integer operators.
    Arithmetic,
    /// Normalizes: own output scale; its scale is stored in 8 bits like a weight, its bias in int32.
    Normalization,
    /// Moves data: input and output share one scale.
    SameScale,
    /// Applied inside the kernel that produces its input: Q follows it, never precedes it.
    FusedActivation,
    /// Computes in float; its weights alone are stored as integers.
    WeightOnly,
}

/// One operator that runs with integers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OperatorRule {
    /// ONNX operator of the default domain.
    pub op: String,
    /// What it does with integers.
    pub role: Role,
    /// Weight widths that the kernel takes at the default activation width (compute only), ascending.
    #[serde(default)]
    pub weight_bits: Vec<u32>,
    /// Weight widths where activations are not of the target's default width (compute only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_bits_at: Vec<WeightBitsAt>,
    /// What the kernel takes where all activations of a network have one other width (compute only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub where_all_have: Vec<WhereAllHave>,
    /// Weights with a scale for each block of them, beside activations in float (compute only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<WeightBlocks>,
    /// Whether both operands may be activations (MatMul in attention).
    #[serde(default)]
    pub two_activations: bool,
    /// Whether the kernel needs its output quantized to be an integer kernel.
    #[serde(default)]
    pub quantized_output: bool,
    /// Whether the kernel needs its output quantized where an activation is fused into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quantized_if_fused: bool,
    /// Overrides `weights.per_channel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_channel: Option<bool>,
    /// Grids that the kernel has for its output whatever the values are, by width (arithmetic only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed_output: Vec<FixedOutput>,
    /// Library, manual or section that says so.
    pub source: String,
}

/// Weights of an operator that multiplies in float, with one scale for each block of them along the fan-in.
///
/// Beside an integer kernel narrower widths than its own are stored in blocks; all of them where activations stay in float.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WeightBlocks {
    /// Their widths, ascending.
    pub weight_bits: Vec<u32>,
    /// Weights of a block: the first size is taken, or the first that divides the fan-in.
    pub sizes: Vec<usize>,
    /// Whether the last block of a channel may have fewer weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Whether scales may be negative, so that the wide end of the grid can face either extreme.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_scales: bool,
    /// Whether activations and Q/DQ pairs around such an operator must be kept from fusing with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
    /// Library, manual or section that says so.
    pub source: String,
}

/// The grid that a kernel has for its output at one width.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FixedOutput {
    /// Bits of the output.
    pub bits: u32,
    /// Its scale.
    pub scale: f32,
    /// Its zero point.
    pub zero_point: i32,
}

/// Weight widths of one operator beside one activation width.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WeightBitsAt {
    /// The activation width.
    pub activation_bits: u32,
    /// Weight widths that the kernel takes beside it, ascending.
    pub weight_bits: Vec<u32>,
}

/// What one operator takes where all activations of a network have one width.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WhereAllHave {
    /// The activation width.
    pub activation_bits: u32,
    /// Weight widths that the kernel then takes, ascending.
    pub weight_bits: Vec<u32>,
    /// Whether its weights then have one scale per output channel.
    pub per_channel: bool,
    /// Library, manual or section that says so.
    pub source: String,
}

/// Something that users ask for and the device cannot do.
///
/// With both lists filled it concerns the pairs; with neither it says why `op` stays in float.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Operator that it concerns; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// Weight widths that are refused.
    #[serde(default)]
    pub weight_bits: Vec<u32>,
    /// Activation widths that are refused.
    #[serde(default)]
    pub activation_bits: Vec<u32>,
    /// The sentence that diagnostics, reports and documentation show.
    pub because: String,
}

/// A number about the device.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// What it is, for people.
    pub what: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Datasheet, manual, section.
    pub source: String,
}

const FULL_BIAS: u32 = 32;

fn full_bias() -> u32 {
    FULL_BIAS
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_full_bias(bits: &u32) -> bool {
    *bits == FULL_BIAS
}
