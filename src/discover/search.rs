//! The state of a discovery run.

use super::ask::Proposer;
use super::controller::Learner;
use super::judge::Judge;
use super::observer::Observer;
use super::outcome::Outcome;
use super::population::Population;
use super::recorder::Recorder;
use super::settings::Settings;
use super::transcript::Event;
use crate::Result;
use std::collections::BTreeMap;

/// The state of a run.
pub(super) struct Search<'a, 'w> {
    pub(super) settings: &'a Settings,
    pub(super) judge: &'a dyn Judge,
    pub(super) proposer: &'a mut dyn Proposer,
    pub(super) recorder: &'a mut Recorder<'w>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) outcome: Outcome,
    pub(super) population: Population,
    pub(super) learner: Learner,
    /// Number and text of the first formula of each fingerprint.
    pub(super) seen: BTreeMap<String, (usize, String)>,
    pub(super) next_id: usize,
    /// Questions in a row without an answer.
    pub(super) failures: usize,
    /// Formulas in a row without a fitness.
    pub(super) judge_failures: usize,
    pub(super) last_failure: String,
}

impl Search<'_, '_> {
    pub(super) fn emit(&mut self, event: Event) -> Result<()> {
        self.recorder.record(&event)?;
        self.outcome.apply(&event);
        Ok(())
    }
}
