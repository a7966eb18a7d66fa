//! Weights in blocks end to end.

mod common;

use common::{bytes, quantize, xtask};
use predicates::prelude::*;
use predicates::str::contains;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn weights_alone_are_the_same_for_any_thread_count_and_replay() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |output: &Path, threads: &str, args: &[&str]| {
        quantize("vit_digits", "cpu", output).args(args).env("RAYON_NUM_THREADS", threads).assert()
    };
    let (one, three, again) = (path("one.onnx"), path("three.onnx"), path("again.onnx"));
    let args = ["--weight-only", "--report", &path("report").display().to_string()];
    let shown = run(&one, "1", &args).success();
    shown.stdout(contains("13 layers multiply in float; blocks of 64 weights share a scale").and(contains("int4/64")));
    run(&three, "3", &["--weight-only"]).success();
    assert!(bytes(&one) == bytes(&three));
    let plan = one.with_extension("plan.yaml");
    assert!(String::from_utf8(bytes(&plan)).unwrap().contains("variant:\n  weight_only: true\n"));
    // The plan says itself that nothing else is quantized.
    run(&again, "2", &["--plan", &plan.display().to_string()]).success();
    assert!(bytes(&one) == bytes(&again));
    let report: serde_json::Value = serde_json::from_slice(&bytes(&path("report/report.json"))).unwrap();
    assert_eq!((&report["layers"][1]["block"], &report["layers"][1]["bits"]), (&64.into(), &4.into()));
    assert!(String::from_utf8(bytes(&path("report/report.html"))).unwrap().contains("int4/64"));
}

#[test]
fn blocks_are_asked_for_and_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.onnx");
    let run = |target: &str, args: &[&str]| quantize("vit_digits", target, &output).args(args).assert();
    run("cpu", &["--weight-only", "--block-size", "16"]).success().stdout(contains("blocks of 16 weights"));
    run("cpu", &["--weight-only", "--weight-bits", "8"]).success().stdout(contains("int8/64"));
    // Beside layers that run with integers.
    let mixed = run("cpu", &["--avg-weight-bits", "6"]).success();
    mixed.stdout(contains("multiply in float").and(contains("int4/64")).and(contains("int8 ")));
    run("cpu", &["--block-size", "32"]).success().stdout(contains("--block-size changes nothing"));
    run("fpga", &["--weight-only"]).code(2).stderr(contains("cpu, cpu-vnni, jetson have"));
    run("cpu", &["--block-size", "48"]).code(2).stderr(contains("blocks of 16, 32, 64, 128, 256"));
    run("cpu", &["--weight-only", "--weight-bits", "3"]).code(2).stderr(contains("takes 4- or 8-bit weights"));
    run("cpu", &["--weight-only", "--act-bits", "8"]).code(2).stderr(contains("cannot be used with"));
    let convolution = run("cpu", &["--weight-bits", "4"]).code(2);
    convolution.stderr(contains("no 4-bit convolution").and(contains("--avg-weight-bits")));
    // No fan-in of this network is a multiple of 64.
    run("jetson", &["--weight-only"])
        .code(2)
        .stderr(contains("no layer of this model has weights in blocks on jetson"));
    let mut inspect = xtask();
    inspect.arg("inspect").arg(common::fixtures().join("vit_digits.onnx")).args(["--target", "cpu"]);
    inspect.assert().success().stdout(contains("yes, 7 bits; 4 in blocks of 64"));
}
