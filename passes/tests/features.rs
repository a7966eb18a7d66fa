//! Factors of features between normalizations, products and layers: what joins, that the float network keeps every bit,
//! and what it is good for.

use tapq::array::Array;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, from_floats, parse_text, print_text};
use tapq::plan::{Equalized, Plan};
use tapq::samples::{Sample, SampleSet};
use tapq::target::Target;
use tapq_passes::pipeline::{Equalize, Options, Outcome, Silent, quantize};
use tapq_passes::{Driver, equalize, float_passes};

/// A gated block behind a LayerNormalization, and one with Relu behind a normalization written in parts.
const BLOCKS: &str = "
    [norm] n = LayerNormalization <axis = -1> (x, gamma, beta)
    [gate] a = MatMul (n, w_a)
    [up] b = MatMul (n, w_b)
    [sigmoid] s = Sigmoid (a)
    [silu] act = Mul (a, s)
    [gated] g = Mul (act, b)
    [down] d = MatMul (g, w_d)
    [first] r = Add (x, d)
    [square] sq = Mul (r, r)
    [mean] m = ReduceMean <axes = [-1]> (sq)
    [guard] e = Add (m, eps)
    [root] q = Sqrt (e)
    [whiten] o = Div (r, q)
    [weigh] scaled = Mul (o, weight)
    [shift] shifted = Add (beta_2, scaled)
    [one] h = MatMul (shifted, w_1)
    [bias] hb = Add (h, b_1)
    [relu] hr = Relu (hb)
    [two] f = MatMul (hr, w_2)
    [second] y = Add (r, f)";

const WIDTH: usize = 16;
const HIDDEN: usize = 24;

fn noise(i: usize, seed: usize) -> f32 {
    ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5
}

fn network(nodes: &str) -> Graph {
    let text = format!(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,6,16] x) => (float[1,6,16] y) <float eps = {{1e-5}}, int64[2] flat = {{6, 16}}> {{ {nodes} }}"
    );
    let mut model = parse_text(&text).unwrap();
    let graph = model.graph.mut_or_insert_default();
    let matrices = [
        ("w_a", WIDTH, HIDDEN),
        ("w_b", WIDTH, HIDDEN),
        ("w_d", HIDDEN, WIDTH),
        ("w_1", WIDTH, HIDDEN),
        ("w_2", HIDDEN, WIDTH),
    ];
    for (seed, (name, rows, columns)) in matrices.into_iter().enumerate() {
        let values: Vec<f32> = (0..rows * columns).map(|i| noise(i, seed + 1)).collect();
        graph.initializer.push(from_floats(name, &[rows, columns], &values));
    }
    // Two features are far louder than the others, as in language models.
    let loud = |i: usize| if i % 9 == 4 { 40.0 } else { 1.0 + noise(i, 11) };
    for (name, length, loudness) in [
        ("gamma", WIDTH, true),
        ("beta", WIDTH, false),
        ("weight", WIDTH, true),
        ("beta_2", WIDTH, false),
        ("b_1", HIDDEN, false),
    ] {
        let values: Vec<f32> = (0..length).map(|i| if loudness { loud(i) } else { noise(i, 12) }).collect();
        graph.initializer.push(from_floats(name, &[length], &values));
    }
    Graph::new(model, ExternalData::none())
}

fn samples() -> SampleSet {
    let sample = |s: usize| {
        let values: Vec<f32> = (0..6 * WIDTH).map(|i| 2.0 * noise(i, 31 + s)).collect();
        Sample { inputs: vec![("x".to_owned(), Array::from_f32(vec![1, 6, WIDTH], values))] }
    };
    SampleSet {
        samples: (0..56).map(sample).collect(),
        ids: (0..56).map(|i| i.to_string()).collect(),
        ..Default::default()
    }
}

fn run(graph: Graph, equalize: Equalize, plan: Option<Plan>) -> Outcome {
    let (target, calibration) = (Target::named("jetson").unwrap(), samples());
    let options = Options { equalize, plan, verify: true, ..Options::new(&target, &calibration).unwrap() };
    quantize(graph, &options, &Silent).unwrap()
}

fn outputs(graph: &Graph) -> Vec<Vec<f32>> {
    let engine = Engine::new(graph, &[], &EngineOptions::default()).unwrap();
    let all = samples().samples;
    all.iter().map(|s| engine.run(s, &mut |_, _| {}).unwrap()[0].as_f32().unwrap().to_vec()).collect()
}

fn joined(outcome: &Outcome) -> Vec<(&str, Vec<&str>)> {
    outcome.plan.equalized.iter().map(|e| (e.from.as_str(), e.to.iter().map(String::as_str).collect())).collect()
}

#[test]
fn what_makes_features_is_joined_with_all_that_read_them() {
    let outcome = run(network(BLOCKS), Equalize::On, None);
    let found = joined(&outcome);
    assert!(found.contains(&("norm", vec!["gate", "up"])), "{found:?}");
    assert!(found.contains(&("weigh", vec!["one"])), "{found:?}");
}

#[test]
fn float_outputs_keep_every_bit() {
    let mut changed = network(BLOCKS);
    let before = outputs(&changed);
    let exponents = |n: usize| (0..n).map(|i| (i % 13) as i8 - 6).collect::<Vec<i8>>();
    let record = |from: &str, to: &[&str], n: usize| Equalized {
        from: from.to_owned(),
        to: to.iter().map(|s| (*s).to_owned()).collect(),
        exponents: exponents(n),
    };
    let all = [
        record("norm", &["gate", "up"], WIDTH),
        record("up", &["down"], HIDDEN),
        record("weigh", &["one"], WIDTH),
        record("one", &["two"], HIDDEN),
    ];
    let text = print_text(changed.model());
    for record in &all {
        let patch = equalize(&changed, record).unwrap().unwrap();
        Driver::new(None).apply(&mut changed, "equalize", patch).unwrap();
    }
    assert_ne!(print_text(changed.model()), text);
    assert_eq!(outputs(&changed), before);
    for name in ["beta", "beta_2", "b_1", "w_a", "w_b", "w_d", "w_1", "w_2"] {
        let tensor = |graph: &Graph| graph.constant(name).cloned();
        assert_ne!(tensor(&changed), tensor(&network(BLOCKS)), "{name}");
    }
}

#[test]
fn features_pass_a_reshape_that_keeps_them() {
    let flat = BLOCKS.replace(
        "[one] h = MatMul (shifted, w_1)\n    [bias] hb = Add (h, b_1)",
        "[flatten] rows = Reshape (shifted, flat)\n    [one] hb = Gemm (rows, w_1, b_1)",
    );
    assert_ne!(flat, BLOCKS);
    let mut changed = network(&flat);
    let before = outputs(&changed);
    let exponents = (0..WIDTH).map(|i| (i % 5) as i8 - 2).collect();
    let record = Equalized { from: "weigh".to_owned(), to: vec!["one".to_owned()], exponents };
    let patch = equalize(&changed, &record).unwrap().unwrap();
    Driver::new(None).apply(&mut changed, "equalize", patch).unwrap();
    assert_eq!(outputs(&changed), before);
}

#[test]
fn loud_features_cost_less() {
    let (with, without) = (run(network(BLOCKS), Equalize::Auto, None), run(network(BLOCKS), Equalize::Off, None));
    let db = |outcome: &Outcome| outcome.report.fidelity.as_ref().unwrap().sqnr_db;
    assert!(!joined(&with).is_empty() && joined(&without).is_empty());
    assert!(db(&with) > db(&without) + 3.0, "{:.1} dB with, {:.1} dB without", db(&with), db(&without));
}

#[test]
fn a_plan_with_several_readers_replays_to_the_same_bytes() {
    let first = run(network(BLOCKS), Equalize::Auto, None);
    let text = first.plan.to_yaml().unwrap();
    let again = run(network(BLOCKS), Equalize::Off, Some(Plan::from_yaml(&text, "plan").unwrap()));
    assert_eq!(print_text(again.graph.model()), print_text(first.graph.model()));
    assert_eq!(again.plan.to_yaml().unwrap(), text);
}

#[test]
fn features_that_anything_else_reads_are_left() {
    // A residual that leaves from behind the normalization, as in BERT; a weight that two layers share.
    let changes = [("[first] r = Add (x, d)", "[first] r = Add (n, d)", "norm"), ("(n, w_b)", "(n, w_a)", "norm")];
    for (from, to, name) in changes {
        assert!(BLOCKS.contains(from));
        let mut float = network(&BLOCKS.replace(from, to));
        Driver::new(None).run(&mut float, &float_passes()).unwrap();
        let record = Equalized {
            from: name.to_owned(),
            to: vec!["gate".to_owned(), "up".to_owned()],
            exponents: vec![1; WIDTH],
        };
        assert!(equalize(&float, &record).is_err(), "{to}");
    }
}
