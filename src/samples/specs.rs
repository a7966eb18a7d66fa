//! What a graph wants for its inputs.

use super::InputSpec;
use crate::fused;
use crate::graph::Graph;
use crate::onnx::{DataType, ValueInfoProto, dimension, type_proto};
use std::collections::{BTreeMap, BTreeSet};

/// The inputs of a graph that samples must feed: those without an initializer. `dims` names extents of
/// symbolic dimensions; the first axis is the batch, of extent 1 where it is symbolic. Features of a cache are what the
/// attention that reads it makes them, where the file leaves them open.
pub fn input_specs(graph: &Graph, dims: &BTreeMap<String, usize>) -> Vec<InputSpec> {
    let fed = graph.proto().input.iter().filter(|v| graph.index().initializer(&v.name).is_none());
    let mut specs: Vec<InputSpec> = fed.map(|value| input_spec(value, dims)).collect();
    for spec in specs.iter_mut().filter(|spec| spec.dims.len() == 4 && spec.dims[3].is_none()) {
        spec.dims[3] = fused::features_of_cache(graph, &spec.name);
    }
    specs
}

/// Names of the extents that the inputs leave open.
pub fn symbolic_dims(graph: &Graph) -> BTreeSet<String> {
    let specs = input_specs(graph, &BTreeMap::new());
    specs.into_iter().flat_map(|spec| spec.symbols).filter(|name| !name.is_empty()).collect()
}

fn input_spec(value: &ValueInfoProto, named: &BTreeMap<String, usize>) -> InputSpec {
    match tensor_type(value) {
        Some(tensor) => spec_of(&value.name, tensor, named, Some(1)),
        None => InputSpec::new(&value.name, &[], DataType::FLOAT),
    }
}

/// The same with a symbolic batch left open; `None` where type or rank is not declared.
pub(super) fn open_spec(value: &ValueInfoProto, named: &BTreeMap<String, usize>) -> Option<InputSpec> {
    let tensor = tensor_type(value).filter(|tensor| tensor.shape.is_some())?;
    Some(spec_of(&value.name, tensor, named, None))
}

fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match value.type_.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

fn spec_of(
    name: &str,
    tensor: &type_proto::Tensor,
    named: &BTreeMap<String, usize>,
    batch: Option<usize>,
) -> InputSpec {
    let mut spec = InputSpec::new(name, &[], DataType::FLOAT);
    spec.data_type = tensor.elem_type;
    for (axis, dim) in tensor.shape.dim.iter().enumerate() {
        let symbolic = if axis == 0 { batch } else { None };
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
