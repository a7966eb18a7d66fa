//! The last word between a choice and the uniform width: both as the files that they would be.

use super::analyze::explain_uniform;
use super::{Options, Progress, choose, rewrite, sequential};
use crate::driver::Driver;
use rayon::prelude::*;
use tapq::Result;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{Compared, Plan, Rounding};
use tapq::report::{Compare, decibels};
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
    let samples = &options.calibration.samples;
    let half = |fold: usize| (0..samples.len()).filter(move |i| i % FOLDS == fold);
    let even: Vec<_> = half(0).map(|i| samples[i].clone()).collect();
    let odd: Vec<usize> = half(1).collect();
    let error = |plan: &Plan| -> Result<f64> {
        let rounding = sequential::round_sequentially(graph, plan, options, &even, progress)?;
        let mut trial = plan.clone();
        sequential::write_shifts(&mut trial, &rounding.shifts);
        error_as_file(graph, &trial, &rounding, options, seen, &odd)
    };
    let (ours, theirs) = (error(&chosen)?, error(&uniform)?);
    let compared = |what: &str, plan: &Plan, error: f64| Compared {
        what: what.to_owned(),
        average_bits: plan.average_weight_bits(),
        sqnr_db: decibels(error),
    };
    let both = [compared("chosen, as a file", &chosen, ours), compared("uniform, as a file", &uniform, theirs)];
    chosen.allocation.compared.extend(both.iter().cloned());
    uniform.allocation.compared.extend(both);
    if ours <= theirs * choose::FILE_MARGIN {
        return Ok(chosen);
    }
    explain_uniform(&mut uniform);
    "uniform".clone_into(&mut uniform.allocation.method);
    "taken by measurement: the choice was not better as a file".clone_into(&mut uniform.allocation.proof);
    Ok(uniform)
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
    let engine = Engine::new(&quantized, &[], &EngineOptions { dims: options.dims.clone() })?;
    let one = |i: &usize| -> Result<Compare> {
        let found = engine.run(&options.calibration.samples[*i], &mut |_, _| {})?;
        Ok(Compare::of(&seen.outputs[*i], &found))
    };
    let each: Vec<Compare> = positions.par_iter().map(one).collect::<Result<_>>()?;
    let mut total = Compare::default();
    each.iter().for_each(|c| total.merge(c));
    Ok(total.relative_error())
}
