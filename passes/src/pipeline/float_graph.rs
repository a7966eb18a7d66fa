//! The float graph that everything is decided on.

use super::options::Options;
use crate::driver::Driver;
use crate::facts::is_op;
use crate::form_hard_swish::{FormHardSwish, HARD_SWISH_OPSET};
use crate::{FixInputs, InlineFunctions, Pass, Unfuse, UnfuseLayers, float_passes, lower_opset, upgrade_opset};
use tapq::fused;
use tapq::graph::Graph;
use tapq::onnx::NodeProto as Node;
use tapq::{Code, Error, Result};

/// The newest opset of which ONNX Runtime's optimizations read every signed file.
///
/// From the next on, versions 1.31 and 1.32 copy pairs behind data movements and lose on the way what says that they are
/// signed; the file does not load. Widths that need the next opset raise it again.
const SIGNED_OPSET: i64 = 20;

/// Refuses what is quantized already, fixes inputs, and runs the float passes; the options' fuel bounds their patches. A
/// newer opset than the target reads, or than signed integers are safe in, is lowered where that changes nothing, and a
/// target of opset 13 is spared an operator of 14.
pub fn simplify(graph: &mut Graph, options: &Options) -> Result<Driver> {
    let target = options.target;
    // Whatever the fuel: functions hide what is quantized already, and samples feed the network without fixed inputs.
    let mut driver = Driver::new(None);
    driver.run(graph, &[&InlineFunctions, &FixInputs(options.fixed)])?;
    refuse_quantized(graph)?;
    // ONNX Runtime writes the operator into files of opsets that do not have it.
    let early = |n: &Node| is_op(n, "LayerNormalization");
    if graph.opset() < fused::LAYER_NORM_OPSET && graph.nodes().iter().any(early) {
        let upgraded = upgrade_opset(graph, fused::LAYER_NORM_OPSET).ok();
        upgraded.map_or(Ok(()), |patch| driver.apply(graph, "upgrade_opset", patch))?;
    }
    driver.fuel = options.fuel.map(|fuel| fuel.saturating_add(driver.applied.len()));
    let mut passes = float_passes();
    if !target.onnx.domains.iter().any(|domain| domain == fused::DOMAIN) {
        passes.iter_mut().filter(|pass| pass.name() == UnfuseLayers.name()).for_each(|pass| *pass = &Unfuse);
    }
    passes.retain(|pass| target.onnx.max_opset >= HARD_SWISH_OPSET || pass.name() != FormHardSwish.name());
    driver.run(graph, &passes)?;
    if target.activations.signed && graph.opset() > SIGNED_OPSET {
        let lowered = lower_opset(graph, SIGNED_OPSET).ok();
        lowered.map_or(Ok(()), |patch| driver.apply(graph, "lower_opset", patch))?;
    }
    let (opset, most) = (graph.opset(), target.onnx.max_opset);
    if opset > most {
        let patch = lower_opset(graph, most).map_err(|why| {
            let why = why.places().chain([why.message()]).collect::<Vec<_>>().join(": ");
            let name = &target.name;
            let what =
                format!("the model is of opset {opset}, {name} reads up to {most}, and it cannot be lowered: {why}");
            Error::new(Code::Refused, what).help("export the model with an older opset")
        })?;
        driver.apply(graph, "lower_opset", patch)?;
    }
    Ok(driver)
}

/// A model that already holds Q/DQ is not quantized again: its float values are gone.
fn refuse_quantized(graph: &Graph) -> Result<()> {
    match graph.nodes().iter().find(|n| is_quantized(&n.op_type)) {
        None => Ok(()),
        Some(node) => Err(Error::new(
            Code::AlreadyQuantized,
            format!("the model is already quantized: it holds {}", node.op_type),
        )
        .at(format!("node '{}'", node.name))
        .help("quantize the float model that it was made from")),
    }
}

/// Whether the operator computes with integers in place of floats, or holds weights as integers.
fn is_quantized(op: &str) -> bool {
    const OTHERS: [&str; 14] = [
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QMoE",
        "QuantizeLinear",
    ];
    op.starts_with("QLinear") || OTHERS.contains(&op)
}
