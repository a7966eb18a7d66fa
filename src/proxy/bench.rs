//! The fitness bench: configurations of one network whose damage was measured, and what a formula says of them.

use super::{Formula, Table, kendall, sensitivities, spearman};
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// Version of the bench's files.
pub const BENCH_SCHEMA: u32 = 2;

/// Configurations of one size below which their order tells nothing.
const FEWEST: usize = 5;

/// What the configurations of a bench are configurations of: its first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchHeader {
    /// Version of this schema.
    pub schema: u32,
    /// Name of the network.
    pub network: String,
    /// Name of the target.
    pub target: String,
    /// Digest of everything that decides the figures: network, target, samples, way of rounding.
    pub digest: String,
    /// Seed of the configurations.
    pub seed: u64,
    /// Average widths that every second configuration is drawn at, in turn.
    pub budgets: Vec<f64>,
    /// Samples that damage was measured on: those of the features, and others.
    pub samples: (usize, usize),
    /// Weights of each layer.
    pub params: Vec<f64>,
    /// By layer, the places in the table of the widths that it may have.
    pub offered: Vec<Vec<usize>>,
    /// Features.
    pub table: Table,
}

/// One configuration and its measured damage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchRow {
    /// By layer, the place of its width in the table.
    pub widths: Vec<usize>,
    /// The average width that it was drawn at; absent where it may have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// Relative squared error of the network's output on the samples of the features, each with weights that were
    /// rounded without it.
    pub damage: f64,
    /// The same on samples that nothing else has seen.
    pub held_out: Option<f64>,
}

/// A header and its configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Bench {
    /// What they are configurations of.
    pub header: BenchHeader,
    /// The configurations.
    pub rows: Vec<BenchRow>,
}

/// How well predicted damage ranks measured damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Spearman over all configurations.
    pub spearman: f64,
    /// Over the half with the least measured damage.
    pub best_half: f64,
    /// Over the fifth with the least measured damage.
    pub best_fifth: f64,
    /// Kendall over all configurations.
    pub kendall: f64,
    /// Spearman on samples that were held apart, where there are any.
    pub held_out: Option<f64>,
    /// Spearman within the configurations of one size, the mean over the sizes; absent where there are too few.
    pub equal_size: Option<f64>,
    /// The same on samples that were held apart.
    pub equal_size_held_out: Option<f64>,
}

impl Bench {
    /// Reads the lines of a bench; a half-written last line is left out, and its number returned with the bench.
    ///
    /// # Errors
    /// [`Code::Config`] with the line, where one is damaged.
    pub fn parse(text: &str) -> Result<(Bench, bool)> {
        let (mut lines, whole) = (text.split_inclusive('\n').enumerate(), |l: &str| l.ends_with('\n'));
        let bad = |at: usize, e: &dyn std::fmt::Display| {
            Error::new(Code::Config, format!("not a line of a fitness bench: {e}")).at(format!("line {}", at + 1))
        };
        let Some((_, first)) = lines.next().filter(|(_, l)| whole(l)) else {
            return Err(Error::new(Code::Config, "the fitness bench is empty"));
        };
        check_schema(first).map_err(|e| e.at("line 1"))?;
        let header: BenchHeader = serde_json::from_str(first).map_err(|e| bad(0, &e))?;
        let count = header.table.layers().len();
        if header.offered.len() != count || header.params.len() != count {
            return Err(bad(0, &"layers and widths do not agree"));
        }
        let (mut rows, mut cut) = (vec![], false);
        for (at, line) in lines {
            if !whole(line) {
                cut = true;
                break;
            }
            let row: BenchRow = serde_json::from_str(line).map_err(|e| bad(at, &e))?;
            let legal = |(width, offered): (&usize, &Vec<usize>)| offered.contains(width);
            if row.widths.len() != count || !row.widths.iter().zip(&header.offered).all(legal) {
                return Err(bad(at, &"widths that the layers do not have"));
            }
            if row.budget.is_some_and(|b| !header.budgets.contains(&b)) {
                return Err(bad(at, &"a budget that the first line does not name"));
            }
            rows.push(row);
        }
        Ok((Bench { header, rows }, cut))
    }

    /// Whether it has every feature that the formula asks for.
    pub fn holds(&self, formula: &Formula) -> bool {
        formula.features().iter().all(|f| self.header.table.has(f.name))
    }

    /// What the formula predicts of each configuration: the sum of its layers' sensitivities.
    ///
    /// # Errors
    /// [`Code::Proxy`] if it asks for a feature that the bench does not hold.
    pub fn predicted(&self, formula: &Formula) -> Result<Vec<f64>> {
        let costs = sensitivities(formula, &self.header.table)?;
        let cost = |(layer, width): (&Vec<f64>, &usize)| layer.get(*width).copied().unwrap_or(0.0);
        Ok(self.rows.iter().map(|row| costs.iter().zip(&row.widths).map(cost).sum()).collect())
    }

    /// How well the formula ranks the configurations.
    ///
    /// # Errors
    /// As [`Bench::predicted`].
    pub fn rank(&self, formula: &Formula) -> Result<Ranking> {
        let predicted = self.predicted(formula)?;
        let damage: Vec<f64> = self.rows.iter().map(|r| r.damage).collect();
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|a, b| damage[*a].total_cmp(&damage[*b]));
        let best = |share: usize| {
            let kept = &order[..order.len().div_ceil(share)];
            let pick = |of: &[f64]| kept.iter().map(|i| of[*i]).collect::<Vec<_>>();
            spearman(&pick(&predicted), &pick(&damage))
        };
        let apart: Option<Vec<f64>> = self.rows.iter().map(|r| r.held_out).collect();
        Ok(Ranking {
            spearman: best(1),
            best_half: best(2),
            best_fifth: best(5),
            kendall: kendall(&predicted, &damage),
            equal_size: self.at_equal_size(&predicted, &damage),
            equal_size_held_out: apart.as_ref().and_then(|a| self.at_equal_size(&predicted, a)),
            held_out: apart.filter(|a| !a.is_empty()).map(|a| spearman(&predicted, &a)),
        })
    }

    /// Mean over the budgets of the correlation within each.
    fn at_equal_size(&self, predicted: &[f64], damage: &[f64]) -> Option<f64> {
        let within = |budget: &f64| {
            let of_it = |row: &BenchRow| row.budget == Some(*budget);
            let pick = |of: &[f64]| -> Vec<f64> {
                self.rows.iter().zip(of).filter(|(row, _)| of_it(row)).map(|(_, x)| *x).collect()
            };
            let predicted = pick(predicted);
            (predicted.len() >= FEWEST).then(|| spearman(&predicted, &pick(damage)))
        };
        let found: Vec<f64> = self.header.budgets.iter().filter_map(within).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }
}

/// A bench of another version has other fields, and must not fail for those.
fn check_schema(first: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    match serde_json::from_str::<Versioned>(first) {
        Ok(Versioned { schema: BENCH_SCHEMA }) => Ok(()),
        Ok(Versioned { schema }) => {
            let what = format!("this fitness bench has version {schema}, and version {BENCH_SCHEMA} is read here");
            Err(Error::new(Code::Config, what).help("build it again with `xtask bench build`"))
        }
        Err(_) => Err(Error::new(Code::Config, "not the first line of a fitness bench")),
    }
}
