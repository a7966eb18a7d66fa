//! `form_gemm`: a MatMul of matrices becomes a Gemm, which can have a bias.

use crate::Pass;
use crate::facts::{constant_floats, input, is_op, is_standard, label, output, recorded, sole_reader};
use tapq::Result;
use tapq::graph::ranks;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Turns a MatMul of a matrix with a constant one into a Gemm where one constant a column is applied to the product:
/// one that is added becomes the bias, others are left for [`FoldScale`](crate::FoldScale).
///
/// ## Why
/// Keras, JAX and scikit-learn spell linear layers this way. A Gemm holds its bias as an integer and takes shifts of
/// its mean; and ONNX Runtime fuses the pair itself, into a Gemm in float whose weight it turns back in every run.
///
/// ## When it refuses
/// A rank that is neither known nor recorded, or is not 2; another reader of the product; a constant that is computed,
/// or is not one number a column.
///
/// ## Example
/// `p = MatMul (x, w)  y = Add (p, b)` with `float[4,8] w` and `float[8] b` becomes `y = Gemm (x, w, b)`.
pub struct FormGemm;

impl Pass for FormGemm {
    fn name(&self) -> &'static str {
        "form_gemm"
    }

    fn about(&self) -> &'static str {
        "MatMul of matrices with constants behind it becomes a Gemm"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        let mut known = None;
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| is_op(n, "MatMul")) {
            let Some((next, row)) = row_behind(graph, node)? else { continue };
            let (ranks, recorded) = known.get_or_insert_with(|| (ranks(graph.proto()), recorded(graph.proto())));
            let written = |name: &str| recorded.get(name).and_then(|r| r.dims.as_ref()).map(Vec::len);
            let rank = |name: &str| ranks.get(name).copied().or_else(|| written(name));
            if [input(node, 0), output(node, 0)].into_iter().flatten().find_map(rank) == Some(2) {
                form(graph, at, next, row, &mut patch);
            }
        }
        Ok(patch.into_option())
    }
}

/// The arithmetic behind a product with a constant matrix, and the constant that it applies, one number a column.
fn row_behind<'g>(graph: &'g Graph, product: &Node) -> Result<Option<(usize, &'g str)>> {
    let (Some(weight), Some(y)) = (input(product, 1).and_then(|w| graph.constant(w)), output(product, 0)) else {
        return Ok(None);
    };
    let ([_, columns], Some(next)) = (weight.dims.as_slice(), sole_reader(graph, y)) else { return Ok(None) };
    let node = &graph.nodes()[next];
    if !is_standard(node) || !matches!(node.op_type.as_str(), "Add" | "Sub" | "Mul" | "Div") {
        return Ok(None);
    }
    let Some(other) = [0, 1].into_iter().filter_map(|slot| input(node, slot)).find(|name| *name != y) else {
        return Ok(None);
    };
    let Some(tensor) = graph.constant(other) else { return Ok(None) };
    let is_row = matches!(tensor.dims.as_slice(), [n] | [1, n] if n == columns);
    Ok((is_row && constant_floats(graph, other)?.is_some()).then_some((next, other)))
}

fn form(graph: &Graph, at: usize, next: usize, row: &str, patch: &mut Patch) {
    let (product, behind) = (&graph.nodes()[at], &graph.nodes()[next]);
    let mut gemm = Node { op_type: "Gemm".to_owned(), ..product.clone() };
    if behind.op_type == "Add" {
        gemm.input.push(row.to_owned());
        gemm.output.clone_from(&behind.output);
        patch.push(Edit::Remove(next));
        patch.push(Edit::RemoveValueInfo(product.output[0].clone()));
        patch.because(format!("{} and {} become a Gemm", label(product), label(behind)));
    } else {
        patch.because(format!("{} becomes a Gemm, for {} to fold into", label(product), label(behind)));
    }
    patch.push(Edit::Replace(at, gemm));
}
