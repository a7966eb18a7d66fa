//! What YAML types cannot say about a profile: widths that exist, lists without contradictions, sentences that end.

use super::{BiasFormat, OperatorRule, Refusal, ResidualAdd, Role, Target, WeightBlocks};
use crate::{Code, Error, Result, fused};

impl Target {
    /// Checks the profile against itself; the place in the error is the path of the YAML key.
    pub(super) fn check(&self) -> Result<()> {
        self.check_head()?;
        widths("activations.bits", &self.activations.bits)?;
        filled("float_fallback.because", &self.float_fallback.because)?;
        if self.operators.is_empty() {
            return Err(wrong("operators", "must name at least one operator"));
        }
        for (at, rule) in self.operators.iter().enumerate() {
            self.check_rule(&format!("operators[{at}] ({})", rule.op), at, rule)?;
        }
        for (at, refusal) in self.refuse.iter().enumerate() {
            self.check_refusal(&format!("refuse[{at}]"), refusal)?;
        }
        for (at, fact) in self.facts.iter().enumerate() {
            filled(&format!("facts[{at}].source"), &fact.source)?;
        }
        Ok(())
    }

    fn check_head(&self) -> Result<()> {
        for (key, text) in [("name", &self.name), ("title", &self.title), ("runtime", &self.runtime)] {
            filled(key, text)?;
        }
        if self.onnx.max_opset < 13 {
            return Err(wrong("onnx.max_opset", "must be at least 13, where Q/DQ gained per-channel scales"));
        }
        if self.onnx.max_ir < 7 {
            return Err(wrong("onnx.max_ir", "must be at least 7, which opset 13 pairs with"));
        }
        if self.onnx.domains.iter().any(|domain| domain != fused::DOMAIN) {
            return Err(wrong(
                "onnx.domains",
                "can only hold com.microsoft, whose operators other runtimes get as ONNX's",
            ));
        }
        if self.residual_add == ResidualAdd::BothInputs && self.rule("Add").is_none() {
            return Err(wrong("residual_add", "`both-inputs` needs a rule for Add under `operators`"));
        }
        if !(16..=32).contains(&self.bias_bits) || (self.bias == BiasFormat::Float && self.bias_bits != 32) {
            return Err(wrong("bias_bits", "must be 16 to 32, and is only for `bias: int32`"));
        }
        if ![16, 32].contains(&self.float_fallback.weight_bits) {
            return Err(wrong("float_fallback.weight_bits", "must be 16 or 32"));
        }
        if self.sources.is_empty() {
            return Err(wrong("sources", "must say where the rules come from"));
        }
        Ok(())
    }

    fn check_rule(&self, place: &str, at: usize, rule: &OperatorRule) -> Result<()> {
        filled(&format!("{place}.source"), &rule.source)?;
        if self.operators.iter().take(at).any(|earlier| earlier.op == rule.op) {
            return Err(wrong(place, "names an operator a second time"));
        }
        for fixed in &rule.fixed_output {
            let sound = fixed.scale > 0.0 && fixed.scale.is_finite();
            if !sound || !self.activations.bits.contains(&fixed.bits) {
                let what = "needs bits that activations have, and a positive scale";
                return Err(wrong(&format!("{place}.fixed_output"), what));
            }
        }
        if rule.role != Role::Compute {
            let beside = rule.weight_bits_at.is_empty() && rule.where_all_have.is_empty();
            let plain = rule.weight_bits.is_empty() && beside && rule.blocks.is_none();
            let problem =
                "weight_bits, weight_bits_at, where_all_have, blocks and two_activations are for `role: compute` only";
            return if plain && !rule.two_activations { Ok(()) } else { Err(wrong(place, problem)) };
        }
        if let Some(blocks) = &rule.blocks {
            if self.weights.power_of_two {
                return Err(wrong(&format!("{place}.blocks"), "scales of blocks are no powers of two"));
            }
            check_blocks(&format!("{place}.blocks"), rule, blocks)?;
        }
        ascending(&format!("{place}.weight_bits"), &rule.weight_bits)?;
        for (i, beside) in rule.weight_bits_at.iter().enumerate() {
            let place = format!("{place}.weight_bits_at[{i}]");
            ascending(&format!("{place}.weight_bits"), &beside.weight_bits)?;
            self.check_other_width(&place, beside.activation_bits)?;
        }
        for (i, all) in rule.where_all_have.iter().enumerate() {
            let place = format!("{place}.where_all_have[{i}]");
            ascending(&format!("{place}.weight_bits"), &all.weight_bits)?;
            filled(&format!("{place}.source"), &all.source)?;
            self.check_other_width(&place, all.activation_bits)?;
        }
        Ok(())
    }

    fn check_other_width(&self, place: &str, activation_bits: u32) -> Result<()> {
        match self.activations.bits.iter().skip(1).any(|b| *b == activation_bits) {
            true => Ok(()),
            false => Err(wrong(place, "activation_bits must be one of activations.bits, but not its first")),
        }
    }

    fn check_refusal(&self, place: &str, refusal: &Refusal) -> Result<()> {
        filled(&format!("{place}.because"), &refusal.because)?;
        for (key, bits) in [("weight_bits", &refusal.weight_bits), ("activation_bits", &refusal.activation_bits)] {
            if !bits.is_empty() {
                ascending(&format!("{place}.{key}"), bits)?;
            }
        }
        let whole = refusal.weight_bits.is_empty() && refusal.activation_bits.is_empty();
        match &refusal.op {
            None if whole => Err(wrong(place, "refuses nothing: give op, weight_bits or activation_bits")),
            Some(op) if whole && self.rule(op).is_some() => {
                Err(wrong(place, &format!("refuses {op} as a whole, which `operators` allows")))
            }
            _ => self.contradiction(place, refusal),
        }
    }

    /// A refusal must not forbid what a rule offers.
    fn contradiction(&self, place: &str, refusal: &Refusal) -> Result<()> {
        for rule in self.operators.iter().filter(|r| r.role == Role::Compute) {
            let blocks = rule.blocks.iter().flat_map(|b| &b.weight_bits);
            for &weight in blocks.filter(|_| refusal.activation_bits.is_empty()) {
                if refusal.covers(&rule.op, Some(weight), None) {
                    let what =
                        format!("forbids {} with {weight}-bit weights, which `operators` has in blocks", rule.op);
                    return Err(wrong(place, &what));
                }
            }
            for &activation in &self.activations.bits {
                for &weight in self.weight_choices_at(&rule.op, activation) {
                    if refusal.covers(&rule.op, Some(weight), Some(activation)) {
                        let pair = format!("{} with {weight}-bit weights and {activation}-bit activations", rule.op);
                        return Err(wrong(place, &format!("forbids {pair}, which `operators` allows")));
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_blocks(place: &str, rule: &OperatorRule, blocks: &WeightBlocks) -> Result<()> {
    filled(&format!("{place}.source"), &blocks.source)?;
    ascending(&format!("{place}.weight_bits"), &blocks.weight_bits)?;
    if blocks.weight_bits.iter().any(|b| *b > 8) {
        return Err(wrong(&format!("{place}.weight_bits"), "must be 2 to 8"));
    }
    if !matches!(rule.op.as_str(), "MatMul" | "Gemm") {
        return Err(wrong(place, "is for MatMul and Gemm, whose weights have a row of fan-in for each channel"));
    }
    // As ONNX Runtime and TensorRT have them.
    if blocks.sizes.is_empty() || blocks.sizes.iter().any(|size| *size < 8 || !size.is_power_of_two()) {
        return Err(wrong(&format!("{place}.sizes"), "must be powers of two from 8 on, at least one"));
    }
    Ok(())
}

fn wrong(place: &str, problem: &str) -> Error {
    Error::new(Code::Config, problem).at(place)
}

fn filled(place: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() { Err(wrong(place, "must not be empty")) } else { Ok(()) }
}

/// Widths exist and none is there twice.
fn widths(place: &str, bits: &[u32]) -> Result<()> {
    if bits.is_empty() {
        return Err(wrong(place, "must hold at least one width"));
    }
    for (at, b) in bits.iter().enumerate() {
        if !(2..=8).contains(b) && *b != 16 {
            return Err(wrong(place, &format!("{b} is no width: 2 to 8 and 16 are")));
        }
        if bits.iter().take(at).any(|earlier| earlier == b) {
            return Err(wrong(place, &format!("holds {b} a second time")));
        }
    }
    Ok(())
}

fn ascending(place: &str, bits: &[u32]) -> Result<()> {
    widths(place, bits)?;
    if bits.is_sorted() { Ok(()) } else { Err(wrong(place, "must be ascending")) }
}
