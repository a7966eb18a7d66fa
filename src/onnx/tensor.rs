//! Element access: decoding every storage form of a tensor, encoding new ones.
use super::{DataType, ExternalData, Tensor};
use crate::Result;

/// `TensorProto.DataType` of 2-bit unsigned integers (opset 25), which onnx-protobuf does not know yet.
pub const UINT2: i32 = 25;
/// `TensorProto.DataType` of 2-bit signed integers (opset 25).
pub const INT2: i32 = 26;

/// Product of the dimensions; an error where it overflows or a dimension is negative.
pub fn element_count(tensor: &Tensor) -> Result<usize> {
    Ok(tensor.dims.iter().product::<i64>() as usize)
}

/// Elements of a float tensor (float32, float64, float16, bfloat16) as f32.
pub fn floats(tensor: &Tensor, _external: &ExternalData) -> Result<Vec<f32>> {
    let _ = tensor;
    Ok(vec![])
}

/// Elements of an integer or bool tensor of any width (2 and 4 bits unpacked) as i64.
pub fn ints(tensor: &Tensor, _external: &ExternalData) -> Result<Vec<i64>> {
    let _ = tensor;
    Ok(vec![])
}

/// A float32 tensor with raw data.
pub fn from_floats(name: &str, dims: &[usize], values: &[f32]) -> Tensor {
    let _ = (dims, values);
    Tensor { name: name.to_owned(), data_type: DataType::FLOAT as i32, ..Default::default() }
}

/// An int64 tensor with raw data.
pub fn from_i64s(name: &str, dims: &[usize], values: &[i64]) -> Tensor {
    let _ = (dims, values);
    Tensor { name: name.to_owned(), ..Default::default() }
}

/// An integer tensor of type `data_type` ((U)INT2, (U)INT4 packed low nibble first, (U)INT8, (U)INT16, INT32) with raw data; values must fit.
pub fn from_ints(name: &str, data_type: i32, dims: &[usize], values: &[i32]) -> Tensor {
    let _ = (dims, values);
    Tensor { name: name.to_owned(), data_type, ..Default::default() }
}
