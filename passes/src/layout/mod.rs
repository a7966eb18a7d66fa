//! Layouts: how the axes of a value lie among those of another value that holds the same elements.
//!
//! `inner` is the value that a node was written for, `outer` the one that it is to run on instead:
//! what a Transpose or a Squeeze in front of it reads.

mod change;
mod edges;
mod members;
mod region;
mod rewrite;

pub(crate) use edges::permute;
pub(crate) use region::{Region, regions};
pub(crate) use rewrite::Rewriter;

use crate::facts::{constant_ints, input, is_standard};
use std::collections::HashMap;
use tapq::Result;
use tapq::graph::{Graph, attr_ints};
use tapq::onnx::{NodeProto as Node, Tensor, floats, from_floats};

/// Axes of an image: batch, channels, height and width.
const IMAGE: usize = 4;

/// Axis `i` of the inner value is axis `axes[i]` of the outer one; outer axes beyond those have extent 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    axes: Vec<usize>,
    rank: usize,
}

impl Layout {
    /// The layout before a Transpose by `perm`; `None` if that permutes nothing.
    pub(crate) fn permuted(perm: &[usize]) -> Option<Self> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        let sound = sorted.iter().copied().eq(0..perm.len()) && !perm.iter().copied().eq(0..perm.len());
        sound.then(|| Layout { axes: perm.to_vec(), rank: perm.len() })
    }

    /// The layout before a Squeeze of `unit` from `rank` axes: those of an image, more are seldom implemented.
    fn squeezed(rank: usize, unit: &[usize]) -> Option<Self> {
        let axes: Vec<usize> = (0..rank).filter(|a| !unit.contains(a)).collect();
        (rank == IMAGE && axes.len() + unit.len() == rank && !unit.is_empty()).then_some(Layout { axes, rank })
    }

    /// The layout that `node` leaves: its input is the outer value, its output the inner one.
    pub(crate) fn left_by(graph: &Graph, ranks: &HashMap<&str, usize>, node: &Node) -> Result<Option<Self>> {
        match node.op_type.as_str() {
            _ if !is_standard(node) => Ok(None),
            "Transpose" => Ok(perm(node).and_then(|p| Layout::permuted(&p))),
            "Squeeze" => {
                let rank = input(node, 0).and_then(|x| ranks.get(x)).copied();
                let axes = listed_axes(graph, node, rank)?;
                Ok(rank.zip(axes).and_then(|(rank, axes)| Layout::squeezed(rank, &axes)))
            }
            _ => Ok(None),
        }
    }

    /// Whether `node` enters this layout: its input is the inner value, its output the outer one.
    pub(crate) fn entered_by(&self, graph: &Graph, node: &Node) -> Result<bool> {
        match node.op_type.as_str() {
            _ if !is_standard(node) => Ok(false),
            "Transpose" => Ok(self.is_permutation() && perm(node).is_some_and(|p| p == self.entering())),
            "Unsqueeze" => {
                let axes = listed_axes(graph, node, Some(self.rank))?;
                Ok(axes.is_some_and(|axes| Layout::squeezed(self.rank, &axes).as_ref() == Some(self)))
            }
            _ => Ok(false),
        }
    }

    /// The layout that a Transpose by the inverse would leave; of squeezed axes there is none.
    pub(crate) fn inverse(&self) -> Option<Self> {
        self.is_permutation().then(|| Layout { axes: self.entering(), rank: self.rank })
    }

    /// Rank of the inner value.
    pub(crate) fn inner_rank(&self) -> usize {
        self.axes.len()
    }

    /// Whether both values have the same number of axes.
    pub(crate) fn is_permutation(&self) -> bool {
        self.axes.len() == self.rank
    }

    /// The outer axis that is inner axis `axis`.
    pub(crate) fn axis(&self, axis: usize) -> usize {
        self.axes[axis]
    }

    /// Outer axes of extent 1 that the inner value lacks.
    pub(crate) fn unit_axes(&self) -> Vec<usize> {
        (0..self.rank).filter(|a| !self.axes.contains(a)).collect()
    }

    /// One entry an inner axis becomes one entry an outer axis.
    pub(crate) fn spread<T: Copy>(&self, list: &[T], fill: T) -> Vec<T> {
        let mut spread = vec![fill; self.rank];
        self.axes.iter().zip(list).for_each(|(axis, v)| spread[*axis] = *v);
        spread
    }

    /// Whether these inner axes, ascending, follow each other in the same order among the outer ones.
    pub(crate) fn keeps_order(&self, mut inner: impl Iterator<Item = usize>) -> bool {
        let mut last = None;
        inner.all(|axis| last.replace(self.axes[axis]).is_none_or(|before| before < self.axes[axis]))
    }

    /// The permutation that makes the outer value from the inner one.
    pub(crate) fn entering(&self) -> Vec<usize> {
        let indices: Vec<usize> = (0..self.axes.len()).collect();
        self.spread(&indices, 0)
    }

    /// The permutation that makes the inner value from the outer one.
    pub(crate) fn leaving(&self) -> &[usize] {
        &self.axes
    }

    /// The constant under another name, for operands that broadcast with the outer value; it must be
    /// [`movable`].
    pub(crate) fn tensor(&self, graph: &Graph, tensor: &Tensor, name: &str) -> Result<Tensor> {
        let missing = self.axes.len().saturating_sub(tensor.dims.len());
        let dims: Vec<i64> = std::iter::repeat_n(1, missing).chain(tensor.dims.iter().copied()).collect();
        let spread = self.spread(&dims, 1);
        if self.keeps_order((0..dims.len()).filter(|i| dims[*i] != 1)) {
            return Ok(Tensor { name: name.to_owned(), dims: spread, ..tensor.clone() });
        }
        let extents: Vec<usize> = spread.iter().map(|d| *d as usize).collect();
        let values = floats(tensor, graph.external())?;
        Ok(from_floats(name, &extents, &self.reordered(&values, &dims)))
    }

    /// Elements of an inner array of extents `dims`, in the order of the outer one.
    fn reordered(&self, values: &[f32], dims: &[i64]) -> Vec<f32> {
        let mut strides = vec![1usize; dims.len()];
        (1..dims.len()).rev().for_each(|i| strides[i - 1] = strides[i] * dims[i] as usize);
        let (steps, extents) = (self.spread(&strides, 0), self.spread(dims, 1));
        let mut at = vec![0];
        for (step, extent) in steps.iter().zip(&extents) {
            at = at.iter().flat_map(|base| (0..*extent as usize).map(move |i| base + i * step)).collect();
        }
        at.into_iter().map(|i| values[i]).collect()
    }
}

/// Whether [`Layout::tensor`] can write the constant in every layout.
fn movable(tensor: &Tensor) -> bool {
    let long = tensor.dims.iter().filter(|d| **d != 1).count();
    long <= 1 || (tensor.data_type == tapq::onnx::DataType::FLOAT as i32 && tensor.dims.iter().all(|d| *d > 0))
}

/// The permutation of a Transpose that spells it out.
pub(crate) fn perm(node: &Node) -> Option<Vec<usize>> {
    attr_ints(node, "perm")?.iter().map(|p| usize::try_from(*p).ok()).collect()
}

/// Axes of a Squeeze, Unsqueeze or reduction, as attribute or second input, counted from 0 and ascending;
/// `None` if they are left out, computed or not axes of that many.
pub(crate) fn listed_axes(graph: &Graph, node: &Node, rank: Option<usize>) -> Result<Option<Vec<usize>>> {
    let listed = match (attr_ints(node, "axes"), input(node, 1)) {
        (Some(axes), _) => Some(axes.to_vec()),
        (None, Some(name)) => constant_ints(graph, name)?,
        _ => None,
    };
    let (Some(listed), Some(rank)) = (listed, rank) else { return Ok(None) };
    let axes: Option<Vec<usize>> = listed.iter().map(|a| from_start(*a, rank)).collect();
    Ok(axes.map(ascending).filter(|axes| axes.len() == listed.len() && !axes.is_empty()))
}

fn ascending(mut axes: Vec<usize>) -> Vec<usize> {
    axes.sort_unstable();
    axes.dedup();
    axes
}

/// An axis counted from 0.
fn from_start(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|a| *a < rank)
}
