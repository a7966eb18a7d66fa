//! What a model records of its values.

use crate::onnx::{GraphProto, Tensor, ValueInfoProto, dimension};
use std::collections::HashMap;

/// Element type and shape that the model records for a value.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Number of the element type, 0 if unknown.
    pub data_type: i32,
    /// Extents, `None` for a symbolic one; `None` if even the rank is unknown.
    pub dims: Option<Vec<Option<i64>>>,
}

/// Types and shapes that one graph records: inputs, outputs, initializers and `value_info`.
pub fn recorded(graph: &GraphProto) -> HashMap<&str, Recorded> {
    let values = graph.value_info.iter().chain(&graph.output).chain(&graph.input);
    let mut known: HashMap<&str, Recorded> = values.map(|v| (v.name.as_str(), of_value(v))).collect();
    known.extend(graph.initializer.iter().map(|t| (t.name.as_str(), of_tensor(t))));
    known
}

fn of_tensor(tensor: &Tensor) -> Recorded {
    Recorded { data_type: tensor.data_type, dims: Some(tensor.dims.iter().map(|d| Some(*d)).collect()) }
}

fn of_value(value: &ValueInfoProto) -> Recorded {
    if !value.type_.has_tensor_type() {
        return Recorded::default();
    }
    let tensor = value.type_.tensor_type();
    let extent = |v: &Option<dimension::Value>| match v {
        Some(dimension::Value::DimValue(n)) if *n >= 0 => Some(*n),
        _ => None,
    };
    let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(|d| extent(&d.value)).collect());
    Recorded { data_type: tensor.elem_type, dims }
}
