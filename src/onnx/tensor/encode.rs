//! Making tensors with raw data.

use super::super::types::{INT2, UINT2};
use super::super::{DataType, Tensor};

/// A float32 tensor with raw data; `values` is row-major and as long as the product of `dims`.
pub fn from_floats(name: &str, dims: &[usize], values: &[f32]) -> Tensor {
    raw(name, DataType::FLOAT as i32, dims, values.len(), bytes(values, f32::to_le_bytes))
}

/// An int64 tensor with raw data; `values` is row-major and as long as the product of `dims`.
pub fn from_i64s(name: &str, dims: &[usize], values: &[i64]) -> Tensor {
    raw(name, DataType::INT64 as i32, dims, values.len(), bytes(values, i64::to_le_bytes))
}

/// An integer tensor of type `data_type` with raw data: (U)INT2 and (U)INT4 packed from the lowest bits up,
/// BOOL, (U)INT8, (U)INT16, INT32.
///
/// `values` must fit the type and be as many as the product of `dims`; higher bits are cut off.
/// Any other type is stored as INT32.
pub fn from_ints(name: &str, data_type: i32, dims: &[usize], values: &[i32]) -> Tensor {
    let (data_type, raw_data) = match super::super::data_type(data_type) {
        Some(DataType::INT8 | DataType::UINT8 | DataType::BOOL) => {
            (data_type, values.iter().map(|v| *v as u8).collect())
        }
        Some(DataType::INT16 | DataType::UINT16) => (data_type, bytes(values, |v: i32| (v as u16).to_le_bytes())),
        Some(DataType::INT4 | DataType::UINT4) => (data_type, pack(values, 4)),
        None if data_type == INT2 || data_type == UINT2 => (data_type, pack(values, 2)),
        _ => (DataType::INT32 as i32, bytes(values, i32::to_le_bytes)),
    };
    raw(name, data_type, dims, values.len(), raw_data)
}

/// The lowest `bits` bits of each value, the first in the lowest bits of the first byte; zeros pad the last byte.
fn pack(values: &[i32], bits: u32) -> Vec<u8> {
    let per_byte = (8 / bits) as usize;
    let mask = (1u8 << bits) - 1;
    let byte = |group: &[i32]| group.iter().rev().fold(0u8, |byte, v| (byte << bits) | (*v as u8 & mask));
    values.chunks(per_byte).map(byte).collect()
}

fn bytes<V: Copy, const N: usize>(values: &[V], to_bytes: impl Fn(V) -> [u8; N]) -> Vec<u8> {
    values.iter().map(|v| to_bytes(*v)).collect::<Vec<[u8; N]>>().into_flattened()
}

fn raw(name: &str, data_type: i32, dims: &[usize], count: usize, raw_data: Vec<u8>) -> Tensor {
    debug_assert_eq!(dims.iter().product::<usize>(), count, "tensor {name}");
    let dims = dims.iter().map(|d| *d as i64).collect();
    Tensor { name: name.to_owned(), data_type, dims, raw_data, ..Default::default() }
}
