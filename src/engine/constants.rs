//! Constants of the file as tensors of tract: initializers and `Constant` nodes, external data resolved.

use super::values::to_tensor;
use crate::graph::{Graph, attr_t};
use crate::onnx::{self, DataLocation, DataType, ExternalData, NodeProto as Node, Tensor, element_count};
use crate::{Code, Context, Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tract_onnx::tract_hir::internal as tract;

/// A decoded constant, shared by all plans of an engine.
pub(super) type Constant = Arc<tract::Tensor>;

/// The constants of a main graph by name; looked up, never iterated.
pub(super) struct Constants<'a> {
    tensors: HashMap<&'a str, &'a Tensor>,
    external: &'a ExternalData,
}

impl<'a> Constants<'a> {
    /// Collects initializers of `graph` and tensors of those of `nodes` that are `Constant`.
    pub(super) fn new(graph: &'a Graph, nodes: &[&'a Node]) -> Self {
        let made = nodes.iter().filter(|n| n.op_type == "Constant").filter_map(|n| {
            let tensor = attr_t(n, "value")?;
            Some((n.output.first()?.as_str(), tensor))
        });
        let stored = graph.proto().initializer.iter().map(|t| (t.name.as_str(), t));
        Constants { tensors: made.chain(stored).collect(), external: graph.external() }
    }

    /// The constant called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Tensor> {
        self.tensors.get(name).copied()
    }

    /// Elements of the float constant called `name`.
    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.get(name).filter(|t| t.data_type == DataType::FLOAT as i32) else { return Ok(None) };
        onnx::floats(tensor, self.external).at(|| format!("constant '{name}'")).map(Some)
    }

    /// Elements of the integer constant called `name`.
    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(tensor) = self.get(name).filter(|t| !is_float(t.data_type)) else { return Ok(None) };
        onnx::ints(tensor, self.external).at(|| format!("constant '{name}'")).map(Some)
    }

    /// Decodes what is `read`; constants of types that only tract knows come back as they are stored.
    pub(super) fn decode(
        &self,
        read: &BTreeSet<String>,
        made: Vec<(String, Vec<usize>, Vec<f32>)>,
    ) -> Result<(BTreeMap<String, Constant>, Vec<Tensor>)> {
        let mut decoded = BTreeMap::new();
        let mut foreign = Vec::new();
        for (name, dims, values) in made {
            let tensor = tract::Tensor::from_shape(&dims, &values).map_err(refuse).at(|| name.clone())?;
            decoded.insert(name, Arc::new(tensor));
        }
        for name in read {
            let Some(tensor) = self.get(name).filter(|_| !decoded.contains_key(name)) else { continue };
            match decode(tensor, self.external).at(|| format!("constant '{name}'"))? {
                Some(constant) => _ = decoded.insert(name.clone(), Arc::new(constant)),
                None => foreign.push(inline(tensor, name, self.external)?),
            }
        }
        Ok((decoded, foreign))
    }
}

fn is_float(data_type: i32) -> bool {
    use DataType::{BFLOAT16, DOUBLE, FLOAT, FLOAT16};
    matches!(onnx::data_type(data_type), Some(FLOAT | DOUBLE | FLOAT16 | BFLOAT16))
}

fn decode(tensor: &Tensor, external: &ExternalData) -> Result<Option<tract::Tensor>> {
    use DataType::{BFLOAT16, BOOL, DOUBLE, FLOAT, FLOAT16, INT8, INT16, INT32, INT64, UINT8, UINT16};
    let shape = shape_of(tensor)?;
    let decoded = match onnx::data_type(tensor.data_type) {
        // Floats of 16 bits are left of inputs that have a default alone; they are float32 here.
        Some(FLOAT | FLOAT16 | BFLOAT16 | DOUBLE | INT64 | INT32 | INT8 | UINT8 | BOOL) => {
            to_tensor(&onnx::array(tensor, external)?)
        }
        Some(INT16) => tract::Tensor::from_shape(&shape, &narrow(tensor, external, |v| v as i16)?),
        Some(UINT16) => tract::Tensor::from_shape(&shape, &narrow(tensor, external, |v| v as u16)?),
        _ => return Ok(None),
    };
    decoded.map(Some).map_err(refuse)
}

fn narrow<T>(tensor: &Tensor, external: &ExternalData, convert: impl Fn(i64) -> T) -> Result<Vec<T>> {
    Ok(onnx::ints(tensor, external)?.into_iter().map(convert).collect())
}

/// The tensor under the name `name`, with its bytes inside.
fn inline(tensor: &Tensor, name: &str, external: &ExternalData) -> Result<Tensor> {
    let mut inline = tensor.clone();
    inline.name = name.to_owned();
    if tensor.data_location.enum_value() == Ok(DataLocation::EXTERNAL) {
        inline.raw_data = external.bytes(tensor)?.to_vec();
        inline.data_location = DataLocation::DEFAULT.into();
        inline.external_data.clear();
    }
    Ok(inline)
}

fn refuse(error: tract::TractError) -> Error {
    Error::new(Code::InvalidGraph, error.root_cause().to_string())
}

/// The shape of a stored tensor, checked against overflow and negative extents.
pub(super) fn shape_of(tensor: &Tensor) -> Result<Vec<usize>> {
    element_count(tensor)?;
    Ok(tensor.dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect())
}
