//! Printing models, graphs, functions and nodes.

use super::super::{
    AttributeProto, AttributeType, FunctionProto, GraphProto, ModelProto, NodeProto, Tensor, empty_graph,
};
use super::attribute::attribute_type_name;
use super::constant;
use super::words::{entries, list, name, names, opsets, quoted, type_, value_info, value_infos};

/// Prints a model; constants of more than 16 elements as type, shape, a short digest and their range.
///
/// The text depends on the model alone. Sparse initializers, annotations and training info are counted in a comment.
pub fn print_text(model: &ModelProto) -> String {
    let mut p = Printer { out: String::new(), indent: 0 };
    p.header(model);
    p.graph(model.graph.as_ref().unwrap_or(empty_graph()));
    p.out.push('\n');
    for function in &model.functions {
        p.function(function);
    }
    if !model.training_info.is_empty() {
        p.out.push_str(&format!("# not shown: {} training_info\n", model.training_info.len()));
    }
    p.out
}

struct Printer {
    out: String,
    indent: usize,
}

impl Printer {
    fn header(&mut self, model: &ModelProto) {
        let mut keys =
            vec![format!("ir_version: {}", model.ir_version), format!("opset_import: {}", opsets(&model.opset_import))];
        let texts = [
            ("producer_name", &model.producer_name),
            ("producer_version", &model.producer_version),
            ("domain", &model.domain),
            ("doc_string", &model.doc_string),
        ];
        keys.extend(
            texts.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| format!("{key}: {}", quoted(text))),
        );
        if model.model_version != 0 {
            keys.push(format!("model_version: {}", model.model_version));
        }
        if !model.metadata_props.is_empty() {
            keys.push(format!("metadata_props: {}", entries(&model.metadata_props)));
        }
        self.out.push_str(&format!("<\n   {}\n>\n", keys.join(",\n   ")));
    }

    fn line(&mut self, text: &str) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("   ", self.indent));
        self.out.push_str(text);
    }

    /// Prints from here on, without a line break at the end.
    fn graph(&mut self, graph: &GraphProto) {
        let (inputs, outputs) = (value_infos(&graph.input), value_infos(&graph.output));
        self.out.push_str(&format!("{} ({inputs}) => ({outputs})", name(&graph.name)));
        self.indent += 1;
        let constants = graph.initializer.iter().map(initializer);
        let items: Vec<String> = constants.chain(graph.value_info.iter().map(value_info)).collect();
        if !items.is_empty() {
            self.list_of_values(&items);
        }
        self.indent -= 1;
        self.nodes(&graph.node);
        let hidden = [
            ("sparse_initializer", graph.sparse_initializer.len()),
            ("quantization_annotation", graph.quantization_annotation.len()),
        ];
        for (what, count) in hidden.iter().filter(|(_, count)| *count > 0) {
            self.line(&format!("# not shown: {count} {what}"));
            self.line("");
        }
    }

    /// One value a line in angle brackets.
    fn list_of_values(&mut self, items: &[String]) {
        self.line("<");
        self.indent += 1;
        for (index, item) in items.iter().enumerate() {
            let comma = if index + 1 < items.len() { "," } else { "" };
            self.line(&format!("{item}{comma}"));
        }
        self.indent -= 1;
        self.line(">");
    }

    fn nodes(&mut self, nodes: &[NodeProto]) {
        self.line("{");
        self.indent += 1;
        nodes.iter().for_each(|node| self.node(node));
        self.indent -= 1;
        self.line("}");
    }

    fn node(&mut self, node: &NodeProto) {
        let label = if node.name.is_empty() { String::new() } else { format!("[{}] ", name(&node.name)) };
        self.line(&format!("{label}{} = {}", names(&node.output), operator(node)));
        let inputs = format!(" ({})", names(&node.input));
        if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
            self.out.push_str(&inputs);
            self.attributes(&node.attribute);
        } else {
            self.attributes(&node.attribute);
            self.out.push_str(&inputs);
        }
        for entry in &node.metadata_props {
            // Escaped, so that a line break in a value does not end the comment.
            self.out.push_str(&format!("  # {}: {}", entry.key.escape_debug(), entry.value.escape_debug()));
        }
    }

    fn attributes(&mut self, attributes: &[AttributeProto]) {
        for (index, attribute) in attributes.iter().enumerate() {
            self.out.push_str(if index == 0 { " <" } else { ", " });
            self.attribute(attribute);
        }
        if !attributes.is_empty() {
            self.out.push('>');
        }
    }

    fn attribute(&mut self, attribute: &AttributeProto) {
        let kind = attribute.type_.enum_value_or_default();
        self.out.push_str(&format!("{}: {} = ", name(&attribute.name), attribute_type_name(kind)));
        if !attribute.ref_attr_name.is_empty() {
            self.out.push_str(&format!("@{}", name(&attribute.ref_attr_name)));
            return;
        }
        let graphs: Vec<&GraphProto> = match kind {
            AttributeType::GRAPH => attribute.g.iter().collect(),
            AttributeType::GRAPHS => attribute.graphs.iter().collect(),
            _ => return self.out.push_str(&plain_value(attribute, kind)),
        };
        self.indent += 1;
        let list = kind == AttributeType::GRAPHS;
        self.out.push_str(if list { "[" } else { "" });
        for (index, graph) in graphs.into_iter().enumerate() {
            self.out.push_str(if index > 0 { ", " } else { "" });
            self.graph(graph);
        }
        self.out.push_str(if list { "]" } else { "" });
        self.indent -= 1;
    }

    fn function(&mut self, function: &FunctionProto) {
        let mut keys = vec![
            format!("domain: {}", quoted(&function.domain)),
            format!("opset_import: {}", opsets(&function.opset_import)),
        ];
        for (key, text) in [("overload", &function.overload), ("doc_string", &function.doc_string)] {
            if !text.is_empty() {
                keys.push(format!("{key}: {}", quoted(text)));
            }
        }
        self.out.push_str(&format!("<\n   {}\n>\n{}", keys.join(",\n   "), name(&function.name)));
        if !function.attribute.is_empty() || !function.attribute_proto.is_empty() {
            self.function_attributes(function);
        }
        self.out.push_str(&format!(" ({}) => ({})", names(&function.input), names(&function.output)));
        if !function.value_info.is_empty() {
            self.indent += 1;
            self.list_of_values(&function.value_info.iter().map(value_info).collect::<Vec<_>>());
            self.indent -= 1;
        }
        self.nodes(&function.node);
        self.out.push('\n');
    }

    fn function_attributes(&mut self, function: &FunctionProto) {
        let bare = function.attribute.iter().map(|a| name(a)).collect::<Vec<_>>().join(", ");
        self.out.push_str(&format!(" <{bare}"));
        for (index, attribute) in function.attribute_proto.iter().enumerate() {
            self.out.push_str(if index > 0 || !bare.is_empty() { ", " } else { "" });
            self.attribute(attribute);
        }
        self.out.push('>');
    }
}

fn operator(node: &NodeProto) -> String {
    let domain: String = node.domain.split('.').filter(|d| !d.is_empty()).map(|part| name(part) + ".").collect();
    let overload = if node.overload.is_empty() { String::new() } else { format!(":{}", name(&node.overload)) };
    format!("{domain}{}{overload}", name(&node.op_type))
}

fn plain_value(attribute: &AttributeProto, kind: AttributeType) -> String {
    let text = |s: &Vec<u8>| quoted(&String::from_utf8_lossy(s));
    match kind {
        AttributeType::INT => attribute.i.to_string(),
        AttributeType::INTS => list(attribute.ints.iter().map(i64::to_string)),
        AttributeType::FLOAT => float(attribute.f),
        AttributeType::FLOATS => list(attribute.floats.iter().copied().map(float)),
        AttributeType::STRING => text(&attribute.s),
        AttributeType::STRINGS => list(attribute.strings.iter().map(text)),
        AttributeType::TENSOR => attribute.t.iter().map(tensor).collect(),
        AttributeType::TENSORS => list(attribute.tensors.iter().map(tensor)),
        AttributeType::TYPE_PROTO => attribute.tp.iter().map(type_).collect(),
        AttributeType::TYPE_PROTOS => list(attribute.type_protos.iter().map(type_)),
        _ => "...".to_owned(),
    }
}

/// With a decimal point, so that readers of any version take it for a float.
fn float(value: f32) -> String {
    format!("{value:?}").replace("NaN", "nan")
}

fn initializer(tensor: &Tensor) -> String {
    format!("{} {} = {}", constant::type_and_shape(tensor), name(&tensor.name), constant::value(tensor))
}

fn tensor(tensor: &Tensor) -> String {
    let label = if tensor.name.is_empty() { String::new() } else { format!(" {}", name(&tensor.name)) };
    format!("{}{label} {}", constant::type_and_shape(tensor), constant::value(tensor))
}
