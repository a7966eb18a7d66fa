//! What the command line refuses, and in which words.

mod common;

use common::{bytes, fixtures, quantize, xtask};
use predicates::prelude::*;
use predicates::str::contains;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A model of text on disk.
fn written(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("model.onnx");
    let model = tapq::onnx::parse_text(text).unwrap();
    tapq::onnx::write(&model, &tapq::onnx::ExternalData::none(), &path).unwrap();
    path
}

#[test]
fn what_cannot_be_quantized_is_named() {
    let folder = TempDir::new().unwrap();
    let text = "<ir_version: 8, opset_import: [\"\" : 13]> g (int32[N,length] ids) => (double[N,2] y)
        <double[1,2] w = {1, 2}> { h = Cast <to = 11> (ids) [fc] y = Gemm (h, w) }";
    let path = written(&folder, text);
    let run =
        |command: &str, extra: &[&str]| xtask().arg(command).arg(&path).args(["--target", "cpu"]).args(extra).assert();
    run("quantize", &[]).code(2).stderr(contains("--dim length=VALUE"));
    run("quantize", &["--dim", "len=1"])
        .code(2)
        .stderr(contains("symbolic dimension 'len'").and(contains("N, length")));
    let named = "the weight of Gemm 'fc' is DOUBLE";
    run("quantize", &["--dim", "length=1"]).code(2).stderr(contains(named).and(contains("float32")));
    run("inspect", &["--dim", "length=1"]).success().stdout(contains(named));
    run("inspect", &["--dim", "len=1"]).code(2);
}

#[test]
fn inspect_runs_the_samples_that_are_given() {
    let folder = TempDir::new().unwrap();
    let text = "<ir_version: 8, opset_import: [\"\" : 13]> g (float[N,3,height,width] x) => (y)
        <float[1,3,1,1] w = {1, 2, 3}> { [conv] y = Conv (x, w) }";
    let path = written(&folder, text);
    let inspect = |extra: &[&str]| xtask().arg("inspect").arg(&path).args(extra).assert();
    inspect(&[]).success().stdout(contains("--dim height=VALUE").and(contains("? MACs")));
    let calib = fixtures().join("digits_calib.npz");
    inspect(&["--calib", calib.to_str().unwrap(), "--preprocess", "raw"]).success().stdout(contains(" 768 MACs"));
    inspect(&["--calib", "/no/such.npz"]).code(2).stderr(contains("/no/such.npz"));
}

#[test]
fn no_bar_is_met_where_the_network_says_nothing() {
    let folder = TempDir::new().unwrap();
    let text = "<ir_version: 8, opset_import: [\"\" : 13]> g (int32[N,2] ids) => (float[N,3] y)
        <float[2,3] w = {1, 2, 3, 4, 5, 6}> { h = Cast <to = 1> (ids) [fc] y = MatMul (h, w) }";
    let path = written(&folder, text);
    let bar = ["--target", "cpu", "-q", "--min-sqnr", "1"];
    let found = xtask().arg("quantize").arg(&path).args(bar).assert().code(3);
    found.stdout(contains("says nothing")).stderr(contains("the same on all"));
}

/// Bad input: one message that names file and place, exit code 2, nothing half-written.
#[test]
fn bad_input_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let sound = bytes(&fixtures().join("resnet_digits.onnx"));
    let truncated = write("truncated.onnx", &sound[..sound.len() / 2]);
    let text = write("text.onnx", b"this is not a model");
    let empty = write("empty.onnx", b"");
    let npz = fixtures().join("digits_calib.npz");
    let output = folder.path().join("out.onnx");
    let check = |model: &Path, extra: &[&str], wanted: &str| {
        let mut command = xtask();
        command.arg("quantize").arg(model).arg("--quiet").args(extra);
        if !extra.contains(&"-o") {
            command.arg("-o").arg(&output);
        }
        let found = command.assert().code(2);
        let stderr = String::from_utf8_lossy(&found.get_output().stderr).into_owned();
        assert!(stderr.contains(wanted), "wanted '{wanted}' in: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(!output.exists(), "{wanted}");
    };
    let calib = npz.to_string_lossy().into_owned();
    let real = fixtures().join("resnet_digits.onnx");
    check(&truncated, &["--target", "cpu"], "truncated.onnx");
    check(&text, &["--target", "cpu"], "text.onnx");
    check(&empty, &["--target", "cpu"], "empty.onnx");
    check(&folder.path().join("absent.onnx"), &["--target", "cpu"], "absent.onnx");
    check(&real, &["--target", "gpu"], "jetson");
    check(&real, &["--target", "cpu", "--weight-bits", "4"], "TQ402");
    check(&real, &["--target", "jetson", "--act-bits", "16"], "TQ402");
    check(&real, &["--target", "cpu", "--calib", "/no/such/folder"], "/no/such/folder");
    check(&real, &["--target", "cpu", "--keep-float", "nobody"], "nobody");
    check(&real, &["--target", "cpu", "--dim", "widht=8"], "its inputs have");
    check(&real, &["--target", "fpga", "--avg-weight-bits", "1.5"], "least is 2.00 weight bits on average, asked 1.50");
    check(&real, &["--target", "cpu", "--avg-weight-bits", "6"], "offers these layers weights of 4, 7 bits");
    check(&real, &["--target", "cpu", "--calib", &calib, "--preprocess", "imagenet"], "TQ301");
    let unknown_key = write("target.yaml", b"name: mine\ncolour: red\n");
    check(&real, &["--target", unknown_key.to_str().unwrap()], "colour");
    let preprocess = write("pre.yaml", b"kind: image\nmeen: [1, 2, 3]\n");
    check(&real, &["--target", "cpu", "--calib", &calib, "--preprocess", preprocess.to_str().unwrap()], "meen");
    check(&real, &["--target", "cpu", "-o", "/no/such/folder/out.onnx"], "/no/such/folder");
    check(&real, &["--target", "cpu", "-o", real.to_str().unwrap()], "overwrite");
    assert_eq!(sound, bytes(&real), "the input is never touched");
    let samples = folder.path().join("samples.npz");
    std::fs::copy(&npz, &samples).unwrap();
    let own = samples.to_str().unwrap();
    check(&real, &["--target", "cpu", "--calib", own, "-o", own], "overwrite");
    assert_eq!(bytes(&samples), bytes(&npz), "the samples are never touched");
    check(&real, &["--target", "cpu", "--report", &format!("{own}/report")], "samples.npz is no folder");
    check(&real, &["--target", "cpu", "--min-sqnr", "nan"], "expected a number");
    let quantized = folder.path().join("quantized.onnx");
    quantize("resnet_digits", "cpu", &quantized).assert().success();
    check(&quantized, &["--target", "cpu", "--calib", &calib, "--preprocess", "unit"], "TQ103");
    let leftovers: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(leftovers.is_empty());
}

/// A pipe that is closed early is the reader's choice; a disk that is full is a failure.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
    let found = command.arg("targets").stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&found.stderr).into_owned();
    assert_eq!(found.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot write to standard output: No space left"), "{stderr}");
}
