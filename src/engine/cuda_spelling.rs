//! Operators that tract-cuda lacks, spelled in those that it has.

use super::spelling::Spelling;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Slice};
use tract_onnx::tract_core::ops::cnn::MaxPool;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::GeluExact;
use tract_onnx::tract_hir::internal::*;

/// Spells what can be spelled; the rest stays, and runs on the processor.
pub(super) fn spell(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let mut patch = TypedModelPatch::default();
        if let Some(spelled) = node(model, id, &mut patch)? {
            patch.shunt_outside(model, id.into(), spelled)?;
            patch.apply(model)?;
        }
    }
    Ok(())
}

/// What replaces a node, if anything does.
fn node(model: &TypedModel, id: usize, patch: &mut TypedModelPatch) -> TractResult<Option<OutletId>> {
    let node = model.node(id);
    let (Some(x), [_]) = (node.inputs.first(), &node.outputs[..]) else { return Ok(None) };
    let fact = model.outlet_fact(*x)?;
    let x = patch.tap_model(model, *x)?;
    let mut spelling = Spelling::new(&node.name, patch);
    let (float, rank) = (fact.datum_type == DatumType::F32, fact.rank());
    let is_gelu = |op: &ElementWiseOp| op.0.is::<GeluExact>();
    if let Some(op) = node.op_as::<Downsample>() {
        downsample(&mut spelling, op, x)
    } else if let Some(op) = node.op_as::<MaxPool>().filter(|_| float) {
        max_pool(&mut spelling, op, x)
    } else if node.op_as().is_some_and(is_gelu) && float {
        gelu(&mut spelling, x, rank).map(Some)
    } else {
        Ok(None)
    }
}

/// Every n-th index of an axis.
fn downsample(spelling: &mut Spelling, op: &Downsample, x: OutletId) -> TractResult<Option<OutletId>> {
    let (Ok(shape), Ok(stride)) = (spelling.shape(x), usize::try_from(op.stride)) else { return Ok(None) };
    if stride < 2 || shape[op.axis] % stride != 0 {
        return Ok(None);
    }
    one_of_each(spelling, x, (op.axis, shape[op.axis] / stride, stride, op.modulo)).map(Some)
}

/// Of `runs` runs of `stride` indices of an axis the one at `at` in each: a slice of the axis cut in two.
fn one_of_each(
    spelling: &mut Spelling,
    x: OutletId,
    (axis, runs, stride, at): (usize, usize, usize, usize),
) -> TractResult<OutletId> {
    let cut = AxisOp::Reshape(axis, tvec![(runs * stride).to_dim()], tvec![runs.to_dim(), stride.to_dim()]);
    let cut = spelling.node(cut, &[x])?;
    let slice = spelling.node(Slice::new(axis + 1, at, at + 1), &[cut])?;
    spelling.node(AxisOp::Rm(axis + 1), &[slice])
}

/// The greatest element of each window: axis by axis the maximum of as many slices as the kernel is long.
fn max_pool(spelling: &mut Spelling, op: &MaxPool, x: OutletId) -> TractResult<Option<OutletId>> {
    let Ok(dims) = spelling.shape(x) else { return Ok(None) };
    let spec = &op.pool_spec;
    let shape = spec.data_format.shape(&dims[..])?;
    let (first, padding) = (shape.h_axis(), spec.computed_padding(shape.hw_dims()));
    let mut pads = vec![(0, 0); dims.len()];
    for (i, padding) in padding.iter().enumerate() {
        // As long as the window that starts last, and the stride after each.
        let reach = (spec.kernel_shape[i] - 1) * spec.dilation(i);
        let needed = reach + padding.convoluted * spec.stride(i);
        pads[first + i] = (padding.pad_before, needed.saturating_sub(padding.pad_before + dims[first + i]));
    }
    let mut wire = x;
    if pads.iter().any(|(before, after)| before + after > 0) {
        let nothing = PadMode::Constant(Arc::new(tensor0(f32::NEG_INFINITY)));
        wire = spelling.node(Pad { pads, mode: nothing }, &[x])?;
    }
    for (i, padding) in padding.iter().enumerate() {
        let (axis, stride, runs) = (first + i, spec.stride(i), padding.convoluted);
        let mut most = None;
        for step in 0..spec.kernel_shape[i] {
            let from = step * spec.dilation(i);
            let mut own = spelling.node(Slice::new(axis, from, from + runs * stride), &[wire])?;
            if stride > 1 {
                own = one_of_each(spelling, own, (axis, runs, stride, 0))?;
            }
            most = Some(match most {
                None => own,
                Some(most) => spelling.node(math::max(), &[most, own])?,
            });
        }
        wire = most.unwrap_or(wire);
    }
    Ok(Some(wire))
}

/// The GPU has the error function, and not what tract makes of a Gelu that is spelled with it.
fn gelu(spelling: &mut Spelling, x: OutletId, rank: usize) -> TractResult<OutletId> {
    let scale = spelling.number(std::f32::consts::FRAC_1_SQRT_2, rank)?;
    let (one, half) = (spelling.number(1.0, rank)?, spelling.number(0.5, rank)?);
    let inner = spelling.node(math::mul(), &[x, scale])?;
    let inner = spelling.node(math::erf(), &[inner])?;
    let inner = spelling.node(math::add(), &[inner, one])?;
    let gate = spelling.node(math::mul(), &[inner, half])?;
    spelling.node(math::mul(), &[x, gate])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::nn::DataFormat;
    use tract_onnx::tract_core::ops::nn::gelu_exact::gelu_exact;

    /// Runs a model as it is and spelled, in which nothing that `left` names may be left.
    fn same(model: &TypedModel, dims: &[usize], left: &[&str]) {
        let mut spelled = model.clone();
        spell(&mut spelled).unwrap();
        let order = spelled.eval_order().unwrap();
        let names: Vec<_> = order.iter().map(|id| spelled.node(*id).op.name()).collect();
        assert!(!names.iter().any(|name| left.contains(&name.as_ref())), "{names:?}");
        let input: Vec<f32> = (0..dims.iter().product()).map(|i| (i as f32 * 0.37).sin() * 3.0 - 2.0).collect();
        let input = Tensor::from_shape(dims, &input).unwrap();
        let run = |model: TypedModel| {
            let runnable = model.into_runnable().unwrap();
            runnable.run(tvec!(input.clone().into_tvalue())).unwrap().remove(0).into_tensor()
        };
        run(spelled).close_enough(&run(model.clone()), Approximation::Close).unwrap();
    }

    #[test]
    fn downsamples_and_gelus() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([2, 6, 8])).unwrap();
        let op = |axis, stride, modulo| Downsample { axis, stride, modulo };
        let rows = model.wire_node("rows", op(1, 3, 1), &[x]).unwrap();
        let columns = model.wire_node("columns", op(2, 2, 0), &rows).unwrap();
        let out = model.wire_node("gelu", gelu_exact(), &columns).unwrap();
        model.select_output_outlets(&out).unwrap();
        same(&model, &[2, 6, 8], &["Downsample", "GeluExact"]);
    }

    #[test]
    fn max_pools_of_any_window() {
        let explicit = |before: [usize; 2], after: [usize; 2], ceil: bool| {
            PaddingSpec::ExplicitOnnxPool(tvec![before[0], before[1]], tvec![after[0], after[1]], ceil)
        };
        let windows = [
            // kernel, stride, dilation, padding, height and width
            ([3, 3], [2, 2], [1, 1], explicit([1, 1], [1, 1], false), [11, 12]),
            ([2, 2], [2, 2], [1, 1], PaddingSpec::Valid, [8, 9]),
            ([3, 2], [1, 3], [1, 1], explicit([0, 1], [2, 0], false), [7, 10]),
            ([2, 3], [3, 2], [2, 1], PaddingSpec::Valid, [12, 7]),
            ([3, 3], [2, 2], [1, 1], explicit([0, 0], [0, 0], true), [10, 8]),
            ([3, 3], [1, 2], [1, 1], PaddingSpec::SameUpper, [6, 7]),
            ([1, 1], [2, 2], [1, 1], PaddingSpec::Valid, [5, 5]),
        ];
        for (kernel, stride, dilation, padding, [height, width]) in windows {
            for data_format in [DataFormat::NCHW, DataFormat::NHWC] {
                let dims = match data_format {
                    DataFormat::NCHW => [2, 3, height, width],
                    _ => [2, height, width, 3],
                };
                let pool_spec = PoolSpec {
                    data_format,
                    kernel_shape: kernel[..].into(),
                    padding: padding.clone(),
                    dilations: Some(dilation[..].into()),
                    strides: Some(stride[..].into()),
                    input_channels: 3,
                    output_channels: 3,
                };
                let mut model = TypedModel::default();
                let x = model.add_source("x", f32::fact(dims)).unwrap();
                let pool = MaxPool { pool_spec, with_index_outputs: None };
                let out = model.wire_node("pool", pool, &[x]).unwrap();
                model.select_output_outlets(&out).unwrap();
                same(&model, &dims, &["MaxPool"]);
            }
        }
    }
}
