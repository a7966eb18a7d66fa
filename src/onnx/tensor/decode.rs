//! Reading elements from raw data, typed fields or an external file.

use super::super::types::{INT2, UINT2, element_bits};
use super::super::{DataLocation, DataType, ExternalData, Tensor, data_type};
use super::{byte_size, element_count, expect, fault, unsupported};
use crate::Result;
use crate::array::{Array, Values};
use half::{bf16, f16};

/// Elements of a float tensor (float32, float64, float16, bfloat16) as f32, row-major.
///
/// float64 is rounded. An error where the type is no float or the payload does not fit the shape.
pub fn floats(tensor: &Tensor, external: &ExternalData) -> Result<Vec<f32>> {
    let source = Source { tensor, external };
    match data_type(tensor.data_type) {
        Some(DataType::FLOAT) => source.read(&tensor.float_data, f32::from_le_bytes, Some),
        Some(DataType::DOUBLE) => {
            source.read(&tensor.double_data, |b| f64::from_le_bytes(b) as f32, |v| Some(v as f32))
        }
        Some(DataType::FLOAT16) => source.read(
            &tensor.int32_data,
            |b| f16::from_le_bytes(b).to_f32(),
            |v| Some(f16::from_bits(v as u16).to_f32()),
        ),
        Some(DataType::BFLOAT16) => source.read(
            &tensor.int32_data,
            |b| bf16::from_le_bytes(b).to_f32(),
            |v| Some(bf16::from_bits(v as u16).to_f32()),
        ),
        _ => Err(unsupported(tensor, "read as floats")),
    }
}

/// Elements of an integer or bool tensor of any width (2 and 4 bits unpacked) as i64, row-major.
///
/// An error where the type is no integer, a uint64 exceeds i64, or the payload does not fit the shape.
pub fn ints(tensor: &Tensor, external: &ExternalData) -> Result<Vec<i64>> {
    let source = Source { tensor, external };
    let small = &tensor.int32_data;
    match data_type(tensor.data_type) {
        Some(DataType::INT64) => source.read(&tensor.int64_data, i64::from_le_bytes, Some),
        Some(DataType::INT32) => source.read(small, |b| i32::from_le_bytes(b).into(), |v| Some(v.into())),
        Some(DataType::INT16) => {
            source.read(small, |b| i16::from_le_bytes(b).into(), |v| i16::try_from(v).ok().map(Into::into))
        }
        Some(DataType::INT8) => {
            source.read(small, |b| i8::from_le_bytes(b).into(), |v| i8::try_from(v).ok().map(Into::into))
        }
        Some(DataType::UINT32) => source.read(
            &tensor.uint64_data,
            |b| u32::from_le_bytes(b).into(),
            |v| u32::try_from(v).ok().map(Into::into),
        ),
        Some(DataType::UINT16) => {
            source.read(small, |b| u16::from_le_bytes(b).into(), |v| u16::try_from(v).ok().map(Into::into))
        }
        Some(DataType::UINT8) => {
            source.read(small, |b| u8::from_le_bytes(b).into(), |v| u8::try_from(v).ok().map(Into::into))
        }
        Some(DataType::BOOL) => source.read(small, |[b]: [u8; 1]| (b != 0).into(), |v| Some((v != 0).into())),
        Some(DataType::UINT64) => {
            let values = source.read(&tensor.uint64_data, u64::from_le_bytes, Some)?;
            values
                .into_iter()
                .map(|v| i64::try_from(v).map_err(|_| fault(tensor, format!("{v} exceeds int64"))))
                .collect()
        }
        _ => source.packed(),
    }
}

/// The elements in the nearest type that [`Array`] has.
///
/// float16 and bfloat16 become float32; 2, 4 and 16-bit integers int32; uint32 and uint64 int64.
pub fn array(tensor: &Tensor, external: &ExternalData) -> Result<Array> {
    let source = Source { tensor, external };
    let small = &tensor.int32_data;
    let values = match data_type(tensor.data_type) {
        Some(DataType::FLOAT | DataType::FLOAT16 | DataType::BFLOAT16) => Values::F32(floats(tensor, external)?),
        Some(DataType::DOUBLE) => Values::F64(source.read(&tensor.double_data, f64::from_le_bytes, Some)?),
        Some(DataType::INT32) => Values::I32(source.read(small, i32::from_le_bytes, Some)?),
        Some(DataType::INT8) => Values::I8(source.read(small, i8::from_le_bytes, |v| v.try_into().ok())?),
        Some(DataType::UINT8) => Values::U8(source.read(small, u8::from_le_bytes, |v| v.try_into().ok())?),
        Some(DataType::BOOL) => Values::Bool(source.read(small, |[b]: [u8; 1]| b != 0, |v| Some(v != 0))?),
        Some(DataType::INT64 | DataType::UINT32 | DataType::UINT64) => Values::I64(ints(tensor, external)?),
        // At most 16 bits: the cast loses nothing.
        _ => Values::I32(ints(tensor, external)?.into_iter().map(|v| v as i32).collect()),
    };
    Ok(Array { dims: dims(tensor)?, values })
}

fn dims(tensor: &Tensor) -> Result<Vec<usize>> {
    element_count(tensor)?;
    Ok(tensor.dims.iter().map(|d| *d as usize).collect())
}

/// A tensor and where its data may lie.
struct Source<'a> {
    tensor: &'a Tensor,
    external: &'a ExternalData,
}

impl<'a> Source<'a> {
    /// Elements from raw data by `from_bytes`, or from the typed field by `convert` (`None`: out of range).
    fn read<const N: usize, S: Copy + ToString, V>(
        &self,
        typed: &[S],
        from_bytes: impl Fn([u8; N]) -> V,
        convert: impl Fn(S) -> Option<V>,
    ) -> Result<Vec<V>> {
        if let Some(bytes) = self.raw()? {
            return Ok(bytes.as_chunks::<N>().0.iter().map(|b| from_bytes(*b)).collect());
        }
        expect(self.tensor, typed.len(), element_count(self.tensor)?, "elements")?;
        let fit = |v: &S| {
            convert(*v).ok_or_else(|| fault(self.tensor, format!("{} does not fit the element type", v.to_string())))
        };
        typed.iter().map(fit).collect()
    }

    /// Elements of 2 or 4 bits, unpacked.
    fn packed(&self) -> Result<Vec<i64>> {
        let tensor = self.tensor;
        let (bits, signed) = match tensor.data_type {
            UINT2 => (2, false),
            INT2 => (2, true),
            t if t == DataType::UINT4 as i32 => (4, false),
            t if t == DataType::INT4 as i32 => (4, true),
            _ => return Err(unsupported(tensor, "read as integers")),
        };
        let count = element_count(tensor)?;
        let values = match self.raw()? {
            Some(bytes) => unpack(bytes, bits, signed, count),
            None => {
                expect(tensor, tensor.int32_data.len(), byte_size(tensor)?, "packed bytes")?;
                let bytes: Vec<u8> = tensor.int32_data.iter().map(|v| *v as u8).collect();
                unpack(&bytes, bits, signed, count)
            }
        };
        Ok(values)
    }

    /// Raw bytes, from the tensor or its file, of exactly the right length; `None` where a typed field holds the data.
    fn raw(&self) -> Result<Option<&'a [u8]>> {
        let tensor = self.tensor;
        let bytes = if tensor.data_location.value() == DataLocation::EXTERNAL as i32 {
            self.external.bytes(tensor)?
        } else if !tensor.raw_data.is_empty() {
            &tensor.raw_data
        } else {
            return Ok(None);
        };
        debug_assert!(element_bits(tensor.data_type).is_some());
        expect(tensor, bytes.len(), byte_size(tensor)?, "bytes")?;
        Ok(Some(bytes))
    }
}

/// `count` elements of `bits` bits each, the first in the lowest bits of the first byte.
fn unpack(bytes: &[u8], bits: u32, signed: bool, count: usize) -> Vec<i64> {
    let per_byte = 8 / bits;
    let shift_up = 64 - bits;
    let one = |byte: u8, slot: u32| {
        let top = (u64::from(byte) >> (slot * bits)) << shift_up;
        if signed { (top as i64) >> shift_up } else { (top >> shift_up) as i64 }
    };
    bytes.iter().flat_map(|byte| (0..per_byte).map(move |slot| one(*byte, slot))).take(count).collect()
}
