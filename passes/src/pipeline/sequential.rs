//! Second-order rounding of a whole network, layer by layer in execution order.
//!
//! Two networks walk side by side on every sample: the float one, and one whose activations are quantized and whose
//! layers so far are rounded. At each layer both stop. What the second one sees there, and how far its output is off
//! with the layer's float weight, are the moments that the weight is rounded with; the walk goes on with the rounded
//! layer's output. So every layer answers for what those before it did. What the float weight makes of the input follows
//! from the moments: its output is not computed.

use super::analyze::{plain_bias, weight_rows};
use super::candidates::{grid, nearest};
use super::observed::MOST_GRAM_COLUMNS;
use super::rewrite::prepare;
use super::{Effort, Options, Progress, tap};
use crate::driver::Driver;
use crate::insert_qdq::insert_qdq;
use crate::quantize_weights::{Storage, quantize_weights};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tapq::engine::{Engine, Options as EngineOptions, Walk};
use tapq::graph::Graph;
use tapq::plan::{Layer, LayerPlan, Plan, Rounding, RoundingError, RoundingMethod, Shift, weight_layers};
use tapq::quant::dequantize_weight;
use tapq::rounding::{Care, Grid, Layer as Prepared, Upstream, mean_change, output_error, output_errors};
use tapq::samples::Sample;
use tapq::stats::{Cross, Gram, Patches};
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// Samples that walk at most: each keeps its live activations in memory.
const MOST_WALKS: usize = 32;
/// Parts that the samples are summed in, each in its order. A constant, so that sums do not depend on thread count.
const PARTS: usize = 4;
/// Share of the upstream error that a layer makes good.
const SHARE: f64 = 0.4;

/// Whether this layer's weight, at 8 bits or less, can be rounded with regard to its input.
pub fn takes_second_order(graph: &Graph, layer: &Layer) -> bool {
    layer.channelwise && layer.patches(graph).is_some() && layer.fan_in() <= MOST_GRAM_COLUMNS
}

/// A layer on its way.
struct Stop<'a> {
    layer: Layer,
    decision: &'a LayerPlan,
    patches: Patches,
    /// Taps of the network with quantized activations.
    input: usize,
    output: usize,
    /// Tap of the float network.
    float: usize,
    /// The float bias, where weight and bias are all there is to the layer: its output is then made, not corrected.
    bias: Option<Vec<f32>>,
}

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
    let care = if options.effort == Effort::Fast { Care::Fair } else { Care::Thorough };
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

/// The graph with quantized activations; layers that are not rounded here have their quantized weights, too.
pub fn quantize_activations(graph: &Graph, plan: &Plan, target: &Target) -> Result<Graph> {
    let mut active = graph.clone();
    let mut driver = Driver::new(None);
    prepare(&mut active, plan, &mut driver)?;
    let mut others = plan.clone();
    for layer in others.layers.iter_mut().filter(|l| l.rounding == RoundingMethod::SecondOrder) {
        layer.bits = None;
    }
    if let Some(patch) = quantize_weights(&active, &others, target, &Rounding::default())? {
        driver.apply(&mut active, "quantize-weights", patch)?;
    }
    if let Some(patch) = insert_qdq(&active, plan, target)? {
        driver.apply(&mut active, "insert-qdq", patch)?;
    }
    Ok(active)
}

/// Values that the two networks are tapped at.
#[derive(Default)]
struct Taps {
    float: Vec<String>,
    active: Vec<String>,
}

fn stops<'a>(graph: &Graph, active: &Graph, plan: &'a Plan, taps: &mut Taps) -> Result<Vec<Stop<'a>>> {
    let layers = weight_layers(graph);
    let of = |d: &&LayerPlan| d.bits.is_some() && d.rounding == RoundingMethod::SecondOrder;
    let mut stops = vec![];
    for decision in plan.layers.iter().filter(of) {
        let node = active.nodes().iter().find(|n| n.name == decision.name);
        let layer = layers.iter().find(|l| l.name == decision.name);
        let (Some(node), Some(layer)) = (node, layer) else { continue };
        let Some(patches) = layer.patches(graph) else {
            return Err(Error::new(Code::PlanMismatch, "second-order rounding is not defined for this layer")
                .at(format!("layer '{}'", decision.name)));
        };
        stops.push(Stop {
            decision,
            patches,
            input: tap(&mut taps.active, &node.input[0]),
            output: tap(&mut taps.active, &node.output[0]),
            float: tap(&mut taps.float, &graph.nodes()[layer.node].output[0]),
            bias: plain_bias(graph, layer)?,
            layer: layer.clone(),
        });
    }
    Ok(stops)
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

/// How layers are rounded.
#[derive(Clone, Copy)]
struct Manner {
    care: Care,
    explain: bool,
}

/// A rounded layer: its rows and bias, or for a layer that is more than those what to add to its output for them.
struct Rounded {
    rows: Vec<f32>,
    bias: Vec<f32>,
}

fn round_layer(
    (graph, target, storage): (&Graph, &Target, &Storage),
    stop: &Stop,
    rows: &[f32],
    (gram, cross): (&Gram, &Cross),
    manner: Manner,
    rounding: &mut Rounding,
) -> Result<Rounded> {
    let layer = &stop.layer;
    let channels = layer.dims[layer.axis];
    let takes_bias = layer.takes_bias(graph);
    let bits = stop.decision.bits.unwrap_or(8);
    let grid = grid(target, layer, bits, storage.weight_floor(layer)?);
    if !rounding.weights.contains_key(&layer.weight) {
        let upstream = Upstream { cross, share: SHARE };
        let unfit = || Error::new(Code::Engine, "the layer's input does not fit its weight").at(layer.name.clone());
        let prepared = Prepared::new(rows, channels, gram, Some(upstream), takes_bias).ok_or_else(unfit)?;
        rounding.weights.insert(layer.weight.clone(), layer.in_tensor_order(prepared.round(&grid, manner.care)));
    }
    let stored = layer.dequantized_rows(&rounding.weights[&layer.weight], grid.per_channel);
    let delta: Vec<f32> = stored.iter().zip(rows).map(|(q, w)| q - w).collect();
    let shift = match takes_bias {
        // What the output lacks in the mean: what came from upstream, and what rounding adds.
        true => {
            let upstream = cross.sums.iter().map(|sum| sum / gram.rows.max(1) as f64);
            Shift::legible(upstream.zip(mean_change(&delta, gram)).map(|(lack, added)| lack - added).collect())
        }
        false => Shift(vec![0.0; channels]),
    };
    if manner.explain {
        rounding.errors.insert(layer.name.clone(), rounding_error(rows, channels, &delta, &grid, gram, takes_bias));
    }
    let kept = if takes_bias { shift.clone() } else { Shift::default() };
    rounding.shifts.insert(layer.name.clone(), kept);
    Ok(match &stop.bias {
        Some(bias) => Rounded { rows: stored, bias: bias.iter().zip(&shift.0).map(|(b, s)| b + s).collect() },
        None => Rounded { rows: delta, bias: shift.0 },
    })
}

/// What rounding costs the layer's output on the input that it has in the quantized network.
fn rounding_error(
    rows: &[f32],
    channels: usize,
    delta: &[f32],
    grid: &Grid,
    gram: &Gram,
    takes_bias: bool,
) -> RoundingError {
    let dims = [channels, rows.len() / channels.max(1)];
    let mut nearest = dequantize_weight(&nearest(rows, channels, grid), &dims, grid.per_channel.then_some(0));
    nearest.iter_mut().zip(rows).for_each(|(q, w)| *q -= w);
    let energy = output_error(rows, gram, None).max(f64::MIN_POSITIVE);
    let (rounded, corrected) = output_errors(delta, gram, takes_bias.then_some(gram));
    let nearest = output_error(&nearest, gram, None);
    RoundingError { nearest: nearest / energy, rounded: rounded / energy, corrected: corrected / energy }
}

/// Weights and shifts by name, merged into the plan.
pub fn write_shifts(plan: &mut Plan, shifts: &BTreeMap<String, Shift>) {
    for layer in &mut plan.layers {
        if let Some(shift) = shifts.get(&layer.name) {
            layer.bias_shift.clone_from(shift);
        }
    }
}
