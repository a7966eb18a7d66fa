//! What came of a run: the winner, the way to it, and what was refused. Folded from the events of its transcript.

use super::ask::Template;
use super::per_template::PerTemplate;
use super::population::{Candidate, Origin};
use super::transcript::{End, Event, Generation, Header, Recorded, Refusal, Step};
use crate::{Code, Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// What the run was given.
    pub header: Header,
    /// All new formulas with a fitness, in order of their numbers.
    pub candidates: Vec<Candidate>,
    /// The generations, the initial one first.
    pub history: Vec<Generation>,
    /// What was asked, answered and refused.
    pub counts: Counts,
    /// The same by template.
    pub by_template: PerTemplate<Tally>,
    /// What the parser refused, most frequent first.
    pub refusals: Vec<RefusalGroup>,
    /// Why the run ended, its winner and its warnings; absent where the transcript ends before.
    pub end: Option<End>,
    /// Predicted and measured damage of the benches' configurations under the winner, where the caller gives them.
    pub scatters: Vec<Scatter>,
    /// The last question, to count its answer.
    #[serde(skip)]
    last: Option<(Step, Template)>,
    /// A formula whose fitness is not known yet.
    #[serde(skip)]
    pending: Option<Candidate>,
}

/// Configurations of one network's bench.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scatter {
    /// Name of the network.
    pub network: String,
    /// Predicted and measured damage of each.
    pub points: Vec<(f64, f64)>,
}

/// What was asked, answered and refused in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Questions, repeated ones included.
    pub asked: usize,
    /// Questions that were asked again.
    pub repeated: usize,
    /// Questions without an answer.
    pub failures: usize,
    /// Formulas given and answers that are new formulas with a fitness.
    pub accepted: usize,
    /// Refused: no formula in it, or one that the parser refuses.
    pub unparsed: usize,
    /// Refused: tells nothing apart.
    pub degenerate: usize,
    /// Refused: scores like one that was tried before.
    pub duplicates: usize,
    /// Refused: without a fitness.
    pub unscored: usize,
    /// Tokens read and written.
    pub tokens: u64,
}

impl Counts {
    /// Answers and given formulas that the parser understood.
    pub fn parsed(&self) -> usize {
        self.accepted + self.degenerate + self.duplicates + self.unscored
    }
}

/// How one template did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Children that were asked for.
    pub children: usize,
    /// New formulas with a fitness.
    pub accepted: usize,
    /// The best of them.
    pub best: Option<f64>,
}

/// Messages that differ only in names and numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalGroup {
    /// Of which kind.
    pub kind: Refusal,
    /// How many.
    pub count: usize,
    /// The first message.
    pub message: String,
    /// The formula that it was about.
    pub formula: Option<String>,
    #[serde(skip)]
    pattern: String,
}

impl Outcome {
    /// Nothing yet.
    pub fn new(header: Header) -> Self {
        Outcome {
            header,
            candidates: vec![],
            history: vec![],
            counts: Counts::default(),
            by_template: PerTemplate::default(),
            refusals: vec![],
            end: None,
            scatters: vec![],
            last: None,
            pending: None,
        }
    }

    /// What a transcript says, without a model and without a judge; of an unfinished one, what it says so far.
    ///
    /// # Errors
    /// [`Code::Transcript`] where it has no header.
    pub fn of(recorded: &Recorded) -> Result<Self> {
        let header = recorded.header().ok_or_else(|| Error::new(Code::Transcript, "the transcript is empty"))?;
        let mut outcome = Outcome::new(header.clone());
        recorded.events.iter().for_each(|event| outcome.apply(event));
        Ok(outcome)
    }

    /// Takes the next event of the run in.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Header(_) | Event::Given { .. } => {}
            Event::Ask { step, ask, .. } => {
                self.counts.asked += 1;
                self.counts.repeated += usize::from(step.attempt > 0);
                self.by_template.get_mut(ask.template).children += usize::from(step.attempt == 0);
                self.last = Some((*step, ask.template));
            }
            Event::Reply(reply) => self.counts.tokens += reply.tokens,
            Event::Failure { .. } => self.counts.failures += 1,
            Event::Refused { kind, message, formula } => self.refuse(*kind, message, formula.as_ref()),
            Event::Accepted { id, thought, formula, fingerprint, origin, parents, generation } => {
                self.pending = Some(Candidate {
                    id: *id,
                    thought: thought.clone(),
                    formula: formula.clone(),
                    fingerprint: fingerprint.clone(),
                    origin: *origin,
                    parents: parents.clone(),
                    generation: *generation,
                    fitness: Default::default(),
                    total: 0.0,
                });
            }
            Event::Fitness { total, fitness, .. } => {
                if let Some(candidate) = self.pending.take() {
                    self.accept(Candidate { total: *total, fitness: fitness.clone(), ..candidate });
                }
            }
            Event::Generation(generation) => self.history.push(generation.clone()),
            Event::End(end) => self.end = Some(end.clone()),
        }
    }

    fn accept(&mut self, candidate: Candidate) {
        self.counts.accepted += 1;
        if let Origin::Asked(template) = candidate.origin {
            let tally = self.by_template.get_mut(template);
            tally.accepted += 1;
            tally.best = tally.best.into_iter().chain([candidate.total]).reduce(f64::max);
        }
        self.candidates.push(candidate);
    }

    fn refuse(&mut self, kind: Refusal, message: &str, formula: Option<&String>) {
        match kind {
            Refusal::Parse => self.counts.unparsed += 1,
            Refusal::Degenerate => self.counts.degenerate += 1,
            Refusal::Duplicate => self.counts.duplicates += 1,
            Refusal::Unscored => self.counts.unscored += 1,
        }
        let pattern = pattern(message);
        match self.refusals.iter_mut().find(|g| g.kind == kind && g.pattern == pattern) {
            Some(group) => group.count += 1,
            None => self.refusals.push(RefusalGroup {
                kind,
                count: 1,
                message: message.to_owned(),
                formula: formula.cloned(),
                pattern,
            }),
        }
        // Stable: of equally frequent ones the earlier stays first.
        self.refusals.sort_by_key(|g| std::cmp::Reverse(g.count));
    }

    /// The best formula.
    pub fn winner(&self) -> Option<&Candidate> {
        match &self.end {
            Some(end) => self.candidate(end.winner?),
            None => self.candidate(*self.history.last()?.population.first()?),
        }
    }

    /// A formula by its number.
    pub fn candidate(&self, id: usize) -> Option<&Candidate> {
        // Numbers without a fitness leave gaps.
        let at = self.candidates.binary_search_by_key(&id, |c| c.id).ok()?;
        self.candidates.get(at)
    }

    /// The final population, best first.
    pub fn population(&self) -> Vec<&Candidate> {
        let ids = self.history.last().map(|g| g.population.as_slice()).unwrap_or_default();
        ids.iter().filter_map(|id| self.candidate(*id)).collect()
    }

    /// The winner and all its ancestors, the latest first.
    pub fn family(&self) -> Vec<&Candidate> {
        let mut found: BTreeMap<usize, &Candidate> = BTreeMap::new();
        let mut open: Vec<&Candidate> = self.winner().into_iter().collect();
        while let Some(candidate) = open.pop() {
            if found.insert(candidate.id, candidate).is_none() {
                open.extend(candidate.parents.iter().filter_map(|id| self.candidate(*id)));
            }
        }
        found.into_values().rev().collect()
    }
}

/// The message without what it quotes and counts.
fn pattern(message: &str) -> String {
    let mut out = String::new();
    for (i, part) in message.split('`').enumerate() {
        match i % 2 {
            0 => out.extend(part.chars().filter(|c| !c.is_ascii_digit())),
            _ => out.push('`'),
        }
    }
    out
}
