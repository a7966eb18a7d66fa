//! Opset conversions judged by ONNX Runtime: models over every rewritten operator give the same outputs before and
//! after. Skipped, in words, where Python has no onnxruntime.

use std::path::Path;
use std::process::Command;
use tapq::graph::{Graph, verify};
use tapq::onnx::{parse, to_bytes};
use tapq_passes::upgrade_opset;

fn script(command: &str, folder: &Path) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade_models.py");
    Command::new("python3").arg(script).arg(command).arg(folder).output().expect("python3 was there a moment ago")
}

fn has_onnxruntime() -> bool {
    let probe = Command::new("python3").args(["-c", "import onnx, onnxruntime"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// Writes the conversions of one model beside it; how many there were to write.
fn convert(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let mut converted = 0;
    for to in [13, 18, 21] {
        let mut graph = Graph::new(parse(&bytes).unwrap(), tapq::onnx::ExternalData::none());
        let patch = upgrade_opset(&graph, to).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if patch.is_empty() {
            continue;
        }
        graph.apply(patch);
        assert_eq!(verify(&graph), [], "{}", path.display());
        std::fs::write(format!("{}.to{to}", path.display()), to_bytes(graph.model()).unwrap()).unwrap();
        converted += 1;
    }
    converted
}

#[test]
fn converted_models_compute_the_same() {
    if !has_onnxruntime() {
        eprintln!("skipped: python3 has no onnxruntime");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = script("make", folder.path());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut models: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    models.sort();
    let converted: usize = models.iter().map(|path| convert(path)).sum();
    assert!(converted > 300, "only {converted} conversions were written");
    let judged = script("compare", folder.path());
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    assert_eq!(String::from_utf8_lossy(&judged.stdout).trim(), format!("{converted} conversions compared"));
}
