//! Plans on samples that they were not rounded with, each as the file that it makes; two of them against each other.
//!
//! Each sample is run through a file whose weights were rounded without it: rounded on the even samples and run on the
//! odd ones, then the other way round. Samples differ in noise far more than two files do on the same sample, and one
//! loud sample must not decide for all; so the SQNR of the two is compared sample by sample, and the mean counts.

use super::as_file::compare_as_file;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use crate::pipeline::sequential::{round_sequentially, write_shifts};
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{Compared, Plan, RoundingMethod};
use tapq::report::Compare;
use tapq::samples::Sample;
use tapq::stats::{FOLDS, Observation};

/// What one sample can say for or against a plan, in dB.
const MOST_DB: f64 = 10.0;
/// Standard errors between the mean over one half of the samples and the margin beyond which the other half is not run.
const CLEAR: f64 = 3.0;
/// Samples from which a standard error is taken for what it says.
const LEAST_SAMPLES: usize = 6;

/// Two plans on the same samples.
#[derive(Default)]
pub struct Duel {
    /// SQNR in dB of each sample that was run, by the file of either plan.
    sqnr_db: Vec<[f64; 2]>,
}

impl Duel {
    fn gains(&self) -> impl Iterator<Item = f64> + '_ {
        self.sqnr_db.iter().map(|[ours, theirs]| (ours - theirs).clamp(-MOST_DB, MOST_DB))
    }

    /// By how many dB the first plan is better: the mean over samples.
    pub fn gain(&self) -> f64 {
        self.gains().sum::<f64>() / self.sqnr_db.len().max(1) as f64
    }

    /// Whether chance alone does not put the mean on this side of the margin.
    fn is_clear(&self, margin: f64) -> bool {
        let (count, mean) = (self.sqnr_db.len(), self.gain());
        let squares: f64 = self.gains().map(|g| (g - mean).powi(2)).sum();
        let deviation = (squares / (count.max(2) - 1) as f64 / count.max(1) as f64).sqrt();
        count >= LEAST_SAMPLES && (mean - margin).abs() > CLEAR * deviation
    }

    /// What was measured, for the plan; `first` if the first plan was taken.
    pub fn records(&self, plans: [(&str, &Plan); 2], first: bool) -> [Compared; 2] {
        let mean = |of: usize| self.sqnr_db.iter().map(|s| s[of]).sum::<f64>() / self.sqnr_db.len().max(1) as f64;
        [0, 1].map(|of| Compared {
            what: plans[of].0.to_owned(),
            average_bits: Some(plans[of].1.average_weight_bits()),
            average_activation_bits: None,
            sqnr_db: mean(of),
            taken: first == (of == 0),
        })
    }
}

/// Makes plans into files, and runs them.
pub struct Trial<'a> {
    /// The float network.
    pub graph: &'a Graph,
    /// What the caller wants.
    pub options: &'a Options<'a>,
    /// Its outputs on the samples.
    pub seen: &'a Observation,
}

impl Trial<'_> {
    pub fn run(&self, plans: [&Plan; 2], margin: f64, progress: &dyn Progress) -> Result<Duel> {
        let mut duel = Duel::default();
        for fold in (0..FOLDS).rev() {
            let (run, rounded): (Vec<usize>, Vec<usize>) =
                (0..self.options.calibration.samples.len()).partition(|i| i % FOLDS == fold);
            if run.is_empty() || rounded.is_empty() || duel.is_clear(margin) {
                continue;
            }
            let samples: Vec<Sample> = rounded.iter().map(|i| self.options.calibration.samples[*i].clone()).collect();
            let [ours, theirs] = plans.map(|plan| self.sqnr_db(plan, &samples, &run, progress));
            duel.sqnr_db.extend(ours?.into_iter().zip(theirs?).map(|(a, b)| [a, b]));
        }
        Ok(duel)
    }

    /// SQNR of each sample of `run` by the file whose weights are rounded on `samples`.
    fn sqnr_db(&self, plan: &Plan, samples: &[Sample], run: &[usize], progress: &dyn Progress) -> Result<Vec<f64>> {
        Ok(self.compare(plan, samples, run, progress)?.iter().map(Compare::sqnr_db).collect())
    }

    /// SQNR in dB of a file on samples that its weights were not rounded with: rounded on three
    /// quarters of the samples, so that it is nearly the file that all of them make, and run on the fourth. Weights that
    /// are rounded to the nearest have seen no sample, and are run on all.
    pub fn held_out_db(&self, plan: &Plan, progress: &dyn Progress) -> Result<f64> {
        let all = &self.options.calibration.samples;
        let nearest = plan.layers.iter().all(|l| l.rounding == RoundingMethod::Nearest);
        let (run, rounded): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|i| nearest || i % 4 == 3);
        let run = if run.is_empty() { &rounded } else { &run };
        let samples: Vec<Sample> = rounded.iter().map(|i| all[*i].clone()).collect();
        let mut total = Compare::default();
        self.compare(plan, &samples, run, progress)?.iter().for_each(|sample| total.merge(sample));
        Ok(total.sqnr_db())
    }

    fn compare(&self, plan: &Plan, samples: &[Sample], run: &[usize], progress: &dyn Progress) -> Result<Vec<Compare>> {
        let rounding = round_sequentially(self.graph, plan, self.options, samples, false, progress)?;
        let mut shifted = plan.clone();
        write_shifts(&mut shifted, &rounding.shifts);
        compare_as_file(self.graph, &shifted, &rounding, self.options, self.seen, run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duel(gains: &[f64]) -> Duel {
        Duel { sqnr_db: gains.iter().map(|g| [20.0 + g, 20.0]).collect() }
    }

    #[test]
    fn one_sample_does_not_decide_for_all() {
        let gain = duel(&[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, -180.0]).gain();
        assert!((gain - (3.5 - MOST_DB) / 8.0).abs() < 1e-9, "{gain}");
        assert_eq!(Duel::default().gain(), 0.0);
    }

    #[test]
    fn the_second_half_is_run_where_the_first_is_not_clear() {
        assert!(duel(&[2.0, 1.0, 1.5, 1.2, 1.8, 1.4, 1.6, 1.1]).is_clear(0.3));
        assert!(duel(&[-2.0, -1.0, -1.5, -1.2, -1.8, -1.4]).is_clear(0.3));
        assert!(!duel(&[3.0, -2.0, 1.5, 1.2, -1.8, 1.4, 1.6, 1.1]).is_clear(0.3));
        assert!(!duel(&[1.0, 1.0, 1.0]).is_clear(0.3));
        assert!(!Duel::default().is_clear(0.3));
    }
}
