//! What changed incompatibly between opsets 7 and 25, one rule a change.
//!
//! Everything else is in `upgrade_table`: valid, and of the same meaning, without a change.

use crate::facts::{input, output};
use crate::upgrade_scope::{Scope, refuse};
use half::f16;
use tapq::Result;
use tapq::graph::{attr_f, attr_i, attr_ints, attr_s, set_attr, with_attr};
use tapq::onnx::{AttributeProto, DataType, NodeProto as Node, Tensor, from_floats, from_i64s};

/// The nodes that mean at opset `version` what `node` means at the one before; the last makes its outputs.
/// `None` if it is the same node.
pub(crate) fn convert(scope: &mut Scope, node: &Node, version: i64) -> Result<Option<Vec<Node>>> {
    let one = |node: Node| Ok(Some(vec![node]));
    match (version, node.op_type.as_str()) {
        (9, "Scan") => Err(refuse("its body runs over another axis since opset 9")),
        (9, "BatchNormalization") => per_channel_statistics(node).map(|n| Some(vec![n])),
        (9, "Upsample") => one(ints_or_floats_to_inputs(scope, node, &["scales"])),
        (10, "Upsample") => one(Node { op_type: "Resize".into(), ..node.clone() }),
        (10, "Slice") => one(slice(scope, node)),
        (10, "TopK") => one(top_k(scope, node)),
        (10, "Dropout") => without_mask(scope, node).map(|n| Some(vec![n])),
        (11, "Resize") => one(resize(scope, node)),
        (11, "Clip") => clip(scope, node).map(|n| Some(vec![n])),
        (11, "Pad") => pad(scope, node).map(|n| Some(vec![n])),
        (11, "Scatter") => one(Node { op_type: "ScatterElements".into(), ..node.clone() }),
        (12, "Dropout") => {
            let node = without_mask(scope, node)?;
            one(ints_or_floats_to_inputs(scope, &node, &["ratio"]))
        }
        (13, "Squeeze" | "Unsqueeze" | "ReduceSum") => one(ints_or_floats_to_inputs(scope, node, &["axes"])),
        (13, "Split") => one(ints_or_floats_to_inputs(scope, node, &["split"])),
        (13, "Softmax" | "LogSoftmax" | "Hardmax") => Ok(Some(one_axis(scope, node))),
        (14, "BatchNormalization") if node.output.iter().skip(1).any(|o| !o.is_empty()) => {
            Err(refuse("has the outputs of training"))
        }
        (16, "RoiAlign") => one(or_attr(node, "coordinate_transformation_mode", "output_half_pixel")),
        (18, "Split") if input(node, 1).is_none() => {
            one(with_attr(node.clone(), "num_outputs", node.output.len() as i64))
        }
        (
            18,
            "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceLogSum"
            | "ReduceLogSumExp" | "ReduceSumSquare",
        ) => one(ints_or_floats_to_inputs(scope, node, &["axes"])),
        (20, "GridSample") => one(grid_sample(node)),
        (20, "DFT") => one(dft(scope, node)),
        (21, "GroupNormalization") => group_normalization(scope, node).map(|n| Some(vec![n])),
        _ => Ok(None),
    }
}

fn without(node: &Node, names: &[&str]) -> Node {
    let mut node = node.clone();
    node.attribute.retain(|a| !names.contains(&a.name.as_str()));
    node
}

fn set_input(node: &mut Node, slot: usize, name: String) {
    if node.input.len() <= slot {
        node.input.resize(slot + 1, String::new());
    }
    node.input[slot] = name;
}

fn or_attr(node: &Node, name: &str, value: &str) -> Node {
    match attr_s(node, name) {
        Some(_) => node.clone(),
        None => with_attr(node.clone(), name, value),
    }
}

/// Attributes become the inputs after the first, in order; a float becomes a scalar, a list one axis.
fn ints_or_floats_to_inputs(scope: &mut Scope, node: &Node, names: &[&str]) -> Node {
    let mut converted = without(node, names);
    for (i, what) in names.iter().enumerate() {
        let Some(AttributeProto { ints, floats, f, .. }) = node.attribute.iter().find(|a| a.name == *what) else {
            continue;
        };
        let name = scope.constant(node, what, |name| match (ints.as_slice(), floats.as_slice()) {
            ([], []) => from_floats(name, &[], &[*f]),
            ([], floats) => from_floats(name, &[floats.len()], floats),
            (ints, _) => from_i64s(name, &[ints.len()], ints),
        });
        set_input(&mut converted, i + 1, name);
    }
    converted
}

fn per_channel_statistics(node: &Node) -> Result<Node> {
    match attr_i(node, "spatial") {
        Some(0) => Err(refuse("normalizes each position by itself (spatial = 0), which opset 9 dropped")),
        _ => Ok(without(node, &["spatial"])),
    }
}

fn slice(scope: &mut Scope, node: &Node) -> Node {
    ints_or_floats_to_inputs(scope, node, &["starts", "ends", "axes"])
}

fn top_k(scope: &mut Scope, node: &Node) -> Node {
    let k = attr_i(node, "k").unwrap_or(0);
    let mut converted = without(node, &["k"]);
    let name = scope.constant(node, "k", |name| from_i64s(name, &[1], &[k]));
    set_input(&mut converted, 1, name);
    converted
}

/// The mask changed its type with opset 10, and with 12 what it holds at inference.
fn without_mask(scope: &Scope, node: &Node) -> Result<Node> {
    match output(node, 1) {
        Some(mask) if scope.is_read(mask) => Err(refuse("its mask means something else since opset 12")),
        _ => Ok(Node { output: node.output[..1].to_vec(), ..node.clone() }),
    }
}

/// Opset 10 knows one way to place the pixels, which opset 11 calls asymmetric, rounded down.
fn resize(scope: &mut Scope, node: &Node) -> Node {
    let mut converted = node.clone();
    let roi = match scope.to {
        ..13 => scope.constant(node, "roi", |name| from_floats(name, &[0], &[])),
        _ => String::new(),
    };
    converted.input.insert(1, roi);
    set_attr(&mut converted, "coordinate_transformation_mode", "asymmetric");
    set_attr(&mut converted, "nearest_mode", "floor");
    converted
}

fn clip(scope: &mut Scope, node: &Node) -> Result<Node> {
    let data_type = scope.float_type(input(node, 0).unwrap_or(""));
    let mut converted = without(node, &["min", "max"]);
    for (slot, what) in [(1, "min"), (2, "max")] {
        let Some(bound) = attr_f(node, what) else { continue };
        let tensor = scalar(data_type, bound)?;
        let name = scope.constant(node, what, |name| Tensor { name: name.to_owned(), ..tensor });
        set_input(&mut converted, slot, name);
    }
    Ok(converted)
}

fn pad(scope: &mut Scope, node: &Node) -> Result<Node> {
    let mut converted = without(node, &["pads", "value"]);
    let pads = attr_ints(node, "pads").unwrap_or(&[]);
    let name = scope.constant(node, "pads", |name| from_i64s(name, &[pads.len()], pads));
    set_input(&mut converted, 1, name);
    if let Some(value) = attr_f(node, "value").filter(|v| *v != 0.0) {
        let tensor = scalar(scope.float_type(input(node, 0).unwrap_or("")), value)?;
        let name = scope.constant(node, "value", |name| Tensor { name: name.to_owned(), ..tensor });
        set_input(&mut converted, 2, name);
    }
    Ok(converted)
}

/// A scalar of a float type.
fn scalar(data_type: i32, value: f32) -> Result<Tensor> {
    let raw_data = match tapq::onnx::data_type(data_type) {
        Some(DataType::FLOAT) => value.to_le_bytes().to_vec(),
        Some(DataType::DOUBLE) => f64::from(value).to_le_bytes().to_vec(),
        Some(DataType::FLOAT16) => f16::from_f32(value).to_le_bytes().to_vec(),
        _ => return Err(refuse(format!("its element type {data_type} is no float type that it can have"))),
    };
    Ok(Tensor { data_type, raw_data, ..Default::default() })
}

/// Up to opset 12 the axes from `axis` on are one; since 13 only `axis` itself counts.
fn one_axis(scope: &mut Scope, node: &Node) -> Vec<Node> {
    let axis = attr_i(node, "axis").unwrap_or(1);
    let rank = input(node, 0).and_then(|x| scope.rank(x));
    if axis == -1 || rank.is_some_and(|r| axis == r as i64 - 1) {
        return vec![with_attr(node.clone(), "axis", -1)];
    }
    let mut value = |what: &str| scope.names.fresh(&format!("{}_{what}", output(node, 0).unwrap_or("")));
    let (shape, flat, result) = (value("shape"), value("flat"), value("result"));
    let x = node.input.first().cloned().unwrap_or_default();
    let y = node.output.first().cloned().unwrap_or_default();
    let core = Node { input: vec![flat.clone()], output: vec![result.clone()], ..node.clone() };
    vec![
        helper(node, "Shape", &[&x], &shape),
        with_attr(helper(node, "Flatten", &[&x], &flat), "axis", axis),
        with_attr(core, "axis", -1),
        helper(node, "Reshape", &[&result, &shape], &y),
    ]
}

fn helper(node: &Node, op: &str, inputs: &[&str], output: &str) -> Node {
    let name = if node.name.is_empty() { String::new() } else { format!("{}_{}", node.name, op.to_lowercase()) };
    let input = inputs.iter().map(|&name| name.to_owned()).collect();
    Node { name, op_type: op.to_owned(), input, output: vec![output.to_owned()], ..Default::default() }
}

fn grid_sample(node: &Node) -> Node {
    let mode = match attr_s(node, "mode") {
        Some("bilinear") => "linear",
        Some("bicubic") => "cubic",
        _ => return node.clone(),
    };
    with_attr(node.clone(), "mode", mode)
}

fn dft(scope: &mut Scope, node: &Node) -> Node {
    let axis = attr_i(node, "axis").unwrap_or(1);
    let mut converted = without(node, &["axis"]);
    let name = scope.constant(node, "axis", |name| from_i64s(name, &[], &[axis]));
    set_input(&mut converted, 2, name);
    converted
}

/// Up to opset 20 scale and bias are one number a group; since 21 one number a channel.
fn group_normalization(scope: &mut Scope, node: &Node) -> Result<Node> {
    let groups = attr_i(node, "num_groups").and_then(|g| usize::try_from(g).ok()).unwrap_or(0);
    let channels = input(node, 0).and_then(|x| scope.extent(x, 1)).and_then(|c| usize::try_from(c).ok());
    let repeats = channels.filter(|c| groups > 0 && c % groups == 0).map(|c| c / groups);
    let Some(repeats) = repeats else { return Err(refuse("how many channels it has is not recorded")) };
    let mut converted = node.clone();
    for (slot, what) in [(1, "scale"), (2, "bias")] {
        let values = input(node, slot).map_or(Ok(None), |name| scope.floats(name))?;
        let Some(values) = values.filter(|v| v.len() == groups) else {
            return Err(refuse(format!("its {what} is not a float32 constant of one number a group")));
        };
        let each: Vec<f32> = values.iter().flat_map(|v| std::iter::repeat_n(*v, repeats)).collect();
        let name = scope.constant(node, what, |name| from_floats(name, &[each.len()], &each));
        set_input(&mut converted, slot, name);
    }
    Ok(converted)
}
