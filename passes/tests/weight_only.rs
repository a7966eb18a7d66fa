//! Weights that are stored as integers while their operator computes in float, on the `cpu` profile.

mod common;

use common::without_numbers;
use std::collections::{BTreeMap, BTreeSet};
use tapq::Code;
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, from_floats, parse_text, print_text};
use tapq::plan::Plan;
use tapq::samples::{Preprocess, SampleSet, input_specs, synthetic};
use tapq::target::{Role, Target};
use tapq_passes::pipeline::{Options, Outcome, Silent, quantize};

/// Two lookups in one table, a bidirectional LSTM whose sequence nobody takes, a grouped ConvTranspose, a linear layer.
const TEXT: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
net (int64[3,1] ids, int64[2] more, float[1,4,5,5] x) => (float[2,1,16] h, float[2,16] e, float[1,32,10,10] z)
{
  [word] w = Gather (table, ids)
  [word_again] e = Gather (table, more)
  [lstm] seq, h = LSTM <hidden_size = 16, direction = "bidirectional"> (w, lstm_w, lstm_r, lstm_b)
  [conv] c = Conv <kernel_shape = [1, 1]> (x, filter)
  [up] z = ConvTranspose <group = 2, kernel_shape = [2, 2], strides = [2, 2]> (c, up_w)
}
"#;
const CONSTANTS: [(&str, &[usize]); 6] = [
    ("table", &[128, 16]),
    ("lstm_w", &[2, 64, 16]),
    ("lstm_r", &[2, 64, 16]),
    ("lstm_b", &[2, 128]),
    ("filter", &[32, 4, 1, 1]),
    ("up_w", &[32, 16, 2, 2]),
];

fn graph(text: &str, constants: &[(&str, &[usize])]) -> Graph {
    let mut model = parse_text(text).unwrap();
    for (name, dims) in constants {
        let count: usize = dims.iter().product();
        // Rows of unlike magnitudes, as tables of words have them.
        let row = count / dims[0];
        let value = |i: usize| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.05 * (1 + i / row % 9) as f32;
        let values: Vec<f32> = (0..count).map(value).collect();
        model.graph.as_mut().unwrap().initializer.push(from_floats(name, dims, &values));
    }
    Graph::new(model, ExternalData::none())
}

fn samples(graph: &Graph) -> SampleSet {
    synthetic(&input_specs(graph, &BTreeMap::new()), &Preprocess::default(), 4, 7).unwrap()
}

fn run(graph: &Graph, target: &Target, change: impl FnOnce(&mut Options)) -> tapq::Result<Outcome> {
    let calibration = samples(graph);
    let mut options = Options { verify: true, ..Options::new(target, &calibration).unwrap() };
    change(&mut options);
    quantize(graph.clone(), &options, &Silent)
}

fn cpu() -> Target {
    Target::named("cpu").unwrap()
}

fn stored(outcome: &Outcome) -> Vec<&str> {
    outcome.plan.weight_only.iter().map(|w| w.name.as_str()).collect()
}

#[test]
fn tables_cells_and_deconvolutions_are_stored_in_8_bits() {
    let outcome = run(&graph(TEXT, &CONSTANTS), &cpu(), |_| ()).unwrap();
    insta::with_settings!({
        snapshot_path => "../../snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!("weight_only", without_numbers(&outcome.graph)) });
    let rows: Vec<String> = outcome.report.layers.iter().map(|l| format!("{} {:?}", l.name, l.bits)).collect();
    assert_eq!(rows, ["word Some(8)", "word_again Some(8)", "lstm Some(8)", "conv Some(7)", "up Some(8)"]);
    for layer in outcome.report.layers.iter().filter(|l| l.name != "conv") {
        let db = layer.output_sqnr_db.unwrap();
        assert!(db > 35.0, "{}: {db:.1} dB", layer.name);
        assert!(layer.because.starts_with("weights alone"), "{}", layer.because);
    }
    let size = &outcome.report.size;
    let (table, cells, up) = (128 * 16, 2 * 2 * 64 * 16, 32 * 16 * 4);
    assert_eq!(size.float_weights, 4 * (table + cells + up + 32 * 4));
    let scales = 128 + 2 * 64 + 16 + 32;
    assert_eq!(size.stored_weights, table + cells + up + 32 * 4 + 4 * scales);
    assert_eq!((size.elsewhere, outcome.report.refused.len()), (0, 0));
}

#[test]
fn a_plan_replays_and_what_it_leaves_out_stays_in_float() {
    let graph = graph(TEXT, &CONSTANTS);
    let first = run(&graph, &cpu(), |_| ()).unwrap();
    let replay = |plan: Plan| run(&graph, &cpu(), |options| options.plan = Some(plan));
    let again = replay(first.plan.clone()).unwrap();
    assert_eq!(print_text(again.graph.model()), print_text(first.graph.model()));
    let mut less = first.plan.clone();
    less.weight_only.retain(|w| w.op != "LSTM");
    assert!(replay(less).unwrap().graph.constant("lstm_w").is_some());
    let mut narrower = first.plan.clone();
    narrower.weight_only[0].bits = 4;
    let error = replay(narrower).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::PlanMismatch);
    assert!(error.to_string().contains("Gather 'word'"), "{error}");
    let kept = |options: &mut Options| options.keep_float = BTreeSet::from(["lstm".to_owned(), "up".to_owned()]);
    assert_eq!(stored(&run(&graph, &cpu(), kept).unwrap()), ["word", "word_again"]);
}

#[test]
fn a_weight_that_something_else_reads_stays_in_float() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
net (int64[3] ids, float[1,8] x) => (float[3,128] a, float[3,128] b, float[1,128] c, float[8,128] d)
{
  [plain] a = Gather (alone, ids)
  [tied] b = Gather (also_multiplied, ids)
  [fc] c = MatMul (x, also_multiplied)
  [read] r = Gather (also_read, ids)
  [reader] d = Abs (also_read)
  [columns] s = Gather <axis = 1> (of_columns, ids)
  [few] t = Gather (of_few, ids)
}
"#;
    let constants: [(&str, &[usize]); 5] = [
        ("alone", &[8, 128]),
        ("also_multiplied", &[8, 128]),
        ("also_read", &[8, 128]),
        ("of_columns", &[8, 128]),
        ("of_few", &[8, 2]),
    ];
    let mut graph = graph(text, &constants);
    let outcome = run(&graph, &cpu(), |_| ()).unwrap();
    assert_eq!(stored(&outcome), ["plain", "tied"]);
    // A layer that stays in float would keep the float table in the file.
    let kept = |options: &mut Options| options.keep_float = BTreeSet::from(["fc".to_owned()]);
    assert_eq!(stored(&run(&graph, &cpu(), kept).unwrap()), ["plain"]);
    let mut model = graph.model().clone();
    model.graph.as_mut().unwrap().initializer[0].raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    graph = Graph::new(model, ExternalData::none());
    let error = run(&graph, &cpu(), |_| ()).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::NonFinite);
    assert!(error.to_string().contains("'alone'"), "{error}");
}

/// A profile may have every weight stored and nothing computed with integers, with one scale a tensor or one a row.
#[test]
fn whole_networks_may_be_stored_so() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
net (int64[3] ids) => (float[3,24] y)
{
  [word] w = Gather (table, ids)
  [fc] h = MatMul (w, up)
  [head] y = Gemm <transB = 1> (h, down, bias)
}
"#;
    let constants: [(&str, &[usize]); 4] =
        [("table", &[64, 32]), ("up", &[32, 48]), ("down", &[24, 48]), ("bias", &[24])];
    let mut target = cpu();
    for rule in &mut target.operators {
        if rule.role == Role::Compute {
            (rule.role, rule.quantized_output, rule.two_activations) = (Role::WeightOnly, false, false);
            rule.weight_bits.clear();
        }
    }
    for per_channel in [true, false] {
        target.weights.per_channel = per_channel;
        let outcome = run(&graph(text, &constants), &target, |_| ()).unwrap();
        assert_eq!(stored(&outcome), ["word", "fc", "head"]);
        assert!(outcome.plan.activations.is_empty());
        assert_eq!(outcome.plan.average_weight_bits(), 8.0);
        let db = outcome.report.fidelity.unwrap().sqnr_db;
        assert!(db > 38.0, "{db:.1} dB");
        let budget = |options: &mut Options| options.widths.average = Some(6.0);
        let error = run(&graph(text, &constants), &target, budget).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("no width to choose"), "{error}");
    }
}
