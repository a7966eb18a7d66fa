//! The float graph that everything is decided on.

use crate::driver::Driver;
use crate::float_passes;
use tapq::graph::Graph;
use tapq::{Code, Error, Result};

/// Refuses what is quantized already, and runs the float passes; `fuel` bounds their patches.
pub fn simplify(graph: &mut Graph, fuel: Option<usize>) -> Result<Driver> {
    refuse_quantized(graph)?;
    let mut driver = Driver::new(fuel);
    driver.run(graph, &float_passes())?;
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
