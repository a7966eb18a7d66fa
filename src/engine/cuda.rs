//! The network on a GPU, through tract-cuda: what it lacks runs on the CPU, and taps stay where they are.

use super::cuda_spelling::spell;
use super::seen::OnDevice;
use super::{Seen, ops};
use crate::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tract_cuda::ops::CudaFusedAxisOp;
use tract_cuda::{CudaTransform, with_cuda_stream};
use tract_gpu::fact::DeviceTypedFactExt;
use tract_gpu::sync::{DeviceSync, DeviceSyncKind};
use tract_gpu::tensor::DeviceTensorExt;
use tract_gpu::turn_handler::DeviceTurnHandler;
use tract_onnx::tract_core::transform::ModelTransform;
use tract_onnx::tract_hir::internal::*;

/// What keeps NVIDIA's libraries from rounding the factors of f32 products to 11 bits, which statistics would show.
const EXACT: (&str, &str) = ("NVIDIA_TF32_OVERRIDE", "0");

/// Why networks cannot run on the GPU here, in one line; `None` where they can.
pub(super) fn why_not() -> Option<String> {
    if std::env::var_os(EXACT.0).is_none_or(|set| set != EXACT.1) {
        return Some(format!("products would be rounded; set {}={} in the environment", EXACT.0, EXACT.1));
    }
    let found = std::panic::catch_unwind(|| {
        tract_cuda::utils::ensure_cuda_runtime_dependencies("libraries of the CUDA toolkit are missing")?;
        // Compiles tract's kernels, or finds that it cannot.
        with_cuda_stream(|_| Ok(()))
    });
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match found {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(one_line(format!("{e:#}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Some(one_line(text.unwrap_or_else(|| "the CUDA libraries do not start".to_owned())))
        }
    }
}

/// Compiles a decluttered model for the GPU; operators that stay on the CPU, with their number, come with it.
/// Of the outputs the first `asked` are fetched.
pub(super) fn plan(
    mut model: TypedModel,
    asked: usize,
) -> TractResult<(Arc<TypedSimplePlan>, BTreeMap<String, usize>)> {
    spell(&mut model)?;
    CudaTransform.transform(&mut model)?;
    keep_taps(&mut model, asked)?;
    model.optimize()?;
    let options = RunOptions { skip_order_opt_ram: true, ..RunOptions::default() };
    let mut plan = TypedSimplePlan::build(model, &options)?;
    if let Some(memory) = DeviceTurnHandler::for_plan(&plan, None)? {
        plan = plan.with_turn_handler(memory);
    }
    // Weights are on their way in this thread's stream; other threads run the network in theirs.
    tract_gpu::device::get_context()?.synchronize()?;
    let left = on_the_host(&plan);
    Ok((Arc::new(plan), left))
}

/// tract knows no tap, so it fetches the tensor, shows it on the host, and sends it back. Here the tensor is shown where
/// it lies.
fn keep_taps(model: &mut TypedModel, asked: usize) -> TractResult<()> {
    for id in model.eval_order()? {
        let Some(index) = model.node(id).op_as::<ops::Tap>().map(|tap| tap.index) else { continue };
        let fetched = model.node(id).inputs[0].node;
        let Some(op) = instead_of_fetching(model.node(fetched), DeviceTap { index }) else { continue };
        let tensor = model.node(fetched).inputs[0];
        let fact = op.output_facts(&[model.outlet_fact(tensor)?])?.remove(0);
        let readers = model.node(id).outputs[0].successors.clone();
        let node = model.node_mut(id);
        node.op = op;
        node.outputs[0].fact = fact;
        model.add_edge(tensor, InletId::new(id, 0))?;
        let (back, host): (Vec<InletId>, Vec<InletId>) =
            readers.into_iter().partition(|to| syncs(model, to.node, DeviceSyncKind::ToDevice));
        for sync in back {
            for to in model.node(sync.node).outputs[0].successors.clone() {
                model.add_edge(id.into(), to)?;
            }
        }
        // Taps that nothing reads are outputs, too, that nobody asked for.
        let is_output = model.outputs.iter().take(asked).any(|o| *o == OutletId::from(id));
        if !host.is_empty() || is_output {
            let name = format!("{}.to-host", model.node(id).name);
            let fetched = model.wire_node(name, DeviceSync::new(DeviceSyncKind::ToHost), &[id.into()])?[0];
            for to in host {
                model.add_edge(fetched, to)?;
            }
            let outputs = model.outputs.iter_mut().take(asked);
            outputs.filter(|o| **o == OutletId::from(id)).for_each(|o| *o = fetched);
        }
    }
    Ok(())
}

/// A tap of what a node fetches, of the same shape; `None` where it does not fetch.
fn instead_of_fetching(node: &TypedNode, tap: DeviceTap) -> Option<Box<dyn TypedOp>> {
    let fetches = |op: &dyn TypedOp| op.downcast_ref::<DeviceSync>().is_some_and(|s| s.kind == DeviceSyncKind::ToHost);
    // tract lets an operator see its input in another shape, a fetch too.
    match node.op_as::<CudaFusedAxisOp>() {
        Some(CudaFusedAxisOp { grouped_axis_ops, op }) if fetches(&**op) => {
            let fused = CudaFusedAxisOp { grouped_axis_ops: grouped_axis_ops.clone(), op: Box::new(tap) };
            Some(Box::new(fused))
        }
        _ => fetches(&*node.op).then(|| Box::new(tap) as _),
    }
}

/// The tap that an operator is.
pub(super) fn tap(op: &dyn TypedOp) -> Option<usize> {
    let fused = op.downcast_ref::<CudaFusedAxisOp>().map(|fused| &*fused.op);
    fused.unwrap_or(op).downcast_ref::<DeviceTap>().map(|tap| tap.index)
}

fn syncs(model: &TypedModel, node: usize, kind: DeviceSyncKind) -> bool {
    model.node(node).op_as::<DeviceSync>().is_some_and(|sync| sync.kind == kind)
}

fn on_the_host(plan: &TypedSimplePlan) -> BTreeMap<String, usize> {
    let mut left = BTreeMap::new();
    for id in plan.order_without_consts() {
        let node = plan.model().node(*id);
        let device = node.outputs.iter().any(|o| o.fact.as_device_fact().is_some());
        let moves = node.op.name().starts_with("DeviceSync") || node.op_is::<ops::Tap>() || node.inputs.is_empty();
        if !device && !moves {
            *left.entry(node.op.name().into_owned()).or_insert(0) += 1;
        }
    }
    left
}

/// A tap of a tensor that stays on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DeviceTap {
    index: usize,
}

impl Op for DeviceTap {
    fn name(&self) -> StaticName {
        "TapqDeviceTap".into()
    }
    op_as_typed_op!();
}

impl EvalOp for DeviceTap {
    not_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
    fn forwards_input(&self) -> Option<usize> {
        Some(0)
    }
}

impl TypedOp for DeviceTap {
    as_op!();
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

/// Shows the tensor of a [`DeviceTap`].
pub(super) fn show(index: usize, values: &[TValue], on_tap: &mut dyn FnMut(usize, &Seen)) -> TractResult<()> {
    let tensor = values.first().context("a tap without a value")?.to_device_tensor()?;
    let failed = |e: TractError| Error::new(Code::Device, format!("the GPU could not return a tensor: {e:#}"));
    let fetch = || -> Result<Vec<f32>> {
        let host = tensor.to_host().map_err(failed)?;
        let plain = host.try_as_plain_ram().map_err(failed)?;
        Ok(plain.as_slice::<f32>().map_err(failed)?.to_vec())
    };
    if tensor.strides() != Tensor::natural_strides(tensor.shape()).as_slice() {
        let values = fetch().map_err(|e| TractError::msg(e.to_string()))?;
        on_tap(index, &Seen::Host(super::TapView { dims: tensor.shape(), values: &values }));
        return Ok(());
    }
    let address = tensor.device_buffer_ptr() as u64 + tensor.buffer_offset::<u64>();
    with_cuda_stream(|stream| {
        let queue: &Arc<cudarc::driver::CudaStream> = stream;
        on_tap(index, &Seen::Device(OnDevice { dims: tensor.shape(), address, queue: Some(queue), fetch: &fetch }));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Options, Place, TapView};
    use crate::graph::Graph;
    use crate::samples::{input_specs, synthetic};

    /// Every value of the fixture networks, on the GPU and on the processor.
    #[test]
    fn networks_on_a_device() {
        if let Some(why) = why_not() {
            return println!("skipped: no network runs on a GPU here ({why})");
        }
        for name in ["resnet_digits", "dwcnn_digits", "vit_digits"] {
            let path = format!("{}/fixtures/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
            let (model, external) = crate::onnx::read(path.as_ref()).unwrap();
            let graph = Graph::new(model, external);
            let sample = synthetic(&input_specs(&graph, &BTreeMap::new()), &Default::default(), 1, 3).unwrap();
            let made = graph.nodes().iter().flat_map(|n| n.output.iter().filter(|o| !o.is_empty()));
            let weighs =
                |n: &&crate::onnx::NodeProto| matches!(n.op_type.as_str(), "Conv" | "Gemm" | "MatMul" | "Relu");
            let taps: Vec<String> = match name {
                "vit_digits" => graph.nodes().iter().filter(weighs).map(|n| n.output[0].clone()).collect(),
                _ => made.cloned().collect(),
            };
            let see = |place: Place| {
                let engine = Engine::new(&graph, &taps, &Options { place, ..Options::default() }).unwrap();
                let mut seen = vec![vec![]; taps.len()];
                let mut keep = |tap: usize, view: &TapView| seen[tap] = view.values.to_vec();
                let outputs = engine.run(&sample.samples[0], &mut keep).unwrap();
                (seen, outputs.len())
            };
            let (found, wanted) = (see(Place::Cuda), see(Place::Host));
            assert_eq!(found.1, wanted.1);
            for (tap, (a, b)) in found.0.iter().zip(&wanted.0).enumerate() {
                let most = b.iter().fold(1e-3f32, |most, v| most.max(v.abs()));
                let close = a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-4 * most);
                assert!(close, "{name}: {}", taps[tap]);
            }
        }
    }
}
