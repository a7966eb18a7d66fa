//! Weights in blocks: which widths an operator takes so.

use super::Target;
use super::query::bits_of;
use crate::quant::Granularity;
use crate::{Code, Error, Result};
use std::collections::BTreeSet;

impl Target {
    /// Weights of a block at a width, for an operator with that fan-in; none where the width is not stored in blocks, as
    /// beside integers those are that are no narrower.
    pub fn block_size(&self, op: &str, fan_in: usize, bits: u32) -> Option<usize> {
        let rule = self.rule(op)?;
        let blocks = rule.blocks.as_ref().filter(|blocks| blocks.weight_bits.contains(&bits))?;
        let beside_integers = rule.weight_bits.iter().chain(rule.weight_bits_at.iter().flat_map(|b| &b.weight_bits));
        let is_narrower = beside_integers.into_iter().all(|b| bits < *b);
        let fits = |size: &usize| blocks.partial || fan_in.is_multiple_of(*size);
        blocks.sizes.iter().copied().find(|size| is_narrower && fan_in > 0 && fits(size))
    }

    /// Whether scales of an operator's blocks may be negative.
    pub fn signed_scales(&self, op: &str) -> bool {
        self.rule(op).and_then(|rule| rule.blocks.as_ref()).is_some_and(|blocks| blocks.signed_scales)
    }

    /// Whether what stands around an operator with weights in blocks must be kept from fusing with it.
    pub fn keeps_blocks_apart(&self, op: &str) -> bool {
        self.rule(op).and_then(|rule| rule.blocks.as_ref()).is_some_and(|blocks| blocks.apart)
    }

    /// Which weights of an operator with that fan-in share a scale at a width.
    pub fn granularity(&self, op: &str, fan_in: usize, bits: u32) -> Granularity {
        let block = self.block_size(op, fan_in, bits).map(Granularity::Block);
        block.unwrap_or_else(|| Granularity::channels(self.per_channel(op)))
    }

    /// Weight widths of an operator beside an activation width, those in blocks among them, ascending.
    pub fn weight_widths(&self, op: &str, fan_in: usize, activation_bits: u32) -> Vec<u32> {
        let in_blocks = self.rule(op).and_then(|rule| rule.blocks.as_ref()).map_or(&[][..], |b| &b.weight_bits);
        let in_blocks = in_blocks.iter().filter(|bits| self.block_size(op, fan_in, **bits).is_some());
        let mut widths: Vec<u32> =
            self.weight_choices_at(op, activation_bits).iter().chain(in_blocks).copied().collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    }

    /// Whether an operator has weights in blocks and no integer kernel.
    pub fn only_blocks(&self, op: &str) -> bool {
        self.computes(op)
            && self.rule(op).is_some_and(|rule| rule.blocks.is_some())
            && self.weight_choices(op).is_empty()
    }

    /// The sizes of blocks that the device has, ascending.
    pub(super) fn block_sizes(&self) -> BTreeSet<usize> {
        self.operators.iter().filter_map(|rule| rule.blocks.as_ref()).flat_map(|b| b.sizes.iter().copied()).collect()
    }

    /// Whether the operator can have weights of that width, in integers or in blocks.
    ///
    /// # Errors
    /// [`Code::Refused`] with the profile's sentence.
    pub fn check_weights(&self, op: &str, fan_in: usize, bits: u32, activation_bits: u32) -> Result<()> {
        let is_integer = self.weight_choices_at(op, activation_bits).contains(&bits);
        if is_integer || self.block_size(op, fan_in, bits).is_some() {
            return Ok(());
        }
        let blocks = self.rule(op).and_then(|rule| rule.blocks.as_ref());
        let Some(blocks) = blocks.filter(|b| b.weight_bits.contains(&bits) || self.only_blocks(op)) else {
            return self.check_weight_bits_at(op, bits, activation_bits);
        };
        if !blocks.weight_bits.contains(&bits) {
            let what = format!("{op} takes no {bits}-bit weights in blocks on {}", self.name);
            let help = format!("{op} takes {}", bits_of(&blocks.weight_bits, "weights"));
            return Err(Error::new(Code::Refused, what).help(help).at(format!("target {}", self.name)));
        }
        let sizes: Vec<String> = blocks.sizes.iter().map(usize::to_string).collect();
        let what = format!(
            "{bits}-bit weights of {op} come in blocks of {} on {}, and {fan_in} weights of a channel are no multiple",
            sizes.join(" or "),
            self.name
        );
        Err(Error::new(Code::Refused, what).at(format!("target {}", self.name)))
    }
}
