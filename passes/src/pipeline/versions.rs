//! The opset and IR version that a file's integer types need.

use tapq::graph::Graph;
use tapq::plan::{LayerPlan, Plan};
use tapq::quant::IntFormat;
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// The opset that has DequantizeLinear with a scale for each block.
const BLOCKS_OPSET: i64 = 21;

/// Says whether a replayed plan asks for the opset and IR version that its widths need.
pub fn check_versions(plan: &Plan, graph: &Graph, target: &Target) -> Result<()> {
    let activation_bits = plan.activations.iter().map(|a| a.bits).max().unwrap_or(8);
    let (opset, ir) = versions(graph, target, &plan.layers, activation_bits)?;
    match (plan.opset, plan.ir) == (opset, ir) {
        true => Ok(()),
        false => Err(Error::new(
            Code::PlanMismatch,
            format!(
                "the plan asks for opset {} and IR {}, its widths need opset {opset} and IR {ir}",
                plan.opset, plan.ir
            ),
        )),
    }
}

/// Opset and IR version that the file needs, never lower than the model's own.
pub fn versions(graph: &Graph, target: &Target, layers: &[LayerPlan], activation_bits: u32) -> Result<(i64, i64)> {
    // Activations below 8 bits are stored as 8: Clip, which carries their width, takes no 4-bit integers.
    let widths = layers.iter().filter_map(|l| l.bits).chain([activation_bits.max(8)]);
    let types = widths.map(|b| IntFormat::signed(b).data_type() as i32);
    let (least_opset, least_ir) =
        types.map(tapq::graph::least_versions).fold((crate::LEAST_OPSET, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let in_blocks = layers.iter().any(|l| l.block.is_some());
    let opset = graph.opset().max(least_opset).max(if in_blocks { BLOCKS_OPSET } else { 0 });
    let needed = least_ir.max(crate::ir_for_opset(opset));
    let limits = &target.onnx;
    // Exporters often declare a newer IR than the file needs; a runtime's ceiling is a reason not to.
    let declared = graph.model().ir_version;
    let raised = if opset > graph.opset() { declared.max(needed) } else { declared.max(least_ir) };
    let ir = if raised > limits.max_ir { needed } else { raised };
    if opset > limits.max_opset || ir > limits.max_ir {
        let what = format!(
            "the file needs opset {opset} and IR {ir}; {} reads up to opset {} and IR {}",
            target.name, limits.max_opset, limits.max_ir
        );
        let help = match opset > graph.opset() {
            true => "ask for other widths: it is their integer types that need it",
            false => "export the model with an older opset",
        };
        return Err(Error::new(Code::Refused, what).help(help));
    }
    Ok((opset, ir))
}
