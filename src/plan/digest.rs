//! Digests of what a plan depends on. Short: they tell versions apart, they protect nothing.

use super::Layer;
use crate::Result;
use crate::graph::Graph;
use crate::onnx::{AttributeProto, NodeProto as Node, Tensor};
use sha2::{Digest, Sha256};

fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Digest of a text.
pub fn text_digest(text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    short(hash)
}

/// Digest of a layer: operator, attributes, weight and bias; not its name.
pub fn layer_digest(graph: &Graph, layer: &Layer) -> Result<String> {
    let node = &graph.nodes()[layer.node];
    let mut hash = Sha256::new();
    add_operator(&mut hash, node);
    for name in node.input.iter().skip(1) {
        if let Some(tensor) = graph.constant(name) {
            add_tensor(&mut hash, graph, tensor)?;
        }
    }
    Ok(short(hash))
}

/// Digest of a graph: structure, attributes and constants; not doc strings, metadata or recorded shapes.
pub fn model_digest(graph: &Graph) -> Result<String> {
    let mut hash = Sha256::new();
    for value in graph.proto().input.iter().chain(&graph.proto().output) {
        add_text(&mut hash, &value.name);
    }
    for node in graph.nodes() {
        add_operator(&mut hash, node);
        node.input.iter().chain(&node.output).for_each(|n| add_text(&mut hash, n));
    }
    for tensor in &graph.proto().initializer {
        add_text(&mut hash, &tensor.name);
        add_tensor(&mut hash, graph, tensor)?;
    }
    Ok(short(hash))
}

fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn add_operator(hash: &mut Sha256, node: &Node) {
    add_text(hash, &node.domain);
    add_text(hash, &node.op_type);
    let mut attributes: Vec<&AttributeProto> = node.attribute.iter().collect();
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    for attribute in attributes {
        let bytes = crate::onnx::attribute_bytes(attribute);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
}

fn add_tensor(hash: &mut Sha256, graph: &Graph, tensor: &Tensor) -> Result<()> {
    hash.update(tensor.data_type.to_le_bytes());
    tensor.dims.iter().for_each(|d| hash.update(d.to_le_bytes()));
    match (tensor.raw_data.is_empty(), tensor.external_data.is_empty()) {
        (false, _) => hash.update(&tensor.raw_data),
        (true, false) => hash.update(graph.external().bytes(tensor)?),
        (true, true) => hash.update(crate::onnx::tensor_bytes(tensor)),
    }
    Ok(())
}
