//! What a model is told about the language of formulas, by whoever owns that language.

use std::fmt;
use std::sync::Arc;

/// One name that a formula may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As it is written in a formula.
    pub name: String,
    /// What it means, a few words.
    pub about: String,
    /// Whether it differs between the bit-widths of one layer; a formula without such a feature can choose nothing.
    pub per_bits: bool,
}

/// A formula with its idea, shown to a model as an example of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The idea, one line.
    pub thought: String,
    /// The formula, in the language's own text.
    pub formula: String,
}

/// What a formula must look like, as grammars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyGrammar {
    /// A whole Lark grammar of a formula, start rule `start`, as `llguidance` reads it.
    pub lark: String,
    /// The same as GBNF for servers. Its start rule is `formula`; the names `root` and `thought` are taken.
    pub gbnf: Option<String>,
}

/// Builds the grammar from the names of the features that this question is about.
pub type GrammarOf = Arc<dyn Fn(&[&str]) -> ReplyGrammar + Send + Sync>;

/// Where a chat says what the features mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// All of them in the system's turn.
    Beforehand,
    /// In each question those that its formula may use: for a model that is held to these by a grammar, and to which
    /// reading the others takes longer than answering.
    WithQuestion,
}

/// The language of formulas.
#[derive(Clone)]
pub struct Task {
    /// Every feature.
    pub features: Vec<Feature>,
    /// The functions and operators, one line.
    pub functions: String,
    /// A pool of examples; each question shows three neighbours in it.
    pub examples: Vec<Example>,
    /// Where the features are described.
    pub told: Told,
    /// How many features each question draws for the model to build on, so that replies spread.
    pub focus: usize,
    /// The grammar of a formula, where models are to be held to one.
    pub grammar: Option<GrammarOf>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { features, functions, examples, told, focus, grammar } = self;
        let mut out = f.debug_struct("Task");
        out.field("features", features).field("functions", functions).field("examples", examples);
        out.field("told", told).field("focus", focus).field("grammar", &grammar.is_some()).finish()
    }
}
