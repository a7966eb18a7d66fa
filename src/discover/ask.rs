//! What the loop asks a proposer for, and what comes back.

use crate::Result;
use serde::{Deserialize, Serialize};

/// The three ways to ask for a formula; the controller draws among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// From nothing but the task and the features.
    Initialise,
    /// A change of one parent.
    Mutate,
    /// From two parents.
    Crossover,
}

/// A formula that is shown to the proposer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// The idea behind it, one line.
    pub thought: String,
    /// Canonical text.
    pub formula: String,
    /// What it scored, 0 to 1.
    pub fitness: f64,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// How to ask.
    pub template: Template,
    /// None for initialise, one for mutate, two for crossover.
    pub parents: Vec<Parent>,
    /// Seed of the sampling: the same question with the same seed gets the same answer from a local model.
    pub seed: u64,
    /// Why the last answer to this question was refused, if it was: the parser's message, shown to the proposer.
    pub complaint: Option<String>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What the model was shown; empty where no model was asked.
    pub prompt: String,
    /// What it said, untouched.
    pub text: String,
    /// Tokens read and written.
    pub tokens: u64,
}

/// Whoever answers: a local model, a server, a transcript, or tree mutation.
pub trait Proposer {
    /// What transcripts and proxies call it, e.g. `local:SmolLM2-135M-Instruct-Q8_0` or `none`.
    fn name(&self) -> String;

    /// Answers one question. An error here is a failure to answer (server down after its retries, transcript ended),
    /// not a bad formula: the loop counts it and goes on, or stops after several in a row.
    fn propose(&mut self, ask: &Ask) -> Result<Reply>;
}
