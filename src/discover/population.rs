//! The best formulas so far.

use super::ask::{Parent, Template};
use super::judge::{Fitness, decimals};
use crate::random::SplitMix64;
use serde::{Deserialize, Serialize};

/// Where a formula comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Given to the run.
    Given,
    /// The answer to this template.
    Asked(Template),
}

impl Origin {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Given => "given",
            Origin::Asked(template) => template.name(),
        }
    }
}

/// A formula with its fitness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Number in the run, from 1, in order of acceptance.
    pub id: usize,
    /// The idea behind it, one line.
    pub thought: String,
    /// Canonical text.
    pub formula: String,
    /// Duplicates share it.
    pub fingerprint: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Numbers of its parents.
    pub parents: Vec<usize>,
    /// The generation it was asked in; 0 is the initial one.
    pub generation: usize,
    /// What it is worth.
    pub fitness: Fitness,
    /// Fitness in one number, 0 to 1.
    pub total: f64,
}

impl Candidate {
    /// As it is shown to a proposer.
    pub fn as_parent(&self) -> Parent {
        Parent { thought: self.thought.clone(), formula: self.formula.clone(), fitness: self.total }
    }
}

/// At most `capacity` candidates, best first, no two with one fingerprint.
///
/// Better is: greater fitness, then the shorter formula, then the one whose text comes first.
/// What leaves is always the worst, so the best is never lost.
#[derive(Clone, Debug)]
pub struct Population {
    capacity: usize,
    members: Vec<Candidate>,
}

impl Population {
    /// An empty population.
    pub fn new(capacity: usize) -> Self {
        Population { capacity, members: vec![] }
    }

    /// The members, best first.
    pub fn members(&self) -> &[Candidate] {
        &self.members
    }

    /// The best one.
    pub fn best(&self) -> Option<&Candidate> {
        self.members.first()
    }

    /// Mean fitness; none where it is empty.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.members.iter().map(|c| c.total).sum();
        (!self.members.is_empty()).then(|| decimals(sum / self.members.len() as f64))
    }

    /// Takes a candidate in and drops the worst above the capacity. Of two with one fingerprint the better stays.
    pub fn insert(&mut self, candidate: Candidate) {
        if let Some(i) = self.members.iter().position(|m| m.fingerprint == candidate.fingerprint) {
            if !is_better(&candidate, self.members.get(i)) {
                return;
            }
            self.members.remove(i);
        }
        let at = self.members.partition_point(|m| !is_better(&candidate, Some(m)));
        self.members.insert(at, candidate);
        self.members.truncate(self.capacity);
    }

    /// `count` different members, the better ones more likely: the weight of the last is 1, of the one before it 2,
    /// and so on up to the best. None where there are too few.
    pub(crate) fn draw(&self, count: usize, random: &mut SplitMix64) -> Option<Vec<&Candidate>> {
        let mut left: Vec<(usize, &Candidate)> =
            self.members.iter().enumerate().map(|(rank, m)| (self.members.len() - rank, m)).collect();
        if left.len() < count {
            return None;
        }
        let mut drawn = vec![];
        while drawn.len() < count {
            let mut at = random.below(left.iter().map(|(weight, _)| weight).sum());
            let mut hit = 0;
            for (i, (weight, _)) in left.iter().enumerate() {
                hit = i;
                match at.checked_sub(*weight) {
                    Some(rest) => at = rest,
                    None => break,
                }
            }
            drawn.push(left.remove(hit).1);
        }
        Some(drawn)
    }
}

fn is_better(a: &Candidate, b: Option<&Candidate>) -> bool {
    let Some(b) = b else { return true };
    let by_text = || (a.formula.len(), &a.formula).cmp(&(b.formula.len(), &b.formula));
    b.total.total_cmp(&a.total).then_with(by_text).is_lt()
}
