//! What a formula is worth on one network: how good a file its allocation makes, and how well it ranks the bench.

use super::bench::Workbench;
use crate::pipeline::choice::Configuration;
use std::cell::RefCell;
use std::collections::BTreeMap;
use tapq::allocate::{Budget, Choice, Problem, solve};
use tapq::discover::{Correlation, Network, OnNetwork};
use tapq::proxy::{BUDGETS, Bench, Feature, Formula, is_reference, sensitivities};
use tapq::report::decibels;
use tapq::{Code, Error, Result};

/// SQNR of the outputs that counts as perfect.
const PERFECT_DB: f64 = 40.0;

/// Judges formulas on one network.
///
/// Fidelity is the mean over [`BUDGETS`] of half the top-1 agreement and half the output SQNR over 40 dB, of the
/// network with the widths that the formula's allocation chooses, on samples held apart from those of the features.
pub struct NetworkJudge<'a> {
    workbench: &'a Workbench<'a>,
    bench: &'a Bench,
    features: Vec<&'static Feature>,
    correlation: Correlation,
    /// Configurations repeat: formulas agree more often than not.
    known: RefCell<BTreeMap<Configuration, (f64, f64)>>,
}

impl<'a> NetworkJudge<'a> {
    /// A judge by a bench; formulas may use every feature that is cheap: all but those that need a run for each layer
    /// and width. `correlation` says which rank correlation counts.
    pub fn new(workbench: &'a Workbench<'a>, bench: &'a Bench, correlation: Correlation) -> Self {
        let features = bench.header.table.features().into_iter().filter(|f| !is_reference(f.name)).collect();
        NetworkJudge { workbench, bench, features, correlation, known: RefCell::default() }
    }

    /// The network, as transcripts name it.
    pub fn network(&self) -> Network {
        let header = &self.bench.header;
        Network {
            name: header.network.clone(),
            target: header.target.clone(),
            digest: header.digest.clone(),
            configurations: self.bench.rows.len(),
        }
    }

    /// Its bench.
    pub fn bench(&self) -> &Bench {
        self.bench
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
        let params = header.params.iter().sum::<f64>();
        let budget = Budget { name: "weight bits".to_owned(), limit: average_bits * params, over: params };
        let problem = Problem { layers, budgets: vec![budget] };
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

    /// What a formula is worth here, the rank correlation that counts, and what its allocations have to say.
    ///
    /// # Errors
    /// If the formula asks for what the bench does not hold, or the bench is too small for the correlation.
    pub fn worth(&self, formula: &Formula) -> Result<(OnNetwork, f64, Vec<String>)> {
        let ranking = self.bench.rank(formula)?;
        let few = || Error::new(Code::Config, "the bench has too few configurations of equal size");
        let (correlation, held_out) = match self.correlation {
            Correlation::All => (ranking.spearman, ranking.held_out),
            Correlation::EqualSize => (ranking.equal_size.ok_or_else(few)?, ranking.equal_size_held_out),
        };
        let measured = self.sizes(formula)?;
        let score = |(_, error, agreement): &(f64, f64, f64)| {
            (agreement + (decibels(*error) / PERFECT_DB).clamp(0.0, 1.0)) / 2.0
        };
        let fidelity = measured.iter().map(score).sum::<f64>() / measured.len().max(1) as f64;
        let notes = measured.iter().map(|(bits, error, agreement)| {
            format!("{bits} bits: {:.2} dB, agreement {agreement:.3}", decibels(*error))
        });
        let notes = notes.collect();
        let on = OnNetwork {
            fidelity,
            spearman: ranking.spearman,
            best_half: ranking.best_half,
            kendall: ranking.kendall,
            equal_size: ranking.equal_size,
            held_out,
        };
        Ok((on, correlation, notes))
    }

    /// Relative squared output error and top-1 agreement of the formula's allocation at each of [`BUDGETS`] that can
    /// be met, on samples held apart.
    ///
    /// # Errors
    /// If the formula asks for what the bench does not hold.
    pub fn sizes(&self, formula: &Formula) -> Result<Vec<(f64, f64, f64)>> {
        self.at_budgets(|budget| self.allocation(formula, budget))
    }

    /// The same of one width for all layers, the greatest that keeps within each budget.
    ///
    /// # Errors
    /// If a network does not run.
    pub fn uniform_sizes(&self) -> Result<Vec<(f64, f64, f64)>> {
        self.at_budgets(|budget| Ok(self.uniform(budget)))
    }

    /// The greatest width that every layer is offered and that keeps within the budget.
    fn uniform(&self, average_bits: f64) -> Option<Configuration> {
        let header = &self.bench.header;
        let widths = header.table.widths();
        let fits =
            |w: &usize| f64::from(widths[*w]) <= average_bits && header.offered.iter().all(|own| own.contains(w));
        let width = (0..widths.len()).filter(fits).map(|w| widths[w]).max()?;
        Some(vec![Some(width); header.offered.len()])
    }

    fn at_budgets(&self, chosen: impl Fn(f64) -> Result<Option<Configuration>>) -> Result<Vec<(f64, f64, f64)>> {
        let (mut bits, mut configurations) = (vec![], vec![]);
        for budget in BUDGETS {
            if let Some(configuration) = chosen(budget)? {
                bits.push(budget);
                configurations.push(configuration);
            }
        }
        let measured = self.measured(&configurations)?;
        Ok(bits.into_iter().zip(measured).map(|(bits, (error, agreement))| (bits, error, agreement)).collect())
    }
}
