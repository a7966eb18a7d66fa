//! Second-order rounding of a whole network, layer by layer in execution order.
//!
//! Two networks walk side by side on every sample: the float one, and one whose activations are quantized and whose
//! layers so far are rounded. At each layer both stop. What the second one sees there, and how far its output is off
//! with the layer's float weight, are the moments that the weight is rounded with; the walk goes on with the rounded
//! layer's output. So every layer answers for what those before it did. What the float weight makes of the input follows
//! from the moments: its output is not computed.

mod active;
mod layer;
mod stop;

pub use active::quantize_activations;

use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use crate::pipeline::weights::weight_rows;
use crate::quantize_weights::Storage;
use layer::{Manner, Rounded, round_layer};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use stop::{Stop, Taps, stops};
use tapq::engine::{Engine, Options as EngineOptions, Walk};
use tapq::graph::Graph;
use tapq::plan::{Plan, Rounding, RoundingMethod, Shift};
use tapq::rounding::Care;
use tapq::samples::Sample;
use tapq::stats::{Cross, Gram};
use tapq::{Code, Error, Result};

/// Rounds the weights that the plan wants rounded with regard to their input, and completes the plan's biases.
pub fn round(graph: &Graph, plan: &mut Plan, options: &Options, progress: &dyn Progress) -> Result<Rounding> {
    if plan.layers.iter().all(|l| l.rounding == RoundingMethod::Nearest) {
        return Ok(Rounding::default());
    }
    let digest = options.calibration.digest();
    if plan.calibration.digest != digest {
        let what = format!(
            "the plan rounds weights with regard to samples of digest {}, those given have {digest}",
            plan.calibration.digest
        );
        return Err(Error::new(Code::PlanMismatch, what).help("give the samples that the plan was made from"));
    }
    let rounding = round_sequentially(graph, plan, options, &options.calibration.samples, true, progress)?;
    write_shifts(plan, &rounding.shifts);
    Ok(rounding)
}

/// Samples that walk at most: each keeps its live activations in memory.
const MOST_WALKS: usize = 32;

/// Parts that the samples are summed in, each in its order. A constant, so that sums do not depend on thread count.
const PARTS: usize = 4;

struct Pair {
    float: Walk,
    active: Walk,
}

/// Rounds the layers of `plan` that ask for it; the others are rounded to the nearest in the same network. The errors of
/// single layers, which only a report shows, are measured if `explain`.
pub fn round_sequentially(
    graph: &Graph,
    plan: &Plan,
    options: &Options,
    samples: &[Sample],
    explain: bool,
    progress: &dyn Progress,
) -> Result<Rounding> {
    let target = options.target;
    let care = if plan.thorough { Care::Thorough } else { Care::Fair };
    let manner = Manner { care, explain };
    let active = quantize_activations(graph, plan, target)?;
    let mut taps = Taps::default();
    let stops = stops(graph, &active, plan, &mut taps)?;
    if stops.is_empty() {
        return Ok(Rounding::default());
    }
    let engine_options = EngineOptions::with_dims(&options.dims);
    let float = Engine::new(graph, &taps.float, &engine_options)?;
    let quantized = Engine::new(&active, &taps.active, &engine_options)?;
    let holds: Vec<usize> = stops.iter().map(|s| s.input).collect();
    let made: Vec<usize> = stops.iter().filter(|s| s.bias.is_some()).map(|s| s.output).collect();
    let all: Vec<usize> = (0..taps.float.len()).collect();
    let start = |sample: &Sample| {
        Ok(Pair { float: float.walk(sample, &all, &[])?, active: quantized.walk(sample, &holds, &made)? })
    };
    let mut pairs: Vec<Pair> = samples.iter().take(MOST_WALKS).map(start).collect::<Result<_>>()?;
    progress.stage("round", stops.len());
    let storage = Storage::new(graph, plan, target);
    let mut rounding = Rounding::default();
    let mut left: BTreeSet<usize> = (0..stops.len()).collect();
    while let Some(next) = next_stop(&mut pairs, &stops)? {
        let stop = &stops[next];
        left.remove(&next);
        let rows = weight_rows(graph, &stop.layer)?.1;
        let (gram, mut cross) = moments(&mut pairs, stop)?;
        if let Some(bias) = &stop.bias {
            cross.take_away(&rows, bias, &gram)?;
        }
        let rounded = round_layer((graph, target, &storage), stop, &rows, (&gram, &cross), manner, &mut rounding)?;
        let needed = left.iter().any(|l| stops[*l].input == stop.input);
        pairs.par_iter_mut().try_for_each(|pair| pair.settle(stop, &rounded, needed))?;
        progress.tick();
    }
    match left.first() {
        None => Ok(rounding),
        Some(l) => {
            Err(Error::new(Code::Engine, "the layer was not reached by the run").at(stops[*l].layer.name.clone()))
        }
    }
}

/// Takes all samples to the next layer; `None` at the end.
fn next_stop(pairs: &mut [Pair], stops: &[Stop]) -> Result<Option<usize>> {
    let advance = |pair: &mut Pair| -> Result<Option<usize>> {
        while let Some(tap) = pair.active.advance()? {
            if let Some(at) = stops.iter().position(|s| s.output == tap) {
                pair.reach(stops[at].float)?;
                return Ok(Some(at));
            }
        }
        Ok(None)
    };
    let found: Vec<Option<usize>> = pairs.par_iter_mut().map(advance).collect::<Result<_>>()?;
    let first = found.first().copied().flatten();
    match found.iter().all(|f| *f == first) {
        true => Ok(first),
        false => Err(Error::new(Code::Engine, "samples of different shapes take different ways through the network")),
    }
}

impl Pair {
    /// Takes the float network to a layer, unless it has been there.
    fn reach(&mut self, tap: usize) -> Result<()> {
        while self.float.view(tap).is_err() {
            if self.float.advance()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Adds the moments of one sample at a layer: of what its output should be, or where that is computed of what it lacks.
    fn add_moments(&mut self, stop: &Stop, gram: &mut Gram, cross: &mut Cross) -> Result<()> {
        let wanted = self.float.view(stop.float)?.values;
        let lack: Vec<f32>;
        let wanted = match stop.bias {
            Some(_) => wanted,
            None => {
                let found = self.active.view(stop.output)?.values;
                lack = wanted.iter().zip(found).map(|(a, b)| a - b).collect();
                &lack
            }
        };
        let input = self.active.view(stop.input)?;
        let channels = stop.layer.dims[stop.layer.axis];
        gram.add_with(input.dims, input.values, &stop.patches, (wanted, channels), cross)
    }

    /// Goes on with the rounded layer's output.
    fn settle(&mut self, stop: &Stop, rounded: &Rounded, needed: bool) -> Result<()> {
        let dims = self.float.view(stop.float)?.dims.to_vec();
        let mut output = match stop.bias {
            Some(_) => vec![0.0; dims.iter().product()],
            None => self.active.view(stop.output)?.values.to_vec(),
        };
        let input = self.active.view(stop.input)?;
        stop.patches.add_product(input.dims, input.values, &rounded.rows, &rounded.bias, &mut output)?;
        self.active.replace(&dims, output)?;
        self.float.release(stop.float);
        if !needed {
            self.active.release(stop.input);
        }
        Ok(())
    }
}

fn moments(pairs: &mut [Pair], stop: &Stop) -> Result<(Gram, Cross)> {
    let part = |pairs: &mut [Pair]| {
        let (mut gram, mut cross) = (Gram::default(), Cross::default());
        pairs.iter_mut().try_for_each(|pair| pair.add_moments(stop, &mut gram, &mut cross))?;
        Ok((gram, cross))
    };
    let size = pairs.len().div_ceil(PARTS).max(1);
    let parts: Vec<(Gram, Cross)> = pairs.par_chunks_mut(size).map(part).collect::<Result<_>>()?;
    let mut parts = parts.into_iter();
    let (mut gram, mut cross) = parts.next().unwrap_or_default();
    for (g, c) in parts {
        gram.merge(&g)?;
        cross.merge(&c);
    }
    gram.finish();
    Ok((gram, cross))
}

/// Takes over what the biases give back.
pub fn write_shifts(plan: &mut Plan, shifts: &BTreeMap<String, Shift>) {
    for layer in &mut plan.layers {
        if let Some(shift) = shifts.get(&layer.name) {
            layer.bias_shift.clone_from(shift);
        }
    }
}
