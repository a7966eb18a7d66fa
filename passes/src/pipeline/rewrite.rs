//! From plan to file: rewrites obey the plan and decide nothing.

use super::declared::forget_named_extents;
use crate::driver::Driver;
use crate::insert_qdq::insert_qdq;
use crate::keep_apart::keep_apart;
use crate::prune::Prune;
use crate::quantize_weights::quantize_weights;
use crate::spread_bias::spread_bias;
use crate::store_weights::store_weights;
use crate::tag::tag;
use crate::upgrade_opset::upgrade_opset;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::plan::{Plan, Rounding};
use tapq::target::Target;

/// Writes the plan into the graph.
pub fn rewrite(
    mut graph: Graph,
    plan: &Plan,
    rounding: &Rounding,
    target: &Target,
    driver: &mut Driver,
) -> Result<Graph> {
    prepare(&mut graph, plan, driver)?;
    if let Some(patch) = quantize_weights(&graph, plan, target, rounding)? {
        driver.apply(&mut graph, "quantize-weights", patch)?;
    }
    if let Some(patch) = store_weights(&graph, plan, target)? {
        driver.apply(&mut graph, "store-weights", patch)?;
    }
    if let Some(patch) = insert_qdq(&graph, plan, target)? {
        driver.apply(&mut graph, "insert-qdq", patch)?;
    }
    if let Some(patch) = keep_apart(&graph, plan, target).into_option() {
        driver.apply(&mut graph, "keep-apart", patch)?;
    }
    if let Some(patch) = spread_bias(&graph).into_option() {
        driver.apply(&mut graph, "spread-bias", patch)?;
    }
    if let Some(patch) = forget_named_extents(&graph) {
        driver.apply(&mut graph, "forget-named-extents", patch)?;
    }
    driver.apply(&mut graph, "tag", tag(plan)?)?;
    driver.run(&mut graph, &[&Prune])?;
    Ok(graph)
}

/// Raises opset and IR to what the plan's types need.
pub fn prepare(graph: &mut Graph, plan: &Plan, driver: &mut Driver) -> Result<()> {
    if plan.opset > graph.opset() {
        let patch = upgrade_opset(graph, plan.opset)?;
        driver.apply(graph, "upgrade-opset", patch)?;
    }
    driver.apply(graph, "raise-ir", raise_ir(plan))
}

fn raise_ir(plan: &Plan) -> Patch {
    let mut patch = Patch::new();
    patch.push(Edit::SetIr(plan.ir));
    patch.because(format!("IR {}", plan.ir));
    patch
}
