//! The proposer that answers from a transcript, in order.

use super::ask::{Ask, Proposer, Reply};
use super::transcript::{Event, Recorded};
use crate::{Code, Error, Result};
use std::collections::VecDeque;

/// Answers each question as it was answered in a recorded run, and refuses any other question.
pub struct Replay {
    name: String,
    answers: VecDeque<(usize, Ask, Answer)>,
    asked: usize,
}

enum Answer {
    Reply(Reply),
    Failure(String),
}

impl Replay {
    /// A proposer over the questions and answers of `recorded`, under the name of its proposer.
    ///
    /// # Errors
    /// [`Code::Transcript`] where there is no header.
    pub fn new(recorded: &Recorded) -> Result<Self> {
        let header = recorded.header().ok_or_else(|| Error::new(Code::Transcript, "the transcript is empty"))?;
        let pairs = recorded.events.iter().enumerate().zip(recorded.events.iter().skip(1));
        let answers = pairs.filter_map(|((i, event), next)| match (event, next) {
            (Event::Ask { ask, .. }, Event::Reply(reply)) => Some((i + 1, ask.clone(), Answer::Reply(reply.clone()))),
            (Event::Ask { ask, .. }, Event::Failure { message }) => {
                Some((i + 1, ask.clone(), Answer::Failure(message.clone())))
            }
            _ => None,
        });
        Ok(Replay { name: header.proposer.clone(), answers: answers.collect(), asked: 0 })
    }
}

impl Proposer for Replay {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn propose(&mut self, ask: &Ask) -> Result<Reply> {
        self.asked += 1;
        let Some((line, recorded, answer)) = self.answers.front() else {
            let message = format!("question {} has no answer: the transcript ends before it", self.asked);
            return Err(Error::new(Code::Transcript, message).help("resume the run with a model instead"));
        };
        if let Some(how) = departure(recorded, ask) {
            let message = format!("question {} departs from the transcript: {how}", self.asked);
            return Err(Error::new(Code::Transcript, message)
                .at(format!("line {line}"))
                .help("replay with the settings, model and samples of the recorded run"));
        }
        let answer = match answer {
            Answer::Reply(reply) => Ok(reply.clone()),
            Answer::Failure(message) => Err(Error::new(Code::Proposer, message.clone())),
        };
        self.answers.pop_front();
        answer
    }
}

/// In words, how a question differs from the recorded one.
fn departure(recorded: &Ask, ask: &Ask) -> Option<String> {
    if recorded.template != ask.template {
        return Some(format!("asked is {}, recorded is {}", ask.template.name(), recorded.template.name()));
    }
    if recorded.parents.len() != ask.parents.len() {
        return Some(format!("asked with {} parents, recorded are {}", ask.parents.len(), recorded.parents.len()));
    }
    if let Some((a, b)) = ask.parents.iter().zip(&recorded.parents).find(|(a, b)| a != b) {
        return Some(format!(
            "the parent is `{}` with fitness {}, recorded is `{}` with {}",
            a.formula, a.fitness, b.formula, b.fitness
        ));
    }
    if recorded.seed != ask.seed {
        return Some(format!("the seed is {}, recorded is {}", ask.seed, recorded.seed));
    }
    let words = |complaint: &Option<String>| complaint.clone().unwrap_or("nothing".to_owned());
    (recorded.complaint != ask.complaint)
        .then(|| format!("the complaint is `{}`, recorded is `{}`", words(&ask.complaint), words(&recorded.complaint)))
}
