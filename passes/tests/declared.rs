//! What float passes make of a file, judged by ONNX's own checker and by ONNX Runtime: the same outputs before and after.
//! Skipped, in words, where Python has no onnxruntime.

use std::path::Path;
use std::process::Command;
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text, to_bytes};
use tapq_passes::{Driver, FoldIf, LowerOpset, Pass, SpellScaler};

/// Checks the second model in full, runs both on the same input, and prints the largest difference.
const JUDGE: &str = r"
import sys, numpy as np, onnx, onnxruntime as ort
before, after = sys.argv[1:]
onnx.checker.check_model(onnx.load(after), full_check=True)
options = ort.SessionOptions()
options.log_severity_level = 3
sessions = [ort.InferenceSession(m, options, providers=['CPUExecutionProvider']) for m in (before, after)]
noise, worst = np.random.default_rng(1), 0.0
for truth in (False, True):
    feed = {}
    for i in sessions[0].get_inputs():
        shape = [d if isinstance(d, int) else 2 for d in i.shape]
        values = noise.normal(size=shape) * 3
        kind = {'tensor(float)': np.float32, 'tensor(int64)': np.int64}.get(i.type)
        feed[i.name] = np.full(shape, truth) if kind is None else values.astype(kind)
    outputs = [s.run(None, feed) for s in sessions]
    worst = max([worst] + [float(np.abs(a - b).max()) for a, b in zip(*outputs)])
print(worst)
";

fn has_onnxruntime() -> bool {
    let probe = Command::new("python3").args(["-c", "import onnx, onnxruntime"]).output();
    probe.is_ok_and(|output| output.status.success())
}

fn judge(folder: &Path, pass: &dyn Pass, case: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/passes/{}/{case}.onnxtxt", pass.name()));
    let model = parse_text(&std::fs::read_to_string(file).unwrap()).unwrap();
    let [before, after] = ["before", "after"].map(|which| folder.join(format!("{case}.{which}.onnx")));
    std::fs::write(&before, to_bytes(&model).unwrap()).unwrap();
    let mut graph = Graph::new(model, ExternalData::none());
    let mut driver = Driver::default();
    driver.run(&mut graph, &[pass]).unwrap();
    assert!(!driver.applied.is_empty(), "{case}");
    std::fs::write(&after, to_bytes(graph.model()).unwrap()).unwrap();
    let judged = Command::new("python3").args(["-c", JUDGE]).args([&before, &after]).output().unwrap();
    assert!(judged.status.success(), "{case}: {}", String::from_utf8_lossy(&judged.stderr));
    let worst: f64 = String::from_utf8_lossy(&judged.stdout).trim().parse().unwrap();
    assert!(worst == 0.0, "{case}: {worst}");
}

#[test]
fn files_stay_valid_and_compute_the_same() {
    if !has_onnxruntime() {
        return eprintln!("skipped: python3 has no onnxruntime");
    }
    let folder = tempfile::tempdir().unwrap();
    judge(folder.path(), &LowerOpset { to: 21 }, "from_23");
    judge(folder.path(), &SpellScaler, "numbers");
    for case in ["taken", "names_that_are_taken", "passes_a_value_through"] {
        judge(folder.path(), &FoldIf, case);
    }
}
