//! `spell_scaler`: scikit-learn's scaling in operators that every runtime has.

use crate::Pass;
use crate::facts::{Names, input, label, output, recorded};
use crate::nodes::plain_node;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, with_attr};
use tapq::onnx::{DataType, NodeProto as Node, from_floats};

/// ## What it does
/// Writes Scaler of the domain ai.onnx.ml, `(x - offset) * scale`, as Sub and Mul; what is not float is cast first.
///
/// ## Why
/// Every pipeline of scikit-learn begins with one, the engine does not know it, and devices do not either.
///
/// ## When it refuses
/// Inputs of a type that is not recorded, or of float64, which ONNX Runtime scales in another precision; opsets before
/// 7, which broadcast otherwise.
///
/// ## Example
/// `y = ai.onnx.ml.Scaler <offset = [1.0], scale = [2.0]> (x)` becomes
/// `y_centred = Sub (x, y_offset)  y = Mul (y_centred, y_scale)`.
pub struct SpellScaler;

impl Pass for SpellScaler {
    fn name(&self) -> &'static str {
        "spell_scaler"
    }

    fn about(&self) -> &'static str {
        "Scaler of scikit-learn becomes Sub and Mul"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        if graph.opset() < 7 {
            return Ok(None);
        }
        let (mut patch, mut names, mut known) = (Patch::new(), None, None);
        for (at, node) in graph.nodes().iter().enumerate() {
            if node.op_type != "Scaler" || node.domain != "ai.onnx.ml" {
                continue;
            }
            let (Some(x), Some(y)) = (input(node, 0), output(node, 0)) else { continue };
            let (Some(offset), Some(scale)) = (floats(node, "offset"), floats(node, "scale")) else { continue };
            let known = known.get_or_insert_with(|| recorded(graph.proto()));
            let Some(of) = known.get(x).map(|r| r.data_type) else { continue };
            let is_float = of == DataType::FLOAT as i32;
            if !is_float && of != DataType::INT64 as i32 && of != DataType::INT32 as i32 {
                continue;
            }
            let names = names.get_or_insert_with(|| Names::of(graph));
            let mut source = x.to_owned();
            if !is_float {
                let cast = names.fresh(&format!("{y}_float"));
                let made = plain_node("Cast", &[&source], &cast);
                patch.push(Edit::Insert(at, with_attr(made, "to", DataType::FLOAT as i64)));
                source = cast;
            }
            let [centred, by, times] = ["centred", "offset", "scale"].map(|what| names.fresh(&format!("{y}_{what}")));
            patch.push(Edit::SetInitializer(from_floats(&by, &[offset.len()], offset)));
            patch.push(Edit::SetInitializer(from_floats(&times, &[scale.len()], scale)));
            patch.push(Edit::Insert(at, plain_node("Sub", &[&source, &by], &centred)));
            patch
                .push(Edit::Replace(at, Node { name: node.name.clone(), ..plain_node("Mul", &[&centred, &times], y) }));
            patch.because(format!("{} is a Sub and a Mul", label(node)));
        }
        Ok(patch.into_option())
    }
}

fn floats<'a>(node: &'a Node, name: &str) -> Option<&'a [f32]> {
    let found = node.attribute.iter().find(|a| a.name == name).map(|a| a.floats.as_slice());
    found.filter(|values| !values.is_empty())
}
