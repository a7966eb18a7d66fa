//! Two operators of our own inside tract: a tap that no optimization removes, and fake quantization as ONNX defines it.

use crate::quant::FakeQuantize;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Operator type of a tap in the lowered graph; attribute `index`.
pub(super) const TAP: &str = "TapqTap";
/// Operator type of fake quantization in the lowered graph; attributes as the fields of [`FakeQuantize`].
pub(super) const FAKE_QUANTIZE: &str = "TapqFakeQuantize";

/// Builds what tract should make of [`TAP`].
pub(super) fn build_tap(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let index = usize::try_from(node.get_attr::<i64>("index")?)?;
    Ok((expand(SameFact(Box::new(Tap { index }))), vec![]))
}

/// Builds what tract should make of [`FAKE_QUANTIZE`].
pub(super) fn build_fake_quantize(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let op = FakeQuantize {
        scale: node.get_attr("scale")?,
        low: node.get_attr("low")?,
        high: node.get_attr("high")?,
        offset: node.get_attr("offset")?,
        out_scale: node.get_attr("out_scale")?,
    };
    Ok((expand(SameFact(Box::new(Fake(op)))), vec![]))
}

/// Passes its input on; the plan's caller looks at the value when it reaches this node.
///
/// It keeps the default answer to axis changes, a refusal, so that the caller sees the layout of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) index: usize,
}

impl Op for Tap {
    fn name(&self) -> StaticName {
        TAP.into()
    }
    op_as_typed_op!();
}

impl EvalOp for Tap {
    // A constant must still be seen on every run.
    not_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for Tap {
    as_op!();
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

/// [`FakeQuantize`] inside a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fake(FakeQuantize);

impl Eq for Fake {}

impl Op for Fake {
    fn name(&self) -> StaticName {
        FAKE_QUANTIZE.into()
    }
    op_as_typed_op!();
}

impl EvalOp for Fake {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        // Copies only where another reader still holds the value.
        let mut tensor = inputs.remove(0).into_tensor();
        self.0.apply(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for Fake {
    as_op!();
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }
    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        Ok(Some(AxisChangeConsequence::new(model, node, None, change)))
    }
}

/// An operator whose output has the type and shape of its only input.
#[derive(Clone, Debug)]
struct SameFact(Box<dyn TypedOp>);

impl Expansion for SameFact {
    fn name(&self) -> StaticName {
        self.0.name()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, &self.0, inputs)
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }
    fn runs_out_of_plan(&self) -> bool {
        false
    }
}
