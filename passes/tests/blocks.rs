//! Weights in blocks: beside layers that run with integers, and alone.

mod common;

use common::without_numbers;
use std::collections::{BTreeMap, BTreeSet};
use tapq::Code;
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, from_floats, parse_text, print_text};
use tapq::plan::{LayerPlan, Plan, RoundingMethod};
use tapq::samples::{Preprocess, SampleSet, input_specs, synthetic};
use tapq::target::{Target, Variant};
use tapq_passes::pipeline::{Effort, Options, Outcome, Silent, Widths, quantize};

/// A product, two that share a weight that is read transposed, two whose fan-in no block divides, and a convolution.
const TEXT: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4,6,6] x, float[2,3,64] s) => (float[1,6] y, float[2,3,20] z)
{
  [conv] c = Conv <kernel_shape = [3, 3]> (x, filter)
  [flat] f = Flatten (c)
  [first] a = Gemm <transB = 1> (f, square, bias)
  [act] r = Relu (a)
  [again] b = Gemm <transB = 1> (r, square, bias)
  [narrow] y = Gemm (b, few)
  [product] p = MatMul (s, wide)
  [act_p] q = Tanh (p)
  [last] z = MatMul (q, head)
}
"#;
const CONSTANTS: [(&str, &[usize]); 6] = [
    ("filter", &[4, 4, 3, 3]),
    ("square", &[64, 64]),
    ("bias", &[64]),
    ("few", &[64, 6]),
    ("wide", &[64, 20]),
    ("head", &[20, 20]),
];

fn graph() -> Graph {
    let mut model = parse_text(TEXT).unwrap();
    for (name, dims) in CONSTANTS {
        let count: usize = dims.iter().product();
        let value = |i: usize| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.1 * (1 + i % 7) as f32;
        let values: Vec<f32> = (0..count).map(value).collect();
        model.graph.as_mut().unwrap().initializer.push(from_floats(name, dims, &values));
    }
    Graph::new(model, ExternalData::none())
}

fn samples(graph: &Graph) -> SampleSet {
    synthetic(&input_specs(graph, &BTreeMap::new()), &Preprocess::default(), 8, 7).unwrap()
}

fn target(name: &str, weight_only: bool) -> Target {
    Target::named(name).unwrap().narrowed(Variant { weight_only, block_size: None, ..Default::default() }).unwrap()
}

fn run(target: &Target, change: impl FnOnce(&mut Options)) -> tapq::Result<Outcome> {
    let graph = graph();
    let mut calibration = samples(&graph);
    // Made up, but for these tests as good as any.
    calibration.synthetic = false;
    let mut options = Options { verify: true, ..Options::new(target, &calibration).unwrap() };
    change(&mut options);
    quantize(graph.clone(), &options, &Silent)
}

fn widths(plan: &Plan) -> Vec<(&str, Option<u32>, Option<usize>)> {
    plan.layers.iter().map(|l| (l.name.as_str(), l.bits, l.block)).collect()
}

/// Four bits for each weight, and four bytes for the scale of each block.
fn bytes(weights: usize, block: usize) -> usize {
    weights / 2 + 4 * weights / block
}

#[test]
fn weights_alone_are_stored_in_blocks() {
    let outcome = run(&target("cpu", true), |_| ()).unwrap();
    insta::with_settings!({
        snapshot_path => "../../snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!("blocks", without_numbers(&outcome.graph)) });
    let expected = [
        ("conv", None, None),
        ("first", Some(4), Some(64)),
        ("again", Some(4), Some(64)),
        ("narrow", Some(4), Some(64)),
        ("product", Some(4), Some(64)),
        ("last", Some(4), Some(64)),
    ];
    assert_eq!(widths(&outcome.plan), expected);
    assert!(outcome.plan.activations.is_empty());
    assert_eq!(outcome.plan.variant, Variant { weight_only: true, block_size: None, ..Default::default() });
    let because = |name: &str| outcome.plan.layers.iter().find(|l| l.name == name).unwrap().because.clone();
    assert_eq!(because("conv"), "cpu has no weights of Conv in blocks");
    let last = 200 + 4 * 20;
    let stored = bytes(64 * 64, 64) + bytes(64 * 6, 64) + bytes(64 * 20, 64) + last + 4 * 144;
    assert_eq!(outcome.report.size.stored_weights, stored as u64);
    assert!(outcome.report.fidelity.unwrap().sqnr_db > 15.0);
}

/// On jetson, whose blocks have 64 weights, the narrow layer is one more choice.
#[test]
fn a_budget_mixes_blocks_and_integers() {
    for (name, average) in [("cpu", 6.5), ("jetson", 7.0)] {
        let budget = |options: &mut Options| options.widths = Widths { average: Some(average), ..Default::default() };
        let outcome = run(&target(name, false), budget).unwrap();
        let (blocks, integers): (Vec<&LayerPlan>, Vec<&LayerPlan>) =
            outcome.plan.layers.iter().filter(|l| l.bits.is_some()).partition(|l| l.block.is_some());
        assert!(!blocks.is_empty() && !integers.is_empty(), "{name}: {:?}", widths(&outcome.plan));
        assert!(blocks.iter().all(|l| l.bits == Some(4) && !l.is_integer()), "{name}");
        assert!(name == "cpu" || blocks.iter().all(|l| l.name != "last"), "64 do not divide 20");
        assert!(outcome.plan.opset >= 21 && outcome.plan.ir >= 10);
        // What only such a layer reads has no pair on jetson, where float readers take the float value.
        for activation in &outcome.plan.activations {
            let in_blocks = |(reader, _): &(String, usize)| blocks.iter().any(|l| l.name == *reader);
            assert!(name == "cpu" || !activation.readers.iter().any(in_blocks), "{name}: {}", activation.value);
        }
        let text = print_text(outcome.graph.model());
        assert_eq!(text.matches("block_size").count(), blocks.iter().map(|l| &l.weight).collect::<BTreeSet<_>>().len());
        // Biases of layers that multiply in float stay in float.
        let in_blocks = |name: &str| blocks.iter().any(|l| l.name == name);
        assert_eq!(!in_blocks("first") && name == "cpu", text.contains("int32[64] first_bias"), "{name}: {text}");
    }
}

#[test]
fn a_plan_replays_and_its_blocks_are_checked() {
    let cpu = target("cpu", true);
    let first = run(&cpu, |_| ()).unwrap();
    let yaml = first.plan.to_yaml().unwrap();
    let replay = |text: &str| -> tapq::Result<Outcome> {
        let plan = Plan::from_yaml(text, "plan")?;
        run(&Target::named("cpu").unwrap().narrowed(plan.variant)?, |options| options.plan = Some(plan))
    };
    assert_eq!(print_text(replay(&yaml).unwrap().graph.model()), print_text(first.graph.model()));
    let refused = |from: &str, to: &str| {
        let edited = yaml.replacen(from, to, 1);
        assert_ne!(edited, yaml, "{from}");
        replay(&edited).map(|_| ()).unwrap_err()
    };
    let other = refused("block: 64", "block: 16");
    assert_eq!(other.code(), Code::PlanMismatch);
    assert!(other.to_string().contains("variant: {block_size: N}"), "{other}");
    assert!(other.to_string().contains("the plan has blocks of 16 at 4 bits, cpu stores blocks of 64"), "{other}");
    assert!(refused("  block: 64\n", "").to_string().contains("the plan has no blocks at 4 bits"));
    assert!(refused("  bits: 4\n  block: 64", "  block: 64").to_string().contains("a block without bits"));
    assert_eq!(refused("weight_only: true", "weight_only: false").code(), Code::PlanMismatch);
    // Another width of blocks is a decision like any other.
    let wider = yaml.replace("bits: 4\n", "bits: 8\n").replace("  rounding: second-order\n", "");
    let text = print_text(replay(&wider).unwrap().graph.model());
    assert!(text.contains("int8[64,64] square_quantized") && !text.contains("int4["), "{text}");
}

#[test]
fn more_bits_are_given_for_a_goal() {
    let cpu = target("cpu", true);
    let goal = |db: f64| run(&cpu, |options| options.goal_db = Some(db)).unwrap();
    let plain = goal(0.0).plan;
    assert!(plain.layers.iter().all(|l| l.bits != Some(8)));
    let reached = goal(30.0);
    let record = reached.plan.goal.clone().unwrap();
    assert!(record.is_reached() && record.weights > 0 && record.values == 0, "{record:?}");
    assert!(reached.plan.layers.iter().any(|l| (l.bits, l.block) == (Some(8), Some(64))));
    // Nothing is left in float for it where more bits do.
    let float = |plan: &Plan| plan.layers.iter().filter(|l| l.bits.is_none()).count();
    assert_eq!(float(&reached.plan), float(&plain));
}

/// What samples that are made up say of a language model's words is worse than nothing.
#[test]
fn weights_alone_are_rounded_to_the_nearest_without_samples() {
    let (graph, cpu) = (graph(), target("cpu", true));
    let calibration = samples(&graph);
    let outcome = quantize(graph, &Options::new(&cpu, &calibration).unwrap(), &Silent).unwrap();
    let stored: Vec<&LayerPlan> = outcome.plan.layers.iter().filter(|l| l.bits.is_some()).collect();
    assert!(stored.iter().all(|l| l.rounding == RoundingMethod::Nearest && l.bias_shift.is_empty()));
    assert!(outcome.report.warnings[0].contains("rounded to the nearest: --calib"), "{:?}", outcome.report.warnings);
}

#[test]
fn a_width_is_asked_for_and_more_effort_is_not_worse() {
    let cpu = target("cpu", true);
    let db = |bits: u32, effort: Effort| {
        let ask = |options: &mut Options| {
            (options.widths.uniform, options.effort) = (Some(bits), effort);
        };
        run(&cpu, ask).unwrap().report.fidelity.unwrap().sqnr_db
    };
    let (four, eight) = (db(4, Effort::Fast), db(8, Effort::Fast));
    assert!(eight > four + 14.0 && eight > 35.0, "{four} {eight}");
    assert!(db(4, Effort::Balanced) > four - 1.0);
    let three = run(&cpu, |options| options.widths.uniform = Some(3)).map(|_| ()).unwrap_err();
    assert_eq!(three.code(), Code::Refused);
    let everything = |options: &mut Options| {
        options.keep_float = ["first", "again", "narrow", "product", "last"].map(str::to_owned).into();
    };
    let nothing = run(&cpu, everything).map(|_| ()).unwrap_err();
    assert_eq!(nothing.code(), Code::NothingToQuantize);
    assert!(nothing.to_string().contains("no layer of this model has weights in blocks on cpu"), "{nothing}");
}
