//! Settings of a run.

use super::controller::Controller;
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// Which rank correlation is a part of the fitness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correlation {
    /// Over all configurations of the bench.
    #[default]
    All,
    /// Within configurations of equal size, the mean over the sizes.
    EqualSize,
}

/// Settings of a run. With equal settings, judge and answers, runs are equal to the byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many formulas are kept; as many are asked for initially.
    pub population: usize,
    /// Generations after the initial one.
    pub generations: usize,
    /// Formulas asked for in each generation.
    pub children: usize,
    /// Weight of the rank correlation in the fitness, 0 to 1; the rest is fidelity.
    pub alpha: f64,
    /// Which rank correlation that is.
    pub correlation: Correlation,
    /// Seed of every draw.
    pub seed: u64,
    /// How templates are drawn.
    pub controller: Controller,
    /// How often one question is asked again after an answer that is no new formula.
    pub attempts: usize,
    /// The run stops after this many generations without a better best; 0 for never.
    pub patience: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            population: 10,
            generations: 5,
            children: 10,
            alpha: 0.1,
            correlation: Correlation::default(),
            seed: 0,
            controller: Controller::default(),
            attempts: 2,
            patience: 3,
        }
    }
}

/// More of anything is a slip of the hand, and would make lines of unbounded length.
const MOST: usize = 10_000;

impl Settings {
    /// # Errors
    /// [`Code::Config`] for a value out of its range.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("population", self.population, 1),
            ("generations", self.generations, 0),
            ("children", self.children, 1),
            ("attempts", self.attempts, 0),
        ];
        for (name, value, least) in counts {
            if value < least || value > MOST {
                return Err(Error::new(Code::Config, format!("{name} is {value}"))
                    .help(format!("a number from {least} to {MOST}")));
            }
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(Error::new(Code::Config, format!("alpha is {}", self.alpha)).help("a number from 0 to 1"));
        }
        self.controller.check()
    }
}
