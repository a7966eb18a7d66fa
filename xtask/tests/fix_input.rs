//! `--fix-input` end to end, on a network whose sampling rate decides between two branches.

mod common;

use assert_cmd::assert::Assert;
use common::{bytes, xtask};
use predicates::prelude::*;
use predicates::str::contains;
use std::path::{Path, PathBuf};
use tapq::onnx::{ExternalData, from_floats, parse_text};
use tempfile::TempDir;

/// Weights of a layer that look random, large enough that it is one.
fn weight(name: &str, dims: [usize; 2]) -> tapq::onnx::Tensor {
    let values: Vec<f32> = (0..dims[0] * dims[1]).map(|i| ((i * 7919 + 13) % 101) as f32 / 400.0 - 0.125).collect();
    from_floats(name, &dims, &values)
}

/// A folder with `net.onnx`: data, a sampling rate and a factor.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let text = "<ir_version: 8, opset_import: [\"\" : 16]>
        g (float[1,32] x, int64 rate, float factor) => (float[1,16] y) <int64 high = {16000}> {
          c = Equal (rate, high)
          h = If (c) <
            then_branch = t () => (float[1,16] p) { [upper] p = Gemm (x, a) },
            else_branch = e () => (float[1,16] q) { n = Relu (x) [lower] q = Gemm (n, b) }>
          y = Mul (h, factor)
        }";
    let mut model = parse_text(text).unwrap();
    model.graph.mut_or_insert_default().initializer.extend([weight("a", [32, 16]), weight("b", [32, 16])]);
    tapq::onnx::write(&model, &ExternalData::none(), &folder.path().join("net.onnx")).unwrap();
    folder
}

fn run(folder: &TempDir, command: &str, extra: &[&str]) -> Assert {
    let mut run = xtask();
    run.current_dir(folder.path()).args([command, "net.onnx"]).args(extra).assert()
}

fn output_of(folder: &TempDir, rate: &str, output: &str) -> PathBuf {
    let fix = format!("rate={rate}");
    let args = ["--target", "cpu", "-q", "--fix-input", &fix, "--fix-input", "factor=0.5", "-o", output];
    run(folder, "quantize", &args).success();
    folder.path().join(output)
}

fn inputs(path: &Path) -> Vec<String> {
    let (model, _) = tapq::onnx::read(path).unwrap();
    model.graph.input.iter().map(|v| v.name.clone()).collect()
}

#[test]
fn the_branch_that_a_fixed_rate_takes_is_quantized() {
    let folder = folder();
    let cpu = ["--target", "cpu", "-q"];
    run(&folder, "quantize", &cpu).code(2).stderr(contains("--fix-input rate=VALUE"));
    for (rate, layer) in [("16000", "upper"), ("8000", "lower")] {
        let fix = format!("rate={rate}");
        let args = [&cpu[..], &["--fix-input", &fix, "--fix-input", "factor=0.5", "--min-sqnr", "30"]].concat();
        let says = "fixed      factor = 0.5 · rate = ".to_owned() + rate;
        run(&folder, "quantize", &args).success().stdout(contains(says).and(contains(layer)));
        assert_eq!(inputs(&folder.path().join("net.cpu.onnx")), ["x"]);
        let plan = std::fs::read_to_string(folder.path().join("net.cpu.plan.yaml")).unwrap();
        assert!(plan.contains("fixed_inputs:") && plan.contains(rate), "{plan}");
    }
    let listed = ["--target", "cpu", "--fix-input", "rate=8000"];
    run(&folder, "inspect", &listed).success().stdout(contains("lower").and(contains("input 'rate' is fixed at 8000")));
    let report = run(&folder, "quantize", &[&cpu[..], &["--json", "--fix-input", "rate=8000"]].concat()).success();
    let report: serde_json::Value = serde_json::from_slice(&report.get_output().stdout).unwrap();
    assert_eq!(report["fixed_inputs"], serde_json::json!({ "rate": "8000" }));
    assert_eq!(report["passes"][0]["reasons"][0], "input 'rate' is always 8000");
    let points = run(&folder, "pareto", &["--target", "fpga", "-q", "--fix-input", "rate=8000"]).success();
    points.stdout(contains("every layer at 4 bits"));
}

#[test]
fn the_sidecar_may_say_it_and_the_command_line_has_the_last_word() {
    let folder = folder();
    std::fs::write(folder.path().join("net.tapq.yaml"), "fixed_inputs: {rate: 16000, factor: 0.5}\n").unwrap();
    run(&folder, "quantize", &["--target", "cpu", "-q"]).success().stdout(contains("upper"));
    let said = output_of(&folder, "16000", "said.onnx");
    assert!(bytes(&said) == bytes(&folder.path().join("net.cpu.onnx")));
    let other = ["--target", "cpu", "-q", "--fix-input", "rate=8000"];
    run(&folder, "quantize", &other).success().stdout(contains("lower").and(contains("factor = 0.5")));
    std::fs::write(folder.path().join("net.tapq.yaml"), "fixed_inputs: {rat: 16000}\n").unwrap();
    run(&folder, "quantize", &["--target", "cpu", "-q"]).code(2).stderr(contains("no input 'rat'"));
}

#[test]
fn a_plan_wants_its_inputs_fixed() {
    let folder = folder();
    let first = output_of(&folder, "16000", "first.onnx");
    let replay = |extra: &[&str]| {
        let args = ["--target", "cpu", "-q", "--plan", "first.plan.yaml", "-o", "again.onnx"];
        run(&folder, "quantize", &[&args[..], extra].concat())
    };
    replay(&["--fix-input", "rate=16000", "--fix-input", "factor=0.50"]).success();
    assert!(bytes(&first) == bytes(&folder.path().join("again.onnx")));
    let refused = |extra: &[&str], wanted: &str| {
        replay(extra).code(2).stderr(contains("TQ403").and(contains(wanted)));
    };
    refused(&[], "say --fix-input factor=0.5");
    refused(&["--fix-input", "factor=0.5"], "say --fix-input rate=16000");
    refused(&["--fix-input", "factor=0.5", "--fix-input", "rate=8000"], "and here it is fixed at 8000");
}

#[test]
fn verify_fixes_what_the_file_has_fixed() {
    let folder = folder();
    output_of(&folder, "16000", "quantized.onnx");
    let verify = |judged: &str, extra: &[&str]| {
        run(&folder, "verify", &[&[judged, "-q", "--min-sqnr", "30"][..], extra].concat())
    };
    verify("quantized.onnx", &[]).success().stdout(contains("SQNR"));
    verify("quantized.onnx", &["--fix-input", "rate=16000"]).success();
    let other = verify("quantized.onnx", &["--fix-input", "rate=8000"]).code(2);
    other.stderr(contains("quantized.onnx: input 'rate' is 16000 in this file, and 8000 was asked for"));
    // A file of another tool does not say what it has fixed.
    let (mut model, external) = tapq::onnx::read(&folder.path().join("quantized.onnx")).unwrap();
    model.metadata_props.clear();
    tapq::onnx::write(&model, &external, &folder.path().join("foreign.onnx")).unwrap();
    verify("foreign.onnx", &[]).code(2).stderr(contains("no input 'rate'").and(contains("--fix-input rate=VALUE")));
    verify("foreign.onnx", &["--fix-input", "rate=16000", "--fix-input", "factor=0.5"]).success();
}

#[test]
fn check_notices_another_value() {
    let folder = folder();
    let check = |extra: &[&str]| {
        run(&folder, "check", &[&["--target", "cpu", "-q", "--snapshot", "snap", "--fix-input"], extra].concat())
    };
    check(&["rate=16000", "--accept"]).success();
    check(&["rate=16000"]).success();
    check(&["rate=8000"]).code(1).stdout(contains("+  rate: '8000'"));
}

#[test]
fn what_cannot_be_fixed_is_said() {
    let folder = folder();
    let check = |fix: &[&str], wanted: &str| {
        let args: Vec<&str> = fix.iter().flat_map(|fix| ["--fix-input", fix]).collect();
        run(&folder, "quantize", &[&["--target", "cpu", "-q"], &args[..]].concat()).code(2).stderr(contains(wanted));
    };
    check(&["rat=1"], "its inputs are: x, rate, factor");
    check(&["rate"], "expected NAME=VALUE");
    check(&["rate=16k"], "net.onnx: fixed input 'rate': '16k' is no int64");
    check(&["rate=1", "rate=2"], "'rate' is to be 1 and 2");
    check(&["rate=1", "factor=1", "x=0"], "every input of the model is fixed");
    assert!(!folder.path().join("net.cpu.onnx").exists());
}
