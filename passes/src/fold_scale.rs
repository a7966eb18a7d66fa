//! `fold_scale`: constant arithmetic behind a layer disappears into its weights and bias.

use crate::Pass;
use crate::facts::{Names, constant_floats, input, is_standard, label, output, sole_reader};
use crate::linear::Linear;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Folds Mul, Div, Add or Sub by a constant that is one number, or one number a channel, into the Conv,
/// ConvTranspose or Gemm before it; computed in float64.
///
/// ## Why
/// Exporters spell normalizations and biases this way; left alone, each costs a tensor to quantize and a kernel to run.
///
/// ## When it refuses
/// Another reader of the layer's output; a constant that varies along any axis but the channels, or has more axes than
/// the output; division by a zero, or by the layer; a result beyond float32; everything that
/// [`FoldBatchnorm`](crate::FoldBatchnorm) refuses of a layer. MatMul has no bias to take a shift and is left alone.
///
/// ## Example
/// `c = Conv (x, w)  y = Mul (c, s)` with `float[1,8,1,1] s` becomes `y = Conv (x, w, y_bias)`.
pub struct FoldScale;

impl Pass for FoldScale {
    fn name(&self) -> &'static str {
        "fold_scale"
    }

    fn about(&self) -> &'static str {
        "constant Mul, Div, Add and Sub disappear into the layer before them"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        if graph.opset() < 7 {
            return Ok(None);
        }
        let (mut patch, mut names) = (Patch::new(), None);
        for (at, node) in graph.nodes().iter().enumerate() {
            if let Some(found) = find(graph, at, node)? {
                fold(graph, &found, names.get_or_insert_with(|| Names::of(graph)), &mut patch)?;
            }
        }
        Ok(patch.into_option())
    }
}

struct Found<'g> {
    at: usize,
    producer: usize,
    layer: Linear<'g>,
    /// Slot of the constant.
    slot: usize,
}

fn find<'g>(graph: &'g Graph, at: usize, node: &Node) -> Result<Option<Found<'g>>> {
    if !is_standard(node) || !matches!(node.op_type.as_str(), "Mul" | "Div" | "Add" | "Sub") {
        return Ok(None);
    }
    for slot in [1, 0] {
        let (Some(constant), Some(x)) = (input(node, slot), input(node, 1 - slot)) else { continue };
        let Some(producer) = graph.index().producer(x).filter(|_| sole_reader(graph, x) == Some(at)) else { continue };
        if graph.constant(constant).is_none() || (node.op_type == "Div" && slot == 0) {
            continue;
        }
        if let Some(layer) = Linear::read(graph, producer)? {
            return Ok(Some(Found { at, producer, layer, slot }));
        }
    }
    Ok(None)
}

fn fold(graph: &Graph, found: &Found, names: &mut Names, patch: &mut Patch) -> Result<()> {
    let node = &graph.nodes()[found.at];
    let (Some(x), Some(y)) = (input(node, 1 - found.slot), output(node, 0)) else { return Ok(()) };
    let Some(values) = per_channel(graph, &node.input[found.slot], &found.layer)? else { return Ok(()) };
    let (scale, shift): (Vec<f64>, Vec<f64>) = values.iter().map(|v| affine(node, found.slot, f64::from(*v))).unzip();
    if found.layer.rescale(graph, (&scale, &shift), y, names, patch)? {
        patch.because(format!("{} folds into {}", label(node), label(&graph.nodes()[found.producer])));
        patch.push(Edit::Remove(found.at));
        patch.push(Edit::RemoveValueInfo(x.to_owned()));
    }
    Ok(())
}

/// What one constant does to a value: multiplied by, then shifted by.
fn affine(node: &Node, slot: usize, constant: f64) -> (f64, f64) {
    match node.op_type.as_str() {
        "Mul" => (constant, 0.0),
        "Div" => (1.0 / constant, 0.0),
        "Add" => (1.0, constant),
        _ if slot == 0 => (-1.0, constant),
        _ => (1.0, -constant),
    }
}

/// The constant, one value a channel; `None` where it varies along another axis or adds axes to the output.
fn per_channel(graph: &Graph, name: &str, layer: &Linear) -> Result<Option<Vec<f32>>> {
    let (Some(values), Some(tensor)) = (constant_floats(graph, name)?, graph.constant(name)) else { return Ok(None) };
    let (rank, channels) = (layer.rank(), layer.channels());
    let Some(missing) = rank.checked_sub(tensor.dims.len()) else { return Ok(None) };
    let varies = |(i, d): (usize, &i64)| *d != 1 && i + missing != 1;
    if tensor.dims.iter().enumerate().any(varies) {
        return Ok(None);
    }
    Ok(match values.len() {
        1 => Some(vec![values[0]; channels]),
        n if n == channels => Some(values),
        _ => None,
    })
}
