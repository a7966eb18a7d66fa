//! The configurations of a fitness bench: which widths are measured.
//!
//! Every second one is drawn from a spread of sizes, the others at a few fixed average widths in turn. A spread alone
//! mostly measures that more bits are better, which every proxy knows; among configurations of one size a proxy must
//! know where the bits belong.

use super::bench::BenchHeader;
use crate::random::SplitMix64;

/// Average bits of the weights that configurations of equal size are drawn at.
pub const BUDGETS: [f64; 3] = [3.5, 4.0, 5.0];

/// Bits by which the average of such a configuration may miss its budget.
pub const TOLERANCE: f64 = 0.05;

/// Draws before a budget is given up, such as where one layer holds nearly all weights.
const TRIES: usize = 200;

/// Halvings of the interval of mean widths.
const HALVINGS: usize = 40;

/// How far widths scatter about their mean, in bits.
const SCATTER: [f64; 3] = [0.5, 1.0, 2.0];

/// Widths above this one differ in nothing that could be measured.
const WIDEST: u32 = 8;

/// One configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// By layer, the place of its width in the table.
    pub widths: Vec<usize>,
    /// The average width that it was drawn at, where it was.
    pub budget: Option<f64>,
}

impl BenchHeader {
    /// The `i`-th configuration, so that any part of the list covers a spread of sizes and every budget.
    ///
    /// Where no configuration of a budget's size was found, one of any size takes its place.
    pub fn configuration(&self, i: usize) -> Drawn {
        let mut random = SplitMix64::at(self.seed, &[i as u64]);
        if i % 2 == 1 && !self.budgets.is_empty() {
            let budget = self.budgets[(i / 2) % self.budgets.len()];
            if let Some(widths) = self.of_size(budget, &mut random) {
                return Drawn { widths, budget: Some(budget) };
            }
        }
        Drawn { widths: self.of_any_size(&mut random), budget: None }
    }

    /// Widths scattered about a mean that is drawn from the whole range.
    fn of_any_size(&self, random: &mut SplitMix64) -> Vec<usize> {
        let (least, most) = (self.bits(0), self.bits(self.table.widths().len().saturating_sub(1)));
        let mean = least + (most - least) * random.unit();
        let scatter = SCATTER[random.below(SCATTER.len())];
        let mut draw = |offered: &Vec<usize>| self.nearest(offered, mean + scatter * normal(random));
        self.offered.iter().map(&mut draw).collect()
    }

    /// Widths scattered about the mean that makes their average the budget.
    fn of_size(&self, budget: f64, random: &mut SplitMix64) -> Option<Vec<usize>> {
        for _ in 0..TRIES {
            let scatter = SCATTER[random.below(SCATTER.len())];
            let offsets: Vec<f64> = self.offered.iter().map(|_| scatter * normal(random)).collect();
            let about = |mean: f64| -> Vec<usize> {
                self.offered.iter().zip(&offsets).map(|(own, offset)| self.nearest(own, mean + offset)).collect()
            };
            let widest = 2.0 * f64::from(WIDEST);
            let (mut low, mut high) = (-widest, 2.0 * widest);
            for _ in 0..HALVINGS {
                let middle = (low + high) / 2.0;
                if self.average(&about(middle)) < budget { low = middle } else { high = middle }
            }
            // Between the two only one layer differs, most often.
            let found = [about(low), about(high)].into_iter().find(|w| (self.average(w) - budget).abs() <= TOLERANCE);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Average bits over the weights.
    pub fn average(&self, widths: &[usize]) -> f64 {
        let bits = |at: usize| self.table.widths().get(at).map_or(0.0, |b| f64::from(*b));
        let used: f64 = self.params.iter().zip(widths).map(|(params, at)| params * bits(*at)).sum();
        used / self.params.iter().sum::<f64>().max(1.0)
    }

    fn bits(&self, at: usize) -> f64 {
        f64::from(self.table.widths().get(at).copied().unwrap_or(WIDEST).min(WIDEST))
    }

    /// The offered width closest to the wish.
    fn nearest(&self, offered: &[usize], wish: f64) -> usize {
        let near = |a: &&usize, b: &&usize| (self.bits(**a) - wish).abs().total_cmp(&(self.bits(**b) - wish).abs());
        offered.iter().min_by(near).copied().unwrap_or(0)
    }
}

/// The sum of twelve uniform numbers is close to normal, and the same on every machine.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}
