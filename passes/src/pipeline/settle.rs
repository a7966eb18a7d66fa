//! The last word between a choice and the uniform width: both as the files that they would be.
//!
//! Each sample is run through a file whose weights were rounded without it: rounded on the even samples and run on the
//! odd ones, then the other way round. Samples differ in noise far more than two files do on the same sample, and one
//! loud sample must not decide for all; so the SQNR of the two is compared sample by sample, and the mean counts.

use super::analyze::{explain_uniform, round_all_by_second_order};
use super::{Effort, Options, Progress, rewrite, sequential};
use crate::driver::Driver;
use rayon::prelude::*;
use tapq::Result;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{Compared, Plan, Rounding};
use tapq::report::Compare;
use tapq::samples::Sample;
use tapq::stats::{FOLDS, Observation};

/// A choice must be better than the uniform width by this many dB in the mean over samples.
const OF_CHOICE: f64 = 0.2;
/// And second-order rounding of 8-bit weights better than rounding to the nearest by this many.
const OF_ROUNDING: f64 = 0.3;
/// What one sample can say for or against a plan, in dB.
const MOST_DB: f64 = 10.0;
/// Standard errors between the mean over one half of the samples and the margin beyond which the other half is not run.
const CLEAR: f64 = 3.0;
/// Samples from which a standard error is taken for what it says.
const LEAST_SAMPLES: usize = 6;

/// Takes the choice if its file is better than that of the uniform width.
pub fn settle(
    graph: &Graph,
    options: &Options,
    seen: &Observation,
    mut chosen: Plan,
    mut uniform: Plan,
    progress: &dyn Progress,
) -> Result<Plan> {
    let duel = Trial { graph, options, seen }.run([&chosen, &uniform], OF_CHOICE, progress)?;
    let both = duel.records([("chosen, as a file", &chosen), ("uniform, as a file", &uniform)]);
    chosen.allocation.compared.extend(both.iter().cloned());
    uniform.allocation.compared.extend(both);
    if duel.gain() >= OF_CHOICE {
        return Ok(chosen);
    }
    explain_uniform(&mut uniform);
    "uniform".clone_into(&mut uniform.allocation.method);
    "taken by measurement: the choice was not better as a file".clone_into(&mut uniform.allocation.proof);
    if let Some(record) = &mut uniform.activation_allocation {
        "uniform".clone_into(&mut record.method);
        record.proof.clone_from(&uniform.allocation.proof);
    }
    Ok(uniform)
}

/// Where all weights have 8 bits: rounds them with regard to their input if the file is measurably better for it. `Fast`
/// takes the time to find out only where the file is poor, which costs two runs to see.
pub fn settle_rounding(
    graph: &Graph,
    options: &Options,
    seen: &Observation,
    nearest: Plan,
    progress: &dyn Progress,
) -> Result<Plan> {
    let mut second = nearest.clone();
    round_all_by_second_order(graph, &mut second);
    let narrow = nearest.layers.iter().any(|l| l.bits.is_some_and(|b| b < 8));
    let samples = options.calibration.samples.len();
    if narrow || samples < 2 * FOLDS || second == nearest {
        return Ok(nearest);
    }
    if options.effort == Effort::Fast && !is_poor(graph, options, seen, &nearest)? {
        return Ok(nearest);
    }
    let duel = Trial { graph, options, seen }.run([&second, &nearest], OF_ROUNDING, progress)?;
    let both = duel.records([("second-order rounding, as a file", &second), ("nearest, as a file", &nearest)]);
    let mut plan = if duel.gain() >= OF_ROUNDING { second } else { nearest };
    plan.allocation.compared.extend(both);
    Ok(plan)
}

/// Below so many dB a file is worth better rounding even where there is little time.
const POOR_DB: f64 = 15.0;
/// Samples that are run to find out.
const SAMPLES_TO_SEE: [usize; 2] = [0, 1];

/// Whether the file of a plan whose weights are rounded to the nearest is far from the float network.
fn is_poor(graph: &Graph, options: &Options, seen: &Observation, nearest: &Plan) -> Result<bool> {
    let error = error_as_file(graph, nearest, &Rounding::default(), options, seen, &SAMPLES_TO_SEE)?;
    Ok(error > 10f64.powf(-POOR_DB / 10.0))
}

/// Two plans on the same samples.
#[derive(Default)]
struct Duel {
    /// SQNR in dB of each sample that was run, by the file of either plan.
    sqnr_db: Vec<[f64; 2]>,
}

impl Duel {
    fn gains(&self) -> impl Iterator<Item = f64> + '_ {
        self.sqnr_db.iter().map(|[ours, theirs]| (ours - theirs).clamp(-MOST_DB, MOST_DB))
    }

    /// By how many dB the first plan is better: the mean over samples.
    fn gain(&self) -> f64 {
        self.gains().sum::<f64>() / self.sqnr_db.len().max(1) as f64
    }

    /// Whether chance alone does not put the mean on this side of the margin.
    fn is_clear(&self, margin: f64) -> bool {
        let (count, mean) = (self.sqnr_db.len(), self.gain());
        let squares: f64 = self.gains().map(|g| (g - mean).powi(2)).sum();
        let deviation = (squares / (count.max(2) - 1) as f64 / count.max(1) as f64).sqrt();
        count >= LEAST_SAMPLES && (mean - margin).abs() > CLEAR * deviation
    }

    fn records(&self, plans: [(&str, &Plan); 2]) -> [Compared; 2] {
        let mean = |of: usize| self.sqnr_db.iter().map(|s| s[of]).sum::<f64>() / self.sqnr_db.len().max(1) as f64;
        [0, 1].map(|of| Compared {
            what: plans[of].0.to_owned(),
            average_bits: Some(plans[of].1.average_weight_bits()),
            average_activation_bits: None,
            sqnr_db: mean(of),
        })
    }
}

/// Makes plans into files, and runs them.
struct Trial<'a> {
    graph: &'a Graph,
    options: &'a Options<'a>,
    seen: &'a Observation,
}

impl Trial<'_> {
    fn run(&self, plans: [&Plan; 2], margin: f64, progress: &dyn Progress) -> Result<Duel> {
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
        let rounding = sequential::round_sequentially(self.graph, plan, self.options, samples, false, progress)?;
        let mut shifted = plan.clone();
        sequential::write_shifts(&mut shifted, &rounding.shifts);
        let each = compare_as_file(self.graph, &shifted, &rounding, self.options, self.seen, run)?;
        Ok(each.iter().map(Compare::sqnr_db).collect())
    }
}

/// Relative squared output error of the file that a plan makes, on the samples of these positions.
pub fn error_as_file(
    graph: &Graph,
    plan: &Plan,
    rounding: &Rounding,
    options: &Options,
    seen: &Observation,
    positions: &[usize],
) -> Result<f64> {
    let mut total = Compare::default();
    compare_as_file(graph, plan, rounding, options, seen, positions)?.iter().for_each(|c| total.merge(c));
    Ok(total.relative_error())
}

/// The file that a plan makes against the float network, on each sample of these positions.
fn compare_as_file(
    graph: &Graph,
    plan: &Plan,
    rounding: &Rounding,
    options: &Options,
    seen: &Observation,
    positions: &[usize],
) -> Result<Vec<Compare>> {
    let quantized = rewrite(graph.clone(), plan, rounding, options.target, &mut Driver::new(None))?;
    let engine = Engine::new(&quantized, &[], &EngineOptions::with_dims(&options.dims))?;
    let one = |i: &usize| -> Result<Compare> {
        let found = engine.run(&options.calibration.samples[*i], &mut |_, _| {})?;
        Ok(Compare::of(&seen.outputs[*i], &found))
    };
    positions.par_iter().map(one).collect()
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
