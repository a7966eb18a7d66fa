//! What a change of some layers' weights, or of the widths of some activations, does to the output of the network.
//!
//! Each sample remembers its values; a change then adds the product of the layer's input with the change of its weight
//! to the layer's output, or makes it from the changed weight where the input is another one, or rounds a value to its
//! grid, and only what follows is run again.

use super::analyze::{plain_bias, weight_rows};
use super::tap;
use rayon::prelude::*;
use std::sync::Arc;
use tapq::Result;
use tapq::array::Array;
use tapq::engine::{Edit, Engine, Options as EngineOptions, Site};
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::quant::{Affine, FakeQuantize};
use tapq::report::Compare;
use tapq::samples::Sample;
use tapq::stats::Patches;

/// Another weight for a layer, and what to add to its bias.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Position of the layer in the probe.
    pub layer: usize,
    /// Channels x fan-in.
    pub rows: Arc<[f32]>,
    /// One number a channel.
    pub shift: Arc<[f32]>,
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
    pub weights: Vec<Weight>,
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
    /// The float weight, channels x fan-in.
    rows: Vec<f32>,
    /// The float bias, where weight and bias are all there is to the layer.
    bias: Option<Vec<f32>>,
}

impl Stop {
    /// Gives the layer another weight.
    fn edit(&self, weight: &Weight, edit: &mut Edit) -> Result<()> {
        let Some(input) = &edit.input else { return Ok(()) };
        match &self.bias {
            Some(bias) if edit.blank => {
                let bias: Vec<f32> = bias.iter().zip(weight.shift.iter()).map(|(b, s)| b + s).collect();
                self.patches.add_product(input.dims, input.values, &weight.rows, &bias, edit.values)
            }
            _ => {
                let delta: Vec<f32> = weight.rows.iter().zip(&self.rows).map(|(q, w)| q - w).collect();
                self.patches.add_product(input.dims, input.values, &delta, &weight.shift, edit.values)
            }
        }
    }
}

impl Probe {
    /// Prepares `graph`, to which the layers belong.
    pub fn new(
        graph: &Graph,
        layers: &[(&Layer, Patches)],
        values: &[String],
        options: &EngineOptions,
    ) -> Result<Probe> {
        let mut taps: Vec<String> = vec![];
        let mut stops = vec![];
        for (layer, patches) in layers {
            let node = &graph.nodes()[layer.node];
            stops.push(Stop {
                patches: patches.clone(),
                input: tap(&mut taps, &node.input[0]),
                output: tap(&mut taps, &node.output[0]),
                rows: weight_rows(graph, layer)?.1,
                bias: plain_bias(graph, layer)?,
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
        let mut trace = self.engine.trace(sample)?;
        let mut found = vec![];
        for Change { weights, steps } in (0..changes.count).map(changes.make) {
            let sites = self.sites(&weights, &steps);
            let mut change = |mut edit: Edit| -> Result<()> {
                for weight in &weights {
                    let stop = &self.stops[weight.layer];
                    if stop.output == edit.tap {
                        stop.edit(weight, &mut edit)?;
                    }
                }
                let own = steps.iter().filter(|s| self.values[s.value] == edit.tap);
                own.for_each(|s| FakeQuantize::from(s.grid).apply(edit.values));
                Ok(())
            };
            found.push(look(&trace.rerun(&sites, &mut change)?));
        }
        Ok(found)
    }
    fn sites(&self, weights: &[Weight], steps: &[Step]) -> Vec<Site> {
        let of_layer = |weight: &Weight| {
            let stop = &self.stops[weight.layer];
            Site { tap: stop.output, input: Some(stop.input), makes: stop.bias.is_some() }
        };
        let mut sites: Vec<Site> = weights.iter().map(of_layer).collect();
        for tap in steps.iter().map(|step| self.values[step.value]) {
            if sites.iter().all(|site| site.tap != tap) {
                sites.push(Site { tap, input: None, makes: false });
            }
        }
        sites
    }
}
