//! From the lowered graph to a plan of tract for one set of shapes.

#[cfg(feature = "cuda-engine")]
use super::cuda;
use super::lower::{Lowered, inner_nodes};
use super::plan::{Names, Plan, datum_type, in_order, last_readers, tap_nodes};
use super::{
    Place, attention, batch_norm, branch, cast, depthwise, failure, operands, ops, range, repeat, reverse, strides,
    windows,
};
use crate::onnx::{self, DataType, GraphProto, ModelProto, NodeProto as Node, ValueInfoProto};
use crate::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::konst::Const;

/// More elements than this in one value are refused: 4 GiB of floats.
pub(super) const MOST_ELEMENTS: usize = 1 << 30;

/// A parsed graph whose input shapes are open; its constants are shared with every plan made from it.
pub(super) struct Template {
    model: InferenceModel,
    names: Arc<Names>,
}

impl Template {
    /// Hands the graph to tract.
    pub(super) fn new(lowered: Lowered) -> Result<Template> {
        let onnx = framework();
        refuse_unknown(&onnx, &lowered)?;
        let Lowered {
            nodes,
            places,
            constants,
            foreign,
            inputs,
            outputs,
            dead_ends,
            taps,
            tap_order,
            imports,
            ir_version,
        } = lowered;
        let inputs = inputs.into_iter().filter(|i| i.needed).collect();
        let names = Arc::new(Names { places, taps, tap_order, inputs, outputs: outputs.len() });
        let explain = |e: TractError| failure::explain(&e, &names.places);
        let mut graph = GraphProto { node: nodes, initializer: foreign, ..Default::default() };
        graph.input = constants.keys().map(|n| declare(n)).collect();
        graph.input.extend(names.inputs.iter().map(|i| declare(&i.wire)));
        graph.output = outputs.iter().chain(&dead_ends).map(|n| declare(n)).collect();
        let model = ModelProto { graph: Some(graph).into(), opset_import: imports, ir_version, ..Default::default() };
        let bytes = onnx::to_bytes(&model)?;
        drop(model);
        let proto = onnx.proto_model_for_read(&mut bytes.as_slice()).map_err(explain)?;
        let parsed = onnx.parse(&proto, None).map_err(explain)?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(Error::new(Code::InvalidGraph, format!("value '{name}' is read and never made")));
        }
        let mut model = parsed.model;
        for (name, tensor) in constants {
            let node = parsed.outlets_by_name[&name].node;
            let fact = TypedFact::try_from(tensor.clone()).map_err(explain)?;
            model.nodes[node].op = Box::new(Const::new(tensor).map_err(explain)?);
            model.nodes[node].outputs[0].fact = fact.into();
        }
        model.inputs = names.inputs.iter().map(|i| parsed.outlets_by_name[&i.wire]).collect();
        Ok(Template { model, names })
    }

    /// Compiles for inputs of these shapes.
    pub(super) fn compile(&self, shapes: &[Vec<usize>], place: Place) -> Result<Plan> {
        let explain = |e: TractError| failure::explain(&e, &self.names.places);
        let mut model = self.model.clone();
        for (ix, (input, shape)) in self.names.inputs.iter().zip(shapes).enumerate() {
            let fact = InferenceFact::dt_shape(datum_type(input)?, shape);
            model.set_input_fact(ix, fact).map_err(explain)?;
        }
        let mut typed = model.into_typed().map_err(explain)?;
        self.check_taps(&typed)?;
        self.check_sizes(&typed)?;
        strides::rewrite(&mut typed, TypedModel::declutter).map_err(explain)?;
        let (plan, on_host) = self.placed(typed, place).map_err(explain)?;
        let last_readers = last_readers(&plan);
        let tap_nodes = tap_nodes(plan.model(), plan.order_without_consts(), self.names.taps.len());
        Ok(Plan { plan, on_host, names: self.names.clone(), last_readers, tap_nodes })
    }

    fn placed(&self, mut typed: TypedModel, place: Place) -> TractResult<Placed> {
        match place {
            Place::Host => {
                strides::rewrite(&mut typed, TypedModel::optimize)?;
                Ok((in_order(typed, &self.names)?, BTreeMap::new()))
            }
            #[cfg(feature = "cuda-engine")]
            Place::Cuda => cuda::plan(typed, self.names.outputs),
            #[cfg(not(feature = "cuda-engine"))]
            Place::Cuda => bail!("this build runs networks on the CPU alone"),
        }
    }

    /// Refuses values that no memory holds, before tract prepares for them: a few bytes of padding or of a shape can ask
    /// for any size.
    fn check_sizes(&self, typed: &TypedModel) -> Result<()> {
        for node in &typed.nodes {
            let facts = node.outputs.iter().filter_map(|o| o.fact.shape.as_concrete());
            let too_large = |dims: &&[usize]| elements(dims).is_none_or(|n| n > MOST_ELEMENTS);
            if let Some(dims) = facts.into_iter().find(too_large) {
                let error = Error::new(Code::Engine, format!("it makes a value of shape {dims:?}, which is too large"));
                return Err(failure::name(error, Some(&node.name), &self.names.places));
            }
        }
        Ok(())
    }

    fn check_taps(&self, typed: &TypedModel) -> Result<()> {
        for node in &typed.nodes {
            let Some(tap) = node.op_as::<ops::Tap>() else { continue };
            let found = node.outputs[0].fact.datum_type;
            if found != DatumType::F32 {
                let name = &self.names.taps[tap.index];
                return Err(Error::new(Code::Engine, format!("cannot observe '{name}': it is {found:?}, not float32")));
            }
        }
        Ok(())
    }
}

/// A plan, and the operators of a network on a GPU that run on the CPU, with their number.
type Placed = (Arc<TypedSimplePlan>, BTreeMap<String, usize>);

fn framework() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.insert(ops::TAP, ops::build_tap);
    onnx.op_register.insert(ops::FAKE_QUANTIZE, ops::build_fake_quantize);
    onnx.op_register.insert(batch_norm::BATCH_NORM, batch_norm::build);
    onnx.op_register.insert(cast::CAST_TO_INT64, cast::build);
    onnx.op_register.insert(cast::ROUND_TO_HALF, cast::build_rounding);
    onnx.op_register.insert(depthwise::DEPTHWISE, depthwise::build);
    // In place of tract's own.
    onnx.op_register.insert("Attention", attention::build);
    onnx.op_register.insert("Equal", operands::build_equal);
    onnx.op_register.insert("If", branch::build);
    onnx.op_register.insert("Loop", repeat::build);
    onnx.op_register.insert("MatMul", operands::build_mat_mul);
    onnx.op_register.insert("Range", range::build);
    onnx.op_register.insert("ReverseSequence", reverse::build);
    windows::OPERATORS.iter().for_each(|op| onnx.op_register.insert(op, windows::build));
    onnx
}

/// Operators that tract does not have would otherwise surface only where their output is used.
fn refuse_unknown(onnx: &tract_onnx::Onnx, lowered: &Lowered) -> Result<()> {
    for (node, place) in lowered.nodes.iter().zip(&lowered.places) {
        refuse_unknown_node(onnx, node).map_err(|e| e.at(place.clone()))?;
        for inner in inner_nodes(node) {
            refuse_unknown_node(onnx, inner).map_err(|e| e.at(failure::node_place(inner)))?;
        }
    }
    Ok(())
}

/// The product of extents, where it can be told.
fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

fn refuse_unknown_node(onnx: &tract_onnx::Onnx, node: &Node) -> Result<()> {
    if onnx.op_register.0.contains_key(&node.op_type) {
        return Ok(());
    }
    let error = Error::new(Code::Engine, format!("the engine has no operator '{}'", node.op_type));
    Err(match node.domain.as_str() {
        "ai.onnx.ml" => {
            error.help("export the network alone, and feed it samples that the steps before it have been through")
        }
        _ => error,
    })
}

/// A value without a shape; tract insists on a type and gets the true fact later.
fn declare(name: &str) -> ValueInfoProto {
    let mut value = ValueInfoProto { name: name.to_owned(), ..Default::default() };
    value.type_.mut_or_insert_default().mut_tensor_type().elem_type = DataType::FLOAT as i32;
    value
}
