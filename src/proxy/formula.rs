//! A formula that has been read and checked.

use super::canonical::canonical;
use super::expr::{Expr, Op};
use super::feature::{Feature, Shape};
use super::syntax::SyntaxError;
use super::{fingerprint, parse};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// An expression over features, within the limits of the language.
///
/// Prints as it was written, but for spaces, needless parentheses and other spellings of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    pub(super) written: Expr,
    /// The canonical form, which is what is evaluated.
    pub(super) meaning: Expr,
}

impl Formula {
    pub(super) fn new(written: Expr) -> Formula {
        let meaning = canonical(&written);
        Formula { written, meaning }
    }

    /// Reads a formula.
    ///
    /// # Errors
    /// [`SyntaxError`] where the text is not a formula, names what is not known or is past a limit.
    pub fn parse(source: &str) -> Result<Formula, SyntaxError> {
        parse::parse(source).map(Formula::new)
    }

    /// The canonical form: the same for formulas that are equal by simple algebra.
    #[must_use]
    pub fn canonical(&self) -> Formula {
        Formula { written: self.meaning.clone(), meaning: self.meaning.clone() }
    }

    /// Sixteen hexadecimal digits, the same for formulas that differ by algebra or a positive factor only.
    pub fn fingerprint(&self) -> String {
        fingerprint::fingerprint(self)
    }

    /// Whether it says the same of all layers, so that it cannot guide a choice.
    pub fn is_degenerate(&self) -> bool {
        fingerprint::is_degenerate(self)
    }

    /// What its value varies with; other than [`Shape::Width`], it does not say what the width does.
    pub fn shape(&self) -> Shape {
        self.meaning.shape()
    }

    /// Features that its value depends on, sorted by name.
    pub fn features(&self) -> Vec<&'static Feature> {
        let mut found = vec![];
        self.meaning.visit(&mut |e| {
            if let Op::Feature(feature) = e.op {
                found.push(feature);
            }
        });
        found.sort_by_key(|f| f.name);
        found.dedup();
        found
    }

    /// Whether one of its features is known only after runs of the network with quantized layers.
    pub fn needs_runs(&self) -> bool {
        self.features().iter().any(|f| f.costs_runs)
    }

    /// Numbers, names, calls and operators in it, as written.
    pub fn nodes(&self) -> usize {
        self.written.nodes()
    }

    /// Levels of its tree, as written.
    pub fn depth(&self) -> usize {
        self.written.depth()
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl FromStr for Formula {
    type Err = SyntaxError;

    fn from_str(source: &str) -> Result<Formula, SyntaxError> {
        Formula::parse(source)
    }
}

impl Serialize for Formula {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Formula {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Formula, D::Error> {
        from.deserialize_str(Text)
    }
}

/// Reads within the visitor, where the file's reader still knows the line.
struct Text;

impl Visitor<'_> for Text {
    type Value = Formula;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a formula")
    }

    fn visit_str<E: serde::de::Error>(self, source: &str) -> Result<Formula, E> {
        Formula::parse(source).map_err(E::custom)
    }
}
