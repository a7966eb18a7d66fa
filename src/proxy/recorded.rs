//! A recorded run again, from its transcript alone.
//!
//! What needed a model or a network is taken from the transcript: the answers, and what each formula was worth.
//! Everything else is done anew and compared line by line: formulas are read, brought to their canonical form and
//! compared by fingerprint, fitness is put together, parents and templates are drawn, the controller learns, and the
//! winner is named. So any machine can check that the winner follows from what was recorded.

use super::file::ProxyFile;
use super::{found, understand};
use crate::discover::{Event, Fitness, Judge, Outcome, Parsed, Recorded, Recorder, Refusal, Replay, Task, run};
use crate::{Code, Error, Result};
use std::collections::BTreeMap;

/// Reads formulas itself, and knows what each was worth from a transcript.
pub struct RecordedJudge {
    verdicts: BTreeMap<String, std::result::Result<Fitness, String>>,
}

impl RecordedJudge {
    /// The verdicts of a recorded run.
    pub fn new(recorded: &Recorded) -> RecordedJudge {
        let mut verdicts = BTreeMap::new();
        for pair in recorded.events.windows(2) {
            match pair {
                [Event::Accepted { formula, .. }, Event::Fitness { fitness, .. }] => {
                    verdicts.insert(formula.clone(), Ok(fitness.clone()));
                }
                [Event::Accepted { formula, .. }, Event::Refused { kind: Refusal::Unscored, message, .. }] => {
                    verdicts.insert(formula.clone(), Err(message.clone()));
                }
                _ => {}
            }
        }
        RecordedJudge { verdicts }
    }
}

impl Judge for RecordedJudge {
    fn parse(&self, formula: &str) -> std::result::Result<Parsed, String> {
        understand(formula)
    }

    fn fitness(&self, canonical: &str) -> Result<Fitness> {
        match self.verdicts.get(canonical) {
            Some(Ok(fitness)) => Ok(fitness.clone()),
            Some(Err(message)) => Err(Error::new(Code::Proxy, message.clone())),
            None => {
                Err(Error::new(Code::Transcript, format!("the transcript does not say what `{canonical}` is worth")))
            }
        }
    }

    /// Nothing is bred: every answer is in the transcript.
    fn random(&self, _seed: u64) -> String {
        String::new()
    }

    fn mutate(&self, formula: &str, _seed: u64) -> String {
        formula.to_owned()
    }

    fn crossover(&self, a: &str, _b: &str, _seed: u64) -> String {
        a.to_owned()
    }
}

/// Repeats the run of a transcript: what came of it, and the winner as the run wrote it.
///
/// # Errors
/// [`Code::Transcript`] with the line from which on the transcript does not follow from what stands before it.
pub fn replay(transcript: &[u8]) -> Result<(Outcome, Option<ProxyFile>)> {
    let recorded = Recorded::read(transcript)?;
    let header = recorded.header().ok_or_else(|| Error::new(Code::Transcript, "the transcript is empty"))?;
    if recorded.notice.is_some() || recorded.end().is_none() {
        let what = "the transcript ends before its run did";
        return Err(Error::new(Code::Transcript, what).help("resume the run, or replay a whole transcript"));
    }
    let (task, judge) = (Task::of(header), RecordedJudge::new(&recorded));
    let mut proposer = Replay::new(&recorded)?;
    let mut recorder = Recorder::resume(recorded, std::io::sink());
    let outcome = run(&task, &judge, &mut proposer, &mut recorder, &mut ())?;
    let proxy = found(&outcome, transcript)?;
    Ok((outcome, proxy))
}
