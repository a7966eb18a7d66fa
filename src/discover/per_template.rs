//! One value for each template.

use super::ask::Template;
use serde::{Deserialize, Serialize};

/// All templates, in the order in which they are shown.
pub const TEMPLATES: [Template; 3] = [Template::Initialise, Template::Mutate, Template::Crossover];

impl Template {
    /// The name in transcripts and reports.
    pub fn name(self) -> &'static str {
        match self {
            Template::Initialise => "initialise",
            Template::Mutate => "mutate",
            Template::Crossover => "crossover",
        }
    }

    /// How many parents it needs.
    pub fn parents(self) -> usize {
        match self {
            Template::Initialise => 0,
            Template::Mutate => 1,
            Template::Crossover => 2,
        }
    }
}

/// One value for each template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerTemplate<T> {
    /// Of [`Template::Initialise`].
    pub initialise: T,
    /// Of [`Template::Mutate`].
    pub mutate: T,
    /// Of [`Template::Crossover`].
    pub crossover: T,
}

/// Probability of each template.
pub type Policy = PerTemplate<f64>;

impl<T> PerTemplate<T> {
    /// The value of each template by a function.
    pub fn from_fn(mut f: impl FnMut(Template) -> T) -> Self {
        PerTemplate {
            initialise: f(Template::Initialise),
            mutate: f(Template::Mutate),
            crossover: f(Template::Crossover),
        }
    }

    /// The value of one template.
    pub fn get(&self, template: Template) -> &T {
        match template {
            Template::Initialise => &self.initialise,
            Template::Mutate => &self.mutate,
            Template::Crossover => &self.crossover,
        }
    }

    /// The value of one template, to change it.
    pub fn get_mut(&mut self, template: Template) -> &mut T {
        match template {
            Template::Initialise => &mut self.initialise,
            Template::Mutate => &mut self.mutate,
            Template::Crossover => &mut self.crossover,
        }
    }
}
