//! `inline_functions`: calls of model-local functions become what the functions say.

use crate::Pass;
use crate::facts::{Names, input, is_standard, label};
use std::collections::{HashMap, HashSet};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, subgraphs};
use tapq::onnx::{AttributeProto, FunctionProto, NodeProto as Node};

/// ## What it does
/// Puts the nodes of a model-local function in place of each call, functions within functions and calls in bodies of
/// If and Loop included. Functions that nothing calls any more go.
///
/// ## Why
/// PyTorch writes modules and custom operators as functions; the layers in them are layers as any other, and neither
/// the engine nor most devices know functions.
///
/// ## When it refuses
/// A function for another opset than the model's, one that calls itself, and a call with more inputs or outputs than the
/// function has: the engine names the call. All calls stay where functions would become more than a hundred thousand
/// nodes, or lie a hundred calls deep.
///
/// ## Example
/// With `twice (a) => (b) { b = Add (a, a) }`, the call `y = local.twice (x)` becomes `y = Add (x, x)`.
pub struct InlineFunctions;

impl Pass for InlineFunctions {
    fn name(&self) -> &'static str {
        "inline_functions"
    }

    fn about(&self) -> &'static str {
        "calls of functions become their nodes"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let functions = &graph.model().functions;
        if functions.is_empty() {
            return Ok(None);
        }
        let mut inliner = Inliner {
            graph,
            names: Names::of(graph),
            made: 0,
            depth: 0,
            endless: false,
            left: HashSet::new(),
            cyclic: HashMap::new(),
        };
        let mut patch = Patch::new();
        for (at, node) in graph.nodes().iter().enumerate() {
            let nodes = inliner.expand(node);
            if inliner.endless {
                return Ok(None);
            }
            if matches!(nodes.as_slice(), [only] if only == node) {
                continue;
            }
            if inliner.callee(node).is_some() {
                patch.because(format!("{} is the nodes of its function", label(node)));
            } else {
                patch.because(format!("calls in the bodies of {} are the nodes of their functions", label(node)));
            }
            nodes.into_iter().for_each(|inner| patch.push(Edit::Insert(at, inner)));
            patch.push(Edit::Remove(at));
        }
        let mut needed = inliner.called_from(inliner.left.clone());
        needed.extend(inliner.left);
        for function in functions.iter().filter(|f| !needed.contains(&key(&f.domain, &f.name, &f.overload))) {
            patch.because(format!("nothing calls the function '{}' any more", function.name));
            let FunctionProto { domain, name, overload, .. } = function.clone();
            patch.push(Edit::RemoveFunction { domain, name, overload });
        }
        Ok(patch.into_option())
    }
}

type Key = (String, String, String);

/// More nodes than this are not made of calls: a few functions that call each other twice make any number.
const MOST_NODES: usize = 1 << 17;

/// Calls in calls go no deeper.
const MOST_DEEP: usize = 100;

fn key(domain: &str, name: &str, overload: &str) -> Key {
    (domain.to_owned(), name.to_owned(), overload.to_owned())
}

struct Inliner<'g> {
    graph: &'g Graph,
    names: Names,
    /// Nodes that were made of calls.
    made: usize,
    /// Calls around the node in hand.
    depth: usize,
    /// Whether a bound was passed: nothing is made from then on.
    endless: bool,
    /// Functions that are called where the call stays.
    left: HashSet<Key>,
    /// Whether functions call themselves, as far as that was asked.
    cyclic: HashMap<Key, bool>,
}

impl<'g> Inliner<'g> {
    fn callee(&self, node: &Node) -> Option<&'g FunctionProto> {
        let functions = &self.graph.model().functions;
        functions.iter().find(|f| f.name == node.op_type && f.domain == node.domain && f.overload == node.overload)
    }

    /// What stands for `node`.
    fn expand(&mut self, node: &Node) -> Vec<Node> {
        let Some(function) = self.callee(node) else { return vec![self.with_bodies(node)] };
        let key = key(&function.domain, &function.name, &function.overload);
        if !self.fits(node, function) || self.calls_itself(&key) {
            self.left.insert(key);
            return vec![node.clone()];
        }
        self.endless |= self.made > MOST_NODES || self.depth > MOST_DEEP;
        if self.endless {
            return vec![];
        }
        let nodes = instance(node, function, &mut self.names);
        self.made += nodes.len();
        self.depth += 1;
        let nodes = nodes.iter().flat_map(|inner| self.expand(inner)).collect();
        self.depth -= 1;
        nodes
    }

    fn calls_itself(&mut self, function: &Key) -> bool {
        if let Some(known) = self.cyclic.get(function) {
            return *known;
        }
        let found = self.called_from([function.clone()].into()).contains(function);
        self.cyclic.insert(function.clone(), found);
        found
    }

    fn with_bodies(&mut self, node: &Node) -> Node {
        let mut node = node.clone();
        for body in node.attribute.iter_mut().flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)) {
            let nodes = std::mem::take(&mut body.node);
            body.node = nodes.iter().flat_map(|inner| self.expand(inner)).collect();
        }
        node
    }

    fn fits(&self, node: &Node, function: &FunctionProto) -> bool {
        let default = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset = function.opset_import.iter().find(|o| default(&o.domain)).map(|o| o.version);
        opset.is_none_or(|version| version == self.graph.opset())
            && node.input.len() <= function.input.len()
            && node.output.len() <= function.output.len()
    }

    /// What functions call, directly or through others.
    fn called_from(&self, functions: HashSet<Key>) -> HashSet<Key> {
        let (mut found, mut open) = (HashSet::new(), functions.into_iter().collect::<Vec<_>>());
        while let Some((domain, name, overload)) = open.pop() {
            let functions = self.graph.model().functions.iter();
            for function in functions.filter(|f| f.domain == domain && f.name == name && f.overload == overload) {
                open.extend(calls(&function.node).into_iter().filter(|called| found.insert(called.clone())));
            }
        }
        found
    }
}

/// Operators of other domains in `nodes`, however deep.
fn calls(nodes: &[Node]) -> Vec<Key> {
    let one = |node: &Node| key(&node.domain, &node.op_type, &node.overload);
    let inner = nodes.iter().flat_map(subgraphs).flat_map(|body| calls(&body.node));
    nodes.iter().filter(|n| !is_standard(n)).map(one).chain(inner).collect()
}

/// The nodes of a function with the values and attributes of one call.
fn instance(call: &Node, function: &FunctionProto, names: &mut Names) -> Vec<Node> {
    let mut renamed: HashMap<String, String> = HashMap::new();
    for (slot, formal) in function.input.iter().enumerate() {
        renamed.insert(formal.clone(), input(call, slot).unwrap_or("").to_owned());
    }
    let results = function.output.iter().zip(&call.output).filter(|(_, actual)| !actual.is_empty());
    let mut copied = vec![];
    for (formal, actual) in results {
        // A result that is an argument, or two results, comes out of an Identity.
        match renamed.contains_key(formal) {
            true => copied.push((formal, actual)),
            false => _ = renamed.insert(formal.clone(), actual.clone()),
        }
    }
    let stem = if call.name.is_empty() { &function.name } else { &call.name };
    for name in defined(&function.node) {
        if !name.is_empty() && !renamed.contains_key(&name) {
            let fresh = names.fresh(&format!("{stem}/{name}"));
            renamed.insert(name, fresh);
        }
    }
    let mut nodes = function.node.clone();
    for node in &mut nodes {
        if !node.name.is_empty() {
            node.name = format!("{stem}/{}", node.name);
        }
        bind(node, call, function);
        rename_all(node, &renamed);
    }
    nodes.extend(copied.into_iter().map(|(formal, actual)| Node {
        op_type: "Identity".to_owned(),
        input: vec![renamed.get(formal).cloned().unwrap_or_default()],
        output: vec![actual.clone()],
        ..Default::default()
    }));
    nodes
}

/// Every name that nodes and their bodies define, in their order, so that the same model gets the same names.
fn defined(nodes: &[Node]) -> Vec<String> {
    let mut found = vec![];
    for node in nodes {
        found.extend(node.output.iter().cloned());
        for body in subgraphs(node) {
            found.extend(body.input.iter().map(|v| v.name.clone()));
            found.extend(body.initializer.iter().map(|t| t.name.clone()));
            found.extend(defined(&body.node));
        }
    }
    found
}

/// Gives attributes that refer to one of the function the value of the call, or the default; those of neither go.
fn bind(node: &mut Node, call: &Node, function: &FunctionProto) {
    let given = |name: &str| -> Option<&AttributeProto> {
        call.attribute.iter().chain(&function.attribute_proto).find(|a| a.name == name)
    };
    node.attribute = std::mem::take(&mut node.attribute)
        .into_iter()
        .filter_map(|attribute| match attribute.ref_attr_name.is_empty() {
            true => Some(attribute),
            false => given(&attribute.ref_attr_name).map(|a| AttributeProto { name: attribute.name, ..a.clone() }),
        })
        .collect();
    for body in node.attribute.iter_mut().flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)) {
        body.node.iter_mut().for_each(|inner| bind(inner, call, function));
    }
}

fn rename_all(node: &mut Node, renamed: &HashMap<String, String>) {
    let rename = |name: &mut String| {
        if let Some(new) = renamed.get(name.as_str()) {
            name.clone_from(new);
        }
    };
    node.input.iter_mut().chain(&mut node.output).for_each(rename);
    for body in node.attribute.iter_mut().flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)) {
        body.input.iter_mut().chain(&mut body.output).for_each(|v| rename(&mut v.name));
        body.initializer.iter_mut().for_each(|t| rename(&mut t.name));
        body.value_info.clear();
        body.node.iter_mut().for_each(|inner| rename_all(inner, renamed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text};

    /// Forty functions, each of which calls the next one twice: a trillion nodes.
    #[test]
    fn functions_do_not_grow_without_bound() {
        let head = "<ir_version: 8, opset_import: [\"\" : 17, \"f\" : 1]>\n";
        let mut text = format!("{head}g (float[2] x) => (float[2] y) {{ y = f.F0 (x) }}\n");
        for at in 0..40 {
            let next = at + 1;
            text += &format!(
                "<domain: \"f\", opset_import: [\"\" : 17, \"f\" : 1]>
                F{at} (a) => (c) {{ b = f.F{next} (a) c = f.F{next} (b) }}\n"
            );
        }
        text += "<domain: \"f\", opset_import: [\"\" : 17]> F40 (a) => (b) { b = Relu (a) }\n";
        let graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        assert!(InlineFunctions.run(&graph).unwrap().is_none());
    }
}
