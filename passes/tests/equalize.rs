//! Channel factors: the float network keeps every bit, the plan replays, and what does not fit is refused.

use std::collections::BTreeMap;
use std::path::Path;
use tapq::array::Array;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text, print_text};
use tapq::plan::{Equalized, Plan};
use tapq::samples::{Preprocess, SampleSet, input_specs, synthetic};
use tapq::target::Target;
use tapq::{Code, Result};
use tapq_passes::pipeline::{Equalize, Options, Outcome, Silent, quantize};
use tapq_passes::{Driver, equalize, float_passes};

fn graph() -> Graph {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/quantize/spread_channels.onnxtxt");
    let text = std::fs::read_to_string(file).unwrap();
    Graph::new(parse_text(&text).unwrap(), ExternalData::none())
}

fn samples(graph: &Graph) -> SampleSet {
    synthetic(&input_specs(graph, &BTreeMap::new()), &Preprocess::default(), 6, 7).unwrap()
}

fn run(equalize: Equalize, plan: Option<Plan>) -> Result<Outcome> {
    let (graph, target) = (graph(), Target::named("jetson").unwrap());
    let calibration = samples(&graph);
    let options = Options { equalize, plan, verify: true, ..Options::new(&target, &calibration).unwrap() };
    quantize(graph, &options, &Silent)
}

fn outputs(graph: &Graph) -> Vec<Vec<f32>> {
    let engine = Engine::new(graph, &[], &EngineOptions::default()).unwrap();
    let of = |array: &Array| array.as_f32().unwrap().to_vec();
    let samples = samples(graph).samples;
    samples.iter().flat_map(|s| engine.run(s, &mut |_, _| {}).unwrap().iter().map(of).collect::<Vec<_>>()).collect()
}

fn factors(from: &str, to: &str, exponents: &[i8]) -> Equalized {
    Equalized { from: from.to_owned(), to: vec![to.to_owned()], exponents: exponents.to_vec() }
}

#[test]
fn float_outputs_keep_every_bit() {
    let mut changed = graph();
    let before = outputs(&changed);
    let mut driver = Driver::new(None);
    for record in [factors("first", "depthwise", &[5, -6, 0, 2]), factors("depthwise", "grouped", &[-1, 3, 6, -4])] {
        let patch = equalize(&changed, &record).unwrap().unwrap();
        driver.apply(&mut changed, "equalize", patch).unwrap();
    }
    assert_ne!(print_text(changed.model()), print_text(graph().model()));
    assert_eq!(outputs(&changed), before);
}

#[test]
fn the_output_gains_where_channels_differ() {
    let (with, without) = (run(Equalize::Auto, None).unwrap(), run(Equalize::Off, None).unwrap());
    let db = |outcome: &Outcome| outcome.report.fidelity.as_ref().unwrap().sqnr_db;
    assert!(!with.plan.equalized.is_empty() && without.plan.equalized.is_empty());
    assert!(db(&with) > db(&without) + 1.0, "{:.1} dB with, {:.1} dB without", db(&with), db(&without));
}

#[test]
fn a_plan_with_factors_replays_to_the_same_bytes() {
    let first = run(Equalize::Auto, None).unwrap();
    let text = first.plan.to_yaml().unwrap();
    let again = run(Equalize::Off, Some(Plan::from_yaml(&text, "plan").unwrap())).unwrap();
    assert_eq!(print_text(again.graph.model()), print_text(first.graph.model()));
    assert_eq!(again.plan.to_yaml().unwrap(), text);
}

#[test]
fn what_is_no_pair_is_refused_by_name() {
    let mut float = graph();
    Driver::new(None).run(&mut float, &float_passes()).unwrap();
    // Reshape does not commute with factors of axis 1 in general; lists must fit; exponents are bounded.
    let wrong = [
        factors("grouped", "head", &[0, 0, 0, 0, 0, 1]),
        factors("first", "grouped", &[1, 0, 0, 0]),
        factors("first", "nowhere", &[1, 0, 0, 0]),
        factors("first", "depthwise", &[1, 0, 0]),
        factors("first", "depthwise", &[7, 0, 0, 0]),
    ];
    for record in &wrong {
        let error = equalize(&float, record).unwrap_err();
        assert_eq!(error.code(), Code::PlanMismatch);
        assert!(error.to_string().contains(&record.to[0]), "{error}");
    }
}
