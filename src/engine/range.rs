//! Ranges whose bounds are known, at every type and in both directions.
//!
//! tract counts their elements in whole numbers, and upwards: it divides by zero for steps below one, and loses elements
//! of ranges that fall. Ranges that depend on values stay with it.

use std::iter::successors;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::array;

/// No axis is longer; what asks for more is malformed.
const MOST: i128 = 1 << 28;

/// Builds what tract should make of `Range`.
pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(Range), vec![]))
}

#[derive(Clone, Debug)]
struct Range;

/// The elements; `None` where a bound is a symbol.
fn made(bounds: [&Tensor; 3], of: DatumType) -> TractResult<Option<Tensor>> {
    match of {
        DatumType::F32 => {
            let [start, limit, step] = numbers::<f32>(bounds)?;
            let count = floats(f64::from(limit - start) / f64::from(step))?;
            // ONNX Runtime adds the step up, too.
            Ok(Some(tensor1(&successors(Some(start), |v| Some(v + step)).take(count).collect::<Vec<f32>>())))
        }
        DatumType::F64 => {
            let [start, limit, step] = numbers::<f64>(bounds)?;
            let count = floats((limit - start) / step)?;
            Ok(Some(tensor1(&successors(Some(start), |v| Some(v + step)).take(count).collect::<Vec<f64>>())))
        }
        _ => {
            let Ok([start, limit, step]) = numbers::<i64>(bounds) else { return Ok(None) };
            ensure!(step != 0, "the step of a Range is zero");
            let (span, step) = (i128::from(limit) - i128::from(start), i128::from(step));
            let count = (span / step + i128::from(span % step != 0 && (span < 0) == (step < 0))).max(0);
            ensure!(count <= MOST, "a Range of {count} elements");
            let element = |i| Ok(i64::try_from(i128::from(start) + i * step)?);
            let elements = (0..count).map(element).collect::<TractResult<Vec<i64>>>()?;
            Ok(Some(tensor1(&elements).cast_to_dt(of)?.into_owned()))
        }
    }
}

fn numbers<T: Datum + Copy>(bounds: [&Tensor; 3]) -> TractResult<[T; 3]> {
    let [start, limit, step] = bounds.map(|t| t.cast_to_scalar::<T>());
    Ok([start?, limit?, step?])
}

fn floats(count: f64) -> TractResult<usize> {
    ensure!(count.is_finite() && count <= MOST as f64, "a Range of {count} elements");
    Ok(count.ceil().max(0.0) as usize)
}

/// Numbers of this type come of bounds of these.
fn result(bounds: [DatumType; 3]) -> TractResult<DatumType> {
    let of = DatumType::super_type_for(bounds).context("the bounds of a Range have no type in common")?;
    Ok(if of.is_tdim() { i64::datum_type() } else { of })
}

impl Expansion for Range {
    fn name(&self) -> StaticName {
        "TapqRange".into()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut known = tvec!();
        for input in inputs {
            let fact = model.outlet_fact(*input)?;
            known.extend(fact.konst.clone());
        }
        if let [start, limit, step] = &*known {
            let of = result([start, limit, step].map(|t| t.datum_type()))?;
            if let Some(made) = made([start, limit, step], of)? {
                return Ok(tvec![model.add_const(prefix, made)?]);
            }
        }
        array::Range.wire(prefix, model, inputs)
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3)?;
        check_output_arity(outputs, 1)?;
        let [start, limit, step] = [&inputs[0], &inputs[1], &inputs[2]];
        for input in inputs {
            solver.equals(&input.rank, 0)?;
        }
        solver.equals(&outputs[0].rank, 1)?;
        solver.given_3(&start.datum_type, &limit.datum_type, &step.datum_type, move |solver, a, b, c| {
            solver.equals(&outputs[0].datum_type, result([a, b, c])?)
        })?;
        solver.given_3(&start.value, &limit.value, &step.value, move |solver, a, b, c| {
            let of = result([a.datum_type(), b.datum_type(), c.datum_type()])?;
            match made([&a, &b, &c], of)? {
                Some(made) => solver.equals(&outputs[0].shape[0], made.len().to_dim()),
                None => Ok(()),
            }
        })
    }
}
