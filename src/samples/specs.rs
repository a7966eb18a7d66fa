//! What a graph wants for its inputs.

use super::InputSpec;
use crate::graph::Graph;
use crate::onnx::{DataType, ValueInfoProto, dimension, type_proto};
use std::collections::BTreeMap;

/// The inputs of a graph that samples must feed: those without an initializer. `dims` names extents of
/// symbolic dimensions; the first axis is the batch, of extent 1 where it is symbolic.
pub fn input_specs(graph: &Graph, dims: &BTreeMap<String, usize>) -> Vec<InputSpec> {
    let fed = graph.proto().input.iter().filter(|v| graph.index().initializer(&v.name).is_none());
    fed.map(|value| input_spec(value, dims)).collect()
}

fn input_spec(value: &ValueInfoProto, named: &BTreeMap<String, usize>) -> InputSpec {
    let mut spec = InputSpec { name: value.name.clone(), dims: vec![], is_float: true };
    let Some(type_proto::Value::TensorType(tensor)) = value.type_.as_ref().and_then(|t| t.value.as_ref()) else {
        return spec;
    };
    let floats = [DataType::FLOAT, DataType::DOUBLE, DataType::FLOAT16, DataType::BFLOAT16];
    spec.is_float = floats.iter().any(|t| *t as i32 == tensor.elem_type);
    for (axis, dim) in tensor.shape.dim.iter().enumerate() {
        let symbolic = if axis == 0 { Some(1) } else { None };
        spec.dims.push(match &dim.value {
            Some(dimension::Value::DimValue(n)) if *n > 0 => usize::try_from(*n).ok(),
            Some(dimension::Value::DimParam(name)) => named.get(name).copied().or(symbolic),
            _ => symbolic,
        });
    }
    spec
}
