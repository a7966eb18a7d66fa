//! `name_nodes`: every node of the main graph gets a name of its own.

use crate::Pass;
use std::collections::{HashMap, HashSet};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};

/// ## What it does
/// Gives nodes of the main graph that have no name, or a name already used by an earlier node, the name
/// `<operator>_<index among that operator>`.
///
/// ## Why
/// Plans and reports address layers by node name.
///
/// ## When it refuses
/// Never; a name that is taken gets a second number. Nodes inside bodies are left alone.
///
/// ## Example
/// The third `Conv`, unnamed, becomes `Conv_2`.
pub struct NameNodes;

impl Pass for NameNodes {
    fn name(&self) -> &'static str {
        "name_nodes"
    }

    fn about(&self) -> &'static str {
        "nodes without a name of their own get one"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        let mut taken: HashSet<String> = graph.nodes().iter().map(|n| n.name.clone()).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (at, node) in graph.nodes().iter().enumerate() {
            let count = counts.entry(&node.op_type).or_default();
            let wish = format!("{}_{count}", node.op_type);
            *count += 1;
            if !node.name.is_empty() && seen.insert(&node.name) {
                continue;
            }
            let name = free(wish, &taken);
            taken.insert(name.clone());
            patch.because(match node.name.is_empty() {
                true => format!("node {at} has no name: '{name}'"),
                false => format!("'{}' is the name of several nodes: '{name}'", node.name),
            });
            let mut named = node.clone();
            named.name = name;
            patch.push(Edit::Replace(at, named));
        }
        Ok(patch.into_option())
    }
}

fn free(wish: String, taken: &HashSet<String>) -> String {
    let numbered = (1..).map(|i| format!("{wish}_{i}"));
    std::iter::once(wish.clone()).chain(numbered).find(|n| !taken.contains(n)).unwrap_or(wish.clone())
}
