//! One child of the loop: the question, asked again while the answer is nothing new, and the verdict.

use super::ask::{Ask, Reply, Template};
use super::controller::Yield;
use super::observer::Judged;
use super::population::{Candidate, Origin};
use super::reply;
use super::search::Search;
use super::transcript::{Event, Refusal, Step};
use crate::random::SplitMix64;
use crate::report::format::shorten;
use crate::{Code, Error, Result};

/// Characters of a message that are recorded and shown to the proposer: it may quote a whole reply.
const MAX_MESSAGE: usize = 400;

/// What a formula turned out to be.
pub(super) enum Verdict {
    /// Not readable, and why.
    Unparsed(String),
    /// Readable and nothing new, and why.
    Spent(Refusal, String),
    /// New.
    New(Candidate),
}

impl Search<'_, '_> {
    /// Asks for one child. None where the proposer did not answer: that is no template's fault.
    pub(super) fn child(&mut self, step: Step, template: Template, parents: &[Candidate]) -> Result<Option<Yield>> {
        let mut result = Yield::Unparsed;
        let mut complaint = None;
        let ids: Vec<usize> = parents.iter().map(|p| p.id).collect();
        for attempt in 0..=self.settings.attempts {
            let step = Step { attempt, ..step };
            let ask = Ask {
                template,
                parents: parents.iter().map(Candidate::as_parent).collect(),
                seed: question_seed(self.settings.seed, step),
                complaint: complaint.take(),
            };
            let Some(reply) = self.ask(step, &ids, ask)? else { return Ok(None) };
            let verdict = match reply::read(&reply.text) {
                Ok(answer) => {
                    let origin = Origin::Asked(template);
                    self.judge_formula(&answer.formula, &answer.thought, origin, &ids, step.generation)?
                }
                Err(message) => self.refuse(Refusal::Parse, message, None)?,
            };
            match verdict {
                Verdict::New(candidate) => {
                    self.observer.judged(step, &reply, Judged::Accepted(&candidate));
                    return Ok(Some(Yield::Scored(candidate.total)));
                }
                Verdict::Unparsed(message) => {
                    self.observer.judged(step, &reply, Judged::Refused { kind: Refusal::Parse, message: &message });
                    complaint = Some(message);
                }
                Verdict::Spent(kind, message) => {
                    self.observer.judged(step, &reply, Judged::Refused { kind, message: &message });
                    result = Yield::Spent;
                    if kind == Refusal::Unscored {
                        break;
                    }
                    complaint = Some(message);
                }
            }
        }
        Ok(Some(result))
    }

    /// The recorded answer where an earlier run got one, else the proposer's. None where there is none.
    fn ask(&mut self, step: Step, ids: &[usize], ask: Ask) -> Result<Option<Reply>> {
        self.emit(Event::Ask { step, ids: ids.to_vec(), ask: ask.clone() })?;
        let recorded = self.recorder.recorded_answer();
        self.observer.asked(step, &ask, recorded.is_some());
        let answer = match recorded {
            Some(answer) => answer,
            None => match self.proposer.propose(&ask) {
                Ok(reply) => Ok(reply),
                // Not a proposer that is down, but one that answers for another run.
                Err(e) if e.code() == Code::Transcript => return Err(e),
                Err(e) => Err(bounded(&sentence(&e))),
            },
        };
        match answer {
            Ok(reply) => {
                self.failures = 0;
                self.emit(Event::Reply(reply.clone()))?;
                Ok(Some(reply))
            }
            Err(message) => {
                self.failures += 1;
                self.last_failure.clone_from(&message);
                self.emit(Event::Failure { message: message.clone() })?;
                self.observer.failed(step, &message);
                Ok(None)
            }
        }
    }

    /// Reads, compares and scores a formula; a new one enters the population.
    pub(super) fn judge_formula(
        &mut self,
        formula: &str,
        thought: &str,
        origin: Origin,
        parents: &[usize],
        generation: usize,
    ) -> Result<Verdict> {
        let parsed = match self.judge.parse(formula) {
            Ok(parsed) => parsed,
            Err(message) => return self.refuse(Refusal::Parse, message, Some(formula)),
        };
        if parsed.degenerate {
            let message = "it scores every layer and bit-width alike; use features that differ between them".to_owned();
            return self.refuse(Refusal::Degenerate, message, Some(&parsed.canonical));
        }
        if let Some((id, known)) = self.seen.get(&parsed.fingerprint) {
            let known = shorten(known, MAX_MESSAGE / 2);
            let message = format!("it scores like formula {id}, `{known}`, which was tried; write a different one");
            return self.refuse(Refusal::Duplicate, message, Some(&parsed.canonical));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.seen.insert(parsed.fingerprint.clone(), (id, parsed.canonical.clone()));
        self.emit(Event::Accepted {
            id,
            thought: thought.to_owned(),
            formula: parsed.canonical.clone(),
            fingerprint: parsed.fingerprint.clone(),
            origin,
            parents: parents.to_vec(),
            generation,
        })?;
        let fitness = match self.judge.fitness(&parsed.canonical) {
            Ok(fitness) => fitness.sound(),
            Err(e) => {
                self.judge_failures += 1;
                self.last_failure = bounded(&sentence(&e));
                return self.refuse(Refusal::Unscored, self.last_failure.clone(), Some(&parsed.canonical));
            }
        };
        self.judge_failures = 0;
        let total = fitness.total(self.settings.alpha);
        self.emit(Event::Fitness { id, total, fitness: fitness.clone() })?;
        let candidate = Candidate {
            id,
            thought: thought.to_owned(),
            formula: parsed.canonical,
            fingerprint: parsed.fingerprint,
            origin,
            parents: parents.to_vec(),
            generation,
            fitness,
            total,
        };
        self.population.insert(candidate.clone());
        Ok(Verdict::New(candidate))
    }

    fn refuse(&mut self, kind: Refusal, message: String, formula: Option<&str>) -> Result<Verdict> {
        let message = bounded(&message);
        self.emit(Event::Refused { kind, message: message.clone(), formula: formula.map(str::to_owned) })?;
        Ok(match kind {
            Refusal::Parse => Verdict::Unparsed(message),
            _ => Verdict::Spent(kind, message),
        })
    }
}

/// Seed of a question: 31 bits, since some servers read no more and take the greatest number for "random".
fn question_seed(seed: u64, step: Step) -> u64 {
    let place = [step.generation as u64, step.child as u64, 1 + step.attempt as u64];
    SplitMix64::at(seed, &place).next() >> 33
}

fn sentence(error: &Error) -> String {
    error.places().chain([error.message()]).collect::<Vec<_>>().join(": ")
}

fn bounded(message: &str) -> String {
    match message.chars().count() > MAX_MESSAGE {
        true => message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect(),
        false => message.to_owned(),
    }
}
