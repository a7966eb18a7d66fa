//! The verbs of tapq: one rewrite a file, each reads a graph and returns a patch with its reasons.
//!
//! The [`Driver`] applies the patches and verifies the graph after each of them; `README.md` holds the rules.
//! Deliberately absent: a pass that writes to a graph, a registry that hides the order of passes,
//! and decisions (those are in the plan, which the quantizing passes obey).
//!
//! The order of [`float_passes`] is part of their meaning:
//! functions are inlined first, since all that follows looks for operators;
//! constants must be initializers before anything can fold them, and the IR must be past 3 before initializers can
//! be added at all; the opset is raised to the least one of quantized files before anything looks at operators, floats
//! of 16 bits are widened before anything reads them, and what ONNX Runtime fused is taken apart, since it hides layers
//! and constants;
//! computed constants may be the weights and statistics that the layer folds look for, and conditions, whose branches
//! come to the main graph before the folds, with constants and conditions of their own, so that this goes twice;
//! identities, Transposes and pads stand between a layer and what folds into it, so they go first;
//! Transposes are merged once identities no longer part them, and those that then permute nothing are identities;
//! operators move past Transposes before pads and scales fold, since they fold in the layout of the layer only;
//! HardSigmoid and HardSwish are formed once no Transpose parts them, and before their summands fold into a layer;
//! a MatMul becomes a Gemm where constants behind it may then fold;
//! BatchNormalization goes before scales, since exporters put scales behind it;
//! what is left around a Clip goes after the scales in front of it;
//! factors of a Gemm go after both, which may leave one behind, and then its bias is written column by column;
//! `prune` sweeps up what the others left behind, and names are given last, to the nodes that remain.

mod column_bias;
mod driver;
mod equalize;
mod facts;
mod features;
mod fix_inputs;
mod float;
mod fold_alpha;
mod fold_batchnorm;
mod fold_constants;
mod fold_if;
mod fold_pad;
mod fold_ramp;
mod fold_scale;
mod fold_shape;
mod foldable;
mod form_gemm;
mod form_hard_sigmoid;
mod form_hard_swish;
mod inline_functions;
mod insert_qdq;
mod keep_apart;
mod layout;
mod lift_constants;
mod linear;
mod lower_opset;
mod merge_transposes;
mod move_transposes;
mod name_nodes;
mod nodes;
pub mod pipeline;
mod prune;
mod quantize_weights;
mod raise_ir;
mod ramp;
mod remove_identity;
mod spell_scaler;
mod spread_bias;
mod store_weights;
mod tag;
mod unfuse;
mod upgrade_opset;
mod upgrade_rules;
mod upgrade_scope;
mod upgrade_table;
mod widen_half;

pub use column_bias::ColumnBias;
pub use driver::{AppliedPatch, Driver, Pass};
pub use equalize::equalize;
pub use fix_inputs::FixInputs;
pub use float::{LEAST_OPSET, float_passes};
pub use fold_alpha::FoldAlpha;
pub use fold_batchnorm::FoldBatchnorm;
pub use fold_constants::FoldConstants;
pub use fold_if::FoldIf;
pub use fold_pad::FoldPad;
pub use fold_ramp::FoldRamp;
pub use fold_scale::FoldScale;
pub use fold_shape::FoldShape;
pub use form_gemm::FormGemm;
pub use form_hard_sigmoid::FormHardSigmoid;
pub use form_hard_swish::FormHardSwish;
pub use inline_functions::InlineFunctions;
pub use insert_qdq::insert_qdq;
pub use lift_constants::LiftConstants;
pub use lower_opset::{LowerOpset, lower_opset};
pub use merge_transposes::MergeTransposes;
pub use move_transposes::MoveTransposes;
pub use name_nodes::NameNodes;
pub use prune::Prune;
pub use quantize_weights::quantize_weights;
pub use raise_ir::RaiseIr;
pub use remove_identity::RemoveIdentity;
pub use spell_scaler::SpellScaler;
pub use store_weights::store_weights;
pub use tag::tag;
pub use unfuse::{Unfuse, UnfuseLayers};
pub use upgrade_opset::{UpgradeOpset, ir_for_opset, upgrade_opset};
pub use widen_half::WidenHalf;
