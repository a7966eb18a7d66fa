//! Questions that passes and the command line ask of a profile.

use super::{OperatorRule, Refusal, Role, Target};
use crate::{Code, Error, Result};

impl Target {
    /// The rule for an operator; none where it stays in float.
    pub fn rule(&self, op: &str) -> Option<&OperatorRule> {
        self.operators.iter().find(|rule| rule.op == op)
    }

    /// Whether the operator is a layer whose weights get a width.
    pub fn computes(&self, op: &str) -> bool {
        self.rule(op).is_some_and(|rule| rule.role == Role::Compute)
    }

    /// The activation width that is used unless another is asked for.
    pub fn default_activation_bits(&self) -> u32 {
        self.activations.bits.first().copied().unwrap_or(8)
    }

    /// Weight widths of an operator at the default activation width, ascending; empty where it has no weights.
    pub fn weight_choices(&self, op: &str) -> &[u32] {
        self.weight_choices_at(op, self.default_activation_bits())
    }

    /// Weight widths of an operator beside an activation width, ascending.
    pub fn weight_choices_at(&self, op: &str, activation_bits: u32) -> &[u32] {
        let Some(rule) = self.rule(op) else { return &[] };
        let beside = rule.weight_bits_at.iter().find(|b| b.activation_bits == activation_bits);
        beside.map_or(&rule.weight_bits, |b| &b.weight_bits)
    }

    /// Whether the operator's weights have one scale per output channel.
    pub fn per_channel(&self, op: &str) -> bool {
        self.rule(op).and_then(|rule| rule.per_channel).unwrap_or(self.weights.per_channel)
    }

    /// The refusal that covers what is asked; one that names the operator comes first.
    pub fn refusal(&self, op: &str, weight_bits: Option<u32>, activation_bits: Option<u32>) -> Option<&Refusal> {
        let covering = || self.refuse.iter().filter(|r| r.covers(op, weight_bits, activation_bits));
        covering().find(|r| r.op.is_some()).or_else(|| covering().next())
    }

    /// Whether the device runs the operator with weights of that width, at the default activation width.
    ///
    /// # Errors
    /// [`Code::Refused`] with the profile's sentence.
    pub fn check_weight_bits(&self, op: &str, bits: u32) -> Result<()> {
        self.check_weight_bits_at(op, bits, self.default_activation_bits())
    }

    /// Whether the device runs the operator with weights and activations of those widths.
    ///
    /// # Errors
    /// [`Code::Refused`] with the profile's sentence.
    pub fn check_weight_bits_at(&self, op: &str, bits: u32, activation_bits: u32) -> Result<()> {
        let choices = self.weight_choices_at(op, activation_bits);
        if choices.contains(&bits) {
            return Ok(());
        }
        let because = self.refusal(op, Some(bits), Some(activation_bits)).map(|r| r.because.clone());
        let refused = |or: String| self.refused(because.unwrap_or(or));
        if choices.is_empty() {
            return Err(refused(format!("{} runs no {op} with integer weights, so it stays in float.", self.name)));
        }
        let help = format!("{op} takes {} on {}", bits_of(choices, "weights"), self.name);
        Err(refused(format!("{op} takes no {bits}-bit weights on {}.", self.name)).help(help))
    }

    /// Whether the device runs activations of that width.
    ///
    /// # Errors
    /// [`Code::Refused`] with the profile's sentence.
    pub fn check_activation_bits(&self, bits: u32) -> Result<()> {
        if self.activations.bits.contains(&bits) {
            return Ok(());
        }
        let whole = self.refuse.iter().find(|r| r.op.is_none() && r.covers("", None, Some(bits)));
        let or = format!("{} takes no {bits}-bit activations.", self.name);
        let because = whole.map_or(or, |r| r.because.clone());
        let help = format!("{} takes {}", self.name, bits_of(&self.activations.bits, "activations"));
        Err(self.refused(because).help(help))
    }

    fn refused(&self, because: String) -> Error {
        Error::new(Code::Refused, because.trim_end_matches('.')).at(format!("target {}", self.name))
    }
}

impl Refusal {
    /// Whether the refusal concerns the operator and each width that it lists.
    pub(super) fn covers(&self, op: &str, weight_bits: Option<u32>, activation_bits: Option<u32>) -> bool {
        let listed = |list: &[u32], asked: Option<u32>| list.is_empty() || asked.is_some_and(|b| list.contains(&b));
        self.op.as_deref().is_none_or(|o| o == op)
            && listed(&self.weight_bits, weight_bits)
            && listed(&self.activation_bits, activation_bits)
    }
}

/// "8-bit weights", "4- or 8-bit weights", "2- to 8-bit weights".
pub(super) fn bits_of(bits: &[u32], what: &str) -> String {
    let mut bits = bits.to_vec();
    bits.sort_unstable();
    let row = bits.windows(2).all(|pair| pair[1] == pair[0] + 1);
    match bits.as_slice() {
        [] => format!("no {what}"),
        [one] => format!("{one}-bit {what}"),
        [first, .., last] if row && bits.len() > 2 => format!("{first}- to {last}-bit {what}"),
        [most @ .., last] => {
            let most = most.iter().map(|b| format!("{b}-")).collect::<Vec<_>>().join(", ");
            format!("{most} or {last}-bit {what}")
        }
    }
}
