//! The list of float passes, in the order that works.

use crate::{
    ColumnBias, FoldAlpha, FoldBatchnorm, FoldConstants, FoldIf, FoldPad, FoldRamp, FoldScale, FoldShape, FormGemm,
    FormHardSigmoid, FormHardSwish, InlineFunctions, LiftConstants, MergeTransposes, MoveTransposes, NameNodes, Pass,
    Prune, RaiseIr, RemoveIdentity, SpellScaler, UnfuseLayers, UpgradeOpset, WidenHalf,
};

/// The opset of per-axis scales: no quantized file has an older one.
pub const LEAST_OPSET: i64 = 13;

/// The passes that preserve the function of the model within float rounding, in the order they must run in
/// (the crate documentation says why).
///
/// Which newer opset a model needs is the target's business; what every quantized file needs comes first, so that
/// all that follows, and the engine, meets operators as that opset writes them.
pub fn float_passes() -> Vec<&'static dyn Pass> {
    vec![
        &InlineFunctions,
        &RaiseIr,
        &LiftConstants,
        &UpgradeOpset { to: LEAST_OPSET },
        &WidenHalf,
        &UnfuseLayers,
        &SpellScaler,
        &FoldShape,
        &FoldConstants,
        &FoldIf,
        &LiftConstants,
        &FoldShape,
        &FoldConstants,
        &FoldIf,
        &LiftConstants,
        &FoldConstants,
        &RemoveIdentity,
        &MergeTransposes,
        &RemoveIdentity,
        &MoveTransposes,
        &FormHardSigmoid,
        &FormHardSwish,
        &FoldPad,
        &FormGemm,
        &FoldBatchnorm,
        &FoldScale,
        &FoldRamp,
        &FoldAlpha,
        &ColumnBias,
        &Prune,
        &NameNodes,
    ]
}
