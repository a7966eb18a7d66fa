//! Parsing types and constants.

use super::super::types::{INT2, UINT2, element_bits, type_number};
use super::super::{
    DataLocation, DataType, Dimension, StringStringEntryProto, Tensor, TensorShapeProto, TypeProto, data_type,
    dimension, element_count, from_ints, type_proto,
};
use super::cursor::deeper;
use super::cursor::{Cursor, Literal};
use crate::Result;
use half::{bf16, f16};

const TYPE_WORDS: [&str; 4] = ["seq", "map", "optional", "sparse_tensor"];

/// Whether a word begins a type.
pub(super) fn is_type_word(word: &str) -> bool {
    type_number(word).is_some() || TYPE_WORDS.contains(&word)
}

/// `float[N,3]`, `float` (rank 0), `float[]` (any rank), `seq(T)`, `map(int64, T)`, `optional(T)` or
/// `sparse_tensor(float[3])`.
pub(super) fn type_(c: &mut Cursor, depth: usize) -> Result<TypeProto> {
    let depth = deeper(c, depth)?;
    let value = match c.peek_identifier() {
        "seq" => {
            let elem_type = Some(wrapped(c, depth)?).into();
            type_proto::Value::SequenceType(type_proto::Sequence { elem_type, ..Default::default() })
        }
        "optional" => {
            let elem_type = Some(wrapped(c, depth)?).into();
            type_proto::Value::OptionalType(type_proto::Optional { elem_type, ..Default::default() })
        }
        "map" => {
            c.identifier();
            c.expect(b'(')?;
            let key_type = element_type(c)?;
            c.expect(b',')?;
            let value_type = Some(type_(c, depth)?).into();
            c.expect(b')')?;
            type_proto::Value::MapType(type_proto::Map { key_type, value_type, ..Default::default() })
        }
        "sparse_tensor" => {
            c.identifier();
            c.expect(b'(')?;
            let (elem_type, shape) = (element_type(c)?, shape(c)?.into());
            c.expect(b')')?;
            type_proto::Value::SparseTensorType(type_proto::SparseTensor { elem_type, shape, ..Default::default() })
        }
        _ => {
            let (elem_type, shape) = (element_type(c)?, shape(c)?.into());
            type_proto::Value::TensorType(type_proto::Tensor { elem_type, shape, ..Default::default() })
        }
    };
    Ok(TypeProto { value: Some(value), ..Default::default() })
}

fn wrapped(c: &mut Cursor, depth: usize) -> Result<TypeProto> {
    c.identifier();
    c.expect(b'(')?;
    let inner = type_(c, depth)?;
    c.expect(b')')?;
    Ok(inner)
}

fn element_type(c: &mut Cursor) -> Result<i32> {
    let number = type_number(c.peek_identifier()).ok_or_else(|| c.unexpected("a type"))?;
    c.identifier();
    Ok(number)
}

fn shape(c: &mut Cursor) -> Result<Option<TensorShapeProto>> {
    let mut shape = TensorShapeProto::default();
    if !c.eat(b'[') {
        return Ok(Some(shape));
    }
    if c.eat(b']') {
        return Ok(None);
    }
    c.list(b']', |c| {
        let value = if c.eat(b'?') {
            None
        } else if c.peek() == Some(b'"') || !c.peek_identifier().is_empty() {
            Some(dimension::Value::DimParam(c.name("a dimension")?))
        } else {
            Some(dimension::Value::DimValue(c.integer()?))
        };
        shape.dim.push(Dimension { value, ..Default::default() });
        Ok(())
    })?;
    Ok(Some(shape))
}

/// The constant after its type and name: `{1, 2}`, or `["location": "w.bin"]` for external data.
pub(super) fn constant(c: &mut Cursor, name: String, type_: &TypeProto) -> Result<Tensor> {
    let Some(type_proto::Value::TensorType(tensor_type)) = &type_.value else {
        return Err(c.error("a constant needs a tensor type"));
    };
    let dims = tensor_type.shape.as_ref().map(|shape| shape.dim.iter().map(fixed).collect::<Option<Vec<i64>>>());
    let Some(Some(dims)) = dims else {
        return Err(c.error("a constant needs a shape of numbers"));
    };
    let mut tensor = Tensor { name, data_type: tensor_type.elem_type, dims, ..Default::default() };
    if c.eat(b'[') {
        tensor.data_location = DataLocation::EXTERNAL.into();
        tensor.external_data = entries(c)?;
        return Ok(tensor);
    }
    c.expect(b'{')?;
    elements(c, &mut tensor)?;
    Ok(tensor)
}

fn fixed(dim: &Dimension) -> Option<i64> {
    match dim.value {
        Some(dimension::Value::DimValue(value)) => Some(value),
        _ => None,
    }
}

/// `"key": "value", ...]`, the opening bracket taken.
pub(super) fn entries(c: &mut Cursor) -> Result<Vec<StringStringEntryProto>> {
    let mut entries = vec![];
    c.list(b']', |c| {
        let key = c.string()?;
        c.expect(b':')?;
        entries.push(StringStringEntryProto { key, value: c.string()?, ..Default::default() });
        Ok(())
    })?;
    Ok(entries)
}

fn elements(c: &mut Cursor, tensor: &mut Tensor) -> Result<()> {
    let wanted = element_count(tensor)?;
    let mut count = 0;
    let mut narrow = vec![];
    let kind = tensor.data_type;
    c.list(b'}', |c| {
        count += 1;
        match data_type(kind) {
            Some(DataType::STRING) => tensor.string_data.push(c.string()?.into_bytes()),
            Some(DataType::FLOAT) => tensor.raw_data.extend(float::<f32>(c)?.to_le_bytes()),
            Some(DataType::DOUBLE) => tensor.raw_data.extend(float::<f64>(c)?.to_le_bytes()),
            Some(DataType::INT4 | DataType::UINT4) => narrow.push(ranged(c, kind)? as i32),
            None if matches!(kind, INT2 | UINT2) => narrow.push(ranged(c, kind)? as i32),
            _ => {
                let width = element_bits(kind).unwrap_or(0) / 8;
                tensor.raw_data.extend(ranged(c, kind)?.to_le_bytes().iter().take(width));
            }
        }
        Ok(())
    })?;
    if count != wanted {
        let (name, dims) = (&tensor.name, &tensor.dims);
        return Err(c.error(format!("constant \"{name}\" has {count} values, but shape {dims:?} takes {wanted}")));
    }
    if !narrow.is_empty() {
        tensor.raw_data = from_ints("", kind, &[narrow.len()], &narrow).raw_data;
    }
    Ok(())
}

fn float<T: std::str::FromStr>(c: &mut Cursor) -> Result<T> {
    match c.literal()? {
        Literal::Int(text) | Literal::Float(text) => text.parse().map_err(|_| c.error(format!("{text} is no float"))),
        Literal::Text(_) => Err(c.error("expected a number, found a string")),
    }
}

/// An integer that fits the type, or the bit pattern of a 16-bit float written either way.
fn ranged(c: &mut Cursor, kind: i32) -> Result<i128> {
    let (text, value) = match (c.literal()?, data_type(kind)) {
        (Literal::Float(text), Some(DataType::FLOAT16)) => {
            (text, text.parse().ok().map(|v| f16::from_f64(v).to_bits().into()))
        }
        (Literal::Float(text), Some(DataType::BFLOAT16)) => {
            (text, text.parse().ok().map(|v| bf16::from_f64(v).to_bits().into()))
        }
        (Literal::Int(text), _) => (text, text.parse::<i128>().ok()),
        (Literal::Float(text), _) => (text, None),
        (Literal::Text(_), _) => return Err(c.error("expected an integer, found a string")),
    };
    let (low, high) = range(kind).ok_or_else(|| c.error("constants of this type cannot be written as text"))?;
    let fits = value.filter(|v| (low..=high).contains(v));
    fits.ok_or_else(|| c.error(format!("{text} is not an integer from {low} to {high}")))
}

fn range(kind: i32) -> Option<(i128, i128)> {
    let bits = element_bits(kind)?;
    let signed = match data_type(kind) {
        Some(DataType::INT4 | DataType::INT8 | DataType::INT16 | DataType::INT32 | DataType::INT64) => true,
        Some(DataType::COMPLEX64 | DataType::COMPLEX128) => return None,
        Some(DataType::BOOL) => return Some((0, 1)),
        _ => kind == INT2,
    };
    Some(if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) })
}
