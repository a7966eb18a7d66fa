//! Widths of activations as part of the choice, on the networks in `fixtures/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::onnx;
use tapq::plan::Plan;
use tapq::proxy::{Formula, ProxyFile, baseline, default_proxy};
use tapq::samples::{SampleSet, Selection, input_specs, load, read_sidecar};
use tapq::target::Target;
use tapq::{Code, Result};
use tapq_passes::pipeline::{Equalize, Options, Outcome, Silent, Widths, quantize};

fn read(network: &str) -> (Graph, SampleSet) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(network).with_extension("onnx");
    let (model, external) = onnx::read(&path).unwrap();
    let graph = Graph::new(model, external);
    let sidecar = read_sidecar(&path).unwrap().unwrap();
    let selection = Selection { skip: 0, count: 12, seed: None };
    let specs = input_specs(&graph, &BTreeMap::new());
    (graph, load(&sidecar.calib.unwrap(), &specs, &sidecar.preprocess.unwrap(), &selection).unwrap())
}

fn run(network: &str, target: &str, widths: Widths, bits: Option<u32>, plan: Option<Plan>) -> Result<Outcome> {
    run_by(&default_proxy()?, network, target, widths, bits, plan)
}

fn run_by(
    proxy: &ProxyFile,
    network: &str,
    target: &str,
    widths: Widths,
    bits: Option<u32>,
    plan: Option<Plan>,
) -> Result<Outcome> {
    let (graph, samples) = read(network);
    let target = Target::named(target).unwrap();
    let options = Options {
        proxy: proxy.clone(),
        widths,
        activation_bits: bits,
        equalize: Equalize::Off,
        plan,
        verify: true,
        ..Options::new(&target, &samples).unwrap()
    };
    quantize(graph, &options, &Silent)
}

fn average(widths: f64) -> Widths {
    Widths { average_activation: Some(widths), ..Default::default() }
}

fn sqnr(outcome: &Outcome) -> f64 {
    outcome.report.fidelity.as_ref().unwrap().sqnr_db
}

fn plain(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let record = plan.activation_allocation.as_ref().map_or(String::new(), |r| format!("{}: {}\n", r.method, r.proof));
    let lines = plan.activations.iter().map(|a| format!("{} {} bits\n", a.value, a.bits));
    record + &lines.collect::<String>()
}

/// Bit operations of a plan, from its words alone: each layer at its width and that of what it reads.
fn bit_operations(outcome: &Outcome) -> f64 {
    let of_layer = |layer: &tapq::report::LayerReport| {
        let read = |a: &&tapq::plan::ActivationPlan| a.readers.contains(&(layer.name.clone(), 0));
        let beside = outcome.plan.activations.iter().find(read).unwrap().bits;
        layer.macs as f64 * f64::from(layer.bits.unwrap()) * f64::from(beside)
    };
    outcome.report.layers.iter().map(of_layer).sum()
}

#[test]
fn a_budget_of_activations_is_kept_and_worth_its_bits() {
    for (network, target) in [("resnet_digits", "hexagon"), ("dwcnn_digits", "esp32-s3"), ("resnet_digits", "fpga")] {
        let (low, between, high) = if target == "fpga" { (4.0, 5.5, 8.0) } else { (8.0, 11.0, 16.0) };
        let outcomes = [low, between, high].map(|bits| run(network, target, average(bits), None, None).unwrap());
        let [narrow, mixed, wide] = outcomes.each_ref().map(sqnr);
        assert!(narrow < mixed && mixed < wide + 0.5, "{network} on {target}: {narrow} {mixed} {wide}");
        let record = outcomes[1].plan.activation_allocation.clone().unwrap();
        let (budget, used) = (record.budgets["activation bits"], record.used["activation bits"]);
        assert!(used <= budget && used > budget * 0.6, "{used} of {budget}");
        insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("activations__{network}.{target}"), plain(&outcomes[1]));
        });
    }
}

#[test]
fn bit_operations_are_shared_between_weights_and_activations() {
    let network = "resnet_digits";
    let uniform = run(network, "fpga", Widths { uniform: Some(4), ..Default::default() }, Some(6), None).unwrap();
    let limit = bit_operations(&uniform);
    let widths = Widths { max_bops: Some(limit), ..Default::default() };
    let chosen = run(network, "fpga", widths, None, None).unwrap();
    let record = &chosen.plan.allocation;
    let used = bit_operations(&chosen);
    assert!(used <= limit * (1.0 + 1e-9), "{used} of {limit}");
    assert!((record.used["bit operations"] - used).abs() <= used * 1e-9, "{record:?}");
    assert!(sqnr(&chosen) > sqnr(&uniform) - 0.3, "{} against {}", sqnr(&chosen), sqnr(&uniform));
    assert!(chosen.plan.activations.iter().any(|a| a.bits != 8), "{}", plain(&chosen));
    let pinned = run(network, "fpga", widths, Some(8), None).unwrap();
    assert!(pinned.plan.activations.iter().all(|a| a.bits == 8), "--act-bits holds");
    assert!(pinned.plan.activation_allocation.is_none());
}

#[test]
fn no_proxy_outweighs_activations_by_its_scale() {
    let widths = Widths { uniform: Some(4), ..Default::default() };
    let limit = bit_operations(&run("resnet_digits", "fpga", widths, Some(6), None).unwrap());
    for name in ["param-count", "output-error"] {
        let mut proxy = baseline(name).unwrap().unwrap();
        let widths = Widths { max_bops: Some(limit), ..Default::default() };
        let bits = |proxy: &ProxyFile| {
            let plan = run_by(proxy, "resnet_digits", "fpga", widths, None, None).unwrap().plan;
            let layers: Vec<Option<u32>> = plan.layers.iter().map(|l| l.bits).collect();
            (layers, plan.activations.iter().map(|a| a.bits).collect::<Vec<_>>())
        };
        let own = bits(&proxy);
        proxy.formula = Formula::parse(&format!("1000 * ({})", proxy.formula)).unwrap();
        assert_eq!(bits(&proxy), own, "{name}");
    }
}

#[test]
fn widened_values_lose_nothing_and_every_operator_has_one_width() {
    let outcome = run("resnet_digits", "hexagon", average(11.0), None, None).unwrap();
    let types: BTreeMap<&str, i32> =
        outcome.graph.model().graph.initializer.iter().map(|t| (t.name.as_str(), t.data_type)).collect();
    let made: BTreeMap<&str, &tapq::onnx::NodeProto> =
        outcome.graph.nodes().iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    let width =
        |value: &str| made.get(value).filter(|n| n.op_type == "DequantizeLinear").map(|n| types[n.input[2].as_str()]);
    let mut widths = BTreeSet::new();
    for node in outcome.graph.nodes().iter().filter(|n| n.op_type == "Conv" || n.op_type == "Gemm") {
        let input = width(&node.input[0]).unwrap();
        let mut readers: Vec<_> =
            outcome.graph.index().readers(&node.output[0]).iter().map(|r| &outcome.graph.nodes()[*r]).collect();
        if readers[0].op_type == "Relu" {
            readers = outcome
                .graph
                .index()
                .readers(&readers[0].output[0])
                .iter()
                .map(|r| &outcome.graph.nodes()[*r])
                .collect();
        }
        let quantizer = readers.iter().find(|n| n.op_type == "QuantizeLinear").unwrap();
        assert_eq!(input, types[quantizer.input[2].as_str()], "{}", node.name);
        widths.insert(input);
    }
    assert_eq!(widths.len(), 2, "both widths are in use");
    assert!(Engine::new(&outcome.graph, &[], &EngineOptions::default()).is_ok());
}

#[test]
fn a_plan_of_mixed_activations_replays_to_the_same_bytes() {
    for (network, target, bits) in [("resnet_digits", "hexagon", 11.0), ("dwcnn_digits", "fpga", 5.0)] {
        let first = run(network, target, average(bits), None, None).unwrap();
        let again = run(network, target, Widths::default(), None, Some(first.plan.clone())).unwrap();
        assert_eq!(first.graph.model(), again.graph.model());
    }
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let refused = |target: &str, widths: Widths, bits: Option<u32>| {
        run("dwcnn_digits", target, widths, bits, None).err().unwrap()
    };
    assert_eq!(refused("jetson", average(8.0), None).code(), Code::Refused);
    assert_eq!(refused("cpu", average(4.0), None).code(), Code::Refused);
    assert_eq!(refused("fpga", average(6.0), Some(8)).code(), Code::Config);
    assert_eq!(refused("fpga", average(1.0), None).code(), Code::Infeasible);
    assert_eq!(refused("fpga", average(f64::NAN), None).code(), Code::Config);
}
