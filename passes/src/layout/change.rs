//! What must be written differently on a node that reads another layout.

use super::{Layout, listed_axes};
use crate::facts::input;
use tapq::Result;
use tapq::graph::{Graph, attr_i, attr_ints, set_attr};
use tapq::onnx::{NodeProto as Node, from_floats, from_i64s};

/// One difference; all else stays.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// An attribute that is one axis.
    Axis(i64),
    /// An attribute that lists axes.
    Axes(Vec<i64>),
    /// An input that lists integers.
    Ints(usize, Vec<i64>),
    /// An input that lists floats.
    Floats(usize, Vec<f32>),
    /// An input that is left out.
    Without(usize),
    /// The result, a shape, in the order of these axes.
    Gathered(Vec<i64>),
}

/// Axes that are listed anew, where the node lists them.
pub(super) fn axes_of(node: &Node, axes: impl IntoIterator<Item = usize>) -> Change {
    let axes = super::ascending(axes.into_iter().collect()).into_iter().map(|a| a as i64).collect();
    match attr_ints(node, "axes") {
        Some(_) => Change::Axes(axes),
        None => Change::Ints(1, axes),
    }
}

/// The attribute `axis`, as outer axis.
pub(super) fn axis_of(node: &Node, layout: &Layout, default: Option<i64>) -> Option<Change> {
    let axis = attr_i(node, "axis").or(default)?;
    Some(Change::Axis(layout.axis(super::from_start(axis, layout.inner_rank())?) as i64))
}

/// Axes of a reduction or Squeeze that drops them, and with them the axes of extent 1 that the layout adds.
///
/// `None` where the axes that stay would change places.
pub(super) fn dropped_axes(graph: &Graph, layout: &Layout, node: &Node) -> Result<Option<Vec<Change>>> {
    let rank = layout.inner_rank();
    let Some(axes) = listed_axes(graph, node, Some(rank))? else { return Ok(None) };
    if !layout.keeps_order((0..rank).filter(|a| !axes.contains(a))) {
        return Ok(None);
    }
    let outer = axes.iter().map(|a| layout.axis(*a)).chain(layout.unit_axes());
    Ok(Some(vec![axes_of(node, outer)]))
}

/// Writes a change into `node`; new lists become constants under names that `constant` hands out.
pub(super) fn write(node: &mut Node, change: &Change, constant: &mut dyn FnMut(&str, Literal) -> String) {
    let stem = input(node, 0).unwrap_or("").to_owned();
    match change {
        Change::Axis(axis) => set_attr(node, "axis", *axis),
        Change::Axes(axes) => set_attr(node, "axes", axes.clone()),
        Change::Ints(slot, values) => set_input(node, *slot, constant(&stem, Literal::Ints(values))),
        Change::Floats(slot, values) => set_input(node, *slot, constant(&stem, Literal::Floats(values))),
        Change::Without(slot) => {
            if let Some(name) = node.input.get_mut(*slot) {
                name.clear();
            }
        }
        // The rewriter appends the Gather.
        Change::Gathered(_) => {}
    }
}

/// Values of a constant to be made.
pub(super) enum Literal<'a> {
    Ints(&'a [i64]),
    Floats(&'a [f32]),
}

impl Literal<'_> {
    pub(super) fn tensor(&self, name: &str) -> tapq::onnx::Tensor {
        match self {
            Literal::Ints(values) => from_i64s(name, &[values.len()], values),
            Literal::Floats(values) => from_floats(name, &[values.len()], values),
        }
    }
}

fn set_input(node: &mut Node, slot: usize, name: String) {
    if node.input.len() <= slot {
        node.input.resize(slot + 1, String::new());
    }
    node.input[slot] = name;
}
