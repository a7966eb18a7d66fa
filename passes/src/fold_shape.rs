//! `fold_shape`: extents that the file fixes are constants.

use crate::Pass;
use crate::facts::{constant_ints, input, is_op, label, output};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_i};
use tapq::onnx::{NodeProto as Node, dimension, from_i64s};

/// ## What it does
/// Makes a constant of the Shape of a graph input whose extents are all fixed, and of a Gather of fixed extents from the
/// Shape of one that leaves others open.
///
/// ## Why
/// Exporters ask at run time for what the file says: whether a state has its batch axis, how many heads there are.
/// Conditions and weights made of it keep branches and layers out of reach.
///
/// ## When it refuses
/// Extents that are symbolic or absent; Shape with `start` or `end`; values inside the network, whose recorded shapes
/// may be stale; graph outputs.
///
/// ## Example
/// With the input `float[n,3] x`, `s = Shape (x)  c = Gather (s, one)` becomes `s = Shape (x)` and the constant `c = 3`.
pub struct FoldShape;

impl Pass for FoldShape {
    fn name(&self) -> &'static str {
        "fold_shape"
    }

    fn about(&self) -> &'static str {
        "extents that the file fixes become constants"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        for (at, node) in graph.nodes().iter().enumerate() {
            let Some(made) = output(node, 0).filter(|made| !graph.index().is_output(made)) else { continue };
            let found = match node.op_type.as_str() {
                "Shape" => whole(graph, node).map(|values| (vec![values.len()], values)),
                "Gather" => gathered(graph, node)?,
                _ => None,
            };
            let Some((dims, values)) = found else { continue };
            patch.because(format!("{} reads extents that the file fixes", label(node)));
            patch.push(Edit::SetInitializer(from_i64s(made, &dims, &values)));
            patch.push(Edit::Remove(at));
        }
        Ok(patch.into_option())
    }
}

/// Declared extents of the graph input that a Shape reads, `None` for an open one.
fn extents(graph: &Graph, node: &Node) -> Option<Vec<Option<i64>>> {
    let plain = is_op(node, "Shape") && attr_i(node, "start").is_none() && attr_i(node, "end").is_none();
    let name = input(node, 0).filter(|name| plain && graph.index().initializer(name).is_none())?;
    let value = graph.proto().input.iter().find(|value| value.name == name)?;
    let shape = value.type_.as_ref().filter(|t| t.has_tensor_type())?.tensor_type().shape.as_ref()?;
    let extent = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(n)) if *n > 0 => Some(*n),
        _ => None,
    };
    Some(shape.dim.iter().map(|d| extent(&d.value)).collect())
}

fn whole(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    extents(graph, node)?.into_iter().collect()
}

/// Shape and elements of what a Gather takes from a Shape.
fn gathered(graph: &Graph, node: &Node) -> Result<Option<(Vec<usize>, Vec<i64>)>> {
    let (Some(shape), Some(name)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
    let maker = graph.index().producer(shape).map(|at| &graph.nodes()[at]).filter(|_| is_op(node, "Gather"));
    let Some(extents) = maker.and_then(|maker| extents(graph, maker)) else { return Ok(None) };
    let (Some(indices), Some(tensor)) = (constant_ints(graph, name)?, graph.constant(name)) else { return Ok(None) };
    let rank = extents.len() as i64;
    let extent = |index: i64| {
        let at = if index < 0 { index + rank } else { index };
        extents.get(usize::try_from(at).ok()?).copied().flatten()
    };
    let dims = tensor.dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
    Ok(indices.into_iter().map(extent).collect::<Option<Vec<i64>>>().map(|values| (dims, values)))
}
