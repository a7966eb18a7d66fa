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
    /// were computed from.
    pub correlation: f64,
    /// The same on samples that were held apart, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
    /// What the allocation has to say, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
