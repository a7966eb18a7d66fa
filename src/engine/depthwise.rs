//! Depthwise convolution, the one operator where tract's own code dominates the run time of mobile networks.

use crate::graph::{attr_i, attr_ints, attr_s, set_attr};
use crate::onnx::NodeProto as Node;
use crate::plane::{Plane, Reading};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Operator type in the lowered graph; attributes as the fields of [`Depthwise`].
pub(super) const DEPTHWISE: &str = "TapqDepthwise";

/// A convolution over two axes with one filter for each channel, on NCHW float32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Depthwise {
    strides: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    dilations: [usize; 2],
}

/// Turns `node` into [`DEPTHWISE`] if it is a depthwise convolution with weights of shape `weights`.
pub(super) fn recognise(node: &mut Node, weights: &[usize]) {
    let fits = node.op_type == "Conv"
        && matches!(node.domain.as_str(), "" | "ai.onnx")
        && matches!(attr_s(node, "auto_pad"), None | Some("NOTSET"))
        && matches!(weights, [channels, 1, _, _] if attr_i(node, "group") == i64::try_from(*channels).ok());
    if !fits {
        return;
    }
    let list = |name, otherwise: &[i64]| attr_ints(node, name).unwrap_or(otherwise).to_vec();
    let (strides, pads, dilations) = (list("strides", &[1; 2]), list("pads", &[0; 4]), list("dilations", &[1; 2]));
    // Sums and products of two numbers up to this do not overflow.
    let most = i64::from(i32::MAX);
    let sound = strides.iter().chain(&dilations).all(|v| (1..=most).contains(v));
    let sound = sound && pads.iter().all(|v| (0..=most).contains(v));
    if strides.len() == 2 && pads.len() == 4 && dilations.len() == 2 && sound {
        node.op_type = DEPTHWISE.to_owned();
        set_attr(node, "strides", strides);
        set_attr(node, "pads", pads);
        set_attr(node, "dilations", dilations);
    }
}

/// Builds what tract should make of [`DEPTHWISE`].
pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let list = |name| node.get_attr_slice::<i64>(name);
    fn fixed<const N: usize>(list: &[i64]) -> TractResult<[usize; N]> {
        let extents = list.iter().map(|v| Ok(usize::try_from(*v)?)).collect::<TractResult<Vec<usize>>>()?;
        extents.try_into().map_err(|_| TractError::msg("an attribute of the convolution has the wrong length"))
    }
    let (strides, pads, dilations) = (fixed(list("strides")?)?, fixed(list("pads")?)?, fixed(list("dilations")?)?);
    Ok((expand(Depthwise { strides, pads, dilations }), vec![]))
}

impl Depthwise {
    /// Extent of the output for an input and a kernel of these extents.
    fn output(&self, image: [usize; 2], kernel: [usize; 2]) -> TractResult<[usize; 2]> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let padded = image[axis] + self.pads[axis] + self.pads[axis + 2];
            let reach = self.dilations[axis] * kernel[axis].saturating_sub(1) + 1;
            ensure!(image[axis] > 0, "an empty image");
            ensure!(kernel[axis] > 0 && reach <= padded, "the kernel is larger than the padded input");
            output[axis] = (padded - reach) / self.strides[axis] + 1;
        }
        Ok(output)
    }

    fn reading(&self, kernel: &[usize]) -> Reading {
        let Depthwise { strides, pads, dilations } = *self;
        Reading { kernel: [kernel[2], kernel[3]], strides, pads, dilations }
    }

    fn shape(&self, image: &[usize], kernel: &[usize]) -> TractResult<TVec<usize>> {
        let ([n, channels, h, w], [filters, 1, kh, kw]) = (image, kernel) else {
            bail!("an image of shape {image:?} does not fit depthwise filters of shape {kernel:?}")
        };
        ensure!(channels == filters, "{channels} channels do not fit {filters} depthwise filters");
        let [oh, ow] = self.output([*h, *w], [*kh, *kw])?;
        Ok(tvec![*n, *channels, oh, ow])
    }

    fn run(&self, image: &Tensor, kernel: &Tensor, bias: Option<&Tensor>) -> TractResult<Tensor> {
        let shape = self.shape(image.shape(), kernel.shape())?;
        let mut output = Tensor::zero::<f32>(&shape)?;
        let (channels, size) = (shape[1], [image.shape()[2], image.shape()[3]]);
        let mut plane = Plane::new(&self.reading(kernel.shape()), size, [shape[2], shape[3]]);
        let area = (size[0] * size[1]).max(1);
        let image = image.try_as_plain_ram()?;
        let kernel = kernel.try_as_plain_ram()?;
        let bias = bias.map(|b| b.try_as_plain_ram()).transpose()?;
        let bias = bias.as_ref().map(|b| b.as_slice::<f32>()).transpose()?;
        ensure!(bias.is_none_or(|b| b.len() == channels), "the bias does not have one element for each channel");
        let filters = kernel.as_slice::<f32>()?.chunks(plane.taps()).enumerate().cycle();
        let mut written = output.try_as_plain_ram_mut()?;
        let outputs = written.as_slice_mut::<f32>()?.chunks_mut(shape[2] * shape[3]);
        for ((from, to), (channel, filter)) in image.as_slice::<f32>()?.chunks(area).zip(outputs).zip(filters) {
            plane.load(from);
            plane.convolve(filter, bias.map_or(0.0, |b| b[channel]), to);
        }
        Ok(output)
    }
}

impl Op for Depthwise {
    fn name(&self) -> StaticName {
        DEPTHWISE.into()
    }
    op_as_typed_op!();
}

impl EvalOp for Depthwise {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        ensure!(inputs.len() >= 2, "a convolution without filters");
        let bias = inputs.get(2).map(|b| &**b);
        Ok(tvec!(self.run(&inputs[0], &inputs[1], bias)?.into_tvalue()))
    }
}

impl TypedOp for Depthwise {
    as_op!();
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let concrete = |i: usize| inputs[i].shape.as_concrete().context("a convolution of unknown shape");
        Ok(tvec!(f32::fact(&self.shape(concrete(0)?, concrete(1)?)?)))
    }
}

impl Expansion for Depthwise {
    fn name(&self) -> StaticName {
        DEPTHWISE.into()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.given_2(&inputs[0].shape, &inputs[1].shape, move |solver, image, kernel| {
            let concrete =
                |dims: &TVec<TDim>| dims.iter().map(|d| Ok(d.to_usize()?)).collect::<TractResult<TVec<usize>>>();
            let shape = self.shape(&concrete(&image)?, &concrete(&kernel)?)?;
            solver.equals(&outputs[0].shape, shape.iter().map(|d| d.to_dim()).collect::<TVec<TDim>>())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn direct(op: &Depthwise, x: &Tensor, w: &Tensor, shape: &[usize]) -> Vec<f64> {
        let at = |t: &Tensor, i: [usize; 4]| f64::from(*t.to_plain_array_view::<f32>().unwrap().get(&i[..]).unwrap());
        let (h, width) = (x.shape()[2], x.shape()[3]);
        let mut out = vec![];
        for i in tract_ndarray::indices(shape) {
            let mut sum = 0.5;
            for k in tract_ndarray::indices(&w.shape()[2..]) {
                let y = (i[2] * op.strides[0] + k[0] * op.dilations[0]).wrapping_sub(op.pads[0]);
                let x_at = (i[3] * op.strides[1] + k[1] * op.dilations[1]).wrapping_sub(op.pads[1]);
                if y < h && x_at < width {
                    sum += at(x, [i[0], i[1], y, x_at]) * at(w, [i[1], 0, k[0], k[1]]);
                }
            }
            out.push(sum);
        }
        out
    }

    fn noise(shape: &[usize], seed: usize) -> Tensor {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|i| ((i * 7919 + seed) % 211) as f32 / 100.0 - 1.0).collect();
        Tensor::from_shape(shape, &values).unwrap()
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            (n, c, h, w) in (1usize..3, 1usize..4, 1usize..60, 1usize..60),
            (kh, kw) in (1usize..6, 1usize..6),
            strides in [1usize..4, 1..4], dilations in [1usize..3, 1..3], pads in [0usize..4, 0..4, 0..4, 0..4],
        ) {
            let op = Depthwise { strides, pads, dilations };
            let (x, weights) = (noise(&[n, c, h, w], 3), noise(&[c, 1, kh, kw], 5));
            let bias = tensor1(&vec![0.5f32; c]);
            let Ok(found) = op.run(&x, &weights, Some(&bias)) else {
                prop_assert!(op.output([h, w], [kh, kw]).is_err());
                return Ok(());
            };
            let expected = direct(&op, &x, &weights, found.shape());
            let view = found.try_as_plain_ram().unwrap();
            for (a, b) in view.as_slice::<f32>().unwrap().iter().zip(expected) {
                prop_assert!((f64::from(*a) - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }
}
