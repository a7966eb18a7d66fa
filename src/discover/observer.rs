//! Who watches a run, such as a live view.

use super::ask::{Ask, Reply};
use super::population::Candidate;
use super::transcript::{End, Generation, Refusal, Step};

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judged<'a> {
    /// A new formula.
    Accepted(&'a Candidate),
    /// Nothing new.
    Refused {
        /// Of which kind.
        kind: Refusal,
        /// Why.
        message: &'a str,
    },
}

/// Watches a run and changes nothing in it. What is not of interest need not be written.
pub trait Observer {
    /// A question is about to be asked; `replayed` where its answer is known from an earlier run.
    fn asked(&mut self, step: Step, ask: &Ask, replayed: bool) {
        let _ = (step, ask, replayed);
    }

    /// It was answered, and the answer was judged.
    fn judged(&mut self, step: Step, reply: &Reply, judged: Judged<'_>) {
        let _ = (step, reply, judged);
    }

    /// It was not answered.
    fn failed(&mut self, step: Step, message: &str) {
        let _ = (step, message);
    }

    /// A generation ended.
    fn generation_ended(&mut self, generation: &Generation) {
        let _ = generation;
    }

    /// The run ended.
    fn ended(&mut self, end: &End) {
        let _ = end;
    }
}

/// Nobody watches.
impl Observer for () {}
