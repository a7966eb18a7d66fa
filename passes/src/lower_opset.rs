//! `lower_opset`: the same function, declared for an older operator set.

use crate::Pass;
use crate::facts::{is_op, is_standard, label};
use crate::upgrade_table::OPERATORS;
use tapq::fused::is_fused;
use tapq::graph::{Edit, Graph, Patch, attr_i, element_type, reads, subgraphs};
use tapq::onnx::{AttributeProto, DataType, GraphProto, NodeProto as Node, type_name};
use tapq::{Code, Error, Result};

/// Oldest opset that can be reached.
const OLDEST: i64 = 20;
/// Newest opset that the tables know.
const NEWEST: i64 = 25;

/// Operators that came after the oldest opset.
const CAME: [(&str, i64); 5] =
    [("Attention", 23), ("RMSNormalization", 23), ("RotaryEmbedding", 23), ("Swish", 24), ("TensorScatter", 24)];

/// Attributes that came after it, on operators that were there.
const GAINED: [(&str, &str, i64); 7] = [
    ("Cast", "round_mode", 24),
    ("CastLike", "round_mode", 24),
    ("DequantizeLinear", "block_size", 21),
    ("DequantizeLinear", "output_dtype", 23),
    ("QuantizeLinear", "block_size", 21),
    ("QuantizeLinear", "output_dtype", 21),
    ("QuantizeLinear", "precision", 23),
];

/// Attributes that hold an element type.
const TYPE_ATTRIBUTES: [&str; 3] = ["to", "dtype", "output_dtype"];

/// ## What it does
/// Declares an older opset of the default domain where every operator of the model, bodies included, means the same
/// there; no node changes.
///
/// ## Why
/// Exporters declare the newest opset they know, and few models use what it brought: of all that changed from 20 to 25,
/// five operators and seven attributes are new, GroupNormalization scales channels where it scaled groups, pooling counts
/// the windows of `ceil_mode` otherwise, and the rest are element types.
///
/// ## When it refuses
/// Where a node is one of these, where any element type is younger than the opset or is bfloat16, which many operators
/// took later, anywhere but around a Cast, and outside of the opsets 20 to 25. A target makes it run that reads no newer opset or has signed
/// activations.
///
/// ## Example
/// `<opset_import: ["" : 23]> y = Relu (x)` becomes `<opset_import: ["" : 21]> y = Relu (x)`.
pub struct LowerOpset {
    /// The opset to reach.
    pub to: i64,
}

impl Pass for LowerOpset {
    fn name(&self) -> &'static str {
        "lower_opset"
    }

    fn about(&self) -> &'static str {
        "the same function declared for an older operator set"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        Ok(lower_opset(graph, self.to).ok().and_then(Patch::into_option))
    }
}

/// Edits that declare `graph` for opset `to` of the default domain; an empty patch if it is that old.
///
/// # Errors
/// [`Code::Opset`], naming what is younger.
pub fn lower_opset(graph: &Graph, to: i64) -> Result<Patch> {
    let (from, mut patch) = (graph.opset(), Patch::new());
    if from <= to {
        return Ok(patch);
    }
    if to < OLDEST || from > NEWEST {
        return Err(refuse(format!("cannot declare opset {from} as {to}; {OLDEST} to {NEWEST} are understood")));
    }
    check_scope(graph.proto(), from, to)?;
    patch.because(format!("opset {from} becomes {to}, where every operator means the same"));
    patch.push(Edit::SetOpset(to));
    Ok(patch)
}

fn check_scope(scope: &GraphProto, from: i64, to: i64) -> Result<()> {
    for tensor in &scope.initializer {
        check_type(tensor.data_type, to).map_err(|e| e.at(format!("constant '{}'", tensor.name)))?;
    }
    let only_cast = |name: &String| {
        let touches = |node: &&Node| node.output.contains(name) || reads(node).contains(name);
        scope.node.iter().filter(touches).all(|node| is_op(node, "Cast"))
    };
    // A Cast has taken bfloat16 since opset 13, and it is what stands behind inputs and before outputs of that type.
    let is_cast_brain = |of: i32, name: &String| of == DataType::BFLOAT16 as i32 && only_cast(name);
    for value in scope.input.iter().chain(&scope.output).chain(&scope.value_info) {
        let of = element_type(value).unwrap_or(0);
        if !is_cast_brain(of, &value.name) {
            check_type(of, to).map_err(|e| e.at(format!("value '{}'", value.name)))?;
        }
    }
    for node in &scope.node {
        let made = cast_type(node).zip(node.output.first());
        let makes_cast_brain = made.is_some_and(|(of, name)| is_cast_brain(of, name));
        if is_standard(node) {
            let checked = check_operator(node, from, to).and_then(|()| match makes_cast_brain {
                true => Ok(()),
                false => node.attribute.iter().try_for_each(|attribute| check_attribute(attribute, to)),
            });
            checked.map_err(|e| e.at(label(node)))?;
        }
        subgraphs(node).try_for_each(|body| check_scope(body, from, to))?;
    }
    Ok(())
}

fn check_operator(node: &Node, from: i64, to: i64) -> Result<()> {
    let op = node.op_type.as_str();
    if OPERATORS.binary_search(&op).is_err() && !is_fused(node) {
        return Err(refuse(format!("no opset up to {from} has this operator")));
    }
    if let Some((_, since)) = CAME.iter().find(|(name, since)| *name == op && *since > to) {
        return Err(refuse(format!("the operator came with opset {since}")));
    }
    let has = |name: &str| node.attribute.iter().any(|a| a.name == name);
    if let Some((_, name, since)) = GAINED.iter().find(|(of, name, since)| *of == op && *since > to && has(name)) {
        return Err(refuse(format!("its attribute {name} came with opset {since}")));
    }
    if op == "GroupNormalization" && to < 21 && from >= 21 {
        return Err(refuse("opset 21 scales channels where it scaled groups"));
    }
    if matches!(op, "AveragePool" | "LpPool" | "MaxPool") && to < 22 && attr_i(node, "ceil_mode").unwrap_or(0) != 0 {
        return Err(refuse("opset 22 counts the windows of ceil_mode otherwise"));
    }
    Ok(())
}

fn check_attribute(attribute: &AttributeProto, to: i64) -> Result<()> {
    if TYPE_ATTRIBUTES.contains(&attribute.name.as_str()) {
        check_type(i32::try_from(attribute.i).unwrap_or(i32::MAX), to)?;
    }
    attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| check_type(tensor.data_type, to))
}

/// Types up to complex numbers are as old as ONNX, but for integers of 16 bits in Q/DQ, which are not looked for here: no
/// model that is quantized already comes this far. Integers of 4 bits came with opset 21.
fn check_type(number: i32, to: i64) -> Result<()> {
    if (0..DataType::BFLOAT16 as i32).contains(&number)
        || (to >= 21 && [DataType::UINT4 as i32, DataType::INT4 as i32].contains(&number))
    {
        return Ok(());
    }
    Err(refuse(format!("not every operator takes {} at opset {to}", type_name(number).unwrap_or("this type"))))
}

/// The element type that a Cast makes.
fn cast_type(node: &Node) -> Option<i32> {
    attr_i(node, "to").filter(|_| is_op(node, "Cast")).and_then(|to| i32::try_from(to).ok())
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(Code::Opset, message).help("export the model with an older opset")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text};

    #[track_caller]
    fn check(from: i64, to: i64, call: &str, expected: &str) {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\" : {from}]>\n\
             g (float[1,4,2,2] x, bool c) => (float[1,4,2,2] y)\n{{\n y = {call}\n}}"
        );
        let graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        let error = lower_opset(&graph, to).unwrap_err();
        assert_eq!(error.code(), Code::Opset);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn what_is_younger_is_named() {
        check(26, 21, "Relu (x)", "20 to 25 are understood");
        check(23, 19, "Relu (x)", "20 to 25 are understood");
        check(21, 20, "GroupNormalization <num_groups = 2> (x, x, x)", "scales channels");
        check(21, 20, "Cast <to = 22> (x)", "not every operator takes int4");
        check(23, 21, "Attention (x, x, x)", "Attention that makes 'y': the operator came with opset 23");
        check(24, 22, "Cast <to = 1, round_mode = \"up\"> (x)", "its attribute round_mode came with opset 24");
        check(22, 21, "MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (x)", "ceil_mode");
        check(23, 21, "Neg (b) b = Cast <to = 16> (x)", "bfloat16");
        check(23, 21, "Cast <to = 23> (x)", "not every operator takes");
        let body = "If (c) <then_branch = t () => (float[1,4,2,2] p) { p = RMSNormalization (x, x) },
                    else_branch = e () => (float[1,4,2,2] q) { q = Neg (x) }>";
        check(23, 22, body, "RMSNormalization that makes 'p'");
    }

    #[test]
    fn casts_take_bfloat16_in_every_opset() {
        let text = "<ir_version: 10, opset_import: [\"\" : 22]>
            g (bfloat16[2] x) => (bfloat16[2] y) { a = Cast <to = 1> (x) b = Relu (a) y = Cast <to = 16> (b) }";
        let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        assert!(!lower_opset(&graph, 20).unwrap().is_empty());
        let rounded = text.replace(": 22", ": 24").replace("to = 16", "to = 16, round_mode = \"up\"");
        let graph = Graph::new(parse_text(&rounded).unwrap(), ExternalData::none());
        assert!(lower_opset(&graph, 20).unwrap_err().to_string().contains("round_mode"));
    }

    #[test]
    fn a_body_that_takes_bfloat16_is_no_cast() {
        let text = "<ir_version: 10, opset_import: [\"\" : 22]>
            g (bfloat16[2] x, bool c) => (float[2] y) { a = Cast <to = 1> (x) y = If (c) <
              then_branch = t () => (float[2] p) { r = Relu (x) p = Cast <to = 1> (r) },
              else_branch = e () => (float[2] q) { q = Neg (a) }> }";
        let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        assert!(lower_opset(&graph, 20).unwrap_err().to_string().contains("bfloat16"));
    }

    #[test]
    fn what_is_old_enough_is_left_alone() {
        let text = "<ir_version: 10, opset_import: [\"\" : 17]>\ng (float[2] x) => (float[2] y) { y = Relu (x) }";
        let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        assert!(lower_opset(&graph, 21).unwrap().is_empty());
    }
}
