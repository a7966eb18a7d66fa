//! The float graph that everything is decided on.

use super::options::Options;
use crate::driver::Driver;
use crate::form_hard_swish::{FormHardSwish, HARD_SWISH_OPSET};
use crate::{FixInputs, Pass, float_passes, lower_opset};
use tapq::graph::Graph;
use tapq::{Code, Error, Result};

/// Refuses what is quantized already, fixes inputs, and runs the float passes; the options' fuel bounds their patches. A
/// newer opset than the target reads is lowered where that changes nothing, and a target of opset 13 is spared an operator
/// of 14.
pub fn simplify(graph: &mut Graph, options: &Options) -> Result<Driver> {
    refuse_quantized(graph)?;
    let target = options.target;
    // Whatever the fuel: samples feed the network without them.
    let mut driver = Driver::new(None);
    driver.run(graph, &[&FixInputs(options.fixed)])?;
    driver.fuel = options.fuel.map(|fuel| fuel.saturating_add(driver.applied.len()));
    let mut passes = float_passes();
    passes.retain(|pass| target.onnx.max_opset >= HARD_SWISH_OPSET || pass.name() != FormHardSwish.name());
    driver.run(graph, &passes)?;
    let (opset, most) = (graph.opset(), target.onnx.max_opset);
    if opset > most {
        let patch = lower_opset(graph, most).map_err(|why| {
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
    let quantized = |op: &str| {
        matches!(op, "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "QLinearConv" | "QLinearMatMul")
            || matches!(op, "ConvInteger" | "MatMulInteger")
    };
    match graph.nodes().iter().find(|n| quantized(&n.op_type)) {
        None => Ok(()),
        Some(node) => Err(Error::new(
            Code::AlreadyQuantized,
            format!("the model is already quantized: it holds {}", node.op_type),
        )
        .at(format!("node '{}'", node.name))
        .help("quantize the float model that it was made from")),
    }
}
