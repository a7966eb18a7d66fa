//! `fold_if`: the branch that is always taken stands in place of the If.

use crate::Pass;
use crate::facts::{Names, input, is_op, label};
use std::collections::HashMap;
use tapq::Result;
use tapq::array::Values;
use tapq::graph::{Edit, Graph, Patch, attr_graph};
use tapq::onnx::{GraphProto, NodeProto as Node, array};

/// ## What it does
/// Puts the nodes and constants of the taken branch into the main graph where the condition of an If is a constant,
/// under new names where theirs are taken. One If a patch: one that comes to light inside is next.
///
/// ## Why
/// Exporters guard reshapes and cells by conditions that constant folding decides; layers in a body are out of reach.
///
/// ## When it refuses
/// Conditions that the network computes, from shapes among others: the file must serve every input that it served
/// before. Branches with sparse constants.
///
/// ## Example
/// With the constant `c = true`, `y = If (c) <then_branch = {p = Relu (x)}, else_branch = {q = Neg (x)}>` becomes
/// `p = Relu (x)  y = Identity (p)`, of which `remove_identity` leaves `y = Relu (x)`.
pub struct FoldIf;

impl Pass for FoldIf {
    fn name(&self) -> &'static str {
        "fold_if"
    }

    fn about(&self) -> &'static str {
        "the branch that is always taken replaces the If"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, node)| is_op(node, "If")) {
            let Some(taken) = condition(graph, node)? else { continue };
            let branch = attr_graph(node, if taken { "then_branch" } else { "else_branch" });
            let foldable =
                |branch: &&GraphProto| branch.output.len() == node.output.len() && branch.sparse_initializer.is_empty();
            let Some(branch) = branch.filter(foldable) else { continue };
            return Ok(Some(replaced(graph, at, node, branch, taken)));
        }
        Ok(None)
    }
}

/// The condition, where it is a constant.
fn condition(graph: &Graph, node: &Node) -> Result<Option<bool>> {
    // A caller may override an initializer that is listed as an input.
    let constant = input(node, 0).filter(|name| !graph.index().is_input(name)).and_then(|name| graph.constant(name));
    let Some(tensor) = constant else { return Ok(None) };
    Ok(match array(tensor, graph.external())?.values {
        Values::Bool(values) if values.len() == 1 => Some(values[0]),
        _ => None,
    })
}

fn replaced(graph: &Graph, at: usize, node: &Node, branch: &GraphProto, taken: bool) -> Patch {
    let mut patch = Patch::new();
    patch.because(format!("the condition of {} is always {taken}", label(node)));
    let mut names = Names::beside(graph, at, branch);
    let own = branch.initializer.iter().map(|t| &t.name).chain(branch.node.iter().flat_map(|n| &n.output));
    let renamed: HashMap<String, String> =
        own.filter(|name| !name.is_empty()).map(|name| (name.clone(), names.fresh(name))).collect();
    for tensor in &branch.initializer {
        let mut tensor = tensor.clone();
        rename(&mut tensor.name, &renamed);
        patch.push(Edit::SetInitializer(tensor));
    }
    for inner in &branch.node {
        let mut inner = inner.clone();
        rename_node(&mut inner, &renamed);
        patch.push(Edit::Insert(at, inner));
    }
    for (made, output) in branch.output.iter().zip(&node.output).filter(|(_, output)| !output.is_empty()) {
        let mut source = made.name.clone();
        rename(&mut source, &renamed);
        let identity = Node {
            op_type: "Identity".to_owned(),
            input: vec![source],
            output: vec![output.clone()],
            ..Default::default()
        };
        patch.push(Edit::Insert(at, identity));
    }
    patch.push(Edit::Remove(at));
    patch
}

fn rename(name: &mut String, renamed: &HashMap<String, String>) {
    if let Some(new) = renamed.get(name) {
        name.clone_from(new);
    }
}

/// Renames what the node reads and makes, and what its bodies capture: names within them are none of the renamed.
fn rename_node(node: &mut Node, renamed: &HashMap<String, String>) {
    node.input.iter_mut().chain(&mut node.output).for_each(|name| rename(name, renamed));
    for body in node.attribute.iter_mut().flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)) {
        body.node.iter_mut().for_each(|inner| rename_node(inner, renamed));
        body.output.iter_mut().for_each(|value| rename(&mut value.name, renamed));
    }
}
