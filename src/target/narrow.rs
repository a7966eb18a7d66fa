//! The profile that is left of one by a request: weights alone, blocks of one size, one width of all activations.

use super::{OperatorRule, ResidualAdd, Role, Target, Variant};
use crate::{Code, Error, Result};

impl Target {
    /// The profile as a request narrows it.
    ///
    /// # Errors
    /// [`Code::Refused`] where the device has no weights in blocks, or none of that size.
    pub fn narrowed(mut self, mut variant: Variant) -> Result<Target> {
        variant.activation_bits = variant.activation_bits.filter(|bits| self.narrow_activations(*bits));
        self.variant = variant;
        if !variant.weight_only && variant.block_size.is_none() {
            return Ok(self);
        }
        let sizes = self.block_sizes();
        if sizes.is_empty() {
            let what = format!("{} has no weights in blocks beside activations in float", self.name);
            let others: Vec<Target> = super::names().filter_map(|name| Target::named(name).ok()).collect();
            let have: Vec<&str> =
                others.iter().filter(|t| !t.block_sizes().is_empty()).map(|t| t.name.as_str()).collect();
            let help = format!("{} have; leave --weight-only and --block-size out", have.join(", "));
            return Err(Error::new(Code::Refused, what).help(help));
        }
        if let Some(size) = variant.block_size {
            if !sizes.contains(&size) {
                let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
                let what = format!("{} has no blocks of {size} weights", self.name);
                return Err(Error::new(Code::Refused, what).help(format!("it has blocks of {}", sizes.join(", "))));
            }
            self.operators.iter_mut().filter_map(|r| r.blocks.as_mut()).for_each(|b| b.sizes.retain(|s| *s == size));
        }
        if variant.weight_only {
            self.operators.retain(|r| r.role == Role::WeightOnly || r.blocks.is_some());
            for rule in self.operators.iter_mut().filter(|r| r.role == Role::Compute) {
                rule.weight_bits.clear();
                rule.weight_bits_at.clear();
                (rule.two_activations, rule.quantized_output, rule.quantized_if_fused) = (false, false, false);
            }
            self.residual_add = ResidualAdd::Float;
            self.activations.constant_operands = false;
        }
        Ok(self)
    }

    /// Makes `bits` the one width of activations, with all that operators take beside it; whether any takes more for it.
    fn narrow_activations(&mut self, bits: u32) -> bool {
        let entry = |rule: &OperatorRule| rule.where_all_have.iter().find(|w| w.activation_bits == bits).cloned();
        if !self.operators.iter().any(|rule| entry(rule).is_some()) {
            return false;
        }
        self.activations.bits = vec![bits];
        for rule in &mut self.operators {
            if let Some(beside) = rule.weight_bits_at.iter().find(|b| b.activation_bits == bits) {
                rule.weight_bits.clone_from(&beside.weight_bits);
            }
            if let Some(all) = entry(rule) {
                (rule.weight_bits, rule.per_channel) = (all.weight_bits, Some(all.per_channel));
            }
            rule.weight_bits_at.clear();
            rule.where_all_have.clear();
        }
        true
    }
}
