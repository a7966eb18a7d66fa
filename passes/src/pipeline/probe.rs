//! What a change of some layers' weights, or of the widths of some activations, does to the output of the network.
//!
//! Each sample runs once and remembers its values; a change then adds the product of the layer's input with the
//! change of its weight to the layer's output, or rounds a value to its grid, and only what follows is run again.

use super::tap;
use rayon::prelude::*;
use tapq::array::Array;
use tapq::engine::{Engine, Options as EngineOptions, TapView};
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::quant::{Affine, FakeQuantize};
use tapq::report::Compare;
use tapq::samples::Sample;
use tapq::stats::Patches;
use tapq::{Code, Error, Result};

/// Rows of weight to add to one layer, and what to add to its bias.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Position of the layer in the probe.
    pub layer: usize,
    /// Channels x fan-in.
    pub rows: Vec<f32>,
    /// One number a channel.
    pub shift: Vec<f32>,
}

/// A value that is rounded to a grid.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Position of the value in the probe.
    pub value: usize,
    /// Its grid.
    pub grid: Affine,
}

/// What one run changes.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Changed weights.
    pub deltas: Vec<Delta>,
    /// Quantized activations.
    pub steps: Vec<Step>,
}

/// Changes to try, each made when its turn comes: all of them would be many copies of the weights.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    /// How many.
    pub count: usize,
    /// One of them.
    pub make: &'a (dyn Fn(usize) -> Change + Sync),
}

/// A network whose layers and values can be changed one run at a time.
pub struct Probe {
    engine: Engine,
    stops: Vec<Stop>,
    /// Taps of the values.
    values: Vec<usize>,
}

struct Stop {
    patches: Patches,
    input: usize,
    output: usize,
}

impl Probe {
    /// Prepares `graph`, whose nodes of the layers' names are the layers (their weights may be others by now).
    pub fn new(
        graph: &Graph,
        layers: &[(&Layer, Patches)],
        values: &[String],
        options: &EngineOptions,
    ) -> Result<Probe> {
        let mut taps: Vec<String> = vec![];
        let mut stops = vec![];
        for (layer, patches) in layers {
            let gone = || Error::new(Code::Engine, "the layer is not in the graph").at(layer.name.clone());
            let node = graph.nodes().iter().find(|n| n.name == layer.name).ok_or_else(gone)?;
            stops.push(Stop {
                patches: patches.clone(),
                input: tap(&mut taps, &node.input[0]),
                output: tap(&mut taps, &node.output[0]),
            });
        }
        let values = values.iter().map(|value| tap(&mut taps, value)).collect();
        Ok(Probe { engine: Engine::new(graph, &taps, options)?, stops, values })
    }

    /// Output error against `wanted` (outputs by sample) of the network with each of so many changes, over all samples.
    pub fn errors(
        &self,
        samples: &[&Sample],
        wanted: &[&Vec<Array>],
        changes: Changes,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Compare>> {
        let each = self.visit(samples, changes, done, &|i, outputs| Compare::of(wanted[i], outputs))?;
        let mut total = vec![Compare::default(); changes.count];
        for errors in &each {
            total.iter_mut().zip(errors).for_each(|(t, e)| t.merge(e));
        }
        Ok(total)
    }

    /// What `look` makes of the outputs of each sample (outer) under each change (inner).
    pub fn visit<T: Send>(
        &self,
        samples: &[&Sample],
        changes: Changes,
        done: &(dyn Fn() + Sync),
        look: &(dyn Fn(usize, &[Array]) -> T + Sync),
    ) -> Result<Vec<Vec<T>>> {
        let one = |(i, sample): (usize, &&Sample)| {
            let found = self.of_sample(sample, changes, &|outputs| look(i, outputs));
            done();
            found
        };
        samples.par_iter().enumerate().map(one).collect()
    }

    fn of_sample<T>(&self, sample: &Sample, changes: Changes, look: &dyn Fn(&[Array]) -> T) -> Result<Vec<T>> {
        let trace = self.engine.trace(sample)?;
        let mut found = vec![];
        for Change { deltas, steps } in (0..changes.count).map(changes.make) {
            let layers = deltas.iter().map(|d| self.stops[d.layer].output);
            let taps: Vec<usize> = layers.chain(steps.iter().map(|s| self.values[s.value])).collect();
            let input_of = |tap: usize| {
                let delta = deltas.iter().find(|d| self.stops[d.layer].output == tap);
                delta.map_or(tap, |d| self.stops[d.layer].input)
            };
            let mut edit = |tap: usize, input: &TapView, values: &mut [f32]| -> Result<()> {
                for delta in deltas.iter().filter(|d| self.stops[d.layer].output == tap) {
                    let patches = &self.stops[delta.layer].patches;
                    patches.add_product(input.dims, input.values, &delta.rows, &delta.shift, values)?;
                }
                steps
                    .iter()
                    .filter(|s| self.values[s.value] == tap)
                    .for_each(|s| FakeQuantize::from(s.grid).apply(values));
                Ok(())
            };
            found.push(look(&trace.rerun(&taps, &input_of, &mut edit)?));
        }
        Ok(found)
    }
}
