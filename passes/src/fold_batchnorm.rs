//! `fold_batchnorm`: BatchNormalization disappears into the layer before it.

use crate::Pass;
use crate::facts::{Names, constant_floats, input, is_op, label, output, sole_reader};
use crate::linear::Linear;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_f, attr_i};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Multiplies the weights of a Conv, ConvTranspose or Gemm by the scale of the BatchNormalization that alone reads
/// it, and adds its shift to the bias (made where there is none); computed in float64.
///
/// ## Why
/// Devices run the layer and its normalization as one; quantizing what lies between would cost precision
/// and is not what runs.
///
/// ## When it refuses
/// Training mode or more than one output; statistics, weights or bias that are computed or not float32; another
/// reader of the layer's output, a graph output among them; a result beyond float32; something else than such a
/// layer in front. Weights that another layer shares get a copy under a new name.
///
/// ## Example
/// `c = Conv (x, w)  y = BatchNormalization (c, scale, b, mean, var)` becomes `y = Conv (x, w, y_bias)`.
pub struct FoldBatchnorm;

impl Pass for FoldBatchnorm {
    fn name(&self) -> &'static str {
        "fold_batchnorm"
    }

    fn about(&self) -> &'static str {
        "BatchNormalization disappears into the layer before it"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        if graph.opset() < 7 || !graph.nodes().iter().any(|n| is_op(n, "BatchNormalization")) {
            return Ok(None);
        }
        let (mut patch, mut names) = (Patch::new(), Names::of(graph));
        for (at, node) in graph.nodes().iter().enumerate() {
            fold(graph, at, node, &mut names, &mut patch)?;
        }
        Ok(patch.into_option())
    }
}

fn fold(graph: &Graph, at: usize, node: &Node, names: &mut Names, patch: &mut Patch) -> Result<()> {
    let (Some(x), Some(y), true) = (input(node, 0), output(node, 0), is_inference(node)) else { return Ok(()) };
    let Some(producer) = graph.index().producer(x).filter(|_| sole_reader(graph, x) == Some(at)) else { return Ok(()) };
    let Some(layer) = Linear::read(graph, producer)? else { return Ok(()) };
    let Some((scale, shift)) = affine(graph, node)?.filter(|(s, _)| s.len() == layer.channels()) else { return Ok(()) };
    if layer.rescale(graph, (&scale, &shift), y, names, patch)? {
        patch.because(format!("{} folds into {}", label(node), label(&graph.nodes()[producer])));
        patch.push(Edit::Remove(at));
        patch.push(Edit::RemoveValueInfo(x.to_owned()));
    }
    Ok(())
}

fn is_inference(node: &Node) -> bool {
    is_op(node, "BatchNormalization")
        && (1..node.output.len()).all(|slot| output(node, slot).is_none())
        && attr_i(node, "training_mode").unwrap_or(0) == 0
        && attr_i(node, "spatial").unwrap_or(1) == 1
}

/// Scale and shift of each channel, in float64.
fn affine(graph: &Graph, node: &Node) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
    let constant = |slot| input(node, slot).map_or(Ok(None), |name| constant_floats(graph, name));
    let (Some(gamma), Some(beta), Some(mean), Some(variance)) =
        (constant(1)?, constant(2)?, constant(3)?, constant(4)?)
    else {
        return Ok(None);
    };
    let channels = gamma.len();
    if [&beta, &mean, &variance].iter().any(|v| v.len() != channels) {
        return Ok(None);
    }
    let epsilon = f64::from(attr_f(node, "epsilon").unwrap_or(1e-5));
    let scale: Vec<f64> =
        gamma.iter().zip(&variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + epsilon).sqrt()).collect();
    let moments = beta.iter().zip(&mean);
    let shift = moments.zip(&scale).map(|((b, m), s)| f64::from(*b) - f64::from(*m) * s).collect();
    Ok(Some((scale, shift)))
}
