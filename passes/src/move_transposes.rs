//! `move_transposes`: operators that do not care for the order of axes run in the layout of the layers around them.

use crate::Pass;
use crate::facts::{inner_names, is_op};
use crate::layout::{Layout, Region, Rewriter, regions};
use std::collections::HashMap;
use tapq::Result;
use tapq::graph::ranks;
use tapq::graph::{Graph, Patch};

/// ## What it does
/// Finds connected operators that run in any layout (element by element, along axes that they name, or reductions),
/// and runs them on what the Transposes in front of them read, so that these and the inverse ones behind go. Constants,
/// axes, pads and scales are written for the new order. The same for Squeeze in front of such operators and Unsqueeze
/// behind them, from and to four axes, as one-dimensional convolutions that are spelled with two dimensions have it. Where another
/// value comes in, or one is read otherwise, a Transpose is put there.
///
/// ## Why
/// TensorFlow keeps channels last, ONNX layers want them first. Exporters transpose around each layer, and
/// normalizations, biases, activations and pads between the two do not fold into it: each costs a tensor to quantize
/// and a kernel to run.
///
/// ## When it refuses
/// As many or more Transposes afterwards, or operators that move away from the layer before or behind them; as many
/// Transposes are taken where that brings operators right behind a layer.
/// Ranks that do not follow from the graph; operands that broadcast from fewer axes unless they are constant; axes,
/// pads, scales or shapes that are computed; a Resize of other axes than those behind the channels. Graph
/// outputs, and what bodies capture, stay as they are. Sizes of tensors are not weighed, they are seldom known.
///
/// ## Example
/// `t = Transpose <perm = [0,2,3,1]> (c)  r = Relu (t)  y = Transpose <perm = [0,3,1,2]> (r)` becomes `y = Relu (c)`.
pub struct MoveTransposes;

/// A graph permutes in a few ways; each costs a walk over it.
const MOST_LAYOUTS: usize = 16;

impl Pass for MoveTransposes {
    fn name(&self) -> &'static str {
        "move_transposes"
    }

    fn about(&self) -> &'static str {
        "operators that run in any layout run in that of the layers around them"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        if graph.opset() < 13 || !graph.nodes().iter().any(|n| is_op(n, "Transpose") || is_op(n, "Squeeze")) {
            return Ok(None);
        }
        let ranks = ranks(graph.proto());
        let mut worthwhile: Vec<Region> = vec![];
        for layout in layouts(graph, &ranks)? {
            worthwhile.extend(regions(graph, &ranks, &layout)?.into_iter().filter(|region| region.cost.is_gain()));
        }
        if worthwhile.is_empty() {
            return Ok(None);
        }
        worthwhile.sort_by_key(|region| region.cost);
        let mut rewriter = Rewriter::new(graph, inner_names(graph));
        for region in &worthwhile {
            rewriter.take(region)?;
        }
        Ok(rewriter.finish().into_option())
    }
}

/// Layouts that a node of the graph leaves, or enters by a Transpose, in file order.
fn layouts(graph: &Graph, ranks: &HashMap<&str, usize>) -> Result<Vec<Layout>> {
    let mut found: Vec<Layout> = vec![];
    for node in graph.nodes() {
        let Some(layout) = Layout::left_by(graph, ranks, node)? else { continue };
        for layout in layout.inverse().into_iter().chain([layout]) {
            if found.len() < MOST_LAYOUTS && !found.contains(&layout) {
                found.push(layout);
            }
        }
    }
    Ok(found)
}
