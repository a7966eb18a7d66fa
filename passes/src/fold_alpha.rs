//! `fold_alpha`: the factors of a Gemm disappear into its weight and bias.

use crate::Pass;
use crate::facts::{Names, constant_floats, input, is_op, is_own, label};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_f};
use tapq::onnx::{NodeProto as Node, from_floats};

/// ## What it does
/// Multiplies the constant weight of a Gemm by `alpha` and its constant bias by `beta`; computed in float64. `beta`
/// goes without further ado where there is no bias.
///
/// ## Why
/// The product is then the weight's alone: the weight can be rounded with regard to its input, and the bias take back
/// what rounding shifts.
///
/// ## When it refuses
/// Weights or biases that are computed or not float32, and results beyond float32, keep their factor. A weight or bias
/// that something else reads is copied under a new name.
///
/// ## Example
/// `y = Gemm <alpha = 0.5, beta = 2.0> (x, w, c)` becomes `y = Gemm (x, w, c)` with half the weight and twice the bias.
pub struct FoldAlpha;

impl Pass for FoldAlpha {
    fn name(&self) -> &'static str {
        "fold_alpha"
    }

    fn about(&self) -> &'static str {
        "alpha and beta of a Gemm disappear into its weight and bias"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let (mut patch, mut names) = (Patch::new(), None);
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| is_op(n, "Gemm")) {
            let mut folded = node.clone();
            for (factor, slot) in [("alpha", 1), ("beta", 2)] {
                fold(
                    graph,
                    node,
                    (factor, slot),
                    &mut folded,
                    names.get_or_insert_with(|| Names::of(graph)),
                    &mut patch,
                )?;
            }
            if folded != *node {
                patch.push(Edit::Replace(at, folded));
            }
        }
        Ok(patch.into_option())
    }
}

fn fold(
    graph: &Graph,
    node: &Node,
    (factor, slot): (&str, usize),
    folded: &mut Node,
    names: &mut Names,
    patch: &mut Patch,
) -> Result<()> {
    let Some(by) = attr_f(node, factor).filter(|by| *by != 1.0) else { return Ok(()) };
    let mut becomes = "has nothing to multiply".to_owned();
    if let Some(name) = input(node, slot) {
        let (Some(values), Some(tensor)) = (constant_floats(graph, name)?, graph.constant(name)) else { return Ok(()) };
        let scaled: Vec<f32> = values.iter().map(|v| (f64::from(*v) * f64::from(by)) as f32).collect();
        if scaled.iter().any(|v| !v.is_finite()) {
            return Ok(());
        }
        let own = is_own(graph, node, name);
        let name = if own { name.to_owned() } else { names.fresh(&format!("{name}_folded")) };
        let dims: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
        patch.push(Edit::SetInitializer(from_floats(&name, &dims, &scaled)));
        becomes = format!("folds into '{name}'");
        folded.input[slot] = name;
    }
    folded.attribute.retain(|a| a.name != factor);
    patch.because(format!("{factor} of {} {becomes}", label(node)));
    Ok(())
}
