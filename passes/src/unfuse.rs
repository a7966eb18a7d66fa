//! `unfuse` and `unfuse_layers`: operators of ONNX Runtime's own become those of ONNX that they were fused from.

use crate::Pass;
use crate::facts::label;
use tapq::Result;
use tapq::fused::{hides_nothing, taken_apart};
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Takes operators of ONNX Runtime's own apart in which there is a layer, its bias or a table: Attention,
/// EmbedLayerNormalization, FusedConv, FusedGemm, FusedMatMul with a constant, BiasGelu, FastGelu and
/// SkipLayerNormalization with a bias. What else they did stays one operator, where there is one for it.
///
/// ## Why
/// A model that went through ONNX Runtime's optimizer has its layers in such operators, and they are quantized as any
/// other. The runtime fuses again what it can when it loads the quantized file.
///
/// ## When it refuses
/// Operators that hide nothing are left: the runtime has kernels for them. So are forms of them that are not
/// understood, which the engine names when it meets them.
///
/// ## Example
/// `y = com.microsoft.FusedConv <activation = "Relu"> (x, w)` becomes `c = Conv (x, w)  y = Relu (c)`.
pub struct UnfuseLayers;

impl Pass for UnfuseLayers {
    fn name(&self) -> &'static str {
        "unfuse_layers"
    }

    fn about(&self) -> &'static str {
        "layers come out of ONNX Runtime's own operators"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let is_constant = |name: &str| graph.constant(name).is_some();
        Ok(apart(graph, &|node| hides_nothing(node, &is_constant)))
    }
}

/// ## What it does
/// Takes every operator of ONNX Runtime's own apart, as [`UnfuseLayers`] does with some.
///
/// ## Why
/// No other runtime has them.
///
/// ## When it refuses
/// Forms that are not understood are left, for the engine to name them.
///
/// ## Example
/// `y = com.microsoft.QuickGelu (x)` becomes `s = Mul (x, y_constant)  g = Sigmoid (s)  y = Mul (x, g)`.
pub struct Unfuse;

impl Pass for Unfuse {
    fn name(&self) -> &'static str {
        "unfuse"
    }

    fn about(&self) -> &'static str {
        "ONNX Runtime's own operators become ONNX's"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        Ok(apart(graph, &|_| false))
    }
}

fn apart(graph: &Graph, keep: &dyn Fn(&Node) -> bool) -> Option<Patch> {
    // The engine says, with the node's name, what is not understood.
    let replacements = taken_apart(graph, keep).ok()?;
    let mut patch = Patch::new();
    for (at, nodes) in replacements {
        let fused = &graph.nodes()[at];
        patch.because(format!("{} is taken apart", label(fused)));
        nodes.into_iter().for_each(|node| patch.push(Edit::Insert(at, node)));
        patch.push(Edit::Remove(at));
    }
    patch.into_option()
}
