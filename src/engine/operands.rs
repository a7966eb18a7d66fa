//! Operands that ONNX allows and tract's own operators leave out: two vectors to `MatMul`, booleans to `Equal`.

use super::spelling::Spelling;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::logic::{not, xor};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::binary::{InferenceBinOp, rules, wire_rank_broadcast};
use tract_onnx::tract_hir::ops::logic::CompEq;
use tract_onnx::tract_hir::ops::matmul::MatMulInference;

/// Builds what tract should make of `MatMul`.
pub(super) fn build_mat_mul(_: &ParsingContext, _: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(MatMul(MatMulInference::default())), vec![]))
}

/// Builds what tract should make of `Equal`.
pub(super) fn build_equal(_: &ParsingContext, _: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(Equal), vec![]))
}

#[derive(Clone, Debug)]
struct MatMul(MatMulInference);

impl Expansion for MatMul {
    fn name(&self) -> StaticName {
        "TapqMatMul".into()
    }
    /// Of two vectors the first is a matrix of one row.
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut ranks = tvec!();
        for input in inputs {
            ranks.push(model.outlet_fact(*input)?.rank());
        }
        if *ranks != [1, 1] {
            return self.0.wire(prefix, model, inputs);
        }
        let row = Spelling::new(prefix, model).node(AxisOp::Add(0), &inputs[..1])?;
        let product = self.0.wire(&format!("{prefix}.row"), model, &[row, inputs[1]])?;
        model.wire_node(prefix, AxisOp::Rm(0), &product)
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.rules(solver, inputs, outputs)
    }
}

#[derive(Clone, Debug)]
struct Equal;

impl Expansion for Equal {
    fn name(&self) -> StaticName {
        "TapqEqual".into()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        for input in inputs {
            if model.outlet_fact(*input)?.datum_type != bool::datum_type() {
                return InferenceBinOp(Box::new(CompEq)).wire(prefix, model, inputs);
            }
        }
        let wires = wire_rank_broadcast(prefix, model, inputs)?;
        let mut s = Spelling::new(prefix, model);
        let differ = s.node(xor(), &wires)?;
        Ok(tvec![s.node(not(), &[differ])?])
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        rules(solver, inputs, outputs, |_, _| Ok(bool::datum_type()))
    }
}
