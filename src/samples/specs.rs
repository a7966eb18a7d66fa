//! What a graph wants for its inputs.

use super::InputSpec;
use crate::graph::Graph;
use crate::onnx::{DataType, ValueInfoProto, dimension, type_proto};
use std::collections::{BTreeMap, BTreeSet};

/// The inputs of a graph that samples must feed: those without an initializer. `dims` names extents of
/// symbolic dimensions; the first axis is the batch, of extent 1 where it is symbolic.
pub fn input_specs(graph: &Graph, dims: &BTreeMap<String, usize>) -> Vec<InputSpec> {
    let fed = graph.proto().input.iter().filter(|v| graph.index().initializer(&v.name).is_none());
    fed.map(|value| input_spec(value, dims)).collect()
}

/// Names of the extents that the inputs leave open.
pub fn symbolic_dims(graph: &Graph) -> BTreeSet<String> {
    let specs = input_specs(graph, &BTreeMap::new());
    specs.into_iter().flat_map(|spec| spec.symbols).filter(|name| !name.is_empty()).collect()
}

fn input_spec(value: &ValueInfoProto, named: &BTreeMap<String, usize>) -> InputSpec {
    let mut spec = InputSpec::new(&value.name, &[], DataType::FLOAT);
    let Some(type_proto::Value::TensorType(tensor)) = value.type_.as_ref().and_then(|t| t.value.as_ref()) else {
        return spec;
    };
    spec.data_type = tensor.elem_type;
    for (axis, dim) in tensor.shape.dim.iter().enumerate() {
        let symbolic = if axis == 0 { Some(1) } else { None };
        let (extent, symbol) = match &dim.value {
            Some(dimension::Value::DimValue(n)) if *n > 0 => (usize::try_from(*n).ok(), ""),
            Some(dimension::Value::DimParam(name)) => (named.get(name).copied().or(symbolic), name.as_str()),
            _ => (symbolic, ""),
        };
        spec.dims.push(extent);
        spec.symbols.push(symbol.to_owned());
    }
    spec
}
