//! Operators that run in every layout, once their axes are written for it.

use super::change::{Change, axes_of, axis_of};
use super::{Layout, from_start, listed_axes, movable};
use crate::facts::{constant_floats, constant_ints, input, is_standard, output};
use crate::fold_pad::all_pads;
use std::collections::HashMap;
use tapq::Result;
use tapq::graph::{Graph, attr_i, attr_s, subgraphs};
use tapq::onnx::NodeProto as Node;

/// What a node that runs in every layout reads.
pub(crate) struct Member {
    /// Rank of its data.
    pub(crate) rank: usize,
    /// Slots of values of that rank.
    pub(crate) data: Vec<usize>,
    /// Slots of constants that broadcast with them.
    pub(crate) constants: Vec<usize>,
}

/// Element by element, of the first input.
#[rustfmt::skip]
const UNARY: &[&str] = &[
    "Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid",
    "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
];

/// Element by element, of all inputs.
#[rustfmt::skip]
const BROADCAST: &[&str] = &[
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
];

/// Of the first input, along axes that they name.
#[rustfmt::skip]
const ALONG_AXES: &[&str] = &[
    "ArgMax", "ArgMin", "Expand", "LogSoftmax", "Pad", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Resize", "Slice", "Softmax",
    "Split", "Tile",
];

/// Reads a node; `None` if it does not run in every layout, or a rank is not known.
pub(crate) fn member(graph: &Graph, ranks: &HashMap<&str, usize>, node: &Node) -> Option<Member> {
    let op = node.op_type.as_str();
    let all = BROADCAST.contains(&op) || op == "Concat";
    if !is_standard(node) || (!all && !UNARY.contains(&op) && !ALONG_AXES.contains(&op)) {
        return None;
    }
    if (op != "Split" && node.output.len() != 1) || output(node, 0).is_none() || subgraphs(node).next().is_some() {
        return None;
    }
    let slots = 0..if all { node.input.len() } else { 1 };
    let (constants, computed): (Vec<usize>, Vec<usize>) =
        slots.partition(|slot| input(node, *slot).is_some_and(|name| graph.constant(name).is_some()));
    let known = |slot: usize| Some((slot, *ranks.get(input(node, slot)?)?));
    let computed: Vec<(usize, usize)> = computed.into_iter().map(known).collect::<Option<_>>()?;
    let rank = computed.iter().map(|(_, rank)| *rank).max().filter(|rank| *rank > 1)?;
    // A scalar is the same in every layout; fewer axes than the rest would broadcast along other ones.
    let scalar = |rank| rank == 0 && op != "Concat";
    let even = computed.iter().all(|(_, r)| *r == rank || scalar(*r));
    let sound = |slot: &usize| {
        let tensor = input(node, *slot).and_then(|name| graph.constant(name));
        tensor.is_some_and(|t| movable(t) && (t.dims.len() == rank || (t.dims.len() < rank && op != "Concat")))
    };
    if !even || !constants.iter().all(sound) {
        return None;
    }
    let data = computed.into_iter().filter(|(_, r)| *r == rank).map(|(slot, _)| slot).collect();
    Some(Member { rank, data, constants })
}

/// What the node writes differently in `layout`; `None` if it cannot run there.
pub(crate) fn changes(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    Ok(match node.op_type.as_str() {
        "Concat" => axis_of(node, layout, None).map(|c| vec![c]),
        "Softmax" | "LogSoftmax" => axis_of(node, layout, Some(-1)).map(|c| vec![c]),
        "Split" => axis_of(node, layout, Some(0)).map(|c| vec![c]),
        "ArgMax" | "ArgMin" if keeps_axes(node) => axis_of(node, layout, Some(0)).map(|c| vec![c]),
        "Pad" => pad(graph, layout, node)?,
        "Tile" | "Expand" => whole_list(graph, layout, node)?,
        "Resize" => resize(graph, layout, node)?,
        "Slice" => slice(graph, layout, node)?,
        op if op.starts_with("Reduce") => reduce(graph, layout, node)?,
        "ArgMax" | "ArgMin" => None,
        _ => Some(vec![]),
    })
}

/// Whether a reduction leaves an axis of extent 1 for each that it sums up.
pub(super) fn keeps_axes(node: &Node) -> bool {
    attr_i(node, "keepdims").unwrap_or(1) != 0
}

fn reduce(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let axes = listed_axes(graph, node, Some(layout.inner_rank()))?.filter(|_| keeps_axes(node));
    Ok(axes.map(|axes| vec![axes_of(node, axes.iter().map(|a| layout.axis(*a)))]))
}

fn pad(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let rank = layout.inner_rank();
    let Some(pads) = all_pads(graph, node, rank)?.filter(|_| input(node, 1).is_some()) else { return Ok(None) };
    let spread = [layout.spread(&pads[..rank], 0), layout.spread(&pads[rank..], 0)].concat();
    Ok(Some(vec![Change::Ints(1, spread), Change::Without(3)]))
}

/// Repetitions or extents, one an axis.
fn whole_list(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let list = input(node, 1).map_or(Ok(None), |name| constant_ints(graph, name))?;
    let list = list.filter(|list| list.len() == layout.inner_rank());
    Ok(list.map(|list| vec![Change::Ints(1, layout.spread(&list, 1))]))
}

fn slice(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let constant = |slot| input(node, slot).map_or(Ok(None), |name| constant_ints(graph, name));
    let axes = match input(node, 3) {
        Some(_) => constant(3)?,
        None => constant(1)?.map(|starts| (0..starts.len() as i64).collect()),
    };
    let outer = |axis: i64| from_start(axis, layout.inner_rank()).map(|a| layout.axis(a) as i64);
    let axes: Option<Vec<i64>> = axes.and_then(|axes| axes.into_iter().map(outer).collect());
    Ok(axes.map(|axes| vec![Change::Ints(3, axes)]))
}

/// Kernels resize the axes behind the channels; other layouts of it are rarely implemented.
fn resize(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let scales = input(node, 2).map_or(Ok(None), |name| constant_floats(graph, name))?;
    let Some(scales) = scales.filter(|s| s.len() == layout.inner_rank()) else { return Ok(None) };
    let empty = |name: &str| graph.constant(name).is_some_and(|t| t.dims.contains(&0));
    let other = input(node, 3).is_some()
        || input(node, 1).is_some_and(|roi| !empty(roi))
        || node.attribute.iter().any(|a| a.name == "axes")
        || attr_s(node, "coordinate_transformation_mode") == Some("tf_crop_and_resize");
    let spread = layout.spread(&scales, 1.0);
    let spatial = spread.iter().take(2).all(|s| *s == 1.0);
    Ok((!other && spatial).then(|| vec![Change::Floats(2, spread)]))
}
