//! The plan: every decision about one model on one target, as data that a person can review.
//!
//! Analyses write it, rewrites obey it and decide nothing; the two halves meet only here.

mod activations;
mod bounds;
mod constants;
mod digest;
mod equalize;
mod fixed;
mod goal;
mod layers;
mod operating;
mod out_of_reach;
mod placement;
mod replay;
mod rounding;
mod shift;
mod weight_only;

pub use activations::{InputFacts, plan_activations};
pub use bounds::known_bound;
pub use constants::plan_constants;
pub use digest::{layer_digest, model_digest, text_digest};
pub use equalize::Equalized;
pub use fixed::{FIXED_INPUTS, check_fixed, fixed_in_file};
pub use goal::{GOAL_MARGIN_DB, GoalRecord, Relief};
pub use layers::{Layer, weight_layers};
pub use operating::{Operators, maker};
pub use out_of_reach::{OutOfReach, holds_layers, out_of_reach, weighs};
pub use placement::{Placement, Site, moves_pairs, place};
pub use replay::{check_matches, check_target};
pub use rounding::{Rounding, RoundingError, RoundingMethod};
pub use shift::{Shift, rounding_shift};
pub use weight_only::{WEIGHT_ONLY_BITS, WeightOnly, WeightOnlyPlan, WeightSlot};

use crate::quant::{Affine, Granularity, IntFormat, WeightRange};
use crate::target::{Target, Variant};
use crate::{Result, yaml};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the plan's schema.
pub const PLAN_SCHEMA: u32 = 1;

/// Every decision about one model on one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this schema.
    pub schema: u32,
    /// Version of the tool that wrote it.
    pub tapq: String,
    /// Name of the target.
    pub target: String,
    /// Digest of the target profile the plan was made for.
    pub target_digest: String,
    /// Digest of the float graph after the float passes and [`Plan::equalized`].
    pub model: String,
    /// The proxy that scored the layers.
    pub proxy: String,
    /// Where the statistics came from.
    pub calibration: Calibration,
    /// Inputs that the file has as constants, with their values; absent where all are open.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fixed_inputs: BTreeMap<String, String>,
    /// What the profile was narrowed to; absent where it was not.
    #[serde(default, skip_serializing_if = "Variant::is_plain")]
    pub variant: Variant,
    /// Whether rounding takes the time to try more scales.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub thorough: bool,
    /// Opset of the default domain that the file will import.
    pub opset: i64,
    /// IR version that the file will declare.
    pub ir: i64,
    /// How the widths of weights were chosen.
    pub allocation: AllocationRecord,
    /// How the widths of activations were chosen; absent where all have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_allocation: Option<AllocationRecord>,
    /// What was given up to reach a fidelity that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<GoalRecord>,
    /// Factors that move between layers before anything is rounded, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equalized: Vec<Equalized>,
    /// Weight layers, in file order.
    pub layers: Vec<LayerPlan>,
    /// Nodes that compute in float with weights that are stored as integers, in file order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_only: Vec<WeightOnlyPlan>,
    /// Values that carry Q/DQ, in order of definition.
    pub activations: Vec<ActivationPlan>,
}

/// Where the statistics came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// File or folder name, or `synthetic`.
    pub source: String,
    /// Samples used.
    pub samples: usize,
    /// Digest of their values after preprocessing.
    pub digest: String,
}

/// How the widths were chosen, and what is proven about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationRecord {
    /// `uniform`, `knapsack`, or what measured better.
    pub method: String,
    /// What was asked: budget name and limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, f64>,
    /// What the choice uses of each budget.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, f64>,
    /// Total sensitivity of the choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
    /// What is proven: `optimal`, or the gap.
    pub proof: String,
    /// What was measured as a whole before the choice was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<Compared>,
}

/// One configuration of widths that was measured as a whole, on samples that its weights were not rounded with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// Where it comes from.
    pub what: String,
    /// Average nominal bits over the weights; absent where they were in float.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_bits: Option<f64>,
    /// Average nominal bits over the elements of activations; absent where they were in float.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_activation_bits: Option<f64>,
    /// SQNR in dB of the outputs; of plans compared as files, the mean over samples.
    pub sqnr_db: f64,
    /// Whether it was taken, of those that were compared to the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
}

/// The decision about one weight layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPlan {
    /// Node name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Initializer that holds the weight.
    pub weight: String,
    /// Elements of the weight.
    pub params: usize,
    /// Digest of operator, attributes and weight: what replay compares.
    pub digest: String,
    /// Nominal bits; absent means that the layer stays in float.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Weights that share a scale, where these are blocks; the layer then multiplies in float.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// How the range of each channel is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<WeightRange>,
    /// How its integers are found.
    #[serde(default, skip_serializing_if = "RoundingMethod::is_nearest")]
    pub rounding: RoundingMethod,
    /// What is added to the bias, one number an output channel: the mean shift that rounding the weight would cause.
    #[serde(default, skip_serializing_if = "Shift::is_empty")]
    pub bias_shift: Shift,
    /// Why.
    pub because: String,
}

impl LayerPlan {
    /// Which weights share a scale.
    pub fn granularity(&self, target: &Target) -> Granularity {
        self.block.map_or_else(|| Granularity::channels(target.per_channel(&self.op)), Granularity::Block)
    }

    /// Whether the layer runs with integers.
    pub fn is_integer(&self) -> bool {
        self.bits.is_some() && self.block.is_none()
    }
}

/// The decision about one activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationPlan {
    /// Name of the value.
    pub value: String,
    /// Nominal bits.
    pub bits: u32,
    /// Whether the integers are signed.
    pub signed: bool,
    /// Step.
    pub scale: f32,
    /// The integer that means 0.
    pub zero_point: i32,
    /// How the range was found.
    pub because: String,
    /// Who reads the dequantized value: node name and input slot.
    pub readers: Vec<(String, usize)>,
}

impl ActivationPlan {
    /// Scale and zero point on their grid.
    pub fn affine(&self) -> Affine {
        let format = IntFormat { bits: self.bits, signed: self.signed, narrow: false };
        Affine { scale: self.scale, zero_point: self.zero_point, format }
    }
}

impl Plan {
    /// Average nominal bits over the weights that are quantized.
    pub fn average_weight_bits(&self) -> f64 {
        // Layers that share a stored weight have one width and store it once.
        let mut seen = BTreeSet::new();
        let stored: Vec<&LayerPlan> = self.layers.iter().filter(|l| seen.insert(&l.weight)).collect();
        let mut seen = BTreeSet::new();
        let alone: Vec<&WeightOnlyPlan> = self.weight_only.iter().filter(|w| seen.insert(&w.weights)).collect();
        let layers = || stored.iter().filter_map(|l| Some((l.bits?, l.params)));
        let every = || layers().chain(alone.iter().map(|w| (w.bits, w.params)));
        let quantized = || every().map(|(bits, params)| (f64::from(bits), params as f64));
        let params: f64 = quantized().map(|(_, n)| n).sum();
        quantized().map(|(b, n)| b * n).sum::<f64>() / params.max(1.0)
    }

    /// The nominal bits of activations, in the plan's order.
    pub fn activation_bits(&self) -> impl Fn(usize) -> u32 {
        |i| self.activations.get(i).map_or(8, |a| a.bits)
    }

    /// The YAML text, the same for the same plan.
    pub fn to_yaml(&self) -> Result<String> {
        yaml::print(self)
    }

    /// Reads a plan; `place` is the file name for messages.
    pub fn from_yaml(text: &str, place: &str) -> Result<Plan> {
        let plan: Plan = yaml::parse(text, place)?;
        plan.check(place)?;
        Ok(plan)
    }

    /// What the model's metadata carries: digest of the plan and the choice of each layer, compact.
    pub fn summary(&self) -> Result<String> {
        let digest = text_digest(&self.to_yaml()?);
        let layers = self.layers.iter().map(|l| (l.name.as_str(), l.bits));
        let alone = self.weight_only.iter().map(|w| (w.name.as_str(), Some(w.bits)));
        let bits: BTreeMap<&str, Option<u32>> = layers.chain(alone).collect();
        let summary =
            serde_json::json!({ "digest": digest, "weight_bits": bits, "average": self.average_weight_bits() });
        Ok(summary.to_string())
    }
}
