//! Batch normalization by what the network computes: tract's own takes constants alone.
//!
//! PyTorch writes it for layers that track no running statistics, with the mean and variance of the batch before it.

use super::spelling::Spelling;
use crate::graph::attr_i;
use crate::onnx::NodeProto as Node;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_hir::internal::*;

/// Operator type in the lowered graph; attribute `epsilon`.
pub(super) const BATCH_NORM: &str = "TapqBatchNorm";

/// Turns `node` into [`BATCH_NORM`] if it normalizes by what is not `constant`.
pub(super) fn recognise(node: &mut Node, constant: impl Fn(&str) -> bool) {
    let normalizes = node.op_type == "BatchNormalization" && attr_i(node, "training_mode").unwrap_or(0) == 0;
    if normalizes && node.input.len() == 5 && !node.input[1..].iter().all(|name| constant(name)) {
        BATCH_NORM.clone_into(&mut node.op_type);
    }
}

/// Builds what tract should make of [`BATCH_NORM`].
pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(BatchNorm { epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5) }), vec![]))
}

#[derive(Clone, Debug)]
struct BatchNorm {
    epsilon: f32,
}

impl Expansion for BatchNorm {
    fn name(&self) -> StaticName {
        BATCH_NORM.into()
    }
    /// `(x - mean) * (scale / sqrt(variance + epsilon)) + bias`, in float32.
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut s = Spelling::new(prefix, model);
        let (written, shape) = (s.datum_type(inputs[0])?, s.shape(inputs[0])?);
        let mut wires = tvec!();
        for (slot, input) in inputs.iter().enumerate() {
            let mut wire = s.cast(*input, f32::datum_type())?;
            if slot > 0 {
                let given = s.shape(wire)?;
                let channels = shape.get(1).copied().unwrap_or(1);
                ensure!(given.as_slice() == [channels], "{given:?} parameters for {channels} channels");
                for axis in (0..shape.len()).filter(|axis| *axis != 1) {
                    wire = s.node(AxisOp::Add(axis), &[wire])?;
                }
            }
            wires.push(wire);
        }
        let [x, scale, bias, mean, variance] = *wires else { bail!("batch normalization takes five inputs") };
        let epsilon = s.number(self.epsilon, shape.len())?;
        let spread = s.node(math::add(), &[variance, epsilon])?;
        let spread = s.node(math::sqrt(), &[spread])?;
        let slope = s.node(math::div(), &[scale, spread])?;
        let centred = s.node(math::sub(), &[x, mean])?;
        let scaled = s.node(math::mul(), &[centred, slope])?;
        let found = s.node(math::add(), &[scaled, bias])?;
        Ok(tvec![s.cast(found, written)?])
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 5)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }
}
