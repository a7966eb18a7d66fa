//! What ONNX allows and tract reads otherwise, put in the words that both understand.

use super::cast::{CAST_TO_INT64, ROUND_TO_HALF};
use super::failure::node_place;
use crate::graph::{attr_i, attr_t, is_half};
use crate::onnx::{AttributeProto, AttributeType, DataType, NodeProto as Node, from_floats};
use crate::{Code, Error, Result};
use std::collections::BTreeSet;

/// Operators of ONNX Runtime's own domain that mean what ONNX means by the same name: tract looks up the name alone.
const SHARED_WITH_ONNX: [&str; 3] = ["DequantizeLinear", "LayerNormalization", "QuantizeLinear"];

/// Puts `node` in words that mean the same to tract; `read` are the values that anything reads.
pub(super) fn translate(node: &mut Node, read: &BTreeSet<String>) {
    // An optional input or output that is left out may be written as an empty name at the end.
    let trim = |names: &mut Vec<String>| names.truncate(names.iter().rposition(|n| !n.is_empty()).map_or(0, |i| i + 1));
    trim(&mut node.input);
    trim(&mut node.output);
    match node.op_type.as_str() {
        // Running statistics of training, which old exporters wrote into files for inference.
        "BatchNormalization" if attr_i(node, "training_mode").unwrap_or(0) == 0 => {
            let unread = |name: &String| !read.contains(name);
            if node.output.iter().skip(1).all(unread) {
                node.output.truncate(1);
            }
        }
        "Cast" if attr_i(node, "to").and_then(|to| i32::try_from(to).ok()).is_some_and(is_half) => {
            ROUND_TO_HALF.clone_into(&mut node.op_type);
        }
        "Cast" if attr_i(node, "to") == Some(DataType::INT64 as i64) => CAST_TO_INT64.clone_into(&mut node.op_type),
        // The default is a float32 zero; tract's is a float64 one.
        "ConstantOfShape" if attr_t(node, "value").is_none() => node.attribute.push(AttributeProto {
            name: "value".to_owned(),
            type_: AttributeType::TENSOR.into(),
            t: Some(from_floats("", &[1], &[0.0])).into(),
            ..Default::default()
        }),
        _ => {}
    }
}

/// Refuses operators that tract would take for others, or computes otherwise than ONNX says.
pub(super) fn refuse_misread(node: &Node) -> Result<()> {
    let refuse = |what: String| Error::new(Code::Engine, what).at(node_place(node));
    if node.domain == "com.microsoft" && !SHARED_WITH_ONNX.contains(&node.op_type.as_str()) {
        let what = format!("'{}' is an operator of ONNX Runtime's own, which the engine does not have", node.op_type);
        let help = "use the model as it was exported, if ONNX Runtime's optimizer put the operator there";
        return Err(refuse(what).help(help));
    }
    let given = |names: &[String], at: usize| names.get(at).is_some_and(|n| !n.is_empty());
    match node.op_type.as_str() {
        "Attention" if given(&node.output, 3) => {
            Err(refuse("the engine does not give out scores of Attention".to_owned())
                .help("drop its output qk_matmul_output"))
        }
        "Attention" if given(&node.input, 6) => Err(refuse("the engine does not compute padded Attention".to_owned())
            .help("export it with a mask in place of nonpad_kv_seqlen")),
        // tract divides the norm by the number of elements.
        "GlobalLpPool" => Err(refuse("the engine does not compute GlobalLpPool as ONNX defines it".to_owned())
            .help("export it as ReduceL1 or ReduceL2 over the spatial axes")),
        "ZipMap" => Err(refuse("ZipMap makes maps, which are no tensors".to_owned())
            .help("convert the model without it: options={'zipmap': False} in skl2onnx")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, input: &[&str], output: &[&str]) -> Node {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Node { op_type: op.to_owned(), input: names(input), output: names(output), ..Default::default() }
    }

    fn translated(mut node: Node) -> Node {
        translate(&mut node, &BTreeSet::from(["read".to_owned()]));
        node
    }

    #[test]
    fn empty_names_go_from_the_end_only() {
        let found = translated(node("Clip", &["x", "", "max", ""], &["y", ""]));
        assert_eq!((found.input, found.output), (vec!["x".into(), String::new(), "max".into()], vec!["y".to_owned()]));
    }

    #[test]
    fn unread_statistics_of_training_go() {
        let norm = |mean: &str| translated(node("BatchNormalization", &["x"], &["y", mean, "var"])).output.len();
        assert_eq!((norm("unread"), norm("read")), (1, 3));
    }

    #[test]
    fn a_missing_fill_is_a_float_zero() {
        let found = translated(node("ConstantOfShape", &["shape"], &["y"]));
        let value = attr_t(&found, "value").unwrap();
        assert_eq!((value.data_type, value.dims.as_slice()), (1, &[1][..]));
    }

    #[test]
    fn operators_of_another_meaning_are_refused_by_name() {
        let mut fused = node("FusedMatMul", &["x"], &["y"]);
        fused.domain = "com.microsoft".to_owned();
        assert!(refuse_misread(&fused).unwrap_err().to_string().contains("FusedMatMul"));
        assert!(refuse_misread(&node("GlobalLpPool", &["x"], &["y"])).is_err());
        let maps = refuse_misread(&node("ZipMap", &["x"], &["y"])).unwrap_err();
        assert!(maps.advice().is_some_and(|advice| advice.contains("options={'zipmap': False}")), "{maps}");
        fused.op_type = "QuantizeLinear".to_owned();
        assert!(refuse_misread(&fused).is_ok());
    }
}
