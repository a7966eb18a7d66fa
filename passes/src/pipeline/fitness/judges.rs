//! Fitness of a formula over several networks: the mean of what it is worth on each.

use super::judge::NetworkJudge;
use tapq::discover::{Fitness, Judge, Network, Parsed};
use tapq::proxy::{Feature, Formula, crossover, mutate, random, understand};
use tapq::random::SplitMix64;
use tapq::{Error, Result};

/// Depth of random formulas.
const RANDOM_DEPTH: usize = 3;

/// Judges formulas on one network or more.
pub struct NetworkJudges<'a> {
    judges: &'a [&'a NetworkJudge<'a>],
    features: Vec<&'static Feature>,
}

impl<'a> NetworkJudges<'a> {
    /// A judge over all of `judges`; formulas may use the features that every one of them has.
    pub fn new(judges: &'a [&'a NetworkJudge<'a>]) -> Self {
        let mut features: Vec<&'static Feature> = judges.first().map_or(vec![], |j| j.features().to_vec());
        features.retain(|f| judges.iter().all(|j| j.features().iter().any(|known| known.name == f.name)));
        NetworkJudges { judges, features }
    }

    /// Features that formulas may use.
    pub fn features(&self) -> &[&'static Feature] {
        &self.features
    }

    /// The networks, as transcripts name them.
    pub fn networks(&self) -> Vec<Network> {
        self.judges.iter().map(|j| j.network()).collect()
    }

    /// How it judges, as transcripts say it.
    pub fn method(&self) -> String {
        "mean over networks of agreement and SQNR at 3.5, 4.0 and 5.0 average bits, and of the rank correlation"
            .to_owned()
    }
}

impl Judge for NetworkJudges<'_> {
    fn parse(&self, formula: &str) -> Result<Parsed, String> {
        understand(formula)
    }

    fn fitness(&self, canonical: &str) -> Result<Fitness> {
        let formula = Formula::parse(canonical).map_err(Error::from)?;
        let (mut networks, mut correlations, mut notes) = (vec![], vec![], vec![]);
        for judge in self.judges {
            let name = judge.network().name;
            let (on, correlation, said) = judge.worth(&formula).map_err(|e| e.at(name.clone()))?;
            let place = if self.judges.len() > 1 { format!("{name}: ") } else { String::new() };
            notes.extend(said.into_iter().map(|note| place.clone() + &note));
            networks.push(on);
            correlations.push(correlation);
        }
        let held_out: Option<Vec<f64>> = networks.iter().map(|on| on.held_out).collect();
        Ok(Fitness {
            fidelity: mean(&networks.iter().map(|on| on.fidelity).collect::<Vec<_>>()),
            correlation: mean(&correlations),
            held_out: held_out.map(|h| mean(&h)),
            notes,
            networks,
        })
    }

    fn random(&self, seed: u64) -> String {
        random(&mut SplitMix64(seed), RANDOM_DEPTH, &self.features).to_string()
    }

    fn mutate(&self, formula: &str, seed: u64) -> String {
        match Formula::parse(formula) {
            Ok(formula) => mutate(&mut SplitMix64(seed), &formula, &self.features).to_string(),
            Err(_) => self.random(seed),
        }
    }

    fn crossover(&self, a: &str, b: &str, seed: u64) -> String {
        match (Formula::parse(a), Formula::parse(b)) {
            (Ok(a), Ok(b)) => crossover(&mut SplitMix64(seed), &a, &b).to_string(),
            _ => self.random(seed),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
