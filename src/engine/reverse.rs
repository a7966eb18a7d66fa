//! ReverseSequence, which tract does not have: the first elements of each sequence, backwards.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Builds what tract should make of `ReverseSequence`.
pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let axis = |name, default: i64| -> TractResult<usize> {
        let axis = node.get_attr_opt::<i64>(name)?.unwrap_or(default);
        usize::try_from(axis).map_err(|_| format_err!("the attribute {name} of a ReverseSequence is {axis}"))
    };
    let op = ReverseSequence { batch: axis("batch_axis", 1)?, time: axis("time_axis", 0)? };
    ensure!(op.batch < 2 && op.time < 2 && op.batch != op.time, "the axes of a ReverseSequence are not 0 and 1");
    Ok((expand(op), vec![]))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ReverseSequence {
    batch: usize,
    time: usize,
}

impl ReverseSequence {
    fn reversed<T: Datum>(&self, values: &Tensor, lengths: &[i64]) -> TractResult<Tensor> {
        let shape = values.shape();
        let strides = [self.batch, self.time].map(|axis| shape[axis + 1..].iter().product::<usize>().max(1));
        let mut made = values.clone();
        let (given, mut moved) = (values.try_as_plain_ram()?, made.try_as_plain_ram_mut()?);
        let given = given.as_slice::<T>()?;
        for (at, to) in moved.as_slice_mut::<T>()?.iter_mut().enumerate() {
            let [batch, time] = [at / strides[0] % shape[self.batch], at / strides[1] % shape[self.time]];
            let length = usize::try_from(lengths[batch]).unwrap_or(0).min(shape[self.time]);
            let from = if time < length { at - time * strides[1] + (length - 1 - time) * strides[1] } else { at };
            to.clone_from(&given[from]);
        }
        Ok(made)
    }
}

impl Op for ReverseSequence {
    fn name(&self) -> StaticName {
        "TapqReverseSequence".into()
    }
    op_as_typed_op!();
}

impl EvalOp for ReverseSequence {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (values, lengths) = args_2!(inputs);
        let lengths = lengths.cast_to::<i64>()?;
        let lengths = lengths.try_as_plain_ram()?;
        let lengths = lengths.as_slice::<i64>()?;
        ensure!(lengths.len() == values.shape()[self.batch], "a ReverseSequence has {} lengths", lengths.len());
        let made = dispatch_datum!(Self::reversed(values.datum_type())(self, &values, lengths))?;
        Ok(tvec!(made.into_tvalue()))
    }
}

impl TypedOp for ReverseSequence {
    as_op!();
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

impl Expansion for ReverseSequence {
    fn name(&self) -> StaticName {
        "TapqReverseSequence".into()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        ensure!(model.outlet_fact(inputs[0])?.rank() > 1, "a ReverseSequence over less than two axes");
        model.wire_node(prefix, self.clone(), inputs)
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }
}
