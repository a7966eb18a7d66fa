//! A decoder with a cache, as the builder of onnxruntime-genai writes it, end to end: its tokens are enough.

mod common;

use common::xtask;
use predicates::prelude::*;
use predicates::str::contains;
use std::collections::BTreeSet;
use std::path::Path;
use tapq::onnx::{ExternalData, from_floats, parse_text};
use tempfile::TempDir;

const TEXT: &str = "<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]>
    g (int64[batch,length] input_ids, int64[batch,total] attention_mask,
       float[batch,1,past_length,features] past_key,
       float[batch,1,past_length,features] past_value)
      => (float[batch,length,32] logits, float[batch,1,total,16] present_key, float[batch,1,total,16] present_value)
      <int64[1] one = {1}, int64 second = {1}> {
      [embed] e = Gather (table, input_ids)
      [before] n = SimplifiedLayerNormalization (e, gamma)
      [qkv] packed = MatMul (n, w_qkv)
      counted = ReduceSum <keepdims = 0> (attention_mask, one)
      before = Sub (counted, one)
      last = Cast <to = 6> (before)
      extents = Shape (attention_mask)
      all = Gather (extents, second)
      total_length = Cast <to = 6> (all)
      [attend] a, present_key, present_value = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 1>
        (packed, , , past_key, past_value, last, total_length)
      [out] o = MatMul (a, w_out)
      [norm] h = com.microsoft.SkipSimplifiedLayerNormalization (o, e, gamma)
      [head] logits = MatMul (h, w_head)
    }";

/// A folder with `net.onnx` and `ids.npy`: 24 sequences of 20 tokens.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut model = parse_text(TEXT).unwrap();
    let tensors = [("table", [32, 32]), ("w_qkv", [32, 64]), ("w_out", [32, 32]), ("w_head", [32, 32])];
    let random = |i: usize, seed: usize| ((i * 7919 + 13 * seed) % 101) as f32 / 200.0 - 0.25;
    let graph = model.graph.mut_or_insert_default();
    graph.initializer.extend(tensors.iter().enumerate().map(|(seed, (name, dims))| {
        let values: Vec<f32> = (0..dims[0] * dims[1]).map(|i| random(i, seed + 1)).collect();
        from_floats(name, dims, &values)
    }));
    graph.initializer.push(from_floats("gamma", &[32], &[1.0; 32]));
    tapq::onnx::write(&model, &ExternalData::none(), &folder.path().join("net.onnx")).unwrap();
    let ids: Vec<i64> = (0..24 * 20).map(|i| (i * i + 5 * i + i / 20) % 32).collect();
    write_npy(&folder.path().join("ids.npy"), [24, 20], &ids);
    folder
}

fn write_npy(path: &Path, [rows, columns]: [usize; 2], values: &[i64]) {
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// Operators of ONNX Runtime's own in a file, and its inputs.
fn own_operators(path: &Path) -> (BTreeSet<String>, Vec<String>) {
    let (model, _) = tapq::onnx::read(path).unwrap();
    let own = model.graph.node.iter().filter(|n| n.domain == "com.microsoft").map(|n| n.op_type.clone());
    (own.collect(), model.graph.input.iter().map(|v| v.name.clone()).collect())
}

#[test]
fn tokens_are_enough_and_the_cache_is_not_counted() {
    let folder = folder();
    let run = |extra: &[&str]| {
        let mut command = xtask();
        command.current_dir(folder.path()).args(["quantize", "net.onnx", "--target"]).args(extra);
        command.assert().success()
    };
    run(&["cpu", "--weight-only", "--calib", "ids.npy", "-o", "cpu.onnx", "--min-sqnr", "15"])
        .stderr(contains("made to follow from the tokens: attention_mask and 2 more"))
        .stdout(contains("uncounted  present_key and 1 more").and(contains("held out")));
    let (own, inputs) = own_operators(&folder.path().join("cpu.onnx"));
    let kept = ["GroupQueryAttention", "SkipSimplifiedLayerNormalization"];
    assert_eq!(own, kept.map(str::to_owned).into());
    assert_eq!(inputs, ["input_ids", "attention_mask", "past_key", "past_value"]);
    run(&["jetson", "--calib", "ids.npy", "-o", "jetson.onnx", "--min-sqnr", "15"]);
    let (own, inputs) = own_operators(&folder.path().join("jetson.onnx"));
    assert!(own.is_empty(), "{own:?}");
    assert_eq!(inputs.len(), 4);
    let mut verify = xtask();
    verify.current_dir(folder.path()).args(["verify", "net.onnx", "jetson.onnx", "--calib", "ids.npy"]);
    verify.assert().success().stdout(contains("uncounted: present_key"));
}

/// An empty cache says nothing of what is in it later: its range is that of the keys it is joined with.
#[test]
fn an_empty_cache_has_the_range_of_what_goes_into_it() {
    let folder = folder();
    let mut command = xtask();
    command.current_dir(folder.path()).args(["quantize", "net.onnx", "--target", "hexagon", "--calib", "ids.npy"]);
    command.assert().success();
    let plan = std::fs::read_to_string(folder.path().join("net.hexagon.plan.yaml")).unwrap();
    assert!(plan.contains("nothing was in it; as what it is joined with: "), "{plan}");
    assert!(!plan.contains("all zero"), "{plan}");
}

/// ONNX Runtime's optimizer writes LayerNormalization into files of opsets before 17, which no checker takes.
#[test]
fn a_normalization_before_its_opset_raises_it() {
    let folder = TempDir::new().unwrap();
    let text = "<ir_version: 8, opset_import: [\"\" : 14]>
        g (float[1,4,32] x) => (float[1,4,16] y) { n = LayerNormalization (x, gamma)  y = MatMul (n, w) }";
    let mut model = parse_text(text).unwrap();
    let weight: Vec<f32> = (0..32 * 16).map(|i| ((i * 7919 + 13) % 101) as f32 / 400.0 - 0.125).collect();
    let constants = [from_floats("gamma", &[32], &[1.0; 32]), from_floats("w", &[32, 16], &weight)];
    model.graph.mut_or_insert_default().initializer.extend(constants);
    tapq::onnx::write(&model, &ExternalData::none(), &folder.path().join("net.onnx")).unwrap();
    let mut command = xtask();
    command.current_dir(folder.path()).args(["quantize", "net.onnx", "--target", "jetson", "-q"]).assert().success();
    let (model, _) = tapq::onnx::read(&folder.path().join("net.jetson.onnx")).unwrap();
    assert!(model.opset_import[0].version >= 17, "{:?}", model.opset_import);
}

/// Without samples the length is to be said; the rest follows, too.
#[test]
fn a_length_is_enough_where_there_are_no_samples() {
    let folder = folder();
    let quantize = |extra: &[&str]| {
        let mut command = xtask();
        command.current_dir(folder.path()).args(["quantize", "net.onnx", "--target", "cpu", "--weight-only"]);
        command.args(extra).assert()
    };
    quantize(&[]).code(2).stderr(contains("--dim length=VALUE"));
    quantize(&["--dim", "length=8"]).success();
}
