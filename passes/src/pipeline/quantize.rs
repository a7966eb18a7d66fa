//! A float graph, samples and a target in; a quantized graph, a plan and a report out.

use super::analyze::{Analysis, analyze};
use super::declared::correct_ranks;
use super::equalize;
use super::float_graph::simplify;
use super::observed::observe_network;
use super::options::Options;
use super::progress::Progress;
use super::rewrite::rewrite;
use super::sequential::round;
use super::summarize;
use super::versions::check_versions;
use tapq::Result;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::{Graph, caches, input_behind};
use tapq::plan::{Plan, check_fixed, check_matches, check_target};
use tapq::report::{Fidelity, Report, measure};
use tapq::samples::fixed_texts;
use tapq::stats::Observation;

/// What comes out.
pub struct Outcome {
    /// The quantized model.
    pub graph: Graph,
    /// Every decision.
    pub plan: Plan,
    /// What to show; file sizes are the caller's to fill in.
    pub report: Report,
}

/// Quantizes a float model.
pub fn quantize(mut graph: Graph, options: &Options, progress: &dyn Progress) -> Result<Outcome> {
    let opset = graph.opset();
    options.plan.as_ref().map_or(Ok(()), |plan| check_fixed(plan, &fixed_texts(options.fixed)))?;
    let mut driver = simplify(&mut graph, options)?;
    let mut analysis = match &options.plan {
        Some(plan) => {
            equalize::apply(&mut graph, &plan.equalized, &mut driver)?;
            check_matches(plan, &graph)?;
            check_target(plan, &graph, options.target)?;
            check_versions(plan, &graph, options.target)?;
            Analysis::of_plan(plan.clone(), &graph)
        }
        None => {
            let equalized = equalize::equalize_channels(&mut graph, options, &mut driver, progress)?;
            let mut analysis = analyze(&graph, options, progress)?;
            analysis.plan.equalized = equalized;
            analysis
        }
    };
    let facts = summarize::Facts::of(&graph, &analysis.plan, options)?;
    let rounding = round(&graph, &mut analysis.plan, options, progress)?;
    // Compiled once more rather than kept from the observation: rounding has two engines in memory beside it.
    let compile = || Engine::new(&graph, &analysis.compared, &EngineOptions::with_dims(&options.dims));
    // A shape that was declared wrongly is noticed only by the shape inference of newer opsets.
    let raised = analysis.plan.opset > opset;
    let float = (options.verify || raised).then(compile).transpose()?;
    if let (Some(float), Some(sample), true) = (&float, options.calibration.samples.first(), raised) {
        let ranks = float.output_ranks(sample)?;
        let seen = float.outputs().iter().zip(ranks);
        correct_ranks(&graph, seen).map_or(Ok(()), |p| driver.apply(&mut graph, "correct-ranks", p))?;
    }
    // The float graph ends here: its weights need not be in memory beside those of two engines.
    let quantized = rewrite(graph, &analysis.plan, &rounding, options.target, &mut driver)?;
    let fidelity = match float.filter(|_| options.verify) {
        Some(float) => Some(verify(&float, &analysis.compared, &quantized, options, progress)?),
        None => None,
    };
    let report = summarize::report(&facts, &analysis, &rounding, options, fidelity, driver.applied);
    Ok(Outcome { graph: quantized, plan: analysis.plan, report })
}

/// Runs the samples through the float network and takes all the statistics that a choice of widths needs: the part of
/// [`quantize`] that a GPU does.
pub fn calibrate(mut graph: Graph, options: &Options, progress: &dyn Progress) -> Result<Observation> {
    simplify(&mut graph, options)?;
    Ok(observe_network(&graph, options, true, progress)?.seen)
}

fn verify(
    float: &Engine,
    values: &[String],
    quantized: &Graph,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Fidelity> {
    let held_out = !options.held_out.is_empty();
    let samples = if held_out { options.held_out } else { &options.calibration.samples };
    let engine_options = EngineOptions::with_dims(&options.dims);
    let simulated = Engine::with_outputs(quantized, float.outputs(), values, &engine_options)?;
    progress.stage("verify", samples.len());
    let mut fidelity = measure(float, &simulated, values, samples, Some(held_out), &|| progress.tick())?;
    fidelity.caches = caches(quantized);
    fidelity.values.retain(|v| input_behind(quantized, &v.value).is_none());
    Ok(fidelity)
}
