//! Replaying a plan: it must have been made for this model, and messages say which layer differs.

use super::{ActivationPlan, Operators, Plan, layer_digest, model_digest, weight_layers};
use crate::graph::Graph;
use crate::target::Target;
use crate::{Code, Context, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

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
            if layer.block.is_some() && layer.bits.is_none() {
                return bad(format!("layer '{}': a block without bits", layer.name));
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

/// Says whether a plan, which a person may have edited, asks only for what the target does.
///
/// # Errors
/// [`Code::PlanMismatch`] if it was made for another profile or names something twice, [`Code::Refused`] with the
/// profile's sentence if a width is not offered.
pub fn check_target(plan: &Plan, graph: &Graph, target: &Target) -> Result<()> {
    if plan.target_digest != super::text_digest(&crate::yaml::print(target)?) {
        let what = format!("the plan was made for another version of the profile '{}'", target.name);
        return Err(Error::new(Code::PlanMismatch, what).help("run without --plan to make a new plan"));
    }
    let mut names = BTreeSet::new();
    let layers = plan.layers.iter().map(|l| ("layer", &l.name));
    for (kind, name) in layers.chain(plan.activations.iter().map(|a| ("activation", &a.value))) {
        if !names.insert((kind, name)) {
            return Err(Error::new(Code::PlanMismatch, format!("{kind} '{name}' is planned twice")));
        }
    }
    let (operators, bits) = (Operators::of_plan(graph, plan, target), plan.activation_bits());
    let node = |name: &str| graph.nodes().iter().position(|n| n.name == name);
    let at = |name: &str| node(name).and_then(|node| operators.width(node, &bits));
    for layer in weight_layers(graph) {
        let Some(decision) = plan.layers.iter().find(|d| d.name == layer.name) else { continue };
        let Some(bits) = decision.bits else { continue };
        let place = || format!("layer '{}'", layer.name);
        let activation_bits = at(&layer.name).unwrap_or(target.default_activation_bits());
        target.check_weights(&layer.op, layer.fan_in(), bits, activation_bits).at(place)?;
        let block = layer.block_size(target, bits);
        if decision.block != block {
            let words = |block: Option<usize>| block.map_or("no blocks".to_owned(), |size| format!("blocks of {size}"));
            let (has, wants) = (words(decision.block), words(block));
            let what = format!("the plan has {has} at {bits} bits, {} stores {wants}", target.name);
            let help = "blocks of another size are those of `variant: {block_size: N}` in the plan, and of all layers";
            return Err(Error::new(Code::PlanMismatch, what).help(help)).at(place);
        }
    }
    plan.activations
        .iter()
        .try_for_each(|a| check_activation(a, target).map_err(|e| e.at(format!("activation '{}'", a.value))))
}

fn check_activation(activation: &ActivationPlan, target: &Target) -> Result<()> {
    let format = &target.activations;
    target.check_activation_bits(activation.bits)?;
    let refused = |what: &str| Err(Error::new(Code::Refused, format!("{} {what}", target.name)));
    let wrong_sign = activation.signed != format.signed && (activation.signed || !format.unsigned_where_positive);
    match () {
        () if wrong_sign => refused("wants the other sign"),
        () if format.symmetric && activation.zero_point != 0 => refused("wants zero point 0"),
        () if format.power_of_two && activation.scale.log2().fract() != 0.0 => refused("wants power-of-two scales"),
        () => Ok(()),
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
    match plan.model == model_digest(graph)? {
        true => Ok(()),
        false => mismatch("the model differs outside its weight layers from the one that was planned".to_owned()),
    }
}

fn mismatch(what: String) -> Result<()> {
    let help = "run without --plan to make a new plan for this model";
    Err(Error::new(Code::PlanMismatch, what).help(help))
}
