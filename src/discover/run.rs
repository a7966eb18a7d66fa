//! The loop: ask, read, judge, keep the best, learn which template pays off.
//!
//! The initial generation asks [`Template::Initialise`] as often as the population is large. Each later step draws a
//! template from the controller's policy and parents by rank; with too few parents it falls back to initialise.
//! An answer that is no new formula is asked for again, with the reason. New formulas enter the population at once.
//! The loop has no clock; every draw comes from the seed and the place of the question in the run, so that a run
//! that was cut goes on as if it had not been.

use super::ask::{Proposer, Template};
use super::controller::{Learner, Lesson, Yield};
use super::judge::Judge;
use super::observer::Observer;
use super::outcome::Outcome;
use super::population::{Origin, Population};
use super::recorder::Recorder;
use super::search::Search;
use super::settings::Settings;
use super::transcript::{End, Event, Generation, Header, Network, Step, Stop, TRANSCRIPT_SCHEMA};
use super::verdict::Verdict;
use crate::random::SplitMix64;
use crate::{Code, Error, Result};
use std::collections::BTreeMap;

/// So many failures in a row end a run.
pub const FAILURES_IN_A_ROW: usize = 5;

/// What a run is given beside its judge and its proposer.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// Settings.
    pub settings: Settings,
    /// How the judge decides, so that a transcript is not resumed with another one.
    pub judge: String,
    /// The networks that it judges on.
    pub networks: Vec<Network>,
    /// Formulas to start from, before the first question.
    pub given: Vec<String>,
}

impl Task {
    /// What a recorded run was given.
    pub fn of(header: &Header) -> Task {
        Task {
            settings: header.settings.clone(),
            judge: header.judge.clone(),
            networks: header.networks.clone(),
            given: header.given.clone(),
        }
    }
}

/// Runs the loop to its end. Where `recorder` holds an earlier run, that one is repeated without asking, and gone on
/// with where it ends.
///
/// A proposer that fails several times in a row ends the run early, with the best formula so far.
///
/// # Errors
/// [`Code::Config`] for settings out of range and given formulas that cannot be read; [`Code::Transcript`] where the
/// run departs from the recorded one; [`Code::Io`] where the transcript cannot be written.
pub fn run(
    task: &Task,
    judge: &dyn Judge,
    proposer: &mut dyn Proposer,
    recorder: &mut Recorder<'_>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    task.settings.check()?;
    let header = Header {
        schema: TRANSCRIPT_SCHEMA,
        judge: task.judge.clone(),
        networks: task.networks.clone(),
        proposer: proposer.name(),
        settings: task.settings.clone(),
        given: task.given.clone(),
    };
    let mut search = Search {
        settings: &task.settings,
        judge,
        proposer,
        recorder,
        observer,
        outcome: Outcome::new(header.clone()),
        population: Population::new(task.settings.population),
        learner: Learner::new(task.settings.controller),
        seen: BTreeMap::new(),
        next_id: 1,
        failures: 0,
        judge_failures: 0,
        last_failure: String::new(),
    };
    search.emit(Event::Header(header))?;
    search.given(&task.given)?;
    let (stop, message) = search.generations()?;
    search.end(stop, message)?;
    search.recorder.finish()?;
    Ok(search.outcome)
}

impl Search<'_, '_> {
    fn given(&mut self, given: &[String]) -> Result<()> {
        for formula in given {
            self.emit(Event::Given { formula: formula.clone() })?;
            let verdict = self.judge_formula(formula, "", Origin::Given, &[], 0)?;
            if let Verdict::Unparsed(message) = verdict {
                return Err(Error::new(Code::Config, format!("the given formula `{formula}`: {message}")));
            }
        }
        Ok(())
    }

    fn generations(&mut self) -> Result<(Stop, String)> {
        let mut best: Option<f64> = None;
        let mut idle = 0;
        for generation in 0..=self.settings.generations {
            let count = if generation == 0 { self.settings.population } else { self.settings.children };
            let mut children = vec![];
            for child in 1..=count {
                let step = Step { generation, child, attempt: 0 };
                children.extend(self.step(step)?);
                if let Some(stopped) = self.stopped() {
                    return Ok(stopped);
                }
            }
            let lesson = self.learner.learn(&children);
            self.close(generation, lesson)?;
            let now = self.population.best().map(|c| c.total);
            idle = if now > best || generation == 0 { 0 } else { idle + 1 };
            best = now;
            let patience = self.settings.patience;
            if patience > 0 && idle >= patience && generation < self.settings.generations {
                let many = if idle == 1 { "generation".to_owned() } else { format!("{idle} generations") };
                let message = format!("stopped after generation {generation}: no better formula in the last {many}");
                return Ok((Stop::Stagnation, message));
            }
        }
        let message = format!("all {} generations were run", self.settings.generations);
        Ok((Stop::Complete, message))
    }

    /// Draws a template and its parents, and asks.
    fn step(&mut self, step: Step) -> Result<Option<(Template, Yield)>> {
        let mut random = SplitMix64::at(self.settings.seed, &[step.generation as u64, step.child as u64]);
        let unit = random.unit();
        let drawn = if step.generation == 0 { Template::Initialise } else { self.learner.draw(unit) };
        let (template, parents) = match self.population.draw(drawn.parents(), &mut random) {
            Some(parents) => (drawn, parents.into_iter().cloned().collect()),
            None => (Template::Initialise, vec![]),
        };
        Ok(self.child(step, template, &parents)?.map(|result| (template, result)))
    }

    fn stopped(&self) -> Option<(Stop, String)> {
        let (stop, who) = if self.failures >= FAILURES_IN_A_ROW {
            (Stop::ProposerFailed, "the proposer did not answer")
        } else if self.judge_failures >= FAILURES_IN_A_ROW {
            (Stop::JudgeFailed, "no fitness could be computed")
        } else {
            return None;
        };
        Some((stop, format!("{who} {FAILURES_IN_A_ROW} times in a row, last: {}", self.last_failure)))
    }

    fn close(&mut self, generation: usize, lesson: Lesson) -> Result<()> {
        let event = Generation {
            generation,
            best: self.population.best().map(|c| c.total),
            mean: self.population.mean(),
            population: self.population.members().iter().map(|c| c.id).collect(),
            policy: self.learner.policy(),
            lesson,
        };
        self.emit(Event::Generation(event.clone()))?;
        self.observer.generation_ended(&event);
        Ok(())
    }

    fn end(&mut self, stop: Stop, message: String) -> Result<()> {
        let winner = self.population.best();
        let mut warnings = vec![];
        match winner {
            None => warnings.push("no formula was found: no answer could be used".to_owned()),
            Some(w) if w.fitness.is_overfitted() => warnings.push(format!(
                "the winner is overfitted: its rank correlation is {:.3} on the samples its features were computed \
                 from, and {:.3} on those held out",
                w.fitness.correlation,
                w.fitness.held_out.unwrap_or_default()
            )),
            Some(w) if w.fitness.correlation <= 0.0 => warnings
                .push(format!("the winner does not rank damage: its rank correlation is {:.3}", w.fitness.correlation)),
            Some(_) => {}
        }
        let end = End { stop, message, winner: winner.map(|w| w.id), warnings };
        self.emit(Event::End(end.clone()))?;
        self.observer.ended(&end);
        Ok(())
    }
}
