//! Element access: decoding every storage form of a tensor, encoding new ones.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{array, floats, ints};
pub use encode::{from_floats, from_i64s, from_ints};

use super::types::{element_bits, type_name};
use super::{DataType, Tensor};
use crate::{Code, Error, Result};

/// Product of the dimensions (1 for a scalar); an error where it overflows or a dimension is negative.
pub fn element_count(tensor: &Tensor) -> Result<usize> {
    if let Some(negative) = tensor.dims.iter().find(|d| **d < 0) {
        return Err(fault(tensor, format!("dimension {negative} is negative")));
    }
    if tensor.dims.contains(&0) {
        return Ok(0);
    }
    tensor
        .dims
        .iter()
        .try_fold(1usize, |product, d| product.checked_mul(usize::try_from(*d).ok()?))
        .ok_or_else(|| fault(tensor, format!("dimensions {:?} hold more elements than memory can", tensor.dims)))
}

/// Bytes that the elements take as raw data (for strings, their bytes); widths under 8 bits are packed.
///
/// It follows from type and shape alone and does not depend on where or how the data is stored.
/// An error where the type is unknown or the size overflows.
pub fn byte_size(tensor: &Tensor) -> Result<usize> {
    if tensor.data_type == DataType::STRING as i32 {
        return Ok(tensor.string_data.iter().map(Vec::len).sum());
    }
    let bits = element_bits(tensor.data_type).ok_or_else(|| unsupported(tensor, "stored"))?;
    element_count(tensor)?
        .checked_mul(bits)
        .map(|total| total.div_ceil(8))
        .ok_or_else(|| fault(tensor, format!("dimensions {:?} hold more bytes than memory can", tensor.dims)))
}

/// An error about a tensor, naming it.
pub(super) fn fault(tensor: &Tensor, message: String) -> Error {
    Error::new(Code::InvalidGraph, message).at(format!("tensor \"{}\"", tensor.name))
}

fn unsupported(tensor: &Tensor, action: &str) -> Error {
    let name = type_name(tensor.data_type).map_or_else(|| format!("type {}", tensor.data_type), str::to_owned);
    fault(tensor, format!("elements of {name} cannot be {action}"))
}
