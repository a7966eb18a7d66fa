//! An encoder of padded sentences, end to end: what a mask leaves out counts nowhere, and sentences may differ in length.

mod common;

use common::xtask;
use predicates::prelude::*;
use predicates::str::contains;
use std::path::Path;
use tapq::onnx::{DataType, ExternalData, from_floats, parse_text};
use tempfile::TempDir;

const TEXT: &str = "<ir_version: 8, opset_import: [\"\" : 17]>
    g (int64[1,length] input_ids, int64[1,length] attention_mask) => (float[1,length,16] hidden)
      <int64[1] axis = {1}, float one = {1}, float far = {-10000}> {
      [embed] x = Gather (table, input_ids)
      [query] q = MatMul (x, w_query)
      [key] k = MatMul (x, w_key)
      [value] v = MatMul (x, w_value)
      turned = Transpose <perm = [0, 2, 1]> (k)
      scores = MatMul (q, turned)
      counts = Cast <to = 1> (attention_mask)
      left_out = Sub (one, counts)
      penalty = Mul (left_out, far)
      wide = Unsqueeze (penalty, axis)
      masked = Add (scores, wide)
      weights = Softmax <axis = -1> (masked)
      mixed = MatMul (weights, v)
      [out] o = MatMul (mixed, w_out)
      residual = Add (o, x)
      [norm] n = LayerNormalization (residual, gamma, beta)
      [up] u = MatMul (n, w_up)
      r = Relu (u)
      [down] d = MatMul (r, w_down)
      again = Add (d, n)
      [last] hidden = LayerNormalization (again, gamma, beta)
    }";

/// A folder with `net.onnx` and sentences of 24 places, of which as many count as `lengths` says.
fn folder(lengths: &[usize]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut model = parse_text(TEXT).unwrap();
    let tensors = [
        ("table", [40, 16]),
        ("w_query", [16, 8]),
        ("w_key", [16, 8]),
        ("w_value", [16, 16]),
        ("w_out", [16, 16]),
        ("w_up", [16, 64]),
        ("w_down", [64, 16]),
    ];
    let random = |i: usize, seed: usize| ((i * 7919 + 13 * seed + i * i) % 101) as f32 / 100.0 - 0.5;
    let graph = model.graph.mut_or_insert_default();
    graph.initializer.extend(tensors.iter().enumerate().map(|(seed, (name, dims))| {
        let values: Vec<f32> = (0..dims[0] * dims[1]).map(|i| random(i, seed + 1)).collect();
        from_floats(name, dims, &values)
    }));
    graph.initializer.extend([from_floats("gamma", &[16], &[1.0; 16]), from_floats("beta", &[16], &[0.1; 16])]);
    tapq::onnx::write(&model, &ExternalData::none(), &folder.path().join("net.onnx")).unwrap();
    for (at, length) in lengths.iter().enumerate() {
        let set = folder.path().join(format!("samples/test_data_set_{at}"));
        std::fs::create_dir_all(&set).unwrap();
        let ids: Vec<i64> =
            (0..24).map(|i| if i < *length { ((at * 31 + i * i + 7 * i) % 39) as i64 + 1 } else { 0 }).collect();
        let mask: Vec<i64> = (0..24).map(|i| i64::from(i < *length)).collect();
        save(&set.join("input_0.pb"), "input_ids", &ids);
        save(&set.join("input_1.pb"), "attention_mask", &mask);
    }
    folder
}

/// A tensor of whole numbers in one row, as a file of its own.
fn save(path: &Path, name: &str, values: &[i64]) {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    // Fields of TensorProto: dims, data_type, name, raw_data.
    let mut bytes = vec![0x08, 1, 0x08, values.len() as u8, 0x10, DataType::INT64 as u8, 0x42, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.extend([0x4a, (raw.len() % 128) as u8 | 0x80, (raw.len() / 128) as u8]);
    bytes.extend(raw);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn padding_counts_nowhere_and_lengths_may_differ() {
    let lengths: Vec<usize> = (0..20).map(|i| 3 + (i * 5) % 22).collect();
    let folder = folder(&lengths);
    let run = |extra: &[&str]| {
        let mut command = xtask();
        command.current_dir(folder.path()).args(["quantize", "net.onnx", "--calib", "samples"]).args(extra);
        command.assert().success()
    };
    let kept: usize = lengths.iter().take(16).map(|n| n.next_multiple_of(6)).sum();
    let note = format!("{kept} of 384 tokens are left");
    run(&["--target", "cpu", "-o", "cpu.onnx", "--min-sqnr", "20"]).stderr(contains(note));
    run(&["--target", "hexagon", "-o", "hexagon.onnx", "--act-bits", "16", "--min-sqnr", "25"]);
    run(&["--target", "cpu", "--weight-only", "-q", "-o", "blocks.onnx"]).stderr(contains("tokens").not());
    let mut verify = xtask();
    verify.current_dir(folder.path()).args(["verify", "net.onnx", "cpu.onnx", "--calib", "samples"]);
    verify.assert().success().stderr(contains("tokens are left"));
}
