//! `lift_constants`: Constant nodes become initializers.

use crate::Pass;
use crate::facts::{is_op, output};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::{AttributeProto, DataType, NodeProto as Node, Tensor, from_floats, from_i64s};

/// ## What it does
/// Turns Constant nodes of the main graph into initializers of the same name, whichever attribute holds the value.
///
/// ## Why
/// Weights, shapes and scales are then found in one place, and every later pass asks one question: is it constant?
///
/// ## When it refuses
/// Sparse values and strings stay nodes, as does a constant that is a graph output (not every runtime returns
/// an initializer), and everything while the IR version is below 4.
///
/// ## Example
/// `s = Constant <value_float: float = 2.0> ()` becomes the initializer `float s = {2.0}`.
pub struct LiftConstants;

impl Pass for LiftConstants {
    fn name(&self) -> &'static str {
        "lift_constants"
    }

    fn about(&self) -> &'static str {
        "Constant nodes become initializers"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        if graph.model().ir_version < 4 {
            return Ok(None);
        }
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| is_op(n, "Constant")) {
            let Some(name) = output(node, 0).filter(|name| !graph.index().is_output(name)) else { continue };
            let Some(tensor) = value(node, name) else { continue };
            patch.because(format!("Constant '{name}' is an initializer"));
            patch.push(Edit::SetInitializer(tensor));
            // What is recorded may be wrong, which checkers forgive a node and not an initializer.
            patch.push(Edit::RemoveValueInfo(name.to_owned()));
            patch.push(Edit::Remove(at));
        }
        Ok(patch.into_option())
    }
}

fn value(node: &Node, name: &str) -> Option<Tensor> {
    let [attribute] = node.attribute.as_slice() else { return None };
    let AttributeProto { i, f, ints, floats, .. } = attribute;
    match attribute.name.as_str() {
        "value" => named(attribute.t.as_ref()?, name),
        "value_float" => Some(from_floats(name, &[], &[*f])),
        "value_floats" => Some(from_floats(name, &[floats.len()], floats)),
        "value_int" => Some(from_i64s(name, &[], &[*i])),
        "value_ints" => Some(from_i64s(name, &[ints.len()], ints)),
        _ => None,
    }
}

fn named(tensor: &Tensor, name: &str) -> Option<Tensor> {
    (tensor.data_type != DataType::STRING as i32).then(|| Tensor { name: name.to_owned(), ..tensor.clone() })
}
