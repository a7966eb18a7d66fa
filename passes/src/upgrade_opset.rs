//! `upgrade_opset`: the same function, written for a newer operator set.

use crate::Pass;
use crate::facts::{Names, is_standard, label};
use crate::upgrade_rules::convert;
use crate::upgrade_scope::{Scope, ScopeFacts, refuse};
use crate::upgrade_table::OPERATORS;
use std::collections::HashMap;
use tapq::fused::is_fused;
use tapq::graph::{Edit, Graph, Patch, subgraphs};
use tapq::onnx::{GraphProto, NodeProto as Node, Tensor};
use tapq::{Code, Error, Result};

/// Oldest opset that can be upgraded: before it, broadcasting was an attribute.
const OLDEST: i64 = 7;
/// Newest opset that the rules know.
const NEWEST: i64 = 25;

/// ## What it does
/// Converts the default domain to this opset, bodies included, and raises the IR version to the one of that release.
///
/// ## Why
/// Per-axis scales need opset 13, 4-bit types need 21; devices ask for a newest one they read.
///
/// ## When it refuses
/// With [`Code::Opset`], naming the node: opsets older than 7 or newer than 25, operators that the specification does
/// not know, training outputs, and conversions that need a shape that is not recorded. Models that are new enough
/// are left alone; functions import their own opsets and are not touched.
///
/// ## Example
/// From 11 to 13, `y = Squeeze <axes = [0]> (x)` becomes `y = Squeeze (x, y_axes)`.
pub struct UpgradeOpset {
    /// The opset to reach.
    pub to: i64,
}

impl Pass for UpgradeOpset {
    fn name(&self) -> &'static str {
        "upgrade_opset"
    }

    fn about(&self) -> &'static str {
        "the same function in a newer operator set"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        upgrade_opset(graph, self.to).map(Patch::into_option)
    }
}

/// Edits that convert `graph` to opset `to` of the default domain; an empty patch if it is that new.
///
/// # Errors
/// [`Code::Opset`], naming the node that cannot be converted.
pub fn upgrade_opset(graph: &Graph, to: i64) -> Result<Patch> {
    let (from, mut patch) = (graph.opset(), Patch::new());
    if from >= to {
        return Ok(patch);
    }
    if from < OLDEST || to > NEWEST {
        let message = format!("cannot convert opset {from} to {to}; {OLDEST} to {NEWEST} are understood");
        return Err(Error::new(Code::Opset, message).help("export the model again with a newer opset"));
    }
    patch.because(format!("opset {from} becomes {to}"));
    let mut upgrade = Upgrade { graph, from, to, names: Names::of(graph) };
    let (nodes, tensors) = upgrade.scope(graph.proto())?;
    for (at, mut replacement) in nodes {
        patch.because(format!("{} is written for opset {to}", label(&graph.nodes()[at])));
        if let Some(last) = replacement.pop() {
            replacement.into_iter().for_each(|node| patch.push(Edit::Insert(at, node)));
            patch.push(Edit::Replace(at, last));
        }
    }
    tensors.into_iter().for_each(|tensor| patch.push(Edit::SetInitializer(tensor)));
    patch.push(Edit::SetOpset(to));
    let ir = ir_for_opset(to);
    if graph.model().ir_version < ir {
        patch.push(Edit::SetIr(ir));
    }
    Ok(patch)
}

/// The IR version of the ONNX release that brought an opset (onnx/onnx docs/Versioning.md).
pub fn ir_for_opset(opset: i64) -> i64 {
    match opset {
        ..=8 => 3,
        9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19 | 20 => 9,
        21 | 22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

/// Nodes that replace the node at a position.
type Replacements = Vec<(usize, Vec<Node>)>;

struct Upgrade<'g> {
    graph: &'g Graph,
    from: i64,
    to: i64,
    names: Names,
}

impl Upgrade<'_> {
    fn scope(&mut self, proto: &GraphProto) -> Result<(Replacements, Vec<Tensor>)> {
        let (mut replacements, mut tensors) = (vec![], vec![]);
        let facts = ScopeFacts::new(self.graph, proto);
        for (at, node) in proto.node.iter().enumerate() {
            let with_bodies = self.bodies(node)?;
            let mut scope = Scope { facts: &facts, to: self.to, names: &mut self.names, tensors: &mut tensors };
            let written = match is_standard(node) {
                true => upgrade(&mut scope, with_bodies.as_ref().unwrap_or(node), self.from)?,
                false => None,
            };
            replacements.extend(written.or(with_bodies.map(|n| vec![n])).map(|nodes| (at, nodes)));
        }
        Ok((replacements, tensors))
    }

    /// The node with its bodies converted, if any of them changes.
    fn bodies(&mut self, node: &Node) -> Result<Option<Node>> {
        if subgraphs(node).next().is_none() {
            return Ok(None);
        }
        let mut node = node.clone();
        for attribute in &mut node.attribute {
            for body in attribute.g.as_mut().into_iter().chain(attribute.graphs.iter_mut()) {
                self.body(body)?;
            }
        }
        Ok(Some(node))
    }

    fn body(&mut self, body: &mut GraphProto) -> Result<()> {
        let (replacements, tensors) = self.scope(body)?;
        let mut replacements: HashMap<usize, Vec<Node>> = replacements.into_iter().collect();
        let old = std::mem::take(&mut body.node).into_iter().enumerate();
        body.node = old.flat_map(|(at, node)| replacements.remove(&at).unwrap_or_else(|| vec![node])).collect();
        body.initializer.extend(tensors);
        Ok(())
    }
}

/// Goes through the opsets one by one, as their authors did; `None` if nothing changes.
fn upgrade(scope: &mut Scope, node: &Node, from: i64) -> Result<Option<Vec<Node>>> {
    let mut nodes = vec![node.clone()];
    for version in from + 1..=scope.to {
        let Some(last) = nodes.last() else { break };
        if let Some(written) = convert(scope, last, version).map_err(|e| e.at(label(node)))? {
            nodes.pop();
            nodes.extend(written);
        }
    }
    let known = |n: &Node| OPERATORS.binary_search(&n.op_type.as_str()).is_ok() || is_fused(n);
    if !nodes.iter().all(known) {
        return Err(refuse(format!("no opset up to {} has this operator", scope.to)).at(label(node)));
    }
    Ok((nodes.as_slice() != std::slice::from_ref(node)).then_some(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text};

    /// One node `y = <call>` over the input `x` of the given shape, and what the refusal says.
    #[track_caller]
    fn check(from: i64, to: i64, outputs: &str, call: &str, expected: &str) {
        let text = format!(
            "<ir_version: 4, opset_import: [\"\" : {from}]>\n\
             g (float[1,4,2] x, float[2] s) => (float[1,4,2] {})\n{{\n {outputs} = {call}\n}}",
            outputs.replace(", ", ", float[1,4,2] ")
        );
        let graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        let error = upgrade_opset(&graph, to).unwrap_err();
        assert_eq!(error.code(), Code::Opset);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn refuses_by_name_what_cannot_be_converted() {
        check(6, 13, "y", "Relu (x)", "cannot convert opset 6 to 13");
        check(13, 26, "y", "Relu (x)", "7 to 25 are understood");
        check(7, 13, "y", "Aten (x)", "Aten that makes 'y': no opset up to 13 has this operator");
        check(8, 13, "y", "Scan <body = b () => (float p) { p = Abs (s) }> (s, x)", "runs over another axis");
        check(8, 13, "y", "BatchNormalization <spatial = 0> (x, s, s, s, s)", "spatial = 0");
        check(13, 14, "y, m, v", "BatchNormalization (x, s, s, s, s)", "outputs of training");
        check(11, 13, "y, m", "Dropout (x)", "its mask means something else");
        check(18, 21, "y", "GroupNormalization <num_groups = 2> (x, s, s)", "not a float32 constant");
    }

    #[test]
    fn never_lowers_the_ir() {
        let text = "<ir_version: 11, opset_import: [\"\" : 11]>\ng (float[2] x) => (float[2] y) { y = Relu (x) }";
        let mut graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        graph.apply(upgrade_opset(&graph, 13).unwrap());
        assert_eq!((graph.opset(), graph.model().ir_version), (13, 11));
    }
}
