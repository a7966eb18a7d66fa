//! From plan to file: rewrites obey the plan and decide nothing.

use crate::driver::Driver;
use crate::insert_qdq::insert_qdq;
use crate::prune::Prune;
use crate::quantize_weights::quantize_weights;
use crate::tag::tag;
use crate::upgrade_opset::upgrade_opset;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::plan::Plan;
use tapq::target::Target;

/// Writes the plan into the graph.
pub fn rewrite(mut graph: Graph, plan: &Plan, target: &Target, driver: &mut Driver) -> Result<Graph> {
    if plan.opset > graph.opset() {
        let patch = upgrade_opset(&graph, plan.opset)?;
        driver.apply(&mut graph, "upgrade-opset", patch)?;
    }
    driver.apply(&mut graph, "raise-ir", raise_ir(plan))?;
    if let Some(patch) = quantize_weights(&graph, plan, target)? {
        driver.apply(&mut graph, "quantize-weights", patch)?;
    }
    if let Some(patch) = insert_qdq(&graph, plan, target)? {
        driver.apply(&mut graph, "insert-qdq", patch)?;
    }
    driver.apply(&mut graph, "tag", tag(plan)?)?;
    driver.run(&mut graph, &[&Prune])?;
    Ok(graph)
}

fn raise_ir(plan: &Plan) -> Patch {
    let mut patch = Patch::new();
    patch.push(Edit::SetIr(plan.ir));
    patch.because(format!("IR {}", plan.ir));
    patch
}
