//! What is fused, what is called and what is of 16 bits, against ONNX Runtime: it computes the same with the operators as
//! they were, with what stands for them, and so do we. Skipped, in words, where Python has none.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::sample;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tapq::array::Values;
use tapq::engine::{Engine, Options};
use tapq::graph::{Graph, types};
use tapq::onnx::{DataType, ExternalData, parse_text, to_bytes};
use tapq_passes::{Driver, InlineFunctions, Pass, Unfuse, UnfuseLayers, WidenHalf};

/// How far an output may be off, in parts of its largest element or of one.
const SAME: f64 = 1e-5;

/// What ONNX Runtime does not take, a function that gives out its argument and products of bfloat16: only what stands for
/// them is run.
const ONLY_AFTER: [&str; 2] = ["inline_functions/argument_out", "widen_half/brain"];

/// Every case of a pass that changes.
fn cases(pass: &dyn Pass) -> Vec<(PathBuf, Graph)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/passes").join(pass.name());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.retain(|file| !file.file_stem().unwrap().to_string_lossy().starts_with("refused"));
    let read = |file: PathBuf| {
        let graph = Graph::new(parse_text(&std::fs::read_to_string(&file).unwrap()).unwrap(), ExternalData::none());
        (file, graph)
    };
    files.into_iter().map(read).collect()
}

fn feeds(graph: &Graph) -> Vec<Value> {
    let feed = |(name, array): &(String, tapq::array::Array)| {
        let declared = types(graph.proto(), &HashMap::new());
        let (values, kind) = match &array.values {
            Values::F32(v) if declared[name.as_str()] == DataType::FLOAT16 as i32 => (json!(v), "float16"),
            Values::F32(v) => (json!(v), "float32"),
            Values::I32(v) => (json!(v), "int32"),
            Values::I64(v) => (json!(v), "int64"),
            Values::Bool(v) => (json!(v), "bool"),
            other => panic!("{}", other.type_name()),
        };
        json!({ "name": name, "dims": array.dims, "values": values, "type": kind })
    };
    sample(graph).inputs.iter().map(feed).collect()
}

/// What ONNX Runtime computes, file by file; `None` where there is none.
fn onnx_runtime(files: &[Value]) -> Option<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fused.py");
    let has = Command::new("python3").args(["-c", "import numpy, onnxruntime"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut python = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(json!(files).to_string().as_bytes()).unwrap();
    let done = python.wait_with_output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

type Outputs = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn outputs(place: &str, found: &Value) -> Outputs {
    assert!(found.is_object(), "{place}: {found}");
    serde_json::from_value(found.clone()).unwrap()
}

/// What we compute: outputs that are caches are not run for unless they are asked for.
fn ours(graph: &Graph) -> Outputs {
    let names: Vec<String> = graph.proto().output.iter().map(|v| v.name.clone()).collect();
    let engine = Engine::with_outputs(graph, &names, &[], &Options::default()).unwrap();
    let found = engine.run(&sample(graph), &mut |_, _| {}).unwrap();
    let floats = |array: &tapq::array::Array| array.as_f32().unwrap().iter().map(|v| f64::from(*v)).collect();
    names.into_iter().zip(&found).map(|(name, array)| (name, (array.dims.clone(), floats(array)))).collect()
}

fn same(place: &str, wanted: &Outputs, found: &Outputs) {
    for (name, (dims, values)) in wanted {
        let (other_dims, others) = &found[name];
        assert_eq!(dims, other_dims, "{place}: '{name}'");
        let most = values.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (a, b) in values.iter().zip(others) {
            assert!((a - b).abs() <= SAME * most, "{place}: '{name}' is {a} and {b}");
        }
    }
}

#[test]
fn what_is_taken_apart_computes_the_same_in_onnx_runtime_and_here() {
    let folder = tempfile::tempdir().unwrap();
    let passes: [&dyn Pass; 4] = [&Unfuse, &UnfuseLayers, &InlineFunctions, &WidenHalf];
    let (mut asked, mut graphs) = (vec![], vec![]);
    for pass in passes {
        for (file, before) in cases(pass) {
            let place = format!("{}/{}", pass.name(), file.file_stem().unwrap().to_string_lossy());
            let mut after = before.clone();
            Driver::default().run(&mut after, &[pass]).unwrap();
            for (state, graph) in [("before", &before), ("after", &after)] {
                let model = folder.path().join(format!("{}.{state}.onnx", place.replace('/', ".")));
                std::fs::write(&model, to_bytes(graph.model()).unwrap()).unwrap();
                asked.push(json!({ "model": model, "inputs": feeds(graph) }));
            }
            graphs.push((place, before, after));
        }
    }
    let Some(theirs) = onnx_runtime(&asked) else {
        println!("skipped: python3 with onnxruntime and numpy is absent");
        return;
    };
    assert_eq!(theirs.len(), asked.len());
    for ((place, before, after), pair) in graphs.iter().zip(theirs.chunks(2)) {
        let states = if ONLY_AFTER.contains(&place.as_str()) { [1, 1] } else { [0, 1] };
        let [wanted, found] = states.map(|state| outputs(place, &pair[state]));
        same(&format!("{place}, the file"), &wanted, &found);
        same(&format!("{place}, the engine"), &wanted, &ours(after));
        if before.model().functions.is_empty() {
            same(&format!("{place}, the engine as it was"), &wanted, &ours(before));
        }
    }
}
