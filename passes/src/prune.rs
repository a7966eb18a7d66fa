//! `prune`: what no output depends on goes.

use crate::Pass;
use std::collections::HashSet;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, reads};

/// ## What it does
/// Removes nodes whose outputs nothing reads, initializers that nothing reads, and recorded types of values that no
/// longer exist.
///
/// ## Why
/// Folding leaves them behind; stale `value_info` makes other tools refuse the file.
///
/// ## When it refuses
/// Graph inputs and outputs stay, initializers that are also inputs among them, and so does the inside of bodies.
///
/// ## Example
/// `y = Relu (x)  unused = Abs (x)` with output `y` becomes `y = Relu (x)`.
pub struct Prune;

impl Pass for Prune {
    fn name(&self) -> &'static str {
        "prune"
    }

    fn about(&self) -> &'static str {
        "what no output depends on goes"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        let (dead, read) = dead_nodes(graph);
        for at in dead.iter().rev() {
            let output = graph.nodes()[*at].output.first().map_or("", String::as_str);
            patch.because(format!("nothing reads '{output}'"));
            patch.push(Edit::Remove(*at));
        }
        let proto = graph.proto();
        let unread = |name: &str| !read.contains(name) && !graph.index().is_input(name);
        for name in proto.initializer.iter().map(|t| t.name.as_str()).filter(|name| unread(name)) {
            patch.because(format!("nothing reads initializer '{name}'"));
            patch.push(Edit::RemoveInitializer(name.to_owned()));
        }
        let alive = alive_values(graph, &dead, &unread);
        for value in proto.value_info.iter().filter(|v| !alive.contains(v.name.as_str())) {
            patch.because(format!("'{}' no longer exists", value.name));
            patch.push(Edit::RemoveValueInfo(value.name.clone()));
        }
        Ok(patch.into_option())
    }
}

/// Positions of dead nodes, last first, and every name that a live node or the caller reads.
fn dead_nodes(graph: &Graph) -> (Vec<usize>, HashSet<String>) {
    let mut read: HashSet<String> = graph.proto().output.iter().map(|v| v.name.clone()).collect();
    let mut dead = vec![];
    for (at, node) in graph.nodes().iter().enumerate().rev() {
        match node.output.is_empty() || node.output.iter().any(|name| read.contains(name)) {
            true => read.extend(reads(node)),
            false => dead.push(at),
        }
    }
    (dead, read)
}

fn alive_values<'g>(graph: &'g Graph, dead: &[usize], unread: &impl Fn(&str) -> bool) -> HashSet<&'g str> {
    let dead: HashSet<usize> = dead.iter().copied().collect();
    let live = graph.nodes().iter().enumerate().filter(|(at, _)| !dead.contains(at));
    let mut alive: HashSet<&str> = live.flat_map(|(_, node)| &node.output).map(String::as_str).collect();
    alive.extend(graph.proto().input.iter().map(|v| v.name.as_str()));
    alive.extend(graph.proto().initializer.iter().map(|t| t.name.as_str()).filter(|name| !unread(name)));
    alive
}
