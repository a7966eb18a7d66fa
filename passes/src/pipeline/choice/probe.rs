//! What a change of some layers' weights, or of the widths of some activations, does to the output of the network.
//!
//! Each sample remembers its values; a change then adds the product of the layer's input with the change of its weight
//! to the layer's output, or makes it from the changed weight where the input is another one, or rounds a value to its
//! grid, and only what follows is run again.

use crate::pipeline::taps::tap;
use crate::pipeline::weights::{plain_bias, weight_rows};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Driver;
    use crate::float_passes;
    use std::collections::BTreeMap;
    use std::path::Path;
    use tapq::onnx;
    use tapq::plan::weight_layers;
    use tapq::samples::{Selection, input_specs, load, read_sidecar};

    /// Weights on a coarse grid.
    fn coarse(weight: &[f32]) -> Vec<f32> {
        weight.iter().map(|w| (w * 16.0).round() / 16.0).collect()
    }

    /// Changing weights through the probe, one or all, is the same as running the network that holds them.
    fn check(graph: &Graph, samples: &[&Sample], place: &str) {
        let layers = weight_layers(graph);
        let layers: Vec<_> = layers.iter().filter_map(|l| Some((l, l.patches(graph)?))).collect();
        let options = EngineOptions::default();
        let run = |graph: &Graph| -> Vec<Vec<Array>> {
            let engine = Engine::new(graph, &[], &options).unwrap();
            samples.iter().map(|s| engine.run(s, &mut |_, _| {}).unwrap()).collect()
        };
        let wanted = run(graph);
        let wanted: Vec<&Vec<Array>> = wanted.iter().collect();
        let probe = Probe::new(graph, &layers, &[], &options).unwrap();
        let weight = |l: usize| {
            let (channels, rows) = weight_rows(graph, layers[l].0).unwrap();
            Weight { layer: l, rows: coarse(&rows).into(), shift: vec![0.0; channels].into() }
        };
        let sets: Vec<Vec<usize>> = vec![(0..layers.len()).collect(), vec![0], vec![layers.len() / 2]];
        let make = |c: usize| Change { weights: sets[c].iter().map(|l| weight(*l)).collect(), steps: vec![] };
        let found = probe.errors(samples, &wanted, Changes { count: sets.len(), make: &make }, &|| {}).unwrap();
        for (set, found) in sets.iter().zip(&found) {
            let mut other = graph.model().clone();
            for tensor in &mut other.graph.mut_or_insert_default().initializer {
                if set.iter().any(|l| layers[*l].0.weight == tensor.name) {
                    let dims: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
                    let values = coarse(&onnx::floats(tensor, graph.external()).unwrap());
                    *tensor = onnx::from_floats(&tensor.name, &dims, &values);
                }
            }
            let mut error = Compare::default();
            let other = Graph::new(other, onnx::ExternalData::none());
            run(&other).iter().zip(&wanted).for_each(|(found, wanted)| error.merge(&Compare::of(wanted, found)));
            let (found, error) = (found.relative_error(), error.relative_error());
            assert!(error > 1e-6 && (found - error).abs() < 1e-3 * error, "{place}, {set:?}: {found} {error}");
        }
    }

    #[test]
    fn a_change_is_the_network_with_other_weights() {
        for network in ["resnet_digits", "dwcnn_digits", "vit_digits"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(network).with_extension("onnx");
            let (model, external) = onnx::read(&path).unwrap();
            let mut graph = Graph::new(model, external);
            Driver::new(None).run(&mut graph, &float_passes()).unwrap();
            let sidecar = read_sidecar(&path).unwrap().unwrap();
            let (specs, selection) =
                (input_specs(&graph, &BTreeMap::new()), Selection { skip: 0, count: 2, seed: None });
            let samples = load(&sidecar.calib.unwrap(), &specs, &sidecar.preprocess.unwrap(), &selection).unwrap();
            check(&graph, &samples.samples.iter().collect::<Vec<_>>(), network);
        }
    }

    /// A layer that is more than weight and bias keeps its own product, and one whose product is scaled is no layer here.
    #[test]
    fn layers_that_are_more_than_weight_and_bias_are_changed_too() {
        let text = "<ir_version: 8, opset_import: [\"\": 17]>
            g (float[1, 2] x) => (float[1, 2] y)
            <float[2, 2] a = {0.31, -0.72, 0.55, 0.13}, float[2, 2] b = {0.27, 0.91, -0.44, 0.66},
             float[2] c = {0.5, -0.25}, float[2, 2] d = {1.03, 0.02, 0.04, 0.97}> {
              p = MatMul (x, a)
              q = Gemm <beta = 0.5> (p, b, c)
              y = Gemm <alpha = 0.5> (q, d)
            }";
        let graph = Graph::new(onnx::parse_text(text).unwrap(), onnx::ExternalData::none());
        let layers = weight_layers(&graph);
        assert_eq!(layers.iter().map(|l| l.patches(&graph).is_some()).collect::<Vec<_>>(), [true, true, false]);
        let sample = Sample { inputs: vec![("x".to_owned(), Array::from_f32(vec![1, 2], vec![1.5, -0.7]))] };
        check(&graph, &[&sample], "gemm");
    }
}
