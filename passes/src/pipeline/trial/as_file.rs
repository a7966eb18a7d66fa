//! Plans run as the files that they make.

use crate::driver::Driver;
use crate::pipeline::options::Options;
use crate::pipeline::rewrite::rewrite;
use rayon::prelude::*;
use tapq::Result;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{Plan, Rounding};
use tapq::report::Compare;
use tapq::stats::Observation;

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
pub fn compare_as_file(
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
