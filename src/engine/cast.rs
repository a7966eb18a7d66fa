//! Two casts that tract does otherwise.
//!
//! To int64 without loss: tract makes dimensions of them by way of 32 bits, and exporters write the open end of a slice as
//! the greatest int64 behind such a cast, which came out as -1. To floats of 16 bits as float32 that hold what those can:
//! nothing else here knows the types.

use crate::graph::round_to;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};

/// Operator type of a cast to int64 in the lowered graph.
pub(super) const CAST_TO_INT64: &str = "TapqCastToInt64";
/// Operator type of a cast to a float of 16 bits in the lowered graph; attribute `to`.
pub(super) const ROUND_TO_HALF: &str = "TapqRoundToHalf";

/// Builds what tract should make of [`ROUND_TO_HALF`].
pub(super) fn build_rounding(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let to = i32::try_from(node.get_attr::<i64>("to")?)?;
    Ok((expand(CastTo::Half(to)), vec![]))
}

/// Builds what tract should make of [`CAST_TO_INT64`].
pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(CastTo::Int64), vec![]))
}

/// A cast by way of a type that tract casts to.
#[derive(Clone, Debug)]
enum CastTo {
    /// Makes dimensions, as tract's own cast to int64 does, so that arithmetic on shapes fits together.
    Int64,
    /// Rounds to the numbers of a `TensorProto.DataType`.
    Half(i32),
}

impl Expansion for CastTo {
    fn name(&self) -> StaticName {
        match self {
            CastTo::Int64 => CAST_TO_INT64.into(),
            CastTo::Half(_) => ROUND_TO_HALF.into(),
        }
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let from = model.outlet_fact(inputs[0])?.datum_type;
        let (through, last): (DatumType, Box<dyn ElementWiseMiniOp>) = match self {
            CastTo::Int64 if from == TDim::datum_type() || from == String::datum_type() => {
                return model.wire_node(prefix, cast(TDim::datum_type()), inputs);
            }
            CastTo::Int64 => (i64::datum_type(), Box::new(Dimensions)),
            CastTo::Half(to) => (f32::datum_type(), Box::new(Rounding(*to))),
        };
        let cast = match from == through {
            true => tvec!(inputs[0]),
            false => model.wire_node(format!("{prefix}.through"), cast(through), inputs)?,
        };
        model.wire_node(prefix, ElementWiseOp(last, None), &cast)
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        let made = match self {
            CastTo::Int64 => TDim::datum_type(),
            CastTo::Half(_) => f32::datum_type(),
        };
        solver.equals(&outputs[0].datum_type, made)?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)
    }
}

/// Numbers of a type of 16 bits, as float32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rounding(i32);

impl ElementWiseMiniOp for Rounding {
    fn name(&self) -> String {
        ROUND_TO_HALF.to_owned()
    }
    fn output_type(&self, _: DatumType) -> Option<DatumType> {
        Some(f32::datum_type())
    }
    fn eval_out_of_place(&self, numbers: &Tensor, _: Option<DatumType>) -> TractResult<Tensor> {
        let rounded: Vec<f32> =
            numbers.try_as_plain_ram()?.as_slice::<f32>()?.iter().map(|x| round_to(self.0, *x)).collect();
        tensor1(&rounded).into_shape(numbers.shape())
    }
}

/// Dimensions of int64 numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Dimensions;

impl ElementWiseMiniOp for Dimensions {
    fn name(&self) -> String {
        "TapqDimensions".to_owned()
    }
    fn output_type(&self, _: DatumType) -> Option<DatumType> {
        Some(TDim::datum_type())
    }
    fn eval_out_of_place(&self, numbers: &Tensor, _: Option<DatumType>) -> TractResult<Tensor> {
        let made: Vec<TDim> = numbers.try_as_plain_ram()?.as_slice::<i64>()?.iter().map(|n| TDim::from(*n)).collect();
        tensor1(&made).into_shape(numbers.shape())
    }
}
