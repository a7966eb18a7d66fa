//! Models in float16 and bfloat16, end to end: the file comes out as the same network's in float32, and takes and gives
//! what the model did.

mod common;

use common::{fixtures, xtask};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::path::Path;
use tapq::onnx::{DataType, ExternalData, GraphProto, Tensor, ValueInfoProto, floats};
use tempfile::TempDir;

/// The upper half of the bits of a float32, rounded to nearest even: the exact rule of bfloat16.
fn bfloat16(x: f32) -> [u8; 2] {
    let bits = x.to_bits();
    let rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    (rounded as u16).to_le_bytes()
}

fn bytes(values: &[f32], to: DataType) -> Vec<u8> {
    match to {
        DataType::FLOAT16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| bfloat16(*x)).collect(),
    }
}

fn narrow_tensor(tensor: &mut Tensor, to: DataType) {
    if tensor.data_type == DataType::FLOAT as i32 {
        let values = floats(tensor, &ExternalData::none()).unwrap();
        (tensor.raw_data, tensor.data_type) = (bytes(&values, to), to as i32);
        tensor.float_data.clear();
    }
}

fn narrow_value(value: &mut ValueInfoProto, to: DataType) {
    let tensor = value.type_.mut_or_insert_default().mut_tensor_type();
    if tensor.elem_type == DataType::FLOAT as i32 {
        tensor.elem_type = to as i32;
    }
}

fn narrow(graph: &mut GraphProto, to: DataType) {
    graph.initializer.iter_mut().for_each(|tensor| narrow_tensor(tensor, to));
    let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_mut());
    constants.for_each(|tensor| narrow_tensor(tensor, to));
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    values.for_each(|value| narrow_value(value, to));
}

/// A folder with a network of the tree as `wide.onnx` and, in floats of 16 bits, as `net.onnx`, and their samples.
fn folder(network: &str, to: DataType) -> TempDir {
    let (folder, source) = (TempDir::new().unwrap(), fixtures());
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(source.join(format!("{network}.onnx")), at("wide.onnx")).unwrap();
    for name in ["wide.tapq.yaml", "net.tapq.yaml"] {
        std::fs::copy(source.join(format!("{network}.tapq.yaml")), at(name)).unwrap();
    }
    for samples in ["digits_calib.npz", "digits_eval.npz", "numerals_calib.npz", "numerals_eval.npz"] {
        std::fs::copy(source.join(samples), at(samples)).unwrap();
    }
    let (mut model, external) = tapq::onnx::read(&at("wide.onnx")).unwrap();
    narrow(model.graph.as_mut().unwrap(), to);
    tapq::onnx::write(&model, &external, &at("net.onnx")).unwrap();
    folder
}

fn quantized(folder: &Path, model: &str, target: &str) -> Value {
    let args = ["--target", target, "--quiet", "--json", "-o"];
    let mut command = xtask();
    command.current_dir(folder).args(["quantize", model]).args(args).arg(format!("{model}.{target}.onnx"));
    serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap()
}

/// Element types of inputs and outputs, and those of constants, that are floats.
fn types(path: &Path) -> (Vec<i32>, Vec<i32>) {
    let (model, _) = tapq::onnx::read(path).unwrap();
    let graph = model.graph.unwrap();
    let floats = [DataType::FLOAT as i32, DataType::FLOAT16 as i32, DataType::BFLOAT16 as i32];
    let border = graph.input.iter().chain(&graph.output).map(|v| v.type_.tensor_type().elem_type);
    let mut inside: Vec<i32> = graph.initializer.iter().map(|t| t.data_type).filter(|t| floats.contains(t)).collect();
    inside.sort_unstable();
    inside.dedup();
    (border.filter(|t| floats.contains(t)).collect(), inside)
}

#[test]
fn a_network_of_sixteen_bits_is_quantized_as_that_of_thirty_two() {
    let kinds = [
        ("resnet_digits", DataType::FLOAT16),
        ("vit_digits", DataType::FLOAT16),
        ("gru_numerals", DataType::FLOAT16),
        ("resnet_digits", DataType::BFLOAT16),
    ];
    for (network, to) in kinds {
        let folder = folder(network, to);
        for target in ["cpu", "hexagon"] {
            let [wide, narrow] = ["wide.onnx", "net.onnx"].map(|model| quantized(folder.path(), model, target));
            let place = format!("{network} in {to:?} for {target}");
            let named = format!("{to:?} is computed and stored as float32").to_lowercase();
            assert!(narrow["widened"].as_str().unwrap().starts_with(&named), "{place}: {}", narrow["widened"]);
            assert!(wide.get("widened").is_none());
            let layers = |report: &Value| -> Vec<String> {
                report["layers"].as_array().unwrap().iter().map(|l| l["name"].to_string()).collect()
            };
            assert_eq!(layers(&wide), layers(&narrow), "{place}");
            let db = |report: &Value| report["fidelity"]["sqnr_db"].as_f64().unwrap();
            assert!((db(&wide) - db(&narrow)).abs() < 3.0, "{place}: {} and {} dB", db(&wide), db(&narrow));
            let values = |report: &Value| report["activations"].as_array().unwrap().len();
            assert_eq!(values(&wide), values(&narrow), "{place}");
            let (border, inside) = types(&folder.path().join(format!("net.onnx.{target}.onnx")));
            assert!(border.iter().all(|t| *t == to as i32) && !border.is_empty(), "{place}: {border:?}");
            assert_eq!(inside, [DataType::FLOAT as i32], "{place}");
        }
    }
}

#[test]
fn the_file_is_verified_against_the_model_as_it_was() {
    let folder = folder("resnet_digits", DataType::FLOAT16);
    quantized(folder.path(), "net.onnx", "cpu");
    let verify = |quantized: &str| {
        let mut command = xtask();
        command.current_dir(folder.path()).args(["verify", "net.onnx", quantized]).assert()
    };
    verify("net.onnx.cpu.onnx").success().stdout(contains("top-1"));
    let inspect = xtask().current_dir(folder.path()).args(["inspect", "net.onnx", "--target", "cpu"]).assert();
    inspect
        .success()
        .stdout(contains("float16 is computed and stored as float32").and(contains("not quantized").not()));
}
