//! The last word between a choice and the uniform width: both as the files that they would be.

use super::as_file::compare_as_file;
use super::duel::Trial;
use crate::pipeline::options::{Effort, Options};
use crate::pipeline::plans::{explain_uniform, made_up, round_all_by_second_order};
use crate::pipeline::progress::Progress;
use tapq::Result;
use tapq::graph::Graph;
use tapq::plan::{Plan, Rounding};
use tapq::stats::{FOLDS, Observation};

/// A choice must be better than the uniform width by this many dB in the mean over samples.
const OF_CHOICE: f64 = 0.2;
/// And second-order rounding of 8-bit weights better than rounding to the nearest by this many.
const OF_ROUNDING: f64 = 0.3;

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
    let better = duel.gain() >= OF_CHOICE;
    let both = duel.records([("chosen, as a file", &chosen), ("uniform, as a file", &uniform)], better);
    chosen.allocation.compared.extend(both.iter().cloned());
    uniform.allocation.compared.extend(both);
    if better {
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
    if narrow || made_up(options) || samples < 2 * FOLDS || second == nearest {
        return Ok(nearest);
    }
    if options.effort == Effort::Fast && !is_poor(graph, options, seen, &nearest)? {
        return Ok(nearest);
    }
    let duel = Trial { graph, options, seen }.run([&second, &nearest], OF_ROUNDING, progress)?;
    let better = duel.gain() >= OF_ROUNDING;
    let both = duel.records([("second-order rounding, as a file", &second), ("nearest, as a file", &nearest)], better);
    let mut plan = if better { second } else { nearest };
    plan.allocation.compared.extend(both);
    Ok(plan)
}

/// Below so many dB a file is worth better rounding even where there is little time.
const POOR_DB: f64 = 17.0;
/// The same where scales are powers of two, which leave rounding more to gain.
const POOR_BY_POWERS_DB: f64 = 22.0;

/// Samples that are run to find out.
const SAMPLES_TO_SEE: [usize; 2] = [0, 1];

/// Whether the file of a plan whose weights are rounded to the nearest is far from the float network on any of them.
fn is_poor(graph: &Graph, options: &Options, seen: &Observation, nearest: &Plan) -> Result<bool> {
    let each = compare_as_file(graph, nearest, &Rounding::default(), options, seen, &SAMPLES_TO_SEE)?;
    let bar = if options.target.weights.power_of_two { POOR_BY_POWERS_DB } else { POOR_DB };
    Ok(each.iter().any(|sample| sample.sqnr_db() < bar))
}
