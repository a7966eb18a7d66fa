//! The seam to the proxy language and to the fitness bench: what the loop must know of a formula.

use crate::Result;
use serde::{Deserialize, Serialize};

/// A formula that was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parsed {
    /// The one text of all formulas that differ only in spelling.
    pub canonical: String,
    /// Equal for formulas that score alike; duplicates are found by it.
    pub fingerprint: String,
    /// Whether it tells no layer or bit-width from another, such as a constant.
    pub degenerate: bool,
}

/// What a formula is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fitness {
    /// Score of the model quantized as this formula allocates, 0 to 1.
    pub fidelity: f64,
    /// Spearman's correlation with the measured damage over the fitness bench, -1 to 1, on samples that the features
    /// were computed from; over which configurations, [`Correlation`](super::Correlation) says.
    pub correlation: f64,
    /// The same on samples that were held apart, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
    /// What the allocation has to say, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The same on each network, in the order of the run's networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<OnNetwork>,
}

/// What a formula is worth on one network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnNetwork {
    /// As [`Fitness::fidelity`].
    pub fidelity: f64,
    /// Spearman's correlation over all configurations of the bench.
    pub spearman: f64,
    /// Over the half with the least measured damage.
    pub best_half: f64,
    /// Kendall's over all.
    pub kendall: f64,
    /// Spearman's within configurations of one size, where there are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_size: Option<f64>,
    /// Of the two Spearman's the one that counts, on samples that were held apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
}

/// A winner whose held-out correlation is below its correlation by more than this is reported as overfitted.
pub const OVERFIT: f64 = 0.1;

impl Fitness {
    /// `(1 - alpha) * fidelity + alpha * max(correlation, 0)`, 0 to 1.
    pub fn total(&self, alpha: f64) -> f64 {
        decimals((1.0 - alpha) * self.fidelity + alpha * self.correlation.max(0.0))
    }

    /// Whether it ranks the samples it was fitted on clearly better than those held apart.
    pub fn is_overfitted(&self) -> bool {
        self.held_out.is_some_and(|h| h < self.correlation - OVERFIT)
    }

    /// Values brought into their ranges, twelve decimals, with a note where one was no number: a JSON line holds no
    /// NaN.
    #[must_use]
    pub fn sound(mut self) -> Self {
        let mut bring = |x: f64, least: f64, what: &str| {
            if x.is_nan() {
                self.notes.push(format!("{what} is not a number and counts as {least}"));
                return least;
            }
            decimals(x.clamp(least, 1.0))
        };
        self.fidelity = bring(self.fidelity, 0.0, "fidelity");
        self.correlation = bring(self.correlation, -1.0, "correlation");
        self.held_out = self.held_out.map(|h| bring(h, -1.0, "held-out correlation"));
        for (i, on) in self.networks.iter_mut().enumerate() {
            let mut bring = |x: f64, least: f64, what: &str| bring(x, least, &format!("{what} on network {}", i + 1));
            on.fidelity = bring(on.fidelity, 0.0, "fidelity");
            on.spearman = bring(on.spearman, -1.0, "correlation");
            on.best_half = bring(on.best_half, -1.0, "correlation among the best half");
            on.kendall = bring(on.kendall, -1.0, "Kendall's correlation");
            on.equal_size = on.equal_size.map(|x| bring(x, -1.0, "correlation at equal size"));
            on.held_out = on.held_out.map(|x| bring(x, -1.0, "held-out correlation"));
        }
        self
    }
}

/// Twelve decimals: as many read back exactly from JSON, and no more mean anything.
pub(super) fn decimals(x: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (x * 1e12).round() / 1e12 + 0.0
}

/// Reads, scores and breeds formulas. Equal questions must get equal answers, or a run cannot be replayed.
pub trait Judge {
    /// Reads a formula out of text; the error is shown to whoever proposed it.
    fn parse(&self, formula: &str) -> Result<Parsed, String>;

    /// Fitness of a canonical formula.
    ///
    /// # Errors
    /// Where the formula cannot be scored. The loop drops the formula and stops after several in a row.
    fn fitness(&self, canonical: &str) -> Result<Fitness>;

    /// A random formula, for the search without a model.
    fn random(&self, seed: u64) -> String;

    /// A small change of a formula.
    fn mutate(&self, formula: &str, seed: u64) -> String;

    /// A formula with parts of both.
    fn crossover(&self, a: &str, b: &str, seed: u64) -> String;
}
