//! Replaying a plan: it must have been made for this model, and messages say which layer differs.

use super::{Plan, layer_digest, weight_layers};
use crate::graph::Graph;
use crate::{Code, Error, Result};
use std::collections::BTreeMap;

impl Plan {
    /// Checks numbers that a person may have edited.
    pub(super) fn check(&self, place: &str) -> Result<()> {
        let bad = |what: String| Err(Error::new(Code::Config, what).at(place.to_owned()));
        if self.schema != super::PLAN_SCHEMA {
            return bad(format!(
                "plan schema {} is not {}, the one this version reads",
                self.schema,
                super::PLAN_SCHEMA
            ));
        }
        for layer in &self.layers {
            if layer.bits.is_some_and(|b| !matches!(b, 1..=8 | 16)) {
                return bad(format!("layer '{}': bits must be 1 to 8 or 16", layer.name));
            }
        }
        for activation in &self.activations {
            let format = activation.affine().format;
            if !matches!(activation.bits, 1..=8 | 16) {
                return bad(format!("activation '{}': bits must be 1 to 8 or 16", activation.value));
            }
            if !(activation.scale > 0.0 && activation.scale.is_finite()) {
                return bad(format!("activation '{}': scale must be positive and finite", activation.value));
            }
            if !(format.min()..=format.max()).contains(&activation.zero_point) {
                return bad(format!("activation '{}': zero point lies outside its grid", activation.value));
            }
        }
        Ok(())
    }
}

/// Says whether `plan` was made for this graph (after the float passes); the error names the first layer
/// that does not match.
pub fn check_matches(plan: &Plan, graph: &Graph) -> Result<()> {
    let planned: BTreeMap<&str, &str> = plan.layers.iter().map(|l| (l.name.as_str(), l.digest.as_str())).collect();
    let layers = weight_layers(graph);
    for layer in &layers {
        match planned.get(layer.name.as_str()) {
            None => return mismatch(format!("the model's layer '{}' ({}) is not in the plan", layer.name, layer.op)),
            Some(digest) if *digest != layer_digest(graph, layer)? => {
                return mismatch(format!("layer '{}' ({}) differs from the planned one", layer.name, layer.op));
            }
            Some(_) => {}
        }
    }
    if let Some(gone) = plan.layers.iter().find(|p| !layers.iter().any(|l| l.name == p.name)) {
        return mismatch(format!("the planned layer '{}' ({}) is not in the model", gone.name, gone.op));
    }
    for activation in &plan.activations {
        if !graph.index().knows(&activation.value) {
            return mismatch(format!("the planned activation '{}' is not in the model", activation.value));
        }
    }
    Ok(())
}

fn mismatch(what: String) -> Result<()> {
    let help = "run without --plan to make a new plan for this model";
    Err(Error::new(Code::PlanMismatch, what).help(help))
}
