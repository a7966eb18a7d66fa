//! Exchanges of bits between layers, as long as the measured error falls.

use super::budget::{Unit, problem};
use super::chooser::Chooser;
use super::scene::{Scene, Setting};
use crate::pipeline::progress::Progress;
use std::collections::BTreeSet;
use tapq::Result;
use tapq::report::Compare;

/// Errors of whole networks closer than this are taken for equal: half a percent of the error is 0.02 dB.
const MARGIN: f64 = 0.995;

/// Exchanges whose errors are measured before the best of them is taken.
const BATCH: usize = 8;

/// A bounded search from one setting; widths of activations stay as they are.
pub struct Search<'a> {
    /// Measures.
    pub chooser: &'a Chooser<'a>,
    /// What is asked for.
    pub scene: &'a Scene<'a>,
    /// Samples that a setting is measured on.
    pub samples: usize,
    /// Exchanges that are measured at most.
    pub exchanges: usize,
}

impl Search<'_> {
    /// A better setting, its error and the number of measured exchanges; `None` if none was found.
    pub fn run(
        &self,
        start: &Setting,
        error: Compare,
        progress: &dyn Progress,
    ) -> Result<Option<(Setting, Compare, usize)>> {
        let units = self.scene.units_at(&start.activations);
        let (mut current, mut best) = (start.clone(), error);
        let mut tried = BTreeSet::from([start.weights.clone()]);
        let mut measured = 0;
        while measured < self.exchanges {
            let mut moves = self.moves(&units, &current);
            moves.retain(|m| !tried.contains(&m.weights));
            moves.truncate(BATCH.min(self.exchanges - measured));
            if moves.is_empty() {
                break;
            }
            let errors = self.scene.compare(self.chooser, &moves, self.samples, progress)?;
            measured += moves.len();
            let first =
                (0..moves.len()).min_by(|a, b| errors[*a].relative_error().total_cmp(&errors[*b].relative_error()));
            tried.extend(moves.iter().map(|m| m.weights.clone()));
            if let Some(i) = first.filter(|i| errors[*i].relative_error() < best.relative_error() * MARGIN) {
                (current, best) = (moves[i].clone(), errors[i]);
            }
        }
        Ok((current != *start).then_some((current, best, measured)))
    }

    /// Legal exchanges of one step up for one unit against one down for another, the most promising first.
    fn moves(&self, units: &[Unit], current: &Setting) -> Vec<Setting> {
        let problem = problem(units, &self.scene.options.widths, self.scene.options.target);
        let picks: Vec<usize> = units.iter().zip(&current.weights).map(|(u, b)| u.position(*b)).collect();
        let used: Vec<f64> = (0..problem.budgets.len())
            .map(|k| problem.layers.iter().zip(&picks).map(|(layer, p)| layer[*p].weights[k]).sum())
            .collect();
        let step = |u: usize, up: bool| {
            let to = if up { picks[u] + 1 } else { picks[u].checked_sub(1)? };
            (to < problem.layers[u].len()).then_some(to)
        };
        let mut moves: Vec<(f64, Setting)> = vec![];
        let ups: Vec<usize> = (0..units.len()).filter(|u| step(*u, true).is_some()).collect();
        for up in ups {
            let downs = (0..units.len()).filter(|d| *d != up).map(Some).chain([None]);
            for down in downs {
                let mut changes = vec![(up, step(up, true).unwrap_or(0))];
                if let Some(d) = down {
                    let Some(to) = step(d, false) else { continue };
                    changes.push((d, to));
                }
                let item = |(u, to): &(usize, usize)| (&problem.layers[*u][*to], &problem.layers[*u][picks[*u]]);
                let fits = used.iter().zip(&problem.budgets).enumerate().all(|(k, (used, budget))| {
                    let change: f64 = changes.iter().map(item).map(|(a, b)| a.weights[k] - b.weights[k]).sum();
                    used + change <= budget.limit * (1.0 + 1e-9)
                });
                if fits {
                    let gain: f64 = changes.iter().map(item).map(|(a, b)| a.cost - b.cost).sum();
                    let mut next = current.clone();
                    changes.iter().for_each(|(u, to)| next.weights[*u] = units[*u].options[*to]);
                    moves.push((gain, next));
                }
            }
        }
        moves.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.weights.cmp(&b.1.weights)));
        moves.into_iter().map(|(_, c)| c).collect()
    }
}
