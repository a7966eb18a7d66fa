//! Layers that a model has and [`weight_layers`](super::weight_layers) does not take, for people who miss them.

use crate::graph::{Graph, subgraphs};
use crate::onnx::{DataType, NodeProto as Node};
use crate::samples::{InputSpec, input_specs};
use std::collections::{BTreeMap, BTreeSet};

/// Why layers of a model cannot be quantized on any device, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// Where they are, or what is wrong with them.
    pub because: String,
    /// What the user can do.
    pub help: String,
}

/// Layers in the bodies of If, Loop and Scan, or with weights of a type other than float32; `None` where none are.
pub fn out_of_reach(graph: &Graph) -> Option<OutOfReach> {
    in_a_body(graph).or_else(|| of_another_type(graph))
}

/// Whether an operator has weights that can be quantized.
pub fn weighs(node: &Node) -> bool {
    matches!(node.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul")
}

fn in_a_body(graph: &Graph) -> Option<OutOfReach> {
    let node = graph.nodes().iter().find(|node| holds_layers(node))?;
    Some(OutOfReach {
        because: format!("layers in the body of {} '{}' stay in float", node.op_type, node.name),
        help: match (node.op_type.as_str(), deciding_input(graph, node)) {
            ("If", None) => "bodies are left as they are: export the branch that runs as a model of its own".to_owned(),
            ("If", Some(name)) => format!(
                "bodies are left as they are: say which branch runs by what input '{name}' always is, with --fix-input \
                 {name}=VALUE, or export the branch as a model of its own"
            ),
            _ => "bodies are left as they are: export the network with its loop written out (in Keras, unroll=True)"
                .to_owned(),
        },
    })
}

/// An input that is a setting rather than data, of integers or bool, and that the condition of an If depends on.
fn deciding_input<'g>(graph: &'g Graph, node: &'g Node) -> Option<&'g str> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = node.input.first().map(String::as_str).into_iter().collect();
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        let maker = graph.index().producer(value).map(|at| &graph.nodes()[at]);
        // A shape is asked for at run time, whatever the elements are.
        let reads = maker.filter(|maker| !matches!(maker.op_type.as_str(), "Shape" | "Size"));
        open.extend(reads.into_iter().flat_map(|maker| &maker.input).map(String::as_str));
    }
    let is_setting = |spec: &InputSpec| !spec.is_float() && seen.contains(spec.name.as_str());
    let found = input_specs(graph, &BTreeMap::new()).into_iter().find(is_setting)?;
    graph.proto().input.iter().map(|v| v.name.as_str()).find(|name| *name == found.name)
}

/// Whether a layer is in a body of the node, or in a body in one of those.
pub fn holds_layers(node: &Node) -> bool {
    subgraphs(node).any(|body| body.node.iter().any(|inner| weighs(inner) || holds_layers(inner)))
}

/// Floats of 16 bits are left only where they could not become float32.
fn of_another_type(graph: &Graph) -> Option<OutOfReach> {
    let others = [DataType::FLOAT16, DataType::BFLOAT16, DataType::DOUBLE];
    let weight_type = |node: &Node| {
        let weight = node.input.get(1).and_then(|name| graph.constant(name)).filter(|_| weighs(node))?;
        others.into_iter().find(|t| *t as i32 == weight.data_type)
    };
    let found: Vec<(&Node, DataType)> =
        graph.nodes().iter().filter_map(|node| Some((node, weight_type(node)?))).collect();
    let (first, of) = found.first()?;
    let because = match found.len() {
        1 => format!("the weight of {} '{}' is {of:?}", first.op_type, first.name),
        n => format!("the weights of {n} layers are {of:?}, as that of {} '{}'", first.op_type, first.name),
    };
    Some(OutOfReach { because, help: "only float32 weights are quantized: export the model in float32".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{ExternalData, parse_text};

    fn because(text: &str) -> Option<String> {
        let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        out_of_reach(&graph).map(|found| found.because)
    }

    #[test]
    fn weights_of_other_types_are_named() {
        let one = |of: &str| format!("g ({of}[1,2] x) => (y) <{of}[2,1] w = {{1, 2}}> {{ [fc] y = MatMul (x, w) }}");
        assert_eq!(because(&one("double")).unwrap(), "the weight of MatMul 'fc' is DOUBLE");
        assert_eq!(because(&one("float")), None);
        let two = "g (double[1,1] x) => (y) <double[1,1] w = {1}> { [a] h = MatMul (x, w) [b] y = MatMul (h, w) }";
        assert_eq!(because(two).unwrap(), "the weights of 2 layers are DOUBLE, as that of MatMul 'a'");
    }

    #[test]
    fn layers_in_bodies_are_found_however_deep() {
        let body = |inside: &str| {
            format!(
                "g (float[1,2] x, bool c) => (y) <float[2,2] w = {{1, 2, 3, 4}}> {{ [fork] y = If (c) <
                 then_branch = t () => (float[1,2] p) {{ {inside} }}, else_branch = e () => (float[1,2] q) {{ q = Neg (x) }}> }}"
            )
        };
        let found = Some("layers in the body of If 'fork' stay in float".to_owned());
        assert_eq!(because(&body("p = MatMul (x, w)")), found);
        let deep = "p = If (c) <then_branch = s () => (float[1,2] r) { r = MatMul (x, w) },
                    else_branch = u () => (float[1,2] v) { v = Abs (x) }>";
        assert_eq!(because(&body(deep)), found);
        assert_eq!(because(&body("p = Relu (x)")), None);
    }

    #[test]
    fn an_input_that_decides_a_branch_is_named() {
        let help = |inputs: &str, condition: &str| {
            let text = format!(
                "g (float[1,2] x, {inputs}) => (y) <float[2,2] w = {{1, 2, 3, 4}}, int64 one = {{1}}> {{ {condition}
                 [fork] y = If (c) <then_branch = t () => (float[1,2] p) {{ p = MatMul (x, w) }},
                                    else_branch = e () => (float[1,2] q) {{ q = Neg (x) }}> }}"
            );
            out_of_reach(&Graph::new(parse_text(&text).unwrap(), ExternalData::none())).unwrap().help
        };
        assert!(help("int64 rate", "c = Equal (rate, one)").contains("--fix-input rate=VALUE"));
        assert!(help("bool on", "c = Not (on)").contains("--fix-input on=VALUE"));
        let by_shape = help("int64[n] ids", "s = Shape (ids) c = Equal (s, one)");
        assert!(by_shape.ends_with("export the branch that runs as a model of its own"), "{by_shape}");
    }

    #[test]
    fn loops_are_to_be_written_out() {
        let text = "g (float[1,1] x, int64 n, bool c) => (y) <float[1,1] w = {2}> { [again] y = Loop (n, c, x) <
                    body = b (int64 i, bool t, float[1,1] s) => (bool u, float[1,1] r) { u = Identity (t) r = MatMul (s, w) }> }";
        let found = out_of_reach(&Graph::new(parse_text(text).unwrap(), ExternalData::none())).unwrap();
        assert_eq!(found.because, "layers in the body of Loop 'again' stay in float");
        assert!(found.help.contains("unroll=True"));
    }
}
