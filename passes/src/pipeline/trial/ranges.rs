//! Which rule the ranges of activations follow: measured at the network's output.
//!
//! The range of least error may clip values that are rare at their place and all that matters at the output, as the
//! scores of a detector; the range of everything seen may waste its grid on them. Both are made from one half of the
//! samples and run on the other, then the other way round, with float weights, so that nothing but the ranges differs.
//! Channels of an output count alike, however loud they are.
//!
//! The few numbers that a classifier gives on as few samples do not tell the rules apart (ResNet-20 on CIFAR-10: 0.9 dB
//! for the extremes on 16 samples, 0.5 dB against them on 2000), so that only outputs with channels are asked.

use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use crate::pipeline::sequential::quantize_activations;
use rayon::prelude::*;
use tapq::Result;
use tapq::array::Array;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{ActivationPlan, Compared, Plan, RoundingMethod};
use tapq::quant::RangeRule;
use tapq::report::{even_db, has_channels};
use tapq::stats::FOLDS;

/// The range of everything seen must be better by so many dB in the mean over channels.
const MARGIN_DB: f64 = 0.5;

/// Makes the activations of a plan by a rule, from the samples of one half or of both.
pub type Make<'a> = &'a dyn Fn(RangeRule, Option<usize>) -> Result<Vec<ActivationPlan>>;

/// Takes the ranges of everything seen where the output is better for it, and says which rule was taken.
pub fn settle_ranges(
    graph: &Graph,
    options: &Options,
    observed: &Observed,
    plan: &mut Plan,
    make: Make,
    progress: &dyn Progress,
) -> Result<RangeRule> {
    let samples = options.calibration.samples.len();
    if samples < 2 * FOLDS || !observed.seen.outputs.first().is_some_and(|outputs| has_channels(outputs)) {
        return Ok(RangeRule::LeastError);
    }
    let wide = make(RangeRule::Extremes, None)?;
    let grid = |a: &ActivationPlan| (a.scale, a.zero_point);
    if wide.iter().map(grid).eq(plan.activations.iter().map(grid)) {
        return Ok(RangeRule::LeastError);
    }
    progress.stage("compare ranges", FOLDS * samples);
    let of = |rule: RangeRule| -> Result<f64> {
        let mut found = vec![vec![]; samples];
        for fold in 0..FOLDS {
            let made = Plan { activations: make(rule, Some(FOLDS - 1 - fold))?, ..plan.clone() };
            let run: Vec<usize> = (0..samples).filter(|i| i % FOLDS == fold).collect();
            let outputs = run_with_float_weights(graph, options, made, &run, progress)?;
            run.iter().zip(outputs).for_each(|(i, outputs)| found[*i] = outputs);
        }
        let pairs: Vec<(&[Array], &[Array])> =
            observed.seen.outputs.iter().zip(&found).map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
        Ok(even_db(&pairs))
    };
    let (wide_db, least_db) = (of(RangeRule::Extremes)?, of(RangeRule::LeastError)?);
    let all = wide_db >= least_db + MARGIN_DB;
    let record = |what: &str, sqnr_db: f64, taken: bool| Compared {
        what: what.to_owned(),
        average_bits: None,
        average_activation_bits: None,
        sqnr_db,
        taken,
    };
    plan.allocation.compared.extend([
        record("ranges of everything seen, mean of channels", wide_db, all),
        record("ranges of least error, mean of channels", least_db, !all),
    ]);
    if all {
        plan.activations = wide;
    }
    Ok(if all { RangeRule::Extremes } else { RangeRule::LeastError })
}

/// Outputs of the network with these activations and float weights.
fn run_with_float_weights(
    graph: &Graph,
    options: &Options,
    mut plan: Plan,
    run: &[usize],
    progress: &dyn Progress,
) -> Result<Vec<Vec<Array>>> {
    // Such weights are left to be rounded later.
    plan.layers.iter_mut().for_each(|l| l.rounding = RoundingMethod::SecondOrder);
    let active = quantize_activations(graph, &plan, options.target)?;
    let engine = Engine::new(&active, &[], &EngineOptions::with_dims(&options.dims))?;
    let one = |i: &usize| {
        let found = engine.run(&options.calibration.samples[*i], &mut |_, _| {});
        progress.tick();
        found
    };
    run.par_iter().map(one).collect()
}
