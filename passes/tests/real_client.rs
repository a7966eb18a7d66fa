//! A real client: what leaves us passes ONNX's checker, loads in ONNX Runtime with and without its optimizations,
//! and computes there what our simulation says, within one quantization step.

use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tapq::array::Values;
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::onnx;
use tapq::samples::{Preprocess, SampleSet, Selection, input_specs, load, read_sidecar, synthetic};
use tapq::target::{self, Target, Variant};
use tapq_passes::pipeline::{Options, Silent, Widths, quantize};

const NETWORKS: [&str; 4] = ["resnet_digits", "dwcnn_digits", "vit_digits", "gru_numerals"];

fn has_onnxruntime() -> bool {
    let found = Command::new("python3").args(["-c", "import onnx, onnxruntime, numpy"]).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

fn read(network: &str) -> (Graph, SampleSet) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(network).with_extension("onnx");
    let (model, external) = onnx::read(&path).unwrap();
    let graph = Graph::new(model, external);
    let sidecar = read_sidecar(&path).unwrap().unwrap();
    let preprocess: Preprocess = sidecar.preprocess.unwrap_or_default();
    let selection = Selection { skip: 0, count: 8, seed: None };
    let specs = input_specs(&graph, &BTreeMap::new());
    (graph, load(&sidecar.calib.unwrap(), &specs, &preprocess, &selection).unwrap())
}

fn write_floats(path: &Path, values: &[f32]) {
    std::fs::write(path, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
}

fn raw(values: &Values) -> Vec<u8> {
    match values {
        Values::F32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Values::I64(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        other => panic!("{} is no input of a fixture", other.type_name()),
    }
}

/// What is asked for.
#[derive(Default)]
struct Ask {
    widths: Widths,
    activation_bits: Option<u32>,
    goal_db: Option<f64>,
}

impl Ask {
    fn widths(widths: Widths) -> Self {
        Ask { widths, ..Default::default() }
    }

    fn activation_bits(bits: u32) -> Self {
        Ask { activation_bits: Some(bits), ..Default::default() }
    }
}

/// Quantizes, writes the model and what our engine computes with it, and says where.
fn case(
    folder: &Path,
    name: &str,
    (graph, samples): (Graph, SampleSet),
    target: &Target,
    Ask { widths, activation_bits, goal_db }: Ask,
) -> serde_json::Value {
    let options = Options { widths, activation_bits, goal_db, ..Options::new(target, &samples).unwrap() };
    let outcome = quantize(graph, &options, &Silent).unwrap();
    let variant = (target.variant.weight_only, target.variant.block_size, widths.uniform);
    let asked = (widths.average, widths.average_activation, activation_bits, goal_db, variant);
    let stem = format!("{name}.{}.{asked:?}", target.name);
    let at = |suffix: &str| -> PathBuf { folder.join(format!("{stem}.{suffix}")) };
    onnx::write(outcome.graph.model(), outcome.graph.external(), &at("onnx")).unwrap();
    let engine = Engine::new(&outcome.graph, &[], &EngineOptions::default()).unwrap();
    let mut outputs = vec![];
    for sample in &samples.samples {
        outputs.extend_from_slice(engine.run(sample, &mut |_, _| {}).unwrap()[0].as_f32().unwrap());
    }
    write_floats(&at("output"), &outputs);
    let input = |i: usize| {
        let (name, array) = &samples.samples[0].inputs[i];
        let bytes: Vec<u8> = samples.samples.iter().flat_map(|s| raw(&s.inputs[i].1.values)).collect();
        let file = at(&format!("input_{i}"));
        std::fs::write(&file, bytes).unwrap();
        json!({ "name": name, "file": file, "shape": array.dims[1..], "type": array.values.type_name() })
    };
    let inputs: Vec<serde_json::Value> = (0..samples.samples[0].inputs.len()).map(input).collect();
    // ONNX Runtime must make its own kernel of every weight in blocks.
    let blocks = outcome.plan.layers.iter().filter(|l| l.block.is_some()).count();
    let fused = (target.name == "cpu").then_some(("MatMulNBits", blocks));
    // Those of blocks round activations once more.
    let kernels = target.name == "cpu" && blocks == 0;
    json!({ "model": at("onnx"), "inputs": inputs, "output": at("output"), "fused": fused, "kernels": kernels })
}

/// Runs the files in ONNX Runtime; each must compute there what it computes here.
fn compare(cases: &[serde_json::Value]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_client.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(json!(cases).to_string().as_bytes()).unwrap();
    let done = python.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).unwrap();
    assert_eq!(lines.lines().count(), cases.len(), "{lines}");
    for line in lines.lines() {
        let steps: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(steps <= 1.0, "{line}");
    }
}

/// The small graphs that snapshots show: each is there for a pattern that a runtime rewrites in its own way.
#[test]
fn onnx_runtime_loads_every_pattern_for_every_target() {
    if !has_onnxruntime() {
        println!("skipped: python3 with onnx, onnxruntime and numpy is absent");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let patterns = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/quantize");
    let mut files: Vec<PathBuf> = std::fs::read_dir(patterns).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut cases = vec![];
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let graph = Graph::new(onnx::parse_text(&text).unwrap(), onnx::ExternalData::none());
        let samples = synthetic(&input_specs(&graph, &BTreeMap::new()), &Preprocess::default(), 4, 7).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy();
        let mut add = |target: &str, widths: Widths| {
            let target = Target::named(target).unwrap();
            cases.push(case(folder.path(), &name, (graph.clone(), samples.clone()), &target, Ask::widths(widths)));
        };
        target::names().for_each(|target| add(target, Widths::default()));
        add("fpga", Widths { average: Some(4.0), ..Default::default() });
    }
    compare(&cases);
}

/// Layers that activations, pairs and data movement stand around, which ONNX Runtime fuses before it looks for blocks.
const SURROUNDED: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
net (float[1,2,16,16] x, float[1,64] v) => (float[1,12] y, float[1,20] z)
{
  [conv] c = Conv <kernel_shape = [3, 3], strides = [2, 2]> (x, filter)
  [conv_relu] cr = Relu (c)
  [pool] p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (cr)
  [flat] f = Flatten (p)
  [first] a = Gemm (f, w0, b0)
  [first_relu] ar = Relu (a)
  [second] b = MatMul (ar, w1)
  [clip] bc = Clip (b, low, high)
  [third] y = Gemm (bc, w2, b2)
  [alone] s = MatMul (v, w3)
  [alone_relu] sr = Relu (s)
  [last] z = MatMul (sr, w4)
}
"#;

fn surrounded() -> (Graph, SampleSet) {
    let mut model = onnx::parse_text(SURROUNDED).unwrap();
    let shapes: [(&str, &[usize]); 8] = [
        ("filter", &[8, 2, 3, 3]),
        ("w0", &[72, 48]),
        ("b0", &[48]),
        ("w1", &[48, 32]),
        ("w2", &[32, 12]),
        ("b2", &[12]),
        ("w3", &[64, 64]),
        ("w4", &[64, 20]),
    ];
    let constants = &mut model.graph.as_mut().unwrap().initializer;
    for (name, dims) in shapes {
        let value = |i: usize| ((i * 37 % 101) as f32 / 50.0 - 0.98) * 0.2;
        let count = dims.iter().product();
        constants.push(onnx::from_floats(name, dims, &(0..count).map(value).collect::<Vec<_>>()));
    }
    constants.extend([("low", -0.5), ("high", 3.0)].map(|(name, v)| onnx::from_floats(name, &[], &[v])));
    let graph = Graph::new(model, onnx::ExternalData::none());
    let mut samples = synthetic(&input_specs(&graph, &BTreeMap::new()), &Preprocess::default(), 8, 7).unwrap();
    samples.synthetic = false;
    (graph, samples)
}

/// Weights in blocks, alone and beside integers: ONNX Runtime must make its own kernel of each of them.
#[test]
fn onnx_runtime_multiplies_blocks() {
    if !has_onnxruntime() {
        println!("skipped: python3 with onnx, onnxruntime and numpy is absent");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![];
    let mut blocks = 0;
    for (name, network) in [("vit", read("vit_digits")), ("gru", read("gru_numerals")), ("surrounded", surrounded())] {
        for (bits, size) in [(None, None), (Some(8), None), (None, Some(16))] {
            let variant = Variant { weight_only: true, block_size: size, ..Default::default() };
            let target = Target::named("cpu").unwrap().narrowed(variant).unwrap();
            let ask = Ask::widths(Widths { uniform: bits, ..Default::default() });
            cases.push(case(folder.path(), name, network.clone(), &target, ask));
        }
        for average in [6.5, 6.0, 5.5] {
            let ask = Ask::widths(Widths { average: Some(average), ..Default::default() });
            let cpu = Target::named("cpu").unwrap();
            cases.push(case(folder.path(), name, network.clone(), &cpu, ask));
            blocks += cases.last().and_then(|c| c["fused"][1].as_u64()).unwrap_or(0);
        }
    }
    assert!(blocks > 20, "{blocks} layers in blocks beside integers");
    compare(&cases);
}

#[test]
fn onnx_runtime_computes_what_we_simulate() {
    if !has_onnxruntime() {
        println!("skipped: python3 with onnx, onnxruntime and numpy is absent");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![];
    for network in NETWORKS {
        for name in target::names() {
            let target = Target::named(name).unwrap();
            cases.push(case(folder.path(), network, read(network), &target, Ask::default()));
            if name != "fpga" {
                // High enough that every network gives something up.
                let goal = Ask { goal_db: Some(42.0), ..Default::default() };
                cases.push(case(folder.path(), network, read(network), &target, goal));
            }
            if let Some(wide) = target.activations.bits.iter().find(|b| **b == 16) {
                cases.push(case(folder.path(), network, read(network), &target, Ask::activation_bits(*wide)));
                let mixed = Widths { average_activation: Some(11.0), ..Default::default() };
                cases.push(case(folder.path(), network, read(network), &target, Ask::widths(mixed)));
            }
        }
        let fpga = Target::named("fpga").unwrap();
        let four = Widths { average: Some(4.0), ..Default::default() };
        cases.push(case(folder.path(), network, read(network), &fpga, Ask::widths(four)));
        cases.push(case(folder.path(), network, read(network), &fpga, Ask::activation_bits(3)));
        let both = Widths { average: Some(5.0), average_activation: Some(5.5), ..Default::default() };
        cases.push(case(folder.path(), network, read(network), &fpga, Ask::widths(both)));
    }
    compare(&cases);
}
