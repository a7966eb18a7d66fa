//! Every n-th index of an axis that a reshape made.
//!
//! tract moves such a stride towards the input, and gives up the whole network where it meets the reshape that made the
//! axis. Where that happens the stride becomes a gather, which stays where it is; all others keep tract's fast paths.

use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::internal::*;

/// Rewrites `model`; where that fails and strides stand behind what made their axes, it goes on without them.
pub(super) fn rewrite(model: &mut TypedModel, pass: fn(&mut TypedModel) -> TractResult<()>) -> TractResult<()> {
    loop {
        let Err(error) = pass(model) else { return Ok(()) };
        if !matches!(gather_stuck(model), Ok(gathered) if gathered > 0) {
            return Err(error);
        }
    }
}

/// Turns the strides that tract cannot move on into gathers; returns their number.
fn gather_stuck(model: &mut TypedModel) -> TractResult<usize> {
    let mut gathered = 0;
    for id in model.eval_order()? {
        let Some(op) = model.node(id).op_as::<Downsample>().cloned() else { continue };
        let makes = |before: &TypedNode| {
            before.op_as::<AxisOp>().is_some_and(|change| change.recip().transform_axis(op.axis).is_none())
        };
        if !model.linear_prec(id)?.is_some_and(makes) {
            continue;
        }
        let input = model.node(id).inputs[0];
        let extent = model.outlet_fact(input)?.shape[op.axis].to_i64()?;
        let step = op.stride.unsigned_abs().max(1);
        let indices: Vec<i64> = match op.stride > 0 {
            true => (op.modulo as i64..extent).step_by(step).collect(),
            false => (0..extent).rev().step_by(step).collect(),
        };
        let name = model.node(id).name.clone();
        let mut patch = TypedModelPatch::default();
        let wire = patch.tap_model(model, input)?;
        let indices = patch.add_const(format!("{name}.indices"), tensor1(&indices))?;
        let wire = patch.wire_node(&name, Gather::new(op.axis), &[wire, indices])?[0];
        patch.shunt_outside(model, id.into(), wire)?;
        patch.apply(model)?;
        gathered += 1;
    }
    Ok(gathered)
}
