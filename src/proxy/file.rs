//! A proxy as a YAML file.

use super::formula::Formula;
use crate::{Code, Context, Error, Result, yaml};
use serde::{Deserialize, Serialize};

/// The version of the file's form.
const SCHEMA: u32 = 1;

/// Name of a formula that has none.
const NAMELESS: &str = "formula";

/// A formula with what it is, where it comes from and how it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyFile {
    /// Version of the file's form, 1.
    pub schema: u32,
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// The idea behind the formula, in a sentence or a few.
    pub thought: String,
    /// The formula.
    pub formula: Formula,
    /// Who is to be cited for it: a paper, or what found it.
    pub source: String,
    /// How it was found, for formulas that a search found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// How it did on networks where it was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
}

/// How a formula was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The language model, or `none`.
    pub model: String,
    /// Seed of the search.
    pub seed: u64,
    /// The network that it was searched on.
    pub network: String,
    /// SHA-256 of the transcript, 64 hexadecimal digits.
    pub transcript: String,
    /// Generation of the search, from 0.
    pub generation: u32,
}

/// How well a formula ranked configurations of one network by their measured damage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The network.
    pub network: String,
    /// Spearman's rank correlation over all configurations, -1 to 1.
    pub spearman: f64,
    /// The same over the half of the configurations with the least damage.
    pub spearman_best_half: f64,
    /// Kendall's rank correlation over all configurations, -1 to 1.
    pub kendall: f64,
    /// Spearman's within configurations of one size, the mean over the sizes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spearman_equal_size: Option<f64>,
}

impl ProxyFile {
    /// A formula that was given without a file.
    pub fn of_formula(formula: Formula) -> ProxyFile {
        let given = "given by the user".to_owned();
        ProxyFile {
            schema: SCHEMA,
            name: NAMELESS.to_owned(),
            thought: given.clone(),
            formula,
            source: given,
            provenance: None,
            measured: vec![],
        }
    }

    /// What plans and metadata call it: its name, or the formula where it has none of its own.
    pub fn label(&self) -> String {
        match self.name == NAMELESS {
            true => self.formula.to_string(),
            false => self.name.clone(),
        }
    }

    /// Reads and checks a file's text; `place` (a file name) stands before messages.
    ///
    /// # Errors
    /// [`Code::Config`] where the text is not such a file; the message has the line, or the field.
    pub fn parse(text: &str, place: &str) -> Result<ProxyFile> {
        let file: ProxyFile = yaml::parse(text, place)?;
        file.check().at(|| place.to_string())?;
        Ok(file)
    }

    /// The file's text, which [`ProxyFile::parse`] reads back.
    ///
    /// # Errors
    /// [`Code::Config`] where a field holds what it may not.
    pub fn print(&self) -> Result<String> {
        self.check()?;
        yaml::print(self)
    }

    fn check(&self) -> Result<()> {
        let wrong = |field: &str, message: String| Err(Error::new(Code::Config, message).at(field));
        if self.schema != SCHEMA {
            return wrong("schema", format!("version {} is not known, only {SCHEMA}", self.schema));
        }
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(word) {
            return wrong("name", "not 1 to 64 lower-case letters, digits and hyphens".to_string());
        }
        for (field, text) in [("thought", &self.thought), ("source", &self.source)] {
            if text.trim().is_empty() {
                return wrong(field, "empty".to_string());
            }
        }
        if let Some(found) = &self.provenance
            && (found.transcript.len() != 64 || !found.transcript.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return wrong("provenance.transcript", "not a SHA-256 of 64 hexadecimal digits".to_string());
        }
        for (i, measured) in self.measured.iter().enumerate() {
            let values = [
                ("spearman", measured.spearman),
                ("spearman_best_half", measured.spearman_best_half),
                ("kendall", measured.kendall),
                ("spearman_equal_size", measured.spearman_equal_size.unwrap_or(0.0)),
            ];
            if let Some((field, value)) = values.iter().find(|(_, v)| !(-1.0..=1.0).contains(v)) {
                return wrong(&format!("measured[{i}].{field}"), format!("{value} is not from -1 to 1"));
            }
        }
        Ok(())
    }
}
