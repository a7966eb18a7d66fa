//! Formulas on networks: how they rank, and what their allocations measure.

use super::Lab;
use super::cells::Cell;
use crate::bench::find;
use crate::proxies;
use tapq::Result;
use tapq::proxy::{Bench, DEFAULT_PROXY, Formula, ProxyFile};
use tapq::report::decibels;
use tapq_passes::pipeline::NetworkJudge;

/// Networks that are prepared at need; others are looked at only where somebody built their bench.
pub const SMALL: [&str; 3] = ["resnet20_cifar10", "vit_cifar10_op17ln", "kws_dscnn"];

/// Baselines that formulas are held against: the default, the gain alone, and some of those that need no runs.
pub const BASELINES: [&str; 5] = [DEFAULT_PROXY, "gain", "output-error", "param-count", "weight-mse"];

impl Lab<'_> {
    /// The built-in proxies of these names.
    pub fn built_in(&self, names: &[&str]) -> Result<Vec<ProxyFile>> {
        names.iter().map(|name| proxies::find(name)).collect()
    }

    /// How formulas do on a network, in their order; none where the network has no bench and gets none.
    pub fn scores(&self, network: &str, formulas: &[Formula]) -> Result<Vec<Option<Cell>>> {
        let key = |f: &Formula| format!("score.{network}.{}.{}", self.bench_words(), f.fingerprint());
        let keys: Vec<String> = formulas.iter().map(key).collect();
        let missing = keys.iter().map(|key| Ok(self.cells.known(key)?.is_none())).collect::<Result<Vec<bool>>>()?;
        if self.cells.computes() && missing.contains(&true) {
            self.score_missing(network, formulas, &keys)?;
        }
        keys.iter().map(|key| self.cells.known(key)).collect()
    }

    fn score_missing(&self, network: &str, formulas: &[Formula], keys: &[String]) -> Result<()> {
        if SMALL.contains(&network) {
            let Some(subject) = self.subject(network) else { return Ok(()) };
            return self.judged(subject, |judges| {
                for judge in judges {
                    for (formula, key) in formulas.iter().zip(keys) {
                        self.cells.get(key, || with_sizes(judge, formula))?;
                    }
                }
                Ok(())
            });
        }
        let benches = if self.args.bench.is_dir() { find(std::slice::from_ref(&self.args.bench)) } else { Ok(vec![]) };
        let fits = |b: &Bench| b.header.network == network && b.header.target == self.target.name;
        let Some(bench) = benches.unwrap_or_default().into_iter().find(fits) else {
            self.skip(network, "it is large, and the folder of benches holds none of it (`xtask bench build`)");
            return Ok(());
        };
        for (formula, key) in formulas.iter().zip(keys) {
            self.cells.get(key, || ranks(&bench, formula))?;
        }
        Ok(())
    }
}

/// How a formula ranks a bench.
pub fn ranks(bench: &Bench, formula: &Formula) -> Result<Cell> {
    let ranking = bench.rank(formula)?;
    let mut cell = Cell::default();
    cell.set("spearman", ranking.spearman);
    cell.set("best half", ranking.best_half);
    cell.set("equal size", ranking.equal_size.unwrap_or(f64::NAN));
    cell.set("held out", ranking.held_out.unwrap_or(f64::NAN));
    Ok(cell)
}

/// The same, with the SQNR of the formula's own allocations on samples held apart.
fn with_sizes(judge: &NetworkJudge, formula: &Formula) -> Result<Cell> {
    let mut cell = ranks(judge.bench(), formula)?;
    for (bits, error, _) in judge.sizes(formula)? {
        cell.set(&format!("dB at {bits:.1}"), decibels(error));
    }
    Ok(cell)
}
