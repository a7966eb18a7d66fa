//! What was chosen.

use super::activations::ChosenActivations;
use super::budget::Unit;
use super::field::Field;
use crate::pipeline::options::Options;
use std::collections::{BTreeMap, BTreeSet};
use tapq::plan::{AllocationRecord, Layer};
use tapq::{Code, Context, Error, Result};

/// Widths by name: of layers, where `None` is float, and of values; a value that is missing has the width of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Width of each layer.
    pub weights: BTreeMap<String, Option<u32>>,
    /// Width of each value whose width was chosen.
    pub activations: BTreeMap<String, u32>,
    /// Operators that are left in float, layers among them.
    pub float: BTreeSet<String>,
}

/// What was chosen.
pub struct Chosen {
    /// The widths.
    pub widths: Assignment,
    /// How those of weights were found.
    pub record: AllocationRecord,
    /// How those of activations were found, where they were chosen.
    pub activation_record: Option<AllocationRecord>,
    /// The widest uniform widths within the budgets, if there are any.
    pub uniform: Option<Assignment>,
}

impl Chosen {
    /// Takes over widths of activations that were chosen by a budget of their own.
    pub fn set_activations(&mut self, field: &Field, apart: ChosenActivations) {
        let mut uniform = self.uniform.take().unwrap_or_else(|| self.widths.clone());
        self.widths.activations = field.by_value(&apart.bits);
        uniform.activations = field.by_value(apart.uniform.as_ref().unwrap_or(&apart.bits));
        self.uniform = Some(uniform);
        self.activation_record = Some(apart.record);
    }
}

/// Every layer at the width asked for, or at the target's default.
pub fn uniform(units: &[Unit], options: &Options) -> Result<Chosen> {
    let mut weights = BTreeMap::new();
    for (layer, beside) in units.iter().flat_map(|u| u.layers.iter().zip(&u.beside)) {
        let bits = asked_width(options, layer, *beside);
        let checked = options.target.check_weights(&layer.op, layer.fan_in(), bits, *beside);
        let offers = |unit: &Unit| unit.layers.iter().any(|l| l.widths(options.target, *beside).contains(&bits));
        let advice = "other layers have that width: a budget such as --avg-weight-bits gives each one that it has";
        let with_advice = |e: Error| if units.iter().any(offers) { e.help(advice) } else { e };
        checked.map_err(with_advice).at(|| format!("layer '{}'", layer.name))?;
        weights.insert(layer.name.clone(), Some(bits));
    }
    let proof = "nothing to choose".to_owned();
    let record = AllocationRecord { method: "uniform".to_owned(), proof, ..Default::default() };
    let widths = Assignment { weights, ..Default::default() };
    Ok(Chosen { widths, record, activation_record: None, uniform: None })
}

/// The width that is asked of all layers; else 8 bits where the target runs them, else its widest; of weights alone the
/// narrowest.
pub fn asked_width(options: &Options, layer: &Layer, activation_bits: u32) -> u32 {
    if let Some(bits) = options.widths.uniform {
        return bits;
    }
    let choices = layer.widths(options.target, activation_bits);
    let usual = choices.iter().find(|b| **b == 8).or(choices.last());
    let width = if options.target.variant.weight_only { choices.first() } else { usual };
    width.copied().unwrap_or(8)
}

/// Says that a choice left nothing quantized; where there is no layer, weights alone are stored and nothing is chosen.
pub fn refuse_all_float(widths: &BTreeMap<String, Option<u32>>) -> Result<()> {
    if widths.is_empty() || widths.values().any(Option::is_some) {
        return Ok(());
    }
    let what = "the budget is so generous that every layer would stay in float";
    let help = "ask for fewer bits (weights of tables and recurrent cells do not count), or use the float model";
    Err(Error::new(Code::NothingToQuantize, what).help(help))
}
