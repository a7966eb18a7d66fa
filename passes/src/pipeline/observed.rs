//! What one run of the samples through the float network says, before anything is decided.

use super::depth::set_apart;
use super::options::Options;
use super::progress::Progress;
use super::weights::MOST_GRAM_COLUMNS;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tapq::array::Array;
use tapq::engine::{Engine, Options as EngineOptions, Place, TapView};
use tapq::graph::Graph;
use tapq::onnx;
use tapq::plan::{Layer, Placement, out_of_reach, place};
use tapq::samples::Sample;
use tapq::stats::{GramRequest, Observation, Request, ValueObservation, observe};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};

/// What one run of the samples through the float network says, before anything is decided.
pub struct Observed {
    /// Nominal bits of activations.
    pub activation_bits: u32,
    /// What can be quantized.
    pub placement: Placement,
    /// What was measured, one request a tap: the sites of the placement come first.
    pub requests: Vec<Request>,
    /// Values that the engine taps.
    pub taps: Vec<String>,
    /// The float network on the processor.
    pub engine: Arc<Engine>,
    /// Statistics and float outputs.
    pub seen: Observation,
    /// Multiply-accumulates of each layer by name.
    pub macs: BTreeMap<String, u64>,
}

impl Observed {
    /// Statistics of a value; none if it was only tapped.
    pub fn value(&self, value: &str) -> Option<&ValueObservation> {
        let at = self.requests.iter().position(|r| r.value == value && !r.only_tap)?;
        self.seen.values.get(at)
    }

    /// Runs a sample once more; `look` sees the values in the order of the requests.
    pub fn run(&self, sample: &Sample, look: &mut dyn FnMut(usize, &TapView)) -> Result<Vec<Array>> {
        self.engine.run(sample, look)
    }

    /// Float outputs of other samples.
    pub fn outputs(&self, samples: &[Sample]) -> Result<Vec<Vec<Array>>> {
        samples.par_iter().map(|sample| self.engine.run(sample, &mut |_, _| {})).collect()
    }
}

/// Places and observes; with Gram matrices if widths are to be chosen.
pub fn observe_network(graph: &Graph, options: &Options, choice: bool, progress: &dyn Progress) -> Result<Observed> {
    let target = options.target;
    options.widths.check()?;
    let activation_bits = options.activation_bits.unwrap_or(target.default_activation_bits());
    target.check_activation_bits(activation_bits)?;
    check_names(graph, &options.keep_float)?;
    let placement = place(graph, target, &options.keep_float);
    refuse_empty(graph, &placement, target, choice)?;
    check_weights(graph, &placement)?;
    let requests = requests(graph, &placement, choice);
    let taps: Vec<String> = requests.iter().map(|r| r.value.clone()).collect();
    // Both are compiled at once: large networks take as long for that as for their first samples.
    let (engine, on_gpu) = rayon::join(
        || Engine::new(graph, &taps, &EngineOptions::with_dims(&options.dims)).map(Arc::new),
        || (options.backend.place() == Place::Cuda).then(|| on_a_gpu(graph, &taps, options)),
    );
    let engine = engine?;
    let on_gpu = on_gpu.and_then(|tried| tell_of_the_gpu(tried, progress));
    let samples = &options.calibration.samples;
    progress.stage("observe", samples.len());
    let apart = set_apart(options.effort, samples.len());
    let engines = |place| match place {
        Place::Host => engine.clone(),
        Place::Cuda => on_gpu.clone().unwrap_or_else(|| engine.clone()),
    };
    let seen = observe(&engines, &requests, samples, &apart, options.backend, &|| progress.tick())?;
    let macs = macs(graph, &placement, &requests, &seen);
    Ok(Observed { activation_bits, placement, requests, taps, engine, seen, macs })
}

/// The network on a GPU, where it has run once: not every operator that is translated runs with every shape.
fn on_a_gpu(graph: &Graph, taps: &[String], options: &Options) -> Result<Engine> {
    let wanted = EngineOptions { place: Place::Cuda, ..EngineOptions::with_dims(&options.dims) };
    let engine = Engine::new(graph, taps, &wanted)?;
    options.calibration.samples.first().map(|s| engine.run_in_place(s, &mut |_, _| {})).transpose()?;
    Ok(engine)
}

/// Says what of the network is not on the GPU.
fn tell_of_the_gpu(tried: Result<Engine>, progress: &dyn Progress) -> Option<Arc<Engine>> {
    match tried {
        Ok(engine) => {
            let left: Vec<String> = engine.left_on_host().iter().map(|(op, n)| format!("{op} ({n})")).collect();
            if !left.is_empty() {
                progress.note(&format!("on the processor for want of a GPU kernel: {}", left.join(", ")));
            }
            Some(Arc::new(engine))
        }
        Err(e) => {
            progress.note(&format!("the network stays on the processor: {e}"));
            None
        }
    }
}

fn check_names(graph: &Graph, keep_float: &BTreeSet<String>) -> Result<()> {
    match keep_float.iter().find(|name| !graph.nodes().iter().any(|n| n.name == **name)) {
        None => Ok(()),
        Some(name) => {
            // A fused operator is gone, and what it was made of is named after it.
            let parts = graph.nodes().iter().map(|n| &n.name).filter(|n| n.starts_with(&format!("{name}/")));
            let help = match parts.take(6).cloned().collect::<Vec<_>>() {
                none if none.is_empty() => "`xtask inspect` lists the layers and their names".to_owned(),
                parts => format!("it was taken apart: its parts are {} and what follows them", parts.join(", ")),
            };
            Err(Error::new(Code::Config, format!("no node is called '{name}'")).help(help))
        }
    }
}

fn refuse_empty(graph: &Graph, placement: &Placement, target: &Target, choice: bool) -> Result<()> {
    if !placement.layers.is_empty() {
        return Ok(());
    }
    if !placement.weight_only.is_empty() {
        let what = format!("no layer of this model runs with integers on {}: there is no width to choose", target.name);
        let help = "ask for no budget: weights are stored in 8 bits, and the network computes in float";
        return if choice { Err(Error::new(Code::NothingToQuantize, what).help(help)) } else { Ok(()) };
    }
    if graph.nodes().is_empty() {
        return Err(Error::new(Code::NothingToQuantize, "the graph is empty"));
    }
    let what = match target.variant.weight_only {
        true => format!("no layer of this model has weights in blocks on {}", target.name),
        false => format!("no layer of this model runs with integers on {}", target.name),
    };
    if let Some(found) = out_of_reach(graph) {
        return Err(Error::new(Code::NothingToQuantize, format!("{what}: {}", found.because)).help(found.help));
    }
    let linear = |(l, _): &&(Layer, String)| target.only_blocks(&l.op);
    let first = placement.float_layers.iter().find(linear).or(placement.float_layers.first());
    let reason = first.map(|(l, because)| format!("'{}': {because}", l.name));
    let help = "weights must be constants of Conv, Gemm or MatMul, and this model has none";
    Err(Error::new(Code::NothingToQuantize, what).help(reason.unwrap_or_else(|| help.to_owned())))
}

fn check_weights(graph: &Graph, placement: &Placement) -> Result<()> {
    let layers = placement.layers.iter().flat_map(|l| [(&l.name, Some(&l.weight)), (&l.name, l.bias.as_ref())]);
    let layers = layers.filter_map(|(node, name)| Some((node, name?)));
    let alone = placement.weight_only.iter().flat_map(|n| n.weights.iter().map(|w| (&n.name, &w.weight)));
    for (node, name) in layers.chain(alone) {
        let Some(tensor) = graph.constant(name) else { continue };
        let place = || format!("node '{node}', tensor '{name}'");
        let values = onnx::floats(tensor, graph.external()).at(place)?;
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let what = format!("element {i} of {} is {}", values.len(), values[i]);
            return Err(Error::new(Code::NonFinite, what).help("export the model again from sound weights")).at(place);
        }
    }
    Ok(())
}

/// One request a site; Gram matrices of the layers that read it, if a choice needs them.
fn requests(graph: &Graph, placement: &Placement, grams: bool) -> Vec<Request> {
    let small = |layer: &Layer| layer.params() / layer.dims[layer.axis].max(1) <= MOST_GRAM_COLUMNS;
    let gram = |(i, layer): (usize, &Layer)| {
        Some(GramRequest { layer: i, patches: layer.patches(graph).filter(|_| small(layer))? })
    };
    let of_value = |value: &str| {
        let readers = placement.layers.iter().enumerate().filter(|(_, l)| grams && l.input == value);
        readers.filter_map(gram).collect()
    };
    let channel_axis = |value: &str| placement.layers.iter().find(|l| l.input == value).map(channel_axis);
    let request = |value: &String| Request {
        value: value.clone(),
        channel_axis: channel_axis(value),
        grams: of_value(value),
        only_tap: false,
    };
    let mut requests: Vec<Request> = placement.sites.iter().map(|s| request(&s.value)).collect();
    // What weights in blocks are multiplied with is no site, and is measured all the same.
    for layer in &placement.layers {
        if !requests.iter().any(|r| r.value == layer.input) {
            requests.push(request(&layer.input));
        }
    }
    for value in unseen_results(graph, placement) {
        requests.push(Request { value, only_tap: true, ..Default::default() });
    }
    requests
}

/// The axis of a layer's input that its channels run along.
pub fn channel_axis(layer: &Layer) -> i64 {
    if layer.op.starts_with("Conv") { 1 } else { -1 }
}

/// Results of layers that no site shows: tapped as well, so that the report has an error for every layer.
fn unseen_results(graph: &Graph, placement: &Placement) -> Vec<String> {
    let is_site = |value: &String| placement.sites.iter().any(|s| s.value == *value);
    let mut found: Vec<String> = vec![];
    for layer in &placement.layers {
        let results = layer_results(graph, layer);
        let shown = results.iter().any(|r| is_site(r) || found.contains(r));
        found.extend(results.into_iter().next().filter(|_| !shown));
    }
    for node in &placement.weight_only {
        let shown = |result: &String| is_site(result) || found.contains(result);
        found.extend(first_result(graph, node.node).filter(|r| !shown(r)));
    }
    found
}

fn macs(graph: &Graph, placement: &Placement, requests: &[Request], seen: &Observation) -> BTreeMap<String, u64> {
    let dims_of = |value: &str| requests.iter().position(|r| r.value == value).map(|i| &seen.values[i].dims);
    let layers = placement.layers.iter();
    layers.filter_map(|l| Some((l.name.clone(), l.macs(graph, dims_of(&l.input)?)))).collect()
}

/// The first output of a node that has a name: recurrent operators leave out what nobody takes.
pub fn first_result(graph: &Graph, node: usize) -> Option<String> {
    graph.nodes()[node].output.iter().find(|name| !name.is_empty()).cloned()
}

/// The layer's output and what the next two operators make of it while each has one reader.
pub fn layer_results(graph: &Graph, layer: &Layer) -> Vec<String> {
    let mut found: Vec<String> = graph.nodes()[layer.node].output.first().cloned().into_iter().collect();
    while let (Some(last), true) = (found.last(), found.len() < 3) {
        let [reader] = graph.index().readers(last) else { break };
        let Some(next) = graph.nodes()[*reader].output.first() else { break };
        found.push(next.clone());
    }
    found
}
