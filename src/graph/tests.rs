//! Patches and the verifier on small graphs.

use super::{Edit, Graph, Patch, captures, verify};
use crate::onnx::{
    AttributeProto, AttributeType, DataType, ExternalData, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    Tensor, ValueInfoProto, from_ints,
};

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(|n| if n == "_" { String::new() } else { n.to_owned() }).collect()
}

/// `"y = Add x w"`; `_` is an input left out.
fn node(text: &str) -> NodeProto {
    let (outputs, call) = text.split_once('=').unwrap();
    let (op, inputs) = call.trim().split_once(' ').unwrap_or((call.trim(), ""));
    NodeProto { op_type: op.to_owned(), input: names(inputs), output: names(outputs), ..Default::default() }
}

fn values(list: &str) -> Vec<ValueInfoProto> {
    names(list).into_iter().map(|name| ValueInfoProto { name, ..Default::default() }).collect()
}

fn body(nodes: &[&str], inputs: &str, outputs: &str) -> GraphProto {
    let node = nodes.iter().map(|n| node(n)).collect();
    GraphProto { node, input: values(inputs), output: values(outputs), ..Default::default() }
}

fn with_body(text: &str, body: GraphProto) -> NodeProto {
    let g = Some(body).into();
    let type_ = AttributeType::GRAPH.into();
    let attribute = AttributeProto { name: "body".into(), g, type_, ..Default::default() };
    NodeProto { attribute: vec![attribute], ..node(text) }
}

/// A graph from `x` to `y` with the initializer `w`.
fn graph(nodes: Vec<NodeProto>) -> Graph {
    let w = Tensor { name: "w".into(), ..Default::default() };
    let proto =
        GraphProto { node: nodes, input: values("x"), output: values("y"), initializer: vec![w], ..Default::default() };
    let opset = OperatorSetIdProto { version: 13, ..Default::default() };
    let model =
        ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(proto).into(), ..Default::default() };
    Graph::new(model, ExternalData::none())
}

fn apply(graph: &mut Graph, edits: impl IntoIterator<Item = Edit>) {
    let mut patch = Patch::new();
    edits.into_iter().for_each(|edit| patch.push(edit));
    graph.apply(patch);
}

fn redirect(from: &str, to: &str) -> Edit {
    Edit::Redirect(from.into(), to.into())
}

fn show(graph: &Graph) -> Vec<String> {
    let line = |n: &NodeProto| format!("{} = {} {}", n.output.join(" "), n.op_type, n.input.join(" "));
    graph.nodes().iter().map(line).collect()
}

#[track_caller]
fn check(nodes: Vec<NodeProto>, expected: &[&str]) {
    let found: Vec<String> = verify(&graph(nodes)).into_iter().map(|v| format!("{}: {}", v.place, v.message)).collect();
    assert_eq!(found, expected);
}

#[test]
fn captures_are_what_a_body_does_not_define() {
    let inner = body(&["p = Add a i"], "i", "p");
    let mut outer = body(&["b = Relu x"], "k", "b y");
    outer.node.push(with_body("c = Loop b", inner));
    let captured: Vec<String> = captures(&outer).into_iter().collect();
    assert_eq!(captured, ["a", "x", "y"]);
}

#[test]
fn a_captured_value_is_read_by_the_owner_of_the_body() {
    let graph = graph(vec![node("a = Relu x"), with_body("y = If x", body(&["p = Abs a"], "", "p"))]);
    assert_eq!(graph.index().readers("a"), [1]);
}

#[test]
fn redirect_reaches_captures_and_what_a_body_returns() {
    let inner = body(&["p = Abs a"], "", "p a");
    let mut graph = graph(vec![node("a = Relu x"), with_body("y = If x", inner)]);
    apply(&mut graph, [redirect("a", "x")]);
    let inner = &graph.nodes()[1].attribute[0].g;
    assert_eq!((inner.node[0].input[0].as_str(), inner.output[1].name.as_str()), ("x", "x"));
}

#[test]
fn redirect_leaves_a_body_that_defines_the_name_itself() {
    let inner = body(&["a = Abs x", "p = Neg a"], "", "p");
    let mut graph = graph(vec![node("a = Relu x"), with_body("y = If a", inner)]);
    apply(&mut graph, [redirect("a", "x")]);
    assert_eq!(graph.nodes()[1].attribute[0].g.node[1].input, ["a"]);
    assert_eq!(graph.nodes()[1].input, ["x"]);
}

#[test]
fn redirects_follow_each_other_in_order() {
    let nodes = || vec![node("a = Relu x"), node("b = Relu x"), node("c = Relu x"), node("y = Sum a b c")];
    let last = |edits: [Edit; 2]| {
        let mut graph = graph(nodes());
        apply(&mut graph, edits);
        show(&graph).pop().unwrap()
    };
    assert_eq!(last([redirect("a", "b"), redirect("b", "c")]), "y = Sum c c c");
    assert_eq!(last([redirect("b", "c"), redirect("a", "b")]), "y = Sum b c c");
    assert_eq!(last([redirect("a", "b"), Edit::SetInput(3, 1, "a".into())]), "y = Sum b a c");
    assert_eq!(last([Edit::SetInput(3, 1, "a".into()), redirect("a", "x")]), "y = Sum x x c");
}

#[test]
fn graph_outputs_and_inserted_nodes_keep_what_they_name() {
    let mut graph = graph(vec![node("y = Relu x")]);
    let edits = [Edit::Replace(0, node("r = Relu x")), redirect("y", "r"), Edit::Insert(1, node("y = Identity y0"))];
    apply(&mut graph, edits);
    assert_eq!(show(&graph), ["r = Relu x", "y = Identity y0"]);
}

#[test]
fn positions_are_those_of_the_graph_that_was_read() {
    let mut graph = graph(vec![node("a = Relu x"), node("b = Abs a"), node("y = Neg b")]);
    let edits = [
        Edit::Remove(1),
        Edit::Insert(2, node("b = Exp a")),
        Edit::Insert(2, node("d = Exp b")),
        Edit::Insert(3, node("e = Log b")),
        Edit::Replace(2, node("y = Neg d")),
        Edit::SetInput(2, 2, "w".into()),
    ];
    apply(&mut graph, edits);
    assert_eq!(show(&graph), ["a = Relu x", "b = Exp a", "d = Exp b", "y = Neg d  w", "e = Log b"]);
}

#[test]
fn the_last_edit_of_an_initializer_counts() {
    let mut graph = graph(vec![node("y = Relu x")]);
    let tensor = |name: &str, data_type| Tensor { name: name.into(), data_type, ..Default::default() };
    let edits = [
        Edit::RemoveInitializer("w".into()),
        Edit::SetInitializer(tensor("v", 1)),
        Edit::SetInitializer(tensor("w", 7)),
        Edit::SetInitializer(tensor("u", 1)),
        Edit::RemoveInitializer("u".into()),
    ];
    apply(&mut graph, edits);
    let kept: Vec<(&str, i32)> = graph.proto().initializer.iter().map(|t| (t.name.as_str(), t.data_type)).collect();
    assert_eq!(kept, [("w", 7), ("v", 1)]);
}

#[test]
fn ir_3_lists_constants_as_inputs_and_ir_4_does_not() {
    let mut model = graph(vec![node("y = Add x w")]).into_model().0;
    model.ir_version = 3;
    model.graph.mut_or_insert_default().input = values("x w");
    let mut graph = Graph::new(model, ExternalData::none());
    assert!(graph.constant("w").is_some());
    apply(&mut graph, [Edit::SetIr(4)]);
    assert!(graph.constant("w").is_some() && !graph.index().is_input("w") && graph.index().is_input("x"));
}

#[test]
fn an_initializer_that_callers_may_override_is_no_constant() {
    let mut model = graph(vec![node("y = Add x w")]).into_model().0;
    model.graph.mut_or_insert_default().input = values("x w");
    assert!(Graph::new(model, ExternalData::none()).constant("w").is_none());
}

#[test]
fn a_sound_graph_has_no_violations() {
    let inner = body(&["p = Abs a", "q = Add p i"], "i", "q x");
    check(vec![node("a = Add x w"), node("b = Clip a _ w"), with_body("y = If b", inner)], &[]);
}

#[test]
fn order_and_definitions_are_verified() {
    check(vec![node("y = Abs a"), node("a = Relu x")], &[]);
    check(vec![node("y = Abs a")], &["Abs that makes 'y': reads 'a' before anything defines it"]);
    let circle = vec![node("y = Abs a"), node("a = Relu y")];
    check(circle, &["Abs that makes 'y': reads 'a' before anything defines it"]);
    check(vec![node("y = Abs x"), node("y = Neg x")], &["Neg that makes 'y': defines 'y', which is already defined"]);
    check(vec![node("y = Abs x"), node("w = Neg x")], &["Neg that makes 'w': defines 'w', which is already defined"]);
    check(vec![node("a = Abs x")], &["graph output 'y': is defined by nothing"]);
}

#[test]
fn what_goes_in_and_out_has_a_name() {
    let mut unnamed = graph(vec![node("y = Abs x")]).into_model().0;
    unnamed.graph.mut_or_insert_default().input.push(ValueInfoProto::default());
    let found = verify(&Graph::new(unnamed, ExternalData::none()));
    assert_eq!(found[0].message, "has no name");
}

#[test]
fn bodies_are_verified() {
    check(
        vec![with_body("y = If x", body(&["p = Abs later", "p = Neg x"], "", "p r")), node("later = Abs y")],
        &[
            "Abs that makes 'p': reads 'later' before anything defines it",
            "Neg that makes 'p': defines 'p', which is already defined",
            "graph output 'r': is defined by nothing",
        ],
    );
}

#[test]
fn a_domain_is_imported_once() {
    let mut twice = graph(vec![node("y = Abs x")]).into_model().0;
    twice.opset_import.push(OperatorSetIdProto { domain: "ai.onnx".into(), version: 9, ..Default::default() });
    let found = verify(&Graph::new(twice, ExternalData::none()));
    assert_eq!(found[0].message, "imports operators of domain 'ai.onnx' twice");
}

#[test]
fn domains_must_be_imported() {
    let custom = NodeProto { domain: "com.example".into(), ..node("y = Abs x") };
    check(vec![custom], &["opset_import: operators of domain 'com.example' are used and not imported"]);
}

#[test]
fn types_of_quantized_values_need_an_opset_and_an_ir() {
    let mut graph = graph(vec![node("y = DequantizeLinear q w z")]);
    let int4 = |name: &str, dims: &[usize], values: &[i32]| {
        Edit::SetInitializer(from_ints(name, DataType::INT4 as i32, dims, values))
    };
    apply(&mut graph, [int4("q", &[2], &[1, -1]), int4("z", &[], &[0])]);
    let messages: Vec<String> = verify(&graph).into_iter().map(|v| v.message).collect();
    assert_eq!(messages, ["its type needs opset 21 and IR 10, the model has opset 13 and IR 8"]);
    apply(&mut graph, [Edit::SetOpset(21), Edit::SetIr(10)]);
    assert_eq!(verify(&graph), []);
}
