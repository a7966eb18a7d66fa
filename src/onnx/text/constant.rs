//! Printing constants: short ones in full, long ones as a digest and a range.

use super::super::external::is_external;
use super::super::types::{UINT2, element_bits, type_name};
use super::super::{DataType, ExternalData, Tensor, data_type, element_count, floats, from_i64s, from_ints, ints};
use super::words::{entries, quoted};
use crate::array::Values;
use sha2::{Digest, Sha256};

/// Most elements that are listed one by one.
const MAX_LISTED: usize = 16;

/// `float[2,2]`, the type and shape of a constant.
pub(super) fn type_and_shape(tensor: &Tensor) -> String {
    let name = type_name(tensor.data_type).unwrap_or("undefined");
    if tensor.dims.is_empty() {
        return name.to_owned();
    }
    let dims: Vec<String> = tensor.dims.iter().map(i64::to_string).collect();
    format!("{name}[{}]", dims.join(","))
}

/// `{1, 2}`, or `{... sha256:0a1b2c3d, min -1, max 1}`, or `["location": "w.bin"]`.
pub(super) fn value(tensor: &Tensor) -> String {
    if is_external(tensor) {
        return entries(&tensor.external_data);
    }
    match element_count(tensor) {
        Ok(count) if count <= MAX_LISTED => match listed(tensor) {
            Some(items) => format!("{{{}}}", items.join(", ")),
            None => digest(tensor),
        },
        _ => digest(tensor),
    }
}

/// A float in the shortest form that reads back the same, without a needless `.0`.
pub(super) fn short(value: impl std::fmt::Debug) -> String {
    let text = format!("{value:?}").replace("NaN", "nan");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn listed(tensor: &Tensor) -> Option<Vec<String>> {
    let none = ExternalData::none();
    match data_type(tensor.data_type) {
        Some(DataType::STRING) => {
            Some(tensor.string_data.iter().map(|s| quoted(&String::from_utf8_lossy(s))).collect())
        }
        Some(DataType::FLOAT) => Some(floats(tensor, &none).ok()?.into_iter().map(short).collect()),
        Some(DataType::DOUBLE) => match super::super::array(tensor, &none).ok()?.values {
            Values::F64(values) => Some(values.into_iter().map(short).collect()),
            _ => None,
        },
        Some(DataType::UINT64) => Some(unsigned(tensor)),
        Some(DataType::FLOAT16 | DataType::BFLOAT16) => pattern(tensor, DataType::UINT16),
        None if element_bits(tensor.data_type) == Some(8) => pattern(tensor, DataType::UINT8),
        Some(DataType::FLOAT8E4M3FN | DataType::FLOAT8E4M3FNUZ | DataType::FLOAT8E5M2 | DataType::FLOAT8E5M2FNUZ) => {
            pattern(tensor, DataType::UINT8)
        }
        _ => Some(ints(tensor, &none).ok()?.iter().map(i64::to_string).collect()),
    }
}

fn unsigned(tensor: &Tensor) -> Vec<String> {
    let raw = tensor.raw_data.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    tensor.uint64_data.iter().copied().chain(raw).map(|v| v.to_string()).collect()
}

/// The elements' bits read as unsigned integers of the same width.
fn pattern(tensor: &Tensor, unsigned: DataType) -> Option<Vec<String>> {
    let bits = Tensor { data_type: unsigned as i32, ..tensor.clone() };
    Some(ints(&bits, &ExternalData::none()).ok()?.iter().map(i64::to_string).collect())
}

/// Depends on the elements alone, not on how they are stored.
fn digest(tensor: &Tensor) -> String {
    let mut hash = Sha256::new();
    let range = match (floats(tensor, &ExternalData::none()), ints(tensor, &ExternalData::none())) {
        (Ok(values), _) => {
            hash_floats(tensor, &values, &mut hash);
            span(values.into_iter().filter(|v| !v.is_nan()), f32::total_cmp).map(|(a, b)| (short(a), short(b)))
        }
        (_, Ok(values)) => {
            hash_ints(tensor, &values, &mut hash);
            span(values.into_iter(), i64::cmp).map(|(a, b)| (a.to_string(), b.to_string()))
        }
        (Err(_), Err(_)) => {
            hash.update(&tensor.raw_data);
            tensor.string_data.iter().for_each(|s| hash.update(s));
            None
        }
    };
    let hex: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let range = range.map_or_else(String::new, |(min, max)| format!(", min {min}, max {max}"));
    format!("{{... sha256:{hex}{range}}}")
}

fn hash_floats(tensor: &Tensor, values: &[f32], hash: &mut Sha256) {
    if tensor.raw_data.is_empty() {
        values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    } else {
        hash.update(&tensor.raw_data);
    }
}

fn hash_ints(tensor: &Tensor, values: &[i64], hash: &mut Sha256) {
    let kind = tensor.data_type;
    let wide = element_bits(kind) == Some(64) || kind == DataType::UINT32 as i32;
    if !tensor.raw_data.is_empty() || values.is_empty() || kind > UINT2 + 1 {
        hash.update(&tensor.raw_data);
    } else if wide {
        hash.update(&from_i64s("", &[values.len()], values).raw_data);
    } else {
        let narrow: Vec<i32> = values.iter().map(|v| *v as i32).collect();
        hash.update(&from_ints("", kind, &[narrow.len()], &narrow).raw_data);
    }
}

fn span<T: Copy>(mut values: impl Iterator<Item = T>, order: fn(&T, &T) -> std::cmp::Ordering) -> Option<(T, T)> {
    let first = values.next()?;
    let wider = |(low, high): (T, T), v: T| {
        (if order(&v, &low).is_lt() { v } else { low }, if order(&v, &high).is_gt() { v } else { high })
    };
    Some(values.fold((first, first), wider))
}
