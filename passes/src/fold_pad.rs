//! `fold_pad`: zeros around an image become the padding of the convolution that reads it.

use crate::Pass;
use crate::facts::{constant_floats, constant_ints, input, is_op, label, output};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_f, attr_ints, attr_s, set_attr};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Adds the pads of a Pad node to those of the Conv nodes that read it, and removes the Pad.
///
/// ## Why
/// TensorFlow's exporters pad apart from the convolution; integer kernels pad for free, a Pad node copies the tensor
/// and needs a scale of its own.
///
/// ## When it refuses
/// Any reader but the data input of a Conv with explicit padding (MaxPool pads with minus infinity, AveragePool may
/// not count the padding); a mode other than constant, a value other than zero, negative or computed pads, pads of the
/// batch or channel axis; a padded value that is a graph output.
///
/// ## Example
/// `p = Pad (x, {0,0,1,1,0,0,1,1})  y = Conv (p, w)` becomes `y = Conv <pads = [1,1,1,1]> (x, w)`.
pub struct FoldPad;

impl Pass for FoldPad {
    fn name(&self) -> &'static str {
        "fold_pad"
    }

    fn about(&self) -> &'static str {
        "zeros around an image become padding of the Conv that reads it"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| is_op(n, "Pad")) {
            let (Some(x), Some(y)) = (input(node, 0), output(node, 0)) else { continue };
            let Some(convs) = readers(graph, y)? else { continue };
            let Some(spatial) = spatial_pads(graph, node, convs[0].2 + 2)? else { continue };
            for (position, pads, _) in convs {
                let mut conv = graph.nodes()[position].clone();
                conv.input[0] = x.to_owned();
                conv.attribute.retain(|a| a.name != "auto_pad");
                let sum: Vec<i64> = pads.iter().zip(&spatial).map(|(a, b)| a.saturating_add(*b)).collect();
                set_attr(&mut conv, "pads", sum);
                patch.because(format!("{} is padding of {}", label(node), label(&conv)));
                patch.push(Edit::Replace(position, conv));
            }
            patch.push(Edit::Remove(at));
            patch.push(Edit::RemoveValueInfo(y.to_owned()));
        }
        Ok(patch.into_option())
    }
}

/// Position, pads and number of spatial axes of the Convs that read `value`; `None` if anything else does, or nothing.
type Convs = Vec<(usize, Vec<i64>, usize)>;

fn readers(graph: &Graph, value: &str) -> Result<Option<Convs>> {
    let positions = graph.index().readers(value);
    if positions.is_empty() || graph.index().is_output(value) {
        return Ok(None);
    }
    let convs: Option<Convs> = positions.iter().map(|&at| conv(graph, at, value)).collect();
    Ok(convs.filter(|convs| convs.iter().all(|c| c.2 == convs[0].2)))
}

fn conv(graph: &Graph, at: usize, value: &str) -> Option<(usize, Vec<i64>, usize)> {
    let node = &graph.nodes()[at];
    let as_data = input(node, 0) == Some(value) && node.input[1..].iter().all(|n| n != value);
    let explicit = matches!(attr_s(node, "auto_pad").unwrap_or("NOTSET"), "NOTSET" | "VALID" | "");
    if !is_op(node, "Conv") || !as_data || !explicit {
        return None;
    }
    let from_weight = || graph.constant(input(node, 1)?)?.dims.len().checked_sub(2);
    let axes = attr_ints(node, "kernel_shape").map(<[i64]>::len).or_else(from_weight).filter(|n| *n > 0)?;
    let valid = attr_s(node, "auto_pad") == Some("VALID");
    let pads = attr_ints(node, "pads").filter(|_| !valid).map_or(vec![0; 2 * axes], <[i64]>::to_vec);
    (pads.len() == 2 * axes).then_some((at, pads, axes))
}

/// Pads of the spatial axes, all begins then all ends; `None` where they are not zeros around the image.
fn spatial_pads(graph: &Graph, node: &Node, rank: usize) -> Result<Option<Vec<i64>>> {
    let constant_mode = matches!(attr_s(node, "mode").unwrap_or("constant"), "constant" | "");
    if !constant_mode || !pads_with_zero(graph, node)? {
        return Ok(None);
    }
    let Some(pads) = all_pads(graph, node, rank)? else { return Ok(None) };
    let other = pads.iter().enumerate().any(|(i, p)| i % rank < 2 && *p != 0);
    if other || pads.iter().any(|p| *p < 0) {
        return Ok(None);
    }
    Ok(Some([&pads[2..rank], &pads[rank + 2..]].concat()))
}

fn pads_with_zero(graph: &Graph, node: &Node) -> Result<bool> {
    match input(node, 2) {
        Some(name) => Ok(constant_floats(graph, name)?.is_some_and(|v| v.iter().all(|v| *v == 0.0))),
        None => Ok(attr_f(node, "value").unwrap_or(0.0) == 0.0),
    }
}

/// Pads of all `rank` axes, all begins then all ends; `None` where they are computed or do not fit the rank.
pub(crate) fn all_pads(graph: &Graph, node: &Node, rank: usize) -> Result<Option<Vec<i64>>> {
    let constant = |slot| input(node, slot).map_or(Ok(None), |name| constant_ints(graph, name));
    let given = match attr_ints(node, "pads") {
        Some(pads) => Some(pads.to_vec()),
        None => constant(1)?,
    };
    let axes = match input(node, 3) {
        Some(_) => constant(3)?,
        None => Some((0..rank as i64).collect()),
    };
    let (Some(given), Some(axes)) = (given, axes) else { return Ok(None) };
    if given.len() != 2 * axes.len() {
        return Ok(None);
    }
    let mut pads = vec![0; 2 * rank];
    for (i, axis) in axes.iter().enumerate() {
        let axis = if *axis < 0 { axis + rank as i64 } else { *axis };
        let Some(axis) = usize::try_from(axis).ok().filter(|a| *a < rank) else { return Ok(None) };
        (pads[axis], pads[rank + axis]) = (given[i], given[axes.len() + i]);
    }
    Ok(Some(pads))
}
