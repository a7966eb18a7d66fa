//! The collecting verifier: runs after every pass, in release builds too.
//!
//! What holds for every graph that leaves a pass:
//! each value has one producer and is defined before it is read (subgraphs and what they capture included);
//! every graph output is defined; names of initializers and inputs are unique; every operator's domain is imported;
//! QuantizeLinear/DequantizeLinear have scales, zero points, axes and types that the imported opset and
//! the declared IR version allow.
//! Not checked: shapes of values, attributes of other operators, bodies of functions.

use super::Graph;
use super::index::subgraphs;
use crate::onnx::{DataType, GraphProto, INT2, NodeProto as Node, UINT2, data_type as data_type_of};
use std::collections::{BTreeSet, HashSet};

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Node or value where it was found.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

/// Collects every broken invariant; empty means sound.
pub fn verify(graph: &Graph) -> Vec<Violation> {
    let mut found = Vec::new();
    scope(graph.proto(), &HashSet::new(), &mut found);
    domains(graph, graph.proto(), &mut found);
    for node in graph.nodes() {
        quantization(graph, node, &mut found);
    }
    found
}

/// How a node is called in messages: its name, or operator and first output.
pub fn node_place(node: &Node) -> String {
    match node.name.is_empty() {
        false => format!("node '{}' ({})", node.name, node.op_type),
        true => format!("{} that makes '{}'", node.op_type, node.output.first().map_or("", String::as_str)),
    }
}

fn report(found: &mut Vec<Violation>, place: impl Into<String>, message: impl Into<String>) {
    found.push(Violation { place: place.into(), message: message.into() });
}

/// One graph: what it defines, in what order it reads, what it returns; then the bodies inside it.
fn scope<'g>(graph: &'g GraphProto, outer: &HashSet<&'g str>, found: &mut Vec<Violation>) {
    let mut own = entries(graph, found);
    let mut known: HashSet<&str> = outer.union(&own).copied().collect();
    for node in &graph.node {
        for name in node.input.iter().filter(|n| !n.is_empty() && !known.contains(n.as_str())) {
            report(found, node_place(node), format!("reads '{name}' before anything defines it"));
        }
        subgraphs(node).for_each(|body| scope(body, &known, found));
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if !own.insert(name) {
                report(found, node_place(node), format!("defines '{name}', which is already defined"));
            }
            known.insert(name);
        }
    }
    for output in graph.output.iter().filter(|v| !known.contains(v.name.as_str())) {
        report(found, format!("graph output '{}'", output.name), "is defined by nothing");
    }
}

/// Values that exist before the first node runs; an initializer may also be an input.
fn entries<'g>(graph: &'g GraphProto, found: &mut Vec<Violation>) -> HashSet<&'g str> {
    let mut initializers = HashSet::new();
    let sparse = graph.sparse_initializer.iter().map(|t| t.values.name.as_str());
    for name in graph.initializer.iter().map(|t| t.name.as_str()).chain(sparse) {
        if !initializers.insert(name) {
            report(found, format!("initializer '{name}'"), "is defined twice");
        }
    }
    if initializers.contains("") || graph.input.iter().chain(&graph.output).any(|v| v.name.is_empty()) {
        report(found, "an input, output or initializer of the graph", "has no name");
    }
    let mut inputs = HashSet::new();
    for input in graph.input.iter().filter(|v| !inputs.insert(v.name.as_str())) {
        report(found, format!("graph input '{}'", input.name), "is defined twice");
    }
    initializers.extend(graph.input.iter().map(|v| v.name.as_str()));
    initializers
}

fn domains(graph: &Graph, proto: &GraphProto, found: &mut Vec<Violation>) {
    let canonical = |d: &str| if d == "ai.onnx" { String::new() } else { d.to_owned() };
    let mut imported: BTreeSet<String> = BTreeSet::new();
    for import in &graph.model().opset_import {
        // Whoever reads the file picks one of the two, and not everyone the same.
        if !imported.insert(canonical(&import.domain)) {
            report(found, "opset_import", format!("imports operators of domain '{}' twice", import.domain));
        }
    }
    let mut used: BTreeSet<String> = BTreeSet::new();
    collect_domains(proto, &canonical, &mut used);
    for domain in used.difference(&imported) {
        report(found, "opset_import", format!("operators of domain '{domain}' are used and not imported"));
    }
}

fn collect_domains(proto: &GraphProto, canonical: &impl Fn(&str) -> String, used: &mut BTreeSet<String>) {
    for node in &proto.node {
        used.insert(canonical(&node.domain));
        subgraphs(node).for_each(|body| collect_domains(body, canonical, used));
    }
}

/// Least opset whose QuantizeLinear/DequantizeLinear accept this type, and the IR version it came with.
pub fn least_versions(data_type: i32) -> (i64, i64) {
    match data_type_of(data_type) {
        Some(DataType::INT8 | DataType::UINT8 | DataType::INT32) => (10, 5),
        Some(DataType::FLOAT8E4M3FN | DataType::FLOAT8E4M3FNUZ | DataType::FLOAT8E5M2 | DataType::FLOAT8E5M2FNUZ) => {
            (19, 9)
        }
        _ if data_type == INT2 || data_type == UINT2 => (25, 13),
        _ => (21, 10),
    }
}

fn quantization(graph: &Graph, node: &Node, found: &mut Vec<Violation>) {
    if !matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear") || !node.domain.is_empty() {
        return;
    }
    let constant = |slot: usize| node.input.get(slot).and_then(|n| graph.constant(n));
    if node.input.len() < 2 || node.input[1].is_empty() {
        return report(found, node_place(node), "has no scale");
    }
    let stored = if node.op_type == "DequantizeLinear" { constant(0) } else { None };
    if let Some(t) = constant(2).or(stored) {
        let (opset, ir) = least_versions(t.data_type);
        if graph.opset() < opset || graph.model().ir_version < ir {
            let have = format!("opset {} and IR {}", graph.opset(), graph.model().ir_version);
            report(found, node_place(node), format!("its type needs opset {opset} and IR {ir}, the model has {have}"));
        }
    }
    if let (Some(scale), Some(zero)) = (constant(1), constant(2))
        && scale.dims != zero.dims
    {
        let message = format!("scale {:?} and zero point {:?} differ in shape", scale.dims, zero.dims);
        report(found, node_place(node), message);
    }
    if let (Some(values), Some(zero)) = (stored, constant(2))
        && values.data_type != zero.data_type
    {
        report(found, node_place(node), "zero point and stored values differ in type");
    }
    per_axis(graph, node, stored.map(|t| t.dims.as_slice()), found);
}

fn per_axis(graph: &Graph, node: &Node, dims: Option<&[i64]>, found: &mut Vec<Violation>) {
    let Some(scale) = graph.constant(&node.input[1]).filter(|s| s.dims.len() == 1 && s.dims[0] != 1) else { return };
    if graph.opset() < 13 {
        report(found, node_place(node), "per-axis scales need opset 13");
    }
    let Some(dims) = dims else { return };
    let axis = super::attr_i(node, "axis").unwrap_or(1);
    let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
    match usize::try_from(axis).ok().and_then(|a| dims.get(a)) {
        Some(extent) if *extent == scale.dims[0] => {}
        _ => report(found, node_place(node), format!("{} scales do not fit axis {axis} of {dims:?}", scale.dims[0])),
    }
}
