//! Two operators of our own inside tract: a tap that no optimization removes, and fake quantization as ONNX defines it.

use crate::wide::wide;
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
    Ok((expand(SameFact(Box::new(op))), vec![]))
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

/// `y = (clamp(round_half_even(x / scale), low, high) + offset) * out_scale`, all in f32; NaN stays NaN.
///
/// With `low = qmin - zero_point` this is QuantizeLinear followed by DequantizeLinear: the bounds are integers, so it
/// does not matter whether the zero point is added before or after saturation, nor whether rounding precedes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FakeQuantize {
    pub(super) scale: f32,
    pub(super) low: f32,
    pub(super) high: f32,
    /// Zero point of the quantizer minus that of the dequantizer.
    pub(super) offset: f32,
    pub(super) out_scale: f32,
}

impl Eq for FakeQuantize {}

impl FakeQuantize {
    /// Quantizes and dequantizes in place.
    pub(super) fn apply(&self, values: &mut [f32]) {
        // Adding and subtracting 1.5 * 2^23 rounds half to even below 2^22, and vectorises on every CPU.
        const ROUND: f32 = 12_582_912.0;
        let FakeQuantize { scale, low, high, offset, out_scale } = *self;
        wide(
            #[inline(always)]
            || {
                for value in values {
                    let x = *value / scale;
                    let x = if x < low { low } else { x };
                    let x = if x > high { high } else { x };
                    *value = ((x + ROUND) - ROUND + offset) * out_scale;
                }
            },
        );
    }
}

impl Op for FakeQuantize {
    fn name(&self) -> StaticName {
        FAKE_QUANTIZE.into()
    }
    op_as_typed_op!();
}

impl EvalOp for FakeQuantize {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        // Copies only where another reader still holds the value.
        let mut tensor = inputs.remove(0).into_tensor();
        self.apply(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for FakeQuantize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ONNX's words in f64-free form: divide in f32, round half to even, add, saturate, dequantize.
    fn reference(x: f32, scale: f32, zero: i32, low: i32, high: i32) -> f32 {
        let rounded = crate::quant::round_half_even(x / scale) as f64 + f64::from(zero);
        (rounded.clamp(low.into(), high.into()) - f64::from(zero)) as f32 * scale
    }

    fn operator(scale: f32, zero: i32, low: i32, high: i32) -> FakeQuantize {
        let (low, high) = ((low - zero) as f32, (high - zero) as f32);
        FakeQuantize { scale, low, high, offset: 0.0, out_scale: scale }
    }

    proptest! {
        #[test]
        fn equals_onnx(
            x in prop_oneof![-300f32..300.0, (-600i32..600).prop_map(|i| i as f32 / 2.0), any::<f32>()],
            scale in prop_oneof![Just(1f32), Just(0.5f32), 1e-6f32..1e3],
            (low, high) in prop_oneof![Just((0, 255)), Just((-128, 127)), Just((0, 65535)), Just((-8, 7))],
            zero in 0f64..=1.0,
        ) {
            prop_assume!(!x.is_nan());
            let zero = (f64::from(low) + zero * f64::from(high - low)).round() as i32;
            let mut found = [x];
            operator(scale, zero, low, high).apply(&mut found);
            prop_assert_eq!(found[0], reference(x, scale, zero, low, high));
        }
    }

    #[test]
    fn ties_go_to_even_and_nan_stays() {
        let mut values = [0.5, 1.5, 2.5, -0.5, -1.5, 3.5, f32::NAN, f32::INFINITY];
        operator(1.0, 0, -8, 7).apply(&mut values);
        assert_eq!(values[..6], [0.0, 2.0, 2.0, 0.0, -2.0, 4.0]);
        assert!(values[6].is_nan());
        assert_eq!(values[7], 7.0);
    }
}
