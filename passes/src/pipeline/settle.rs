//! The last word between a choice and the uniform width: both as the files that they would be.

use super::analyze::{explain_uniform, round_all_by_second_order};
use super::verdict::CLEARLY;
use super::{Options, Progress, rewrite, sequential};
use crate::driver::Driver;
use rayon::prelude::*;
use tapq::Result;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{Compared, Plan, Rounding};
use tapq::report::{Compare, decibels};
use tapq::samples::Sample;
use tapq::stats::{FOLDS, Observation};

/// Takes the better of two plans: both are rounded in sequence on the even samples, as the file will be, and run with
/// quantized activations on the odd ones.
pub fn settle(
    graph: &Graph,
    options: &Options,
    seen: &Observation,
    mut chosen: Plan,
    mut uniform: Plan,
    progress: &dyn Progress,
) -> Result<Plan> {
    let trial = Trial::new(graph, options, seen);
    let (ours, theirs) = (trial.error(&chosen, progress)?, trial.error(&uniform, progress)?);
    let compared = |what: &str, plan: &Plan, error: f64| Compared {
        what: what.to_owned(),
        average_bits: Some(plan.average_weight_bits()),
        average_activation_bits: None,
        sqnr_db: decibels(error),
    };
    let both = [compared("chosen, as a file", &chosen, ours), compared("uniform, as a file", &uniform, theirs)];
    chosen.allocation.compared.extend(both.iter().cloned());
    uniform.allocation.compared.extend(both);
    if ours <= theirs * CLEARLY {
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

/// Where all weights have 8 bits: rounds them with regard to their input if the file is measurably better for it.
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
    let trial = Trial::new(graph, options, seen);
    let (ours, theirs) = (trial.error(&second, progress)?, trial.error(&nearest, progress)?);
    let taken = ours <= theirs * ROUNDING_MARGIN;
    let mut plan = if taken { second } else { nearest };
    let compared = |what: &str, error: f64| Compared {
        what: what.to_owned(),
        average_bits: Some(plan.average_weight_bits()),
        average_activation_bits: None,
        sqnr_db: decibels(error),
    };
    let both = [compared("second-order rounding, as a file", ours), compared("nearest, as a file", theirs)];
    plan.allocation.compared.extend(both);
    Ok(plan)
}

/// Second-order rounding of 8-bit weights must be better by this factor of the error: 0.3 dB.
const ROUNDING_MARGIN: f64 = 0.93;

/// Plans as files: rounded on the even samples, run on the odd ones.
struct Trial<'a> {
    graph: &'a Graph,
    options: &'a Options<'a>,
    seen: &'a Observation,
    even: Vec<Sample>,
    odd: Vec<usize>,
}

impl<'a> Trial<'a> {
    fn new(graph: &'a Graph, options: &'a Options<'a>, seen: &'a Observation) -> Self {
        let samples = &options.calibration.samples;
        let half = |fold: usize| (0..samples.len()).filter(move |i| i % FOLDS == fold);
        Trial { graph, options, seen, even: half(0).map(|i| samples[i].clone()).collect(), odd: half(1).collect() }
    }

    fn error(&self, plan: &Plan, progress: &dyn Progress) -> Result<f64> {
        let rounding = sequential::round_sequentially(self.graph, plan, self.options, &self.even, false, progress)?;
        let mut trial = plan.clone();
        sequential::write_shifts(&mut trial, &rounding.shifts);
        error_as_file(self.graph, &trial, &rounding, self.options, self.seen, &self.odd)
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
    let quantized = rewrite(graph.clone(), plan, rounding, options.target, &mut Driver::new(None))?;
    let engine = Engine::new(&quantized, &[], &EngineOptions::with_dims(&options.dims))?;
    let one = |i: &usize| -> Result<Compare> {
        let found = engine.run(&options.calibration.samples[*i], &mut |_, _| {})?;
        Ok(Compare::of(&seen.outputs[*i], &found))
    };
    let each: Vec<Compare> = positions.par_iter().map(one).collect::<Result<_>>()?;
    let mut total = Compare::default();
    each.iter().for_each(|c| total.merge(c));
    Ok(total.relative_error())
}
