//! The engine on real networks, against ONNX Runtime where python3 has it.
//!
//! The networks lie beside the checkout; a test says in words what it skipped where they or the peer are absent.

use std::path::{Path, PathBuf};
use std::process::Command;
use tapq::array::Array;
use tapq::engine::{Engine, Options};
use tapq::graph::Graph;
use tapq::samples::Sample;

/// Runs a model on one float32 input; the first output follows as float32.
const PEER: &str = r"
import sys, numpy as np, onnxruntime as ort
model, source, dims, optimize, target = sys.argv[1:]
so = ort.SessionOptions()
so.log_severity_level = 3
if optimize == 'plain':
    so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
s = ort.InferenceSession(model, so, providers=['CPUExecutionProvider'])
x = np.fromfile(source, np.float32).reshape([int(d) for d in dims.split(',')])
s.run(None, {s.get_inputs()[0].name: x})[0].astype(np.float32).tofile(target)
";

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path)
}

fn python(arguments: &[&str]) -> Option<String> {
    let out = Command::new("python3").args(arguments).output().ok()?;
    match out.status.success() {
        true => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => {
            println!("skipped: {}", String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or("python3 failed"));
            None
        }
    }
}

fn load(path: &Path) -> Option<Graph> {
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    let (model, external) = tapq::onnx::read(path).unwrap();
    Some(Graph::new(model, external))
}

/// Smooth, deterministic input of about unit variance.
fn input(dims: &[usize]) -> Vec<f32> {
    let mut state = 1u64;
    let mut noise = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let width = *dims.last().unwrap_or(&1);
    (0..dims.iter().product())
        .map(|i| ((i % width) as f32 / 5.0).sin() + ((i / width) as f32 / 7.0).cos() + noise())
        .collect()
}

fn ours(graph: &Graph, dims: &[usize], values: &[f32]) -> Vec<f32> {
    let engine = Engine::new(graph, &[], &Options::default()).unwrap();
    let name = graph.proto().input[0].name.clone();
    let sample = Sample { inputs: vec![(name, Array::from_f32(dims.to_vec(), values.to_vec()))] };
    let found = engine.run(&sample, &mut |_, _| {}).unwrap();
    found[0].as_f32().unwrap().to_vec()
}

fn theirs(path: &Path, dims: &[usize], values: &[f32], optimize: &str) -> Option<Vec<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("x"), folder.path().join("y"));
    std::fs::write(&source, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let shape: Vec<String> = dims.iter().map(ToString::to_string).collect();
    let [model, source, target_text] = [path, &source, &target].map(|p| p.to_str().unwrap());
    python(&["-c", PEER, model, source, &shape.join(","), optimize, target_text])?;
    let bytes = std::fs::read(&target).unwrap();
    Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Signal to difference in dB, and the largest difference relative to the largest output.
fn compare(ours: &[f32], theirs: &[f32]) -> (f64, f64) {
    assert_eq!(ours.len(), theirs.len());
    let pairs = || ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let signal: f64 = pairs().map(|(_, b)| b * b).sum();
    let noise: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    let scale = pairs().fold(0.0, |m: f64, (_, b)| m.max(b.abs()));
    let worst = pairs().fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
    (10.0 * (signal / noise.max(1e-30)).log10(), worst / scale)
}

fn check_float(file: &str, dims: &[usize]) {
    check_path(&shared("assets/models").join(file), dims);
}

fn check_path(path: &Path, dims: &[usize]) {
    let file = path.file_name().unwrap_or_default().display();
    let Some(graph) = load(path) else { return };
    let x = input(dims);
    let ours = ours(&graph, dims, &x);
    let Some(theirs) = theirs(path, dims, &x, "all") else { return };
    let (db, worst) = compare(&ours, &theirs);
    println!("{file} {dims:?}: {db:.1} dB, worst {worst:.1e}");
    assert!(worst < 1e-4, "{file} {dims:?}: {worst}");
}

#[test]
fn float_networks_equal_onnx_runtime() {
    check_float("resnet20_cifar10.onnx", &[1, 3, 32, 32]);
    check_float("resnet56_cifar10.onnx", &[1, 3, 32, 32]);
    check_float("kws_dscnn.onnx", &[1, 1, 49, 10]);
    check_float("vit_cifar10_op17ln.onnx", &[1, 3, 32, 32]);
    check_float("mobilenet_v1_075_224.onnx", &[1, 3, 224, 224]);
    check_float("efficientnet_lite0.onnx", &[1, 3, 224, 224]);
}

#[test]
fn fixtures_equal_onnx_runtime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let Ok(entries) = std::fs::read_dir(&folder) else { return println!("skipped: no fixtures") };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    // Those that take pictures; the one that reads text meets ONNX Runtime once it is quantized.
    paths.retain(|p| p.to_str().is_some_and(|p| p.ends_with("_digits.onnx")));
    paths.sort();
    paths.iter().for_each(|path| check_path(path, &[1, 3, 16, 16]));
}

/// A cell that a loop repeats, as Keras writes one: a counter in the condition, weights handed on, steps stacked, the
/// sequence captured; before it a reversed sequence, behind it a branch that depends on the shape.
const RECURRENT: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
net (float[1,6,4] x) => (float[1,6,4] y)
<int64[1] lengths = {6}, int32 zero = {0}, int32 six = {6}, int64 rounds = {6}, int64 axis = {1}, int64 many = {6},
 float[1,4] start = {0, 0, 0, 0},
 float[4,4] w = {0.5, -0.25, 0.125, 0.75, -0.5, 0.25, 1, -1, 0.3, 0.2, -0.7, 0.9, 0.1, -0.6, 0.4, 0.8},
 float[4,4] r = {0.2, 0.7, -0.1, 0.4, -0.3, 0.6, 0.5, -0.2, 0.8, -0.9, 0.15, 0.35, -0.45, 0.05, 0.65, -0.55}>
{
  back = ReverseSequence <time_axis = 1, batch_axis = 0> (x, lengths)
  steps = Transpose <perm = [1, 0, 2]> (back)
  begins = Less (zero, six)
  counted, state, same_w, same_r, stack = Loop (rounds, begins, zero, start, w, r) <body = cell
    (int64 i, bool on, int32 n, float[1,4] h, float[4,4] cw, float[4,4] cr)
    => (bool goes, int32 next, float[1,4] g, float[4,4] kw, float[4,4] kr, float[1,4] each)
    <int32 one = {1}, float last = {6}> {
      next = Add (n, one)
      now = Gather <axis = 0> (steps, n)
      a = MatMul (now, cw)
      b = MatMul (h, cr)
      z = Sigmoid (b)
      c = Tanh (a)
      zc = Mul (z, c)
      g = Add (zc, b)
      each = Identity (g)
      kw = Identity (cw)
      kr = Identity (cr)
      f = Cast <to = 1> (next)
      goes = Less (f, last)
    }>
  shape = Shape (x)
  extent = Gather (shape, axis)
  is_many = Equal (extent, many)
  ahead = If (is_many) <then_branch = yes () => (float[1,6,4] p) { p = Transpose <perm = [1, 0, 2]> (stack) },
                        else_branch = no () => (float[1,4] q) { q = Identity (state) }>
  y = Tanh (ahead)
}"#;

#[test]
fn loops_and_branches_equal_onnx_runtime() {
    let model = tapq::onnx::parse_text(RECURRENT).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recurrent.onnx");
    std::fs::write(&path, tapq::onnx::to_bytes(&model).unwrap()).unwrap();
    let (graph, x) = (load(&path).unwrap(), input(&[1, 6, 4]));
    let ours = ours(&graph, &[1, 6, 4], &x);
    let Some(theirs) = theirs(&path, &[1, 6, 4], &x, "all") else { return };
    let (db, _) = compare(&ours, &theirs);
    assert!(db > 100.0, "{db:.1} dB");
}

#[test]
fn dynamic_width_runs_at_several_widths() {
    check_float("ppocrv4_rec.onnx", &[1, 3, 48, 320]);
    check_float("ppocrv4_rec.onnx", &[1, 3, 48, 640]);
}

/// Quantizes with the peer's own quantizer, then compares the two simulations.
///
/// Sums in another order flip a few roundings at ties, and each flip is one quantization step; so the bar is a
/// distance well below the quantization noise, not equality.
fn check_quantized(name: &str, variant: &str, dims: &[usize], least_db: f64) {
    let tool = shared("tools/peer_ort.py");
    if !tool.exists() {
        return println!("skipped: {} is not there", tool.display());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quantized.onnx");
    let arguments = [tool.to_str().unwrap(), name, path.to_str().unwrap(), "--variant", variant];
    if python(&arguments).is_none() {
        return;
    }
    let graph = load(&path).unwrap();
    let x = input(dims);
    let ours = ours(&graph, dims, &x);
    let theirs = theirs(&path, dims, &x, "plain").unwrap();
    let (db, worst) = compare(&ours, &theirs);
    println!("{name} {variant}: {db:.1} dB, worst {worst:.1e}");
    assert!(db > least_db, "{name} {variant}: {db:.1} dB between the simulations");
}

#[test]
fn quantized_networks_simulate_as_onnx_runtime_does() {
    for variant in ["u8s8", "s8s8", "w4a8"] {
        check_quantized("resnet20_cifar10", variant, &[1, 3, 32, 32], 35.0);
    }
    check_quantized("kws_dscnn", "u8s8", &[1, 1, 49, 10], 35.0);
    check_quantized("vit_cifar10_op17ln", "u8s8", &[1, 3, 32, 32], 35.0);
}
