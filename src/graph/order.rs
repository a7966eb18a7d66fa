//! Nodes in the order in which they can run.

use super::index::{reads, subgraphs};
use crate::onnx::{GraphProto, NodeProto as Node};
use std::collections::{BTreeSet, HashMap};

/// Puts the nodes of a graph and of its bodies in topological order, and leaves what is in order as it is.
///
/// ONNX asks for the order, and some tools do not keep it: ONNX Runtime's converter to float16 appends its Casts, and the
/// runtime sorts them in. Of nodes that could run, the first in the file comes first. Nodes that wait for each other keep
/// their places behind all others.
pub(super) fn put_in_order(graph: &mut GraphProto) {
    if !is_in_order(graph) {
        let order = order(&graph.node);
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
        graph.node = order.into_iter().filter_map(|at| nodes[at].take()).collect();
    }
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    attributes.flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)).for_each(put_in_order);
}

/// Whether no node reads what a later one makes.
fn is_in_order(graph: &GraphProto) -> bool {
    let outputs =
        graph.node.iter().enumerate().flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)));
    let made: HashMap<&str, usize> = outputs.filter(|(name, _)| !name.is_empty()).collect();
    let late = |name: &str, at: usize| made.get(name).is_some_and(|maker| *maker >= at);
    graph.node.iter().enumerate().all(|(at, node)| match subgraphs(node).next() {
        None => !node.input.iter().any(|name| late(name, at)),
        Some(_) => !reads(node).iter().any(|name| late(name, at)),
    })
}

fn order(nodes: &[Node]) -> Vec<usize> {
    let mut made: HashMap<&str, usize> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        node.output.iter().filter(|name| !name.is_empty()).for_each(|name| _ = made.entry(name).or_insert(at));
    }
    let mut readers: Vec<Vec<usize>> = vec![vec![]; nodes.len()];
    let mut waits: Vec<usize> = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let makers: BTreeSet<usize> = reads(node).iter().filter_map(|name| made.get(name.as_str()).copied()).collect();
        waits[at] = makers.len();
        makers.into_iter().for_each(|maker| readers[maker].push(at));
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|at| waits[*at] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for reader in &readers[at] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    order.extend((0..nodes.len()).filter(|at| waits[*at] > 0));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::parse_text;

    fn ordered(body: &str) -> Vec<String> {
        let mut model = parse_text(&format!("g (float x, bool c) => (y) {{ {body} }}")).unwrap();
        let graph = model.graph.mut_or_insert_default();
        put_in_order(graph);
        graph.node.iter().flat_map(|node| node.output.clone()).collect()
    }

    #[test]
    fn what_is_in_order_stays_and_the_rest_keeps_the_order_of_the_file() {
        assert_eq!(ordered("b = Relu (x) a = Abs (x) y = Add (a, b)"), ["b", "a", "y"]);
        assert_eq!(ordered("y = Add (a, b) b = Relu (c2) a = Abs (x) c2 = Neg (x)"), ["a", "c2", "b", "y"]);
    }

    #[test]
    fn bodies_wait_for_what_they_capture_and_are_put_in_order_too() {
        let fork = "y = If (c) <then_branch = t () => (p) { p = Neg (q) q = Abs (late) },
                                else_branch = e () => (r) { r = Neg (x) }>";
        let mut model = parse_text(&format!("g (float x, bool c) => (y) {{ {fork} late = Relu (x) }}")).unwrap();
        let graph = model.graph.mut_or_insert_default();
        put_in_order(graph);
        assert_eq!(graph.node[0].output, ["late"]);
        let body = subgraphs(&graph.node[1]).next().unwrap();
        assert_eq!(body.node[0].output, ["q"]);
    }

    #[test]
    fn circles_are_left_for_the_verifier() {
        assert_eq!(ordered("a = Add (x, y) y = Neg (a) b = Abs (x)"), ["b", "a", "y"]);
    }
}
