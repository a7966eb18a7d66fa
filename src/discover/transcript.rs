//! Everything that happened in a run, one JSON object a line.
//!
//! Lines hold no clock and no path: their bytes are a function of settings, judge and answers.

use super::ask::{Ask, Reply};
use super::controller::Lesson;
use super::judge::Fitness;
use super::per_template::Policy;
use super::population::Origin;
use super::settings::Settings;
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// Version of the lines.
pub const TRANSCRIPT_SCHEMA: u32 = 3;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first line: what the run was given.
    Header(Header),
    /// A formula that the run was given, before all questions.
    Given {
        /// As it was given.
        formula: String,
    },
    /// A question.
    Ask {
        /// Its place in the run.
        step: Step,
        /// Numbers of the parents.
        ids: Vec<usize>,
        /// The question itself.
        #[serde(flatten)]
        ask: Ask,
    },
    /// An answer, untouched.
    Reply(Reply),
    /// No answer.
    Failure {
        /// Why.
        message: String,
    },
    /// The verdict on the last given formula or answer: nothing new.
    Refused {
        /// Of which kind.
        kind: Refusal,
        /// Why, as it is shown to the proposer.
        message: String,
        /// The formula, where one was found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        formula: Option<String>,
    },
    /// The verdict on the last given formula or answer: a new formula.
    Accepted {
        /// Its number, from 1.
        id: usize,
        /// The idea, one line.
        thought: String,
        /// Canonical text.
        formula: String,
        /// Duplicates share it.
        fingerprint: String,
        /// Where it comes from.
        origin: Origin,
        /// Numbers of its parents.
        parents: Vec<usize>,
        /// The generation it was asked in.
        generation: usize,
    },
    /// What a new formula is worth.
    Fitness {
        /// Its number.
        id: usize,
        /// Fitness in one number.
        total: f64,
        /// Its parts.
        #[serde(flatten)]
        fitness: Fitness,
    },
    /// The end of a generation.
    Generation(Generation),
    /// The last line.
    End(End),
}

/// What the run was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`TRANSCRIPT_SCHEMA`].
    pub schema: u32,
    /// How the judge decides, so that a transcript is not resumed with another one.
    pub judge: String,
    /// The networks that it judges on.
    pub networks: Vec<Network>,
    /// Name of the proposer.
    pub proposer: String,
    /// Settings of the run.
    pub settings: Settings,
    /// Formulas given to start from.
    pub given: Vec<String>,
}

/// A network that formulas are judged on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Name of the target.
    pub target: String,
    /// Digest of what decides the figures: network, target, samples, way of rounding.
    pub digest: String,
    /// Configurations of its bench.
    pub configurations: usize,
}

impl Network {
    /// Its name and its target, for people.
    pub fn label(&self) -> String {
        format!("{} on {}", self.name, self.target)
    }
}

/// The place of a question in the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Generation; 0 is the initial one.
    pub generation: usize,
    /// Number of the child in it, from 1.
    pub child: usize,
    /// How often the child's question was asked before.
    pub attempt: usize,
}

/// Why an answer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No formula was found in the reply, or the parser refused it.
    Parse,
    /// It tells nothing apart.
    Degenerate,
    /// It scores like a formula that was tried before.
    Duplicate,
    /// Its fitness could not be computed.
    Unscored,
}

/// The end of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Which one; 0 is the initial one.
    pub generation: usize,
    /// Fitness of the best formula so far; none where there is no formula.
    pub best: Option<f64>,
    /// Mean fitness of the population.
    pub mean: Option<f64>,
    /// Numbers of the population, best first.
    pub population: Vec<usize>,
    /// What the next generation draws from.
    pub policy: Policy,
    /// What the controller learned from.
    pub lesson: Lesson,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// All generations were run.
    Complete,
    /// Several generations brought no better best.
    Stagnation,
    /// The proposer failed several times in a row.
    ProposerFailed,
    /// The judge failed several times in a row.
    JudgeFailed,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Why it ended.
    pub stop: Stop,
    /// The same, for people.
    pub message: String,
    /// Number of the best formula; none where there is no formula.
    pub winner: Option<usize>,
    /// What to know before using the winner.
    pub warnings: Vec<String>,
}

impl Event {
    /// The line, without its end.
    ///
    /// # Errors
    /// [`Code::Transcript`] where the event has no JSON form.
    pub fn to_line(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::new(Code::Transcript, format!("cannot write a transcript line: {e}")))
    }
}

/// A transcript that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Its events.
    pub events: Vec<Event>,
    /// Their lines, as they were written.
    pub lines: Vec<String>,
    /// What was wrong and could be helped, for people.
    pub notice: Option<String>,
}

impl Recorded {
    /// Reads a transcript. A last line without an end was cut off while it was written: it is dropped, with a notice.
    ///
    /// # Errors
    /// [`Code::Transcript`] with the line number where a line is no event, where the first one is no header, or
    /// where it is of another schema.
    pub fn read(bytes: &[u8]) -> Result<Recorded> {
        let mut recorded = Recorded::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let number = recorded.lines.len() + 1;
            let refused = |why: String| Error::new(Code::Transcript, why).at(format!("line {number}"));
            let line = std::str::from_utf8(line).map_err(|_| refused("not UTF-8 text".to_owned()))?;
            if number == 1 {
                check_schema(line).map_err(refused)?;
            }
            let event = serde_json::from_str(line).map_err(|e| refused(format!("not a line of a transcript: {e}")))?;
            if matches!(event, Event::Header(_)) != (number == 1) {
                return Err(refused("the header stands on the first line, and only there".to_owned()));
            }
            recorded.events.push(event);
            recorded.lines.push(line.to_owned());
        }
        if !rest.is_empty() {
            let number = recorded.lines.len() + 1;
            recorded.notice = Some(format!("line {number} was cut off while it was written; it was dropped"));
        }
        Ok(recorded)
    }

    /// The first line.
    pub fn header(&self) -> Option<&Header> {
        match self.events.first() {
            Some(Event::Header(header)) => Some(header),
            _ => None,
        }
    }

    /// The last line, where the run came to its end.
    pub fn end(&self) -> Option<&End> {
        match self.events.last() {
            Some(Event::End(end)) => Some(end),
            _ => None,
        }
    }

    /// Bytes that its lines take in a file.
    pub fn bytes(&self) -> u64 {
        self.lines.iter().map(|l| l.len() as u64 + 1).sum()
    }

    /// Forgets the failures that ended the run, so that it can go on where the proposer still answered.
    /// Another end stays.
    pub fn reopen(&mut self) {
        if !self.end().is_some_and(|e| e.stop == Stop::ProposerFailed) {
            return;
        }
        self.events.pop();
        while let [.., Event::Ask { .. }, Event::Failure { .. }] = self.events.as_slice() {
            self.events.truncate(self.events.len().saturating_sub(2));
        }
        self.lines.truncate(self.events.len());
    }
}

/// A transcript of a later version must not fail for its unknown events.
fn check_schema(line: &str) -> std::result::Result<(), String> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    match serde_json::from_str::<Versioned>(line) {
        Ok(Versioned { schema: TRANSCRIPT_SCHEMA }) => Ok(()),
        Ok(Versioned { schema }) => Err(format!("schema {schema}, but {TRANSCRIPT_SCHEMA} is read here")),
        Err(_) => Err("not the header of a transcript".to_owned()),
    }
}
