//! Operators of ONNX Runtime's own, in the operators of ONNX that they were fused from.
//!
//! ONNX Runtime's optimizers and the exporters for it write files with operators of the domain `com.microsoft`, each of
//! which does the work of several of ONNX's (the runtime's docs/ContribOperators.md says what each computes). What is in
//! them, layers included, is hidden from whoever knows ONNX alone: the engine, and every runtime but that one.
//!
//! [`taken_apart`] takes them apart, one step at a time: an Attention is a MatMul, an Add, a Split and a MultiHeadAttention,
//! which is a dozen operators of ONNX. Who asks says which steps to leave: a file for ONNX Runtime keeps
//! the MultiHeadAttention, for which it has a kernel, and has its MatMul quantized.
//!
//! Deliberately absent: operators that hold quantized weights, and those that decide how a sequence goes on
//! (BeamSearch, Sampling).

mod attention;
mod embedding;
mod gelu;
mod grouped;
mod mask;
mod norm;
mod product;
mod rotary;
mod spell;
mod triangle;

use crate::graph::{Graph, Names, Recorded, attr_i, input, is_standard, ranks, recorded, subgraphs};
use crate::onnx::{GraphProto, NodeProto as Node};
use crate::{Error, Result};
use spell::Spell;
use std::collections::HashMap;

/// The domain of ONNX Runtime's own operators.
pub const DOMAIN: &str = "com.microsoft";

/// The opset that brought LayerNormalization to ONNX.
pub const LAYER_NORM_OPSET: i64 = 17;

/// An operator of the default domain that only ONNX Runtime knows.
const MISPLACED: &str = "SimplifiedLayerNormalization";

/// Whether `node` is one of the operators that can be taken apart.
pub fn is_fused(node: &Node) -> bool {
    rule(node).is_some()
}

/// What a fused operator is made of, one step.
type Rule = fn(&Node, &mut Spell) -> Result<()>;

fn rule(node: &Node) -> Option<Rule> {
    if node.op_type == MISPLACED && (is_standard(node) || node.domain == DOMAIN) {
        return Some(norm::simplified);
    }
    if node.domain != DOMAIN {
        return None;
    }
    Some(match node.op_type.as_str() {
        "Attention" => attention::attention,
        "BiasGelu" => gelu::bias,
        "EmbedLayerNormalization" => embedding::embed,
        "FastGelu" => gelu::fast,
        "FusedConv" => product::conv,
        "FusedGemm" => product::gemm,
        "FusedMatMul" | "TransposeMatMul" => product::matmul,
        "Gelu" => gelu::plain,
        "GroupQueryAttention" => grouped::grouped,
        "MultiHeadAttention" => attention::multi_head,
        "QuickGelu" => gelu::quick,
        "RotaryEmbedding" => rotary::rotary,
        "SkipLayerNormalization" => norm::skip,
        "SkipSimplifiedLayerNormalization" => norm::skip_simplified,
        "Trilu" => triangle::trilu,
        _ => return None,
    })
}

/// Whether the operator, kept as it is, hides nothing from a quantizer: no layer, no bias of one, no table.
///
/// These are what a file for ONNX Runtime keeps: it has kernels for them, and does not find all of them again by itself.
pub fn hides_nothing(node: &Node, is_constant: &dyn Fn(&str) -> bool) -> bool {
    match node.op_type.as_str() {
        "FastGelu" => input(node, 1).is_none(),
        "FusedMatMul" | "TransposeMatMul" => !node.input.iter().any(|name| is_constant(name)),
        "SkipLayerNormalization" => input(node, 4).is_none(),
        "SkipSimplifiedLayerNormalization" => input(node, 3).is_none(),
        op => matches!(
            op,
            "Gelu"
                | "GroupQueryAttention"
                | "MultiHeadAttention"
                | "QuickGelu"
                | "RotaryEmbedding"
                | "SimplifiedLayerNormalization"
                | "Trilu"
        ),
    }
}

/// Rank of what an output slot of a fused operator holds; `of` knows those of its inputs.
pub(crate) fn rank(node: &Node, slot: usize, of: &dyn Fn(usize) -> Option<usize>) -> Option<usize> {
    rule(node)?;
    match node.op_type.as_str() {
        "Attention" => Some(if slot == 0 { 3 } else { 5 }),
        "EmbedLayerNormalization" => Some(if slot == 1 { 1 } else { 3 }),
        "FusedGemm" => Some(2),
        "FusedMatMul" | "TransposeMatMul" => Some(of(0)?.max(of(1)?)),
        "GroupQueryAttention" | "MultiHeadAttention" => Some(if slot == 0 { 3 } else { 4 }),
        _ => of(0),
    }
}

/// Features of a head in a cache that attention of ONNX Runtime's own reads; `None` where that does not follow.
pub(crate) fn features_of_cache(graph: &Graph, cache: &str) -> Option<usize> {
    grouped::features_of_cache(graph, cache)
}

/// What is known of the values around a node.
struct Facts<'a> {
    opset: i64,
    ranks: HashMap<&'a str, usize>,
    recorded: HashMap<&'a str, Recorded>,
}

impl<'a> Facts<'a> {
    fn new(proto: &'a GraphProto, opset: i64) -> Self {
        Facts { opset, ranks: ranks(proto), recorded: recorded(proto) }
    }

    fn dims(&self, name: &str) -> Option<&[Option<i64>]> {
        self.recorded.get(name)?.dims.as_deref()
    }

    fn rank(&self, name: &str) -> Option<usize> {
        self.ranks.get(name).copied().or_else(|| self.dims(name).map(<[_]>::len))
    }

    /// Extent of an axis, counted from the end where negative.
    fn extent(&self, name: &str, axis: i64) -> Option<i64> {
        let dims = self.dims(name)?;
        let at = if axis < 0 { axis + dims.len() as i64 } else { axis };
        *dims.get(usize::try_from(at).ok()?)?
    }
}

/// What stands for the nodes of the main graph that hold fused operators, in bodies too, by their position: those operators
/// are taken apart, but for what `keep` says to leave as it is.
///
/// # Errors
/// [`crate::Code::Engine`], naming the node: a form of an operator that is not understood.
pub fn taken_apart(graph: &Graph, keep: &dyn Fn(&Node) -> bool) -> Result<Vec<(usize, Vec<Node>)>> {
    let nodes = graph.nodes();
    if !nodes.iter().any(holds_fused) {
        return Ok(vec![]);
    }
    let mut apart = Apart { graph, keep, names: Names::of(graph) };
    // Parts have names of their own, which no node has.
    nodes.iter().filter(|node| !node.name.is_empty()).for_each(|node| drop(apart.names.fresh(&node.name)));
    let facts = Facts::new(graph.proto(), graph.opset());
    let mut found = vec![];
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| holds_fused(node)) {
        let nodes = apart.take(node, &facts)?;
        if !matches!(nodes.as_slice(), [only] if only == node) {
            found.push((at, nodes));
        }
    }
    Ok(found)
}

struct Apart<'a> {
    graph: &'a Graph,
    keep: &'a dyn Fn(&Node) -> bool,
    names: Names,
}

impl Apart<'_> {
    fn take(&mut self, node: &Node, facts: &Facts) -> Result<Vec<Node>> {
        if subgraphs(node).next().is_some() {
            let mut node = node.clone();
            for body in node.attribute.iter_mut().flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)) {
                self.body(body)?;
            }
            return Ok(vec![node]);
        }
        let Some(rule) = rule(node).filter(|_| !(self.keep)(node)) else { return Ok(vec![node.clone()]) };
        let mut spell = Spell::new(node, facts, &mut self.names);
        rule(node, &mut spell).map_err(|why: Error| why.at(crate::graph::node_place(node)))?;
        let parts = spell.nodes;
        let mut taken = vec![];
        for part in &parts {
            taken.extend(self.take(part, facts)?);
        }
        Ok(taken)
    }

    fn body(&mut self, body: &mut GraphProto) -> Result<()> {
        let whole = body.clone();
        let facts = Facts::new(&whole, self.graph.opset());
        body.node.clear();
        for node in &whole.node {
            body.node.extend(self.take(node, &facts)?);
        }
        Ok(())
    }
}

/// Whether the node, or one in its bodies, can be taken apart.
fn holds_fused(node: &Node) -> bool {
    is_fused(node) || subgraphs(node).any(|body| body.node.iter().any(holds_fused))
}

/// Whether an attribute that is a switch is on.
fn is_on(node: &Node, name: &str) -> bool {
    attr_i(node, name).is_some_and(|v| v != 0)
}
