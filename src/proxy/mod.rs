//! The proxy language: formulas that predict how much each width hurts each layer.
//!
//! A formula is a Python-style arithmetic expression over named [features](FEATURES) of a network's layers.
//! It gives every layer at every bit-width a *sensitivity*, the predicted damage to the network's output:
//! higher is worse. Formulas are written by language models, so they are untrusted text: they are parsed and
//! checked, bounded in size, never run as code, and they have a finite value for every input.
//!
//! Data flow: text is read to a tree as it is written, the tree is brought to its canonical form, and a formula means
//! what its canonical form means. So formulas that are equal by algebra have equal values, to the last bit.
//!
//! Deliberately absent: loops, assignment, strings, user functions, and anything that can fail while it is evaluated.

mod across;
mod baselines;
mod bench;
mod canonical;
mod column;
mod configuration;
mod doc;
mod eval;
mod expr;
mod feature;
mod file;
mod fingerprint;
mod formula;
mod found;
mod function;
mod grammar;
mod grow;
mod lexer;
mod limits;
mod made_up;
mod names;
mod operand;
mod order;
mod parse;
mod print;
mod program;
mod rank;
mod recorded;
mod scalar;
mod sensitivity;
mod syntax;
mod table;
mod understand;

#[cfg(test)]
mod tests;

pub use baselines::{DEFAULT_PROXY, baseline, baselines, default_proxy};
pub use bench::{BENCH_SCHEMA, Bench, BenchHeader, BenchRow, Ranking};
pub use configuration::{BUDGETS, Drawn, TOLERANCE};
pub use doc::reference;
pub use eval::{evaluate, sensitivities};
pub use feature::{FEATURES, Family, Feature, Shape, feature};
pub use file::{Measured, Provenance, ProxyFile};
pub use formula::Formula;
pub use found::found;
pub use grammar::{gbnf, grammar};
pub use grow::{crossover, mutate, random};
pub use rank::{kendall, spearman};
pub use recorded::{RecordedJudge, replay};
pub use sensitivity::{Sensitivity, range_rule, scale_to};
pub use syntax::SyntaxError;
pub use table::Table;
pub use understand::{is_reference, understand};
