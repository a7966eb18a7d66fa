//! Element access: decoding every storage form of a tensor, encoding new ones.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{array, floats, ints};
pub use encode::{from_floats, from_i64s, from_ints};

use super::types::{data_type, element_bits, type_name};
use super::{DataLocation, DataType, Tensor};
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

/// Checks that the data inside the file is as long as type and shape say, without decoding it.
///
/// What allocates by shape is safe after it: a damaged extent cannot claim more memory than the file has bytes.
pub(super) fn check_payload(tensor: &Tensor) -> Result<()> {
    use DataType::{COMPLEX64, COMPLEX128, DOUBLE, FLOAT, INT64, STRING, UINT32, UINT64};
    let count = element_count(tensor)?;
    if tensor.data_location.value() == DataLocation::EXTERNAL as i32 {
        return Ok(());
    }
    let bits = element_bits(tensor.data_type);
    if !tensor.raw_data.is_empty() {
        return match bits {
            Some(_) => expect(tensor, tensor.raw_data.len(), byte_size(tensor)?, "bytes"),
            None => Err(unsupported(tensor, "stored as raw data")),
        };
    }
    let twice = count.saturating_mul(2);
    let (held, wanted) = match data_type(tensor.data_type) {
        Some(FLOAT) => (tensor.float_data.len(), count),
        Some(COMPLEX64) => (tensor.float_data.len(), twice),
        Some(DOUBLE) => (tensor.double_data.len(), count),
        Some(COMPLEX128) => (tensor.double_data.len(), twice),
        Some(INT64) => (tensor.int64_data.len(), count),
        Some(UINT32 | UINT64) => (tensor.uint64_data.len(), count),
        Some(STRING) => (tensor.string_data.len(), count),
        // Elements of less than a byte are packed.
        _ => match bits {
            Some(bits) => (tensor.int32_data.len(), if bits < 8 { byte_size(tensor)? } else { count }),
            None => return Ok(()),
        },
    };
    expect(tensor, held, wanted, "elements")
}

/// An error where the data is longer or shorter than the shape says.
pub(super) fn expect(tensor: &Tensor, actual: usize, wanted: usize, unit: &str) -> Result<()> {
    if actual == wanted {
        return Ok(());
    }
    let message = format!("the data has {actual} {unit}, but shape {:?} takes {wanted}", tensor.dims);
    Err(fault(tensor, message))
}

/// An error about a tensor, naming it.
pub(super) fn fault(tensor: &Tensor, message: String) -> Error {
    Error::new(Code::InvalidGraph, message).at(format!("tensor \"{}\"", tensor.name))
}

fn unsupported(tensor: &Tensor, action: &str) -> Error {
    let name = type_name(tensor.data_type).map_or_else(|| format!("type {}", tensor.data_type), str::to_owned);
    fault(tensor, format!("elements of {name} cannot be {action}"))
}
