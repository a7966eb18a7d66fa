//! The command line end to end, on the networks in `fixtures/`.

mod common;

use common::{bytes, fixtures, quantize, xtask};
use predicates::prelude::*;
use predicates::str::contains;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NETWORKS: [&str; 3] = ["resnet_digits", "dwcnn_digits", "vit_digits"];
const TARGETS: [&str; 6] = ["cpu", "cpu-vnni", "esp32-s3", "fpga", "hexagon", "jetson"];

#[test]
fn every_fixture_on_every_target_keeps_its_answers() {
    let folder = TempDir::new().unwrap();
    for network in NETWORKS {
        for target in TARGETS {
            let output = folder.path().join(format!("{network}.{target}.onnx"));
            // Power-of-two scales cost the most; the others must stay closer.
            let (sqnr, agreement) = if target == "esp32-s3" { ("12", "0.75") } else { ("20", "0.75") };
            quantize(network, target, &output)
                .args(["--verify-samples", "16", "--min-sqnr", sqnr, "--min-agreement", agreement])
                .assert()
                .success()
                .stdout(contains("SQNR"));
            assert!(output.with_extension("plan.yaml").exists());
            // So small a network shows what pairs and their names take beside its weights.
            let float = bytes(&fixtures().join(network).with_extension("onnx")).len();
            assert!(bytes(&output).len() * 100 < float * 55, "{network} on {target}: {}", bytes(&output).len());
        }
    }
}

/// Most weights of a network that reads text are in its table and its recurrent cells.
#[test]
fn a_text_network_keeps_its_answers_and_shrinks() {
    let folder = TempDir::new().unwrap();
    for target in TARGETS {
        let output = folder.path().join(format!("{target}.onnx"));
        let bars = ["--verify-samples", "32", "--min-sqnr", "25", "--min-agreement", "0.95"];
        quantize("gru_numerals", target, &output).args(bars).assert().success();
        let float = bytes(&fixtures().join("gru_numerals.onnx")).len();
        let stored = target.starts_with("cpu");
        assert_eq!(stored, bytes(&output).len() * 100 < float * 40, "{target}: {}", bytes(&output).len());
        let says = quantize("gru_numerals", target, &output).args(["--verify-samples", "0"]).assert().success();
        let what = if stored { "no integer kernel for GRU" } else { "takes integer weights of" };
        says.stdout(contains(what));
    }
    let listed = xtask().arg("inspect").arg(fixtures().join("gru_numerals.onnx")).args(["--target", "cpu"]).assert();
    listed.success().stdout(contains("weights alone, 8 bits").and(contains("/letters/Gather")));
}

#[test]
fn the_same_bytes_for_any_thread_count() {
    let folder = TempDir::new().unwrap();
    let asked = [
        ("dwcnn_digits", "cpu", vec![]),
        ("vit_digits", "fpga", vec!["--avg-weight-bits", "4"]),
        ("vit_digits", "jetson", vec!["--goal-sqnr", "40"]),
    ];
    for (network, target, extra) in asked {
        let outputs: Vec<PathBuf> = ["1", "2", "8"]
            .iter()
            .map(|threads| {
                let output = folder.path().join(threads).join(format!("{network}.onnx"));
                std::fs::create_dir_all(output.parent().unwrap()).unwrap();
                let report = output.with_extension("report");
                quantize(network, target, &output)
                    .args(&extra)
                    .arg("--report")
                    .arg(&report)
                    .env("RAYON_NUM_THREADS", threads)
                    .assert()
                    .success();
                output
            })
            .collect();
        for other in &outputs[1..] {
            assert!(bytes(&outputs[0]) == bytes(other), "{network} on {target}: model");
            let plan = |path: &Path| path.with_extension("plan.yaml");
            assert!(bytes(&plan(&outputs[0])) == bytes(&plan(other)), "{network}: plan");
            for file in ["report.json", "report.html"] {
                let report = |path: &Path| path.with_extension("report").join(file);
                assert!(bytes(&report(&outputs[0])) == bytes(&report(other)), "{network}: {file}");
            }
        }
    }
}

#[test]
fn a_plan_replays_to_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let (first, again) = (folder.path().join("first.onnx"), folder.path().join("again.onnx"));
    quantize("resnet_digits", "fpga", &first).args(["--avg-weight-bits", "4"]).assert().success();
    quantize("resnet_digits", "fpga", &again).arg("--plan").arg(first.with_extension("plan.yaml")).assert().success();
    assert!(bytes(&first) == bytes(&again));
    assert!(bytes(&first.with_extension("plan.yaml")) == bytes(&again.with_extension("plan.yaml")));
    let other = folder.path().join("other.onnx");
    quantize("dwcnn_digits", "fpga", &other)
        .arg("--plan")
        .arg(first.with_extension("plan.yaml"))
        .assert()
        .code(2)
        .stderr(contains("TQ403").and(contains("layer '")));
    assert!(!other.exists());
}

/// Rounding that regards its input is part of the file: it must not depend on threads, and needs its samples again.
#[test]
fn narrow_weights_are_the_same_for_any_thread_count_and_need_their_samples() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, threads: &str| {
        let output = folder.path().join(name);
        let args = ["--avg-weight-bits", "4", "--effort", "balanced"];
        quantize("dwcnn_digits", "fpga", &output).args(args).env("RAYON_NUM_THREADS", threads).assert().success();
        output
    };
    let (one, three) = (write("one.onnx", "1"), write("three.onnx", "3"));
    assert!(bytes(&one) == bytes(&three));
    assert!(bytes(&one.with_extension("plan.yaml")) == bytes(&three.with_extension("plan.yaml")));
    let other = folder.path().join("other.onnx");
    quantize("dwcnn_digits", "fpga", &other)
        .args(["--samples", "5"])
        .arg("--plan")
        .arg(one.with_extension("plan.yaml"))
        .assert()
        .code(2)
        .stderr(contains("TQ403").and(contains("samples")));
    assert!(!other.exists());
}

#[test]
fn the_front_is_a_table_json_and_a_plot() {
    let folder = TempDir::new().unwrap();
    let model = fixtures().join("resnet_digits.onnx");
    let mut command = xtask();
    command.arg("pareto").arg(&model).args(["--target", "fpga", "-q", "--report"]).arg(folder.path());
    command.assert().success().stdout(contains("every layer at 4 bits"));
    let text = std::fs::read_to_string(folder.path().join("pareto.json")).unwrap();
    let front: serde_json::Value = serde_json::from_str(&text).unwrap();
    let points = front["points"].as_array().unwrap();
    let chosen: Vec<_> = points.iter().filter(|p| p["uniform"].is_null()).collect();
    assert!(chosen.len() > 20);
    for pair in chosen.windows(2) {
        assert!(pair[0]["average_bits"].as_f64() < pair[1]["average_bits"].as_f64(), "more bits");
        assert!(pair[0]["predicted_db"].as_f64() < pair[1]["predicted_db"].as_f64(), "cost less");
    }
    let plot = std::fs::read_to_string(folder.path().join("pareto.svg")).unwrap();
    assert!(plot.starts_with("<svg xmlns") && plot.trim_end().ends_with("</svg>"));
    // Widths beyond 8 bits are measured as what they are: nearly exact.
    let mut wide = xtask();
    wide.arg("pareto").arg(&model).args(["--target", "esp32-s3", "--act-bits", "16", "-q", "--json"]);
    let found = wide.assert().success();
    let front: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    let widest = front["points"]
        .as_array()
        .unwrap()
        .iter()
        .max_by(|a, b| a["average_bits"].as_f64().unwrap().total_cmp(&b["average_bits"].as_f64().unwrap()));
    let widest = widest.unwrap();
    assert_eq!(widest["average_bits"], 16.0);
    assert!(widest["measured_db"].as_f64().unwrap() > 70.0, "{widest}");
    let mut refused = xtask();
    refused.arg("pareto").arg(&model).args(["--target", "fpga", "--weight-bits", "4"]);
    refused.assert().code(2).stderr(contains("every size"));
}

#[test]
fn json_is_json_and_progress_stays_off_stdout() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.onnx");
    let found = quantize("resnet_digits", "jetson", &output).arg("--json").assert().success();
    let report: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    assert_eq!(report["target"], "jetson");
    assert!(report["fidelity"]["sqnr_db"].as_f64().unwrap() > 20.0);
    assert!(report["size"]["quantized_file"].as_u64().unwrap() == bytes(&output).len() as u64);
}

/// Samples as a `.npy` of float32: eight pictures of one slope each, one of them with a hot pixel.
fn spoilt_samples(path: &Path) {
    const ELEMENTS: usize = 3 * 16 * 16;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (8, 3, 16, 16), }}{:>44}\n", "");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    for sample in 0..8 {
        let value = |i: usize| match (sample, i) {
            (5, 100) => 60.0,
            _ => (i as f32 / ELEMENTS as f32 - 0.5) * (1.0 + sample as f32 / 8.0),
        };
        file.extend((0..ELEMENTS).flat_map(|i| value(i).to_le_bytes()));
    }
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_sample_unlike_the_others_is_left_out_and_named() {
    let folder = TempDir::new().unwrap();
    let (samples, preprocess) = (folder.path().join("spoilt.npy"), folder.path().join("as_is.yaml"));
    spoilt_samples(&samples);
    std::fs::write(&preprocess, "kind: tensor\n").unwrap();
    let run = |extra: &[&str]| {
        let output = folder.path().join("out.onnx");
        let mut command = quantize("dwcnn_digits", "cpu", &output);
        command.arg("--calib").arg(&samples).arg("--preprocess").arg(&preprocess).args(["--samples", "8", "--json"]);
        let found = command.args(extra).assert().success();
        let report: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
        (report["calibration"]["samples"].as_u64().unwrap(), report["warnings"].to_string())
    };
    let (used, warnings) = run(&[]);
    assert_eq!(used, 7);
    assert!(warnings.contains("1 of 8 calibration samples left out (5): input 'input' reaches 60"), "{warnings}");
    let (used, warnings) = run(&["--outliers", "keep"]);
    assert_eq!(used, 8);
    assert!(!warnings.contains("left out"), "{warnings}");
}

#[test]
fn a_bar_that_is_missed_exits_with_3() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.onnx");
    quantize("resnet_digits", "cpu", &output)
        .args(["--min-sqnr", "99"])
        .assert()
        .code(3)
        .stderr(contains("below the bar"));
    assert!(output.exists());
}

/// Where rounding to the nearest makes a poor file, `fast` takes the time to compare it with the other way of rounding.
#[test]
fn a_poor_file_is_rounded_both_ways() {
    let folder = TempDir::new().unwrap();
    for (bits, compared) in [("3", true), ("8", false)] {
        let output = folder.path().join(format!("{bits}.onnx"));
        quantize("resnet_digits", "fpga", &output).args(["--act-bits", bits]).assert().success();
        let plan = std::fs::read_to_string(output.with_extension("plan.yaml")).unwrap();
        assert_eq!(plan.contains("second-order rounding, as a file"), compared, "{bits} bits");
    }
}

#[test]
fn verify_compares_two_files() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.onnx");
    quantize("resnet_digits", "cpu", &output).assert().success();
    // Fewer bits than usual, and where to read why.
    let plan = std::fs::read_to_string(output.with_extension("plan.yaml")).unwrap();
    assert!(plan.contains("why not 8 bits: `xtask targets"), "{plan}");
    let float = fixtures().join("resnet_digits.onnx");
    let verify = |bar: &str| {
        let mut command = xtask();
        command.arg("verify").arg(&float).arg(&output).args(["--quiet", "--min-sqnr", bar]);
        command.assert()
    };
    verify("20").success().stdout(contains("top-1 agreement"));
    verify("99").code(3);
    let mut json = xtask();
    json.arg("verify").arg(&float).arg(&output).args(["--quiet", "--json"]);
    json.assert().success().stdout(contains("\"agreement\"").and(contains("held_out").not()));
}

#[test]
fn check_records_compares_and_notices() {
    let folder = TempDir::new().unwrap();
    let check = |extra: &[&str]| {
        let mut command = xtask();
        command.arg("check").arg(fixtures().join("dwcnn_digits.onnx")).args([
            "--target",
            "jetson",
            "--quiet",
            "--snapshot",
        ]);
        command.arg(folder.path()).args(extra);
        command.assert()
    };
    check(&[]).code(2).stderr(contains("--accept"));
    check(&["--accept"]).success();
    check(&[]).success().stdout(contains("unchanged"));
    check(&["--samples", "12"]).code(1).stdout(contains("+").and(contains("changed")));
}

#[test]
fn inspect_and_targets_say_what_there_is() {
    xtask()
        .arg("inspect")
        .arg(fixtures().join("vit_digits.onnx"))
        .args(["--target", "jetson"])
        .assert()
        .success()
        .stdout(contains("MatMul").and(contains("yes, 8 bits")));
    xtask().arg("targets").assert().success().stdout(contains("jetson").and(contains("esp32-s3")));
    xtask().args(["targets", "jetson"]).assert().success().stdout(contains("INT4"));
    xtask().args(["targets", "nvidia"]).assert().code(2).stderr(contains("jetson"));
}

#[test]
fn proxies_are_listed_explained_and_used_by_name_file_and_formula() {
    let folder = TempDir::new().unwrap();
    xtask().arg("proxies").assert().success().stdout(contains("* tempered-gain").and(contains("hessian-trace")));
    xtask().args(["proxies", "--language"]).assert().success().stdout(contains("out_noise"));
    let file = folder.path().join("mine.yaml");
    let explained = xtask().args(["proxies", "output-error"]).output().unwrap().stdout;
    std::fs::write(&file, &explained).unwrap();
    let run = |proxy: &str| {
        let output = folder.path().join("out.onnx");
        quantize("dwcnn_digits", "fpga", &output)
            .args(["--avg-weight-bits", "4", "--samples", "6", "--proxy", proxy])
            .assert()
            .success();
        std::fs::read_to_string(output.with_extension("plan.yaml")).unwrap()
    };
    let by_name = run("output-error");
    assert!(by_name.contains("proxy: output-error"));
    assert_eq!(run(file.to_str().unwrap()), by_name);
    let by_formula = run("out_err");
    assert!(by_formula.contains("proxy: out_err\n"));
    // The same formula chooses the same widths, whatever it is called.
    let widths = |plan: &str| plan.lines().filter(|l| l.starts_with("  bits:")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(widths(&by_formula), widths(&by_name));
    quantize("dwcnn_digits", "fpga", &folder.path().join("no.onnx"))
        .args(["--avg-weight-bits", "4", "--proxy", "out_er * 2"])
        .assert()
        .code(2)
        .stderr(contains("column 1: unknown feature `out_er`").and(contains("did you mean `out_err`?")));
}
