//! The proposer without a language model: random formulas, mutated and crossed over as trees. The honest baseline.

use super::ask::{Ask, Proposer, Reply, Template};
use super::judge::Judge;
use crate::{Code, Error, Result};

/// Answers each question with the judge's own random formula, mutation or crossover.
pub struct Mutation<'j> {
    judge: &'j dyn Judge,
}

impl<'j> Mutation<'j> {
    /// A proposer over the formulas of `judge`.
    pub fn new(judge: &'j dyn Judge) -> Self {
        Mutation { judge }
    }
}

impl Proposer for Mutation<'_> {
    fn name(&self) -> String {
        "none".to_owned()
    }

    fn propose(&mut self, ask: &Ask) -> Result<Reply> {
        let (thought, formula) = match (ask.template, ask.parents.as_slice()) {
            (Template::Initialise, _) => ("a random formula", self.judge.random(ask.seed)),
            (Template::Mutate, [parent, ..]) => {
                ("a random change of its parent", self.judge.mutate(&parent.formula, ask.seed))
            }
            (Template::Crossover, [a, b, ..]) => {
                ("parts of both parents", self.judge.crossover(&a.formula, &b.formula, ask.seed))
            }
            (template, parents) => {
                let message = format!("{} was asked with {} parents", template.name(), parents.len());
                return Err(Error::new(Code::Proposer, message));
            }
        };
        Ok(Reply { prompt: String::new(), text: format!("Thought: {thought}\nFormula: {formula}"), tokens: 0 })
    }
}
