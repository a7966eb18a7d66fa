//! Where values enter and leave a region: which neighbours take the other layout without a Transpose.

use super::change::{Change, axes_of, dropped_axes};
use super::members::keeps_axes;
use super::{Layout, listed_axes, perm};
use crate::facts::{constant_ints, input, is_standard};
use std::collections::HashMap;
use tapq::Result;
use tapq::graph::{Graph, attr_i};
use tapq::onnx::NodeProto as Node;

/// How a node that makes a value provides it in the region's layout.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// What it reads is that value.
    Undone,
    /// A Transpose by another permutation of what it reads makes that value.
    Merged(Vec<usize>),
    /// A copy of the node makes that value.
    Changed(Vec<Change>),
    /// Only a node behind it does.
    Inserted,
}

/// How a node outside of the region reads a value that only exists in the region's layout.
#[derive(Clone, Debug)]
pub(crate) enum Exit {
    /// What the node makes is that value.
    Undone,
    /// As a Transpose by another permutation.
    Merged(Vec<usize>),
    /// With other axes.
    Changed(Vec<Change>),
    /// Not at all.
    Outside,
}

/// How `node` provides the value that it makes.
pub(crate) fn entry(graph: &Graph, ranks: &HashMap<&str, usize>, layout: &Layout, node: &Node) -> Result<Entry> {
    if let Some(left) = Layout::left_by(graph, ranks, node)? {
        if left == *layout {
            return Ok(Entry::Undone);
        }
        let merged = perm(node).filter(|_| layout.is_permutation());
        return Ok(merged.map_or(Entry::Inserted, |p| Entry::Merged(permute(&p, &layout.entering()))));
    }
    let changes = match node.op_type.as_str() {
        "Reshape" if is_standard(node) => reshape_entry(graph, layout, node)?,
        "Unsqueeze" if is_standard(node) => unsqueeze_entry(graph, layout, node)?,
        _ => None,
    };
    Ok(changes.map_or(Entry::Inserted, Entry::Changed))
}

/// A Reshape to extents of which those beyond 1 keep their order writes the other layout as well.
fn reshape_entry(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let shape = input(node, 1).map_or(Ok(None), |name| constant_ints(graph, name))?;
    let Some(shape) = shape.filter(|s| s.len() == layout.inner_rank() && copies_in_place(layout, node, s)) else {
        return Ok(None);
    };
    let ordered = layout.keeps_order((0..shape.len()).filter(|i| shape[*i] != 1));
    Ok(ordered.then(|| vec![Change::Ints(1, layout.spread(&shape, 1))]))
}

/// An extent 0 stands for that of the same axis, which must then stay where it is.
fn copies_in_place(layout: &Layout, node: &Node, shape: &[i64]) -> bool {
    let zeros = || shape.iter().enumerate().filter(|(_, s)| **s == 0).map(|(i, _)| i);
    let copies = attr_i(node, "allowzero").unwrap_or(0) == 0;
    zeros().next().is_none() || (copies && zeros().all(|i| i < layout.inner_rank() && layout.axis(i) == i))
}

fn unsqueeze_entry(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let rank = layout.inner_rank();
    let Some(axes) = listed_axes(graph, node, Some(rank))? else { return Ok(None) };
    let ordered = layout.keeps_order((0..rank).filter(|a| !axes.contains(a)));
    let outer = || axes.iter().map(|a| layout.axis(*a)).chain(layout.unit_axes());
    Ok(ordered.then(|| vec![axes_of(node, outer())]))
}

/// How `node`, which is no part of the region, reads `value`.
pub(crate) fn exit(graph: &Graph, layout: &Layout, node: &Node, value: &str) -> Result<Exit> {
    let as_data = input(node, 0) == Some(value) && node.input[1..].iter().all(|name| name != value);
    if !is_standard(node) || !as_data {
        return Ok(Exit::Outside);
    }
    if layout.entered_by(graph, node)? {
        return Ok(Exit::Undone);
    }
    let permutes = node.op_type == "Transpose" && layout.is_permutation();
    if let Some(next) = perm(node).filter(|p| permutes && p.len() == layout.inner_rank()) {
        return Ok(Exit::Merged(permute(layout.leaving(), &next)));
    }
    Ok(exit_changes(graph, layout, node, value)?.map_or(Exit::Outside, Exit::Changed))
}

fn exit_changes(graph: &Graph, layout: &Layout, node: &Node, value: &str) -> Result<Option<Vec<Change>>> {
    match node.op_type.as_str() {
        "Shape" if node.attribute.is_empty() => {
            let axes = layout.leaving().iter().map(|a| *a as i64).collect();
            Ok(Some(vec![Change::Gathered(axes)]))
        }
        "Squeeze" => dropped_axes(graph, layout, node),
        // The order of elements stays, whatever axes of extent 1 lie between.
        "Reshape" => {
            let units = summed_axes(graph, layout, value)?;
            let shape = input(node, 1).map_or(Ok(None), |name| constant_ints(graph, name))?;
            let same = layout.keeps_order((0..layout.inner_rank()).filter(|axis| !units.contains(axis)));
            Ok(shape.filter(|s| same && copies_in_place(layout, node, s)).map(|_| vec![]))
        }
        op if op.starts_with("Reduce") && !keeps_axes(node) => dropped_axes(graph, layout, node),
        _ => Ok(None),
    }
}

/// Axes that have extent 1 because a reduction made the value.
fn summed_axes(graph: &Graph, layout: &Layout, value: &str) -> Result<Vec<usize>> {
    let producer = graph.index().producer(value).map(|at| &graph.nodes()[at]);
    let Some(node) = producer.filter(|n| is_standard(n) && n.op_type.starts_with("Reduce")) else { return Ok(vec![]) };
    let axes = listed_axes(graph, node, Some(layout.inner_rank()))?.filter(|_| keeps_axes(node));
    Ok(axes.unwrap_or_default())
}

/// The permutation that does `first`, then `next`.
pub(crate) fn permute(first: &[usize], next: &[usize]) -> Vec<usize> {
    next.iter().filter_map(|axis| first.get(*axis).copied()).collect()
}
