//! Inputs that have one value for good: the network that is left computes what the whole one computed with that value.

use proptest::prelude::*;
use std::collections::BTreeMap;
use tapq::array::{Array, Values};
use tapq::engine::{Engine, Options};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text};
use tapq::plan::weight_layers;
use tapq::samples::{Sample, fixed_inputs};
use tapq_passes::{Driver, FixInputs, Pass, float_passes};

/// A rate that decides between two networks, as detectors of speech ask for one.
const BY_RATE: &str = "<ir_version: 8, opset_import: [\"\" : 16]>
g (float[1,2] x, int64 rate) => (float[1,2] y) <int64 high = {16000}, float[2,2] a = {1, 2, 3, 4}> {
  c = Equal (rate, high)
  [fork] y = If (c) <
    then_branch = t () => (float[1,2] p) { [upper] p = MatMul (x, a) },
    else_branch = e () => (float[1,2] q) <float[2,2] b = {5, 6, 7, 8}> { h = Neg (x) [lower] q = MatMul (h, b) }>
}";

/// A switch, a factor, a vector and a tensor beside the data.
const SETTINGS: &str = "<ir_version: 8, opset_import: [\"\" : 16]>
g (float[1,4] x, bool on, float factor, int64[2] size, float[1,4] shift) => (float[1,4] y) {
  s = Mul (x, factor) t = Add (s, shift) u = Neg (t) v = Where (on, t, u)
  f = Cast <to = 1> (size) m = ReduceMax <keepdims = 0> (f) y = Mul (v, m)
}";

fn graph(text: &str) -> Graph {
    Graph::new(parse_text(text).unwrap(), ExternalData::none())
}

/// The graph with inputs fixed, after all float passes.
fn fixed(graph: &Graph, given: &[(&str, &str)]) -> Graph {
    let given: BTreeMap<String, String> = given.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let inputs = fixed_inputs(graph, &given, &BTreeMap::new()).unwrap();
    let (mut graph, mut driver, pass) = (graph.clone(), Driver::default(), FixInputs(&inputs));
    driver.run(&mut graph, &[&pass]).unwrap();
    assert!(pass.run(&graph).unwrap().is_none(), "a pass twice is a pass once");
    driver.run(&mut graph, &float_passes()).unwrap();
    graph
}

fn inputs(graph: &Graph) -> Vec<&str> {
    graph.proto().input.iter().map(|v| v.name.as_str()).collect()
}

fn layers(graph: &Graph) -> Vec<String> {
    weight_layers(graph).into_iter().map(|l| l.name).collect()
}

fn run(graph: &Graph, inputs: Vec<(&str, Array)>) -> Vec<Array> {
    let sample = Sample { inputs: inputs.into_iter().map(|(name, array)| (name.to_owned(), array)).collect() };
    Engine::new(graph, &[], &Options::default()).unwrap().run(&sample, &mut |_, _| {}).unwrap()
}

fn scalar(values: Values) -> Array {
    Array { dims: vec![], values }
}

#[test]
fn a_rate_decides_which_network_is_left() {
    let whole = graph(BY_RATE);
    let data = || Array::from_f32(vec![1, 2], vec![1.0, -0.5]);
    for (rate, layer) in [(16_000, "upper"), (8000, "lower")] {
        let left = fixed(&whole, &[("rate", &rate.to_string())]);
        assert_eq!((inputs(&left), layers(&left)), (vec!["x"], vec![layer.to_owned()]));
        assert!(left.nodes().iter().all(|n| n.op_type != "If"));
        let before = run(&whole, vec![("x", data()), ("rate", scalar(Values::I64(vec![rate])))]);
        assert_eq!(run(&left, vec![("x", data())]), before, "{rate}");
    }
}

/// A default that a caller may override, which the fixed value replaces.
#[test]
fn a_default_is_replaced() {
    let text = BY_RATE.replace("<int64 high", "<int64 rate = {16000}, int64 high");
    let left = fixed(&graph(&text), &[("rate", "8000")]);
    assert_eq!((inputs(&left), layers(&left)), (vec!["x"], vec!["lower".to_owned()]));
}

/// Where exporters list every initializer as an input, a constant that is none must not make all of them open.
#[test]
fn weights_that_are_all_listed_as_inputs_stay_constants() {
    for ir in [3, 8] {
        let text = format!(
            "<ir_version: {ir}, opset_import: [\"\" : 9]> g (float[1,2] x, float factor, float[2,2] w) => (float[1,2] y)
             <float[2,2] w = {{1, 2, 3, 4}}> {{ h = Mul (x, factor) [fc] y = MatMul (h, w) }}"
        );
        let left = fixed(&graph(&text), &[("factor", "2")]);
        assert_eq!((inputs(&left), layers(&left)), (vec!["x"], vec!["fc".to_owned()]), "IR {ir}");
    }
}

/// A value that is given back as it came has a node that makes it.
#[test]
fn a_fixed_input_that_is_an_output_stays_one() {
    let text = "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1] x, float[1] t) => (float[1] y, float[1] t) { y = Add (x, t) }";
    let left = fixed(&graph(text), &[("t", "3")]);
    let one = |x: f32| Array::from_f32(vec![1], vec![x]);
    assert_eq!(run(&left, vec![("x", one(1.0))]), [one(4.0), one(3.0)]);
}

/// A shape that only a run decides is one that the engine refuses.
#[test]
fn a_shape_that_is_asked_for_becomes_one_that_is_known() {
    let text = "<ir_version: 8, opset_import: [\"\" : 13]>
                g (float[1,4] x, int64[2] size) => (float[a,b] y) { r = Relu (x) y = Reshape (r, size) }";
    let left = fixed(&graph(text), &[("size", "2,2")]);
    let found = run(&left, vec![("x", Array::from_f32(vec![1, 4], vec![1.0, -2.0, 3.0, 4.0]))]);
    assert_eq!(found, [Array::from_f32(vec![2, 2], vec![1.0, 0.0, 3.0, 4.0])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_function_is_that_of_the_whole_network(
        x in prop::collection::vec(-4.0f32..4.0, 4), on: bool, factor in -4.0f32..4.0,
        size in prop::sample::select(vec![[1i64, 4], [2, 2], [4, 1]]), shift in prop::collection::vec(-4.0f32..4.0, 4),
        which in 0u8..16,
    ) {
        let whole = graph(SETTINGS);
        let row = |values: &[f32]| Array::from_f32(vec![1, 4], values.to_vec());
        let settings = [
            ("on", on.to_string(), scalar(Values::Bool(vec![on]))),
            ("factor", factor.to_string(), scalar(Values::F32(vec![factor]))),
            ("size", format!("{},{}", size[0], size[1]), Array { dims: vec![2], values: Values::I64(size.to_vec()) }),
            ("shift", shift.iter().map(f32::to_string).collect::<Vec<_>>().join(","), row(&shift)),
        ];
        let is_fixed = |at: usize| which & (1 << at) != 0;
        let given: Vec<(&str, &str)> =
            settings.iter().enumerate().filter(|(at, _)| is_fixed(*at)).map(|(_, (n, t, _))| (*n, t.as_str())).collect();
        let left = fixed(&whole, &given);
        let all = || [("x", row(&x))].into_iter().chain(settings.iter().map(|(n, _, a)| (*n, a.clone())));
        let open: Vec<(&str, Array)> = all().filter(|(n, _)| given.iter().all(|(g, _)| g != n)).collect();
        prop_assert_eq!(inputs(&left), open.iter().map(|(n, _)| *n).collect::<Vec<_>>());
        prop_assert_eq!(run(&left, open), run(&whole, all().collect()));
    }
}
