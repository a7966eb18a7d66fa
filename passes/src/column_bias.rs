//! `column_bias`: the bias of a Gemm is one number a column.

use crate::Pass;
use crate::facts::{Names, constant_floats, input, is_op, label};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_i};
use tapq::onnx::{NodeProto as Node, from_floats};

/// ## What it does
/// Writes the constant bias of a Gemm with a constant weight along one axis, one number a column, where it is one number
/// for all, or has an axis of extent 1 in front.
///
/// ## Why
/// Integer kernels, and whatever corrects a bias, take it column by column; a float one keeps the Gemm in float.
///
/// ## When it refuses
/// A bias that is computed, not float32, or differs from row to row.
///
/// ## Example
/// `y = Gemm (x, w, c)` with `float[4,8] w` and `float c = {0}` reads `float[8] c_columns = {0, …}`.
pub struct ColumnBias;

impl Pass for ColumnBias {
    fn name(&self) -> &'static str {
        "column_bias"
    }

    fn about(&self) -> &'static str {
        "the bias of a Gemm becomes one number a column"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let (mut patch, mut names) = (Patch::new(), None);
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| is_op(n, "Gemm")) {
            let Some(columns) = columns(graph, node)? else { continue };
            let name = names.get_or_insert_with(|| Names::of(graph)).fresh(&format!("{}_columns", node.input[2]));
            patch.push(Edit::SetInitializer(from_floats(&name, &[columns.len()], &columns)));
            patch.push(Edit::SetInput(at, 2, name));
            patch.because(format!("the bias of {} becomes one number a column", label(node)));
        }
        Ok(patch.into_option())
    }
}

/// The bias column by column; `None` where it is written so already, or cannot be.
fn columns(graph: &Graph, node: &Node) -> Result<Option<Vec<f32>>> {
    let constant = |slot| input(node, slot).and_then(|name| graph.constant(name));
    let (Some(weight), Some(bias)) = (constant(1), constant(2)) else { return Ok(None) };
    let axis = usize::from(attr_i(node, "transB").unwrap_or(0) == 0);
    let Some(count) = weight.dims.get(axis).and_then(|d| usize::try_from(*d).ok()) else { return Ok(None) };
    if bias.dims.as_slice() == [count as i64] {
        return Ok(None);
    }
    let Some(values) = constant_floats(graph, &bias.name)? else { return Ok(None) };
    Ok(match values.len() {
        1 => Some(vec![values[0]; count]),
        n if n == count && bias.dims.last() == Some(&(count as i64)) => Some(values),
        _ => None,
    })
}
