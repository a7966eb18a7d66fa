//! Fitness of a formula: how good a file its allocation makes, and how well it ranks the bench.

use super::bench::{Workbench, is_reference};
use super::choose::Configuration;
use std::cell::RefCell;
use std::collections::BTreeMap;
use tapq::allocate::{Budget, Choice, Problem, solve};
use tapq::discover::{Fitness, Judge, Parsed};
use tapq::proxy::{BUDGETS, Bench, Feature, Formula, crossover, mutate, random, sensitivities};
use tapq::random::SplitMix64;
use tapq::report::decibels;
use tapq::{Error, Result};

/// SQNR of the outputs that counts as perfect.
const PERFECT_DB: f64 = 40.0;
/// Depth of random formulas.
const RANDOM_DEPTH: usize = 3;

/// Judges formulas on one network.
///
/// Fidelity is the mean over [`BUDGETS`] of half the top-1 agreement and half the output SQNR over 40 dB, of the
/// network with the widths that the formula's allocation chooses, on samples held apart from those of the features.
pub struct NetworkJudge<'a> {
    workbench: &'a Workbench<'a>,
    bench: &'a Bench,
    features: Vec<&'static Feature>,
    /// Configurations repeat: formulas agree more often than not.
    known: RefCell<BTreeMap<Configuration, (f64, f64)>>,
}

impl<'a> NetworkJudge<'a> {
    /// A judge by a bench; formulas may use every feature that is cheap: all but those that need a run for each layer
    /// and width.
    pub fn new(workbench: &'a Workbench<'a>, bench: &'a Bench) -> Self {
        let features = bench.header.table.features().into_iter().filter(|f| !is_reference(f.name)).collect();
        NetworkJudge { workbench, bench, features, known: RefCell::default() }
    }

    /// Features that formulas may use.
    pub fn features(&self) -> &[&'static Feature] {
        &self.features
    }

    /// The widths that the formula's allocation chooses at average bits of the weights; `None` where none fit.
    ///
    /// # Errors
    /// If the formula asks for what the bench does not hold.
    pub fn allocation(&self, formula: &Formula, average_bits: f64) -> Result<Option<Configuration>> {
        let header = &self.bench.header;
        let costs = sensitivities(formula, &header.table)?;
        let widths = header.table.widths();
        let choice =
            |l: usize, w: usize| Choice { cost: costs[l][w], weights: vec![header.params[l] * f64::from(widths[w])] };
        let layers: Vec<Vec<Choice>> =
            header.offered.iter().enumerate().map(|(l, own)| own.iter().map(|w| choice(l, *w)).collect()).collect();
        let limit = average_bits * header.params.iter().sum::<f64>();
        let problem = Problem { layers, budgets: vec![Budget { name: "weight bits".to_owned(), limit }] };
        let picked = |(own, at): (&Vec<usize>, &usize)| Some(widths[own[*at]]);
        Ok(solve(&problem).ok().map(|s| header.offered.iter().zip(&s.picks).map(picked).collect()))
    }

    fn measured(&self, configurations: &[Configuration]) -> Result<Vec<(f64, f64)>> {
        let mut new: Vec<Configuration> = vec![];
        for configuration in configurations {
            if !self.known.borrow().contains_key(configuration) && !new.contains(configuration) {
                new.push(configuration.clone());
            }
        }
        let found = self.workbench.apart(&new)?;
        self.known.borrow_mut().extend(new.into_iter().zip(found));
        let known = self.known.borrow();
        Ok(configurations.iter().filter_map(|c| known.get(c).copied()).collect())
    }
}

impl Judge for NetworkJudge<'_> {
    fn parse(&self, formula: &str) -> Result<Parsed, String> {
        let read = Formula::parse(formula).map_err(|e| format!("{e:#}"))?;
        if let Some(costly) = read.features().iter().find(|f| is_reference(f.name)) {
            return Err(format!("feature `{}` needs a run for each layer and width: use the others", costly.name));
        }
        Ok(Parsed {
            canonical: read.canonical().to_string(),
            fingerprint: read.fingerprint(),
            degenerate: read.is_degenerate(),
        })
    }

    fn fitness(&self, canonical: &str) -> Result<Fitness> {
        let formula = Formula::parse(canonical).map_err(Error::from)?;
        let ranking = self.bench.rank(&formula)?;
        let mut configurations = vec![];
        for bits in BUDGETS {
            configurations.extend(self.allocation(&formula, bits)?);
        }
        let measured = self.measured(&configurations)?;
        let score =
            |(error, agreement): &(f64, f64)| (agreement + (decibels(*error) / PERFECT_DB).clamp(0.0, 1.0)) / 2.0;
        let fidelity = measured.iter().map(score).sum::<f64>() / measured.len().max(1) as f64;
        let notes = BUDGETS.iter().zip(&measured).map(|(bits, (error, agreement))| {
            format!("{bits} bits: {:.2} dB, agreement {agreement:.3}", decibels(*error))
        });
        Ok(Fitness { fidelity, correlation: ranking.spearman, held_out: ranking.held_out, notes: notes.collect() })
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
