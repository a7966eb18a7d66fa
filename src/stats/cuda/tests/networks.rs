//! Whole networks: what a device measures of real samples against what the processor measures.
//!
//! Files are the same on either because these are: ranges rest on histograms and extremes, widths on X'X.

use super::data::close;
use crate::engine::{Engine, Options};
use crate::graph::Graph;
use crate::plan::place;
use crate::product::fuses;
use crate::samples::{Sample, Selection, input_specs, load, read_sidecar};
use crate::stats::cuda::lane::Lanes;
use crate::stats::cuda::machine::Machine;
use crate::stats::cuda::pass::Pass;
use crate::stats::{Backend, Cpu, Gram, GramRequest, Observation, Request, Session, TensorStats, observe};
use crate::target::Target;
use std::path::PathBuf;
use std::sync::Arc;

/// Statistics on some lanes; the network stays on the processor, as with `--device auto`.
struct OnLanes<'a, M: Machine>(&'a Lanes<M>);

impl<M: Machine> Backend for OnLanes<'_, M> {
    fn name(&self) -> &'static str {
        "lanes"
    }

    fn session(&self, layers: usize) -> Box<dyn Session + '_> {
        Box::new(Pass::new(self.0, layers))
    }
}

/// Every fixture: all that is asked for where widths are chosen. One sample gives no moments, as where it is to judge.
pub(super) fn check<M: Machine>(lanes: &Lanes<M>) {
    let mut depthwise = 0;
    for name in ["resnet_digits", "dwcnn_digits", "vit_digits"] {
        let (graph, samples) = fixture(name);
        let requests = requests(&graph);
        let taps: Vec<String> = requests.iter().map(|r| r.value.clone()).collect();
        let engine = Arc::new(Engine::new(&graph, &taps, &Options::default()).unwrap());
        let see =
            |backend: &dyn Backend| observe(&|_| engine.clone(), &requests, &samples, &[3], backend, &|| {}).unwrap();
        let (found, wanted) = (see(&OnLanes(lanes)), see(&Cpu));
        let layers = requests.iter().map(|r| r.grams.len()).sum::<usize>();
        assert!(layers >= 10 && found.grams.len() >= layers, "{name}: {layers} layers");
        compare(name, &taps, &found, &wanted);
        depthwise += found.grams.iter().filter(|[even, _]| even.groups > 1 && even.size == 9).count();
    }
    assert!(depthwise > 0, "no layer of a group a channel");
}

fn fixture(name: &str) -> (Graph, Vec<Sample>) {
    let path = PathBuf::from(format!("{}/fixtures/{name}.onnx", env!("CARGO_MANIFEST_DIR")));
    let (model, external) = crate::onnx::read(&path).unwrap();
    let (graph, sidecar) = (Graph::new(model, external), read_sidecar(&path).unwrap().unwrap());
    let selection = Selection { skip: 0, count: 4, seed: None };
    let inputs = input_specs(&graph, &sidecar.dims);
    let samples = load(&sidecar.calib.unwrap(), &inputs, &sidecar.preprocess.unwrap(), &selection).unwrap();
    (graph, samples.samples)
}

/// Every value of which a layer's input is quantized, with X'X of the layers that read it.
fn requests(graph: &Graph) -> Vec<Request> {
    let placement = place(graph, &Target::named("fpga").unwrap(), &Default::default());
    let request = |value: &String| {
        let readers = || placement.layers.iter().enumerate().filter(|(_, layer)| layer.input == *value);
        let gram = |(layer, reader): (usize, &crate::plan::Layer)| {
            Some(GramRequest { layer, patches: reader.patches(graph)? })
        };
        let axis = readers().next().map(|(_, reader)| if reader.op.starts_with("Conv") { 1 } else { -1 });
        Request {
            value: value.clone(),
            channel_axis: axis,
            grams: readers().filter_map(gram).collect(),
            only_tap: false,
        }
    };
    placement.sites.iter().map(|site| request(&site.value)).collect()
}

fn compare(network: &str, taps: &[String], found: &Observation, wanted: &Observation) {
    assert_eq!((found.values.len(), found.grams.len()), (wanted.values.len(), wanted.grams.len()));
    for (tap, (a, b)) in taps.iter().zip(found.values.iter().zip(&wanted.values)) {
        let at = format!("{network}, '{tap}'");
        assert_eq!((&a.dims, a.count, a.samples.len()), (&b.dims, b.count, b.samples.len()), "{at}");
        a.samples.iter().zip(&b.samples).for_each(|(a, b)| statistics(&at, a, b));
    }
    for (layer, (a, b)) in found.grams.iter().zip(&wanted.grams).enumerate() {
        a.iter().zip(b).for_each(|(a, b)| grams(&format!("{network}, layer {layer}"), a, b));
    }
}

/// Equal but for moments.
fn statistics(at: &str, a: &TensorStats, b: &TensorStats) {
    let exact = |s: &TensorStats| (s.count, s.zeros, s.nans, s.infinities, s.min.to_bits(), s.max.to_bits());
    assert_eq!(exact(a), exact(b), "{at}");
    assert!(a.histogram == b.histogram, "{at}: histogram");
    let extremes =
        |s: &TensorStats| -> Vec<[u32; 2]> { s.channels.iter().map(|c| [c.min.to_bits(), c.max.to_bits()]).collect() };
    assert_eq!(extremes(a), extremes(b), "{at}");
    close(at, a.sum, b.sum, b.sum_abs);
    close(at, a.sum_abs, b.sum_abs, b.sum_abs);
    close(at, a.sum_squares, b.sum_squares, b.sum_squares);
    close(at, a.sum_fourth, b.sum_fourth, b.sum_fourth);
    for (a, b) in a.channels.iter().zip(&b.channels) {
        close(at, a.mean, b.mean, f64::from(b.min.abs().max(b.max.abs())));
    }
}

/// Equal bits, moments of single samples included, where the processor fuses products with sums.
fn grams(at: &str, a: &Gram, b: &Gram) {
    let shape = |g: &Gram| (g.size, g.groups, g.rows, g.samples.count());
    assert_eq!(shape(a), shape(b), "{at}");
    let bits = |g: &Gram| -> Vec<u64> {
        let products = g.data.iter().map(|v| u64::from(v.to_bits()));
        products.chain(g.sums.iter().map(|v| v.to_bits())).collect()
    };
    assert!((bits(a) == bits(b) && a == b) || !fuses(), "{at}");
}
