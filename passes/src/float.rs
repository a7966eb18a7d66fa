//! The list of float passes, in the order that works.

use crate::{
    FoldBatchnorm, FoldConstants, FoldPad, FoldScale, LiftConstants, NameNodes, Pass, Prune, RaiseIr, RemoveIdentity,
};

/// The passes that preserve the function of the model within float rounding, in the order they must run in
/// (the crate documentation says why).
///
/// [`crate::UpgradeOpset`] is not among them: which opset a model needs is the target's business.
pub fn float_passes() -> Vec<&'static dyn Pass> {
    vec![
        &RaiseIr,
        &LiftConstants,
        &FoldConstants,
        &RemoveIdentity,
        &FoldPad,
        &FoldBatchnorm,
        &FoldScale,
        &Prune,
        &NameNodes,
    ]
}
