//! Parsing types, constants and attribute values.

use super::super::types::{INT2, UINT2, element_bits, type_number};
use super::super::{
    AttributeProto, AttributeType, DataLocation, DataType, StringStringEntryProto, Tensor, TensorShapeProto, TypeProto,
    data_type, element_count, from_ints, type_proto,
};
use super::super::{Dimension, dimension};
use super::cursor::{Cursor, Literal, is_float_word};
use super::parse::{deeper, graph};
use crate::Result;
use half::{bf16, f16};

const TYPE_WORDS: [&str; 4] = ["seq", "map", "optional", "sparse_tensor"];

/// Whether a word begins a type.
pub(super) fn is_type_word(word: &str) -> bool {
    type_number(word).is_some() || TYPE_WORDS.contains(&word)
}

/// `float[N,3]`, `float` (rank 0), `float[]` (any rank), `seq(T)`, `map(int64, T)`, `optional(T)`, `sparse_tensor(float[3])`.
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

/// `name = value` or `name: type = value`, the name taken.
pub(super) fn attribute(c: &mut Cursor, name: String, depth: usize) -> Result<AttributeProto> {
    let depth = deeper(c, depth)?;
    let mut attribute = AttributeProto { name, ..Default::default() };
    let declared = if c.eat(b':') { Some(attribute_type(c)?) } else { None };
    c.expect(b'=')?;
    if c.eat(b'@') {
        attribute.ref_attr_name = c.name("an attribute of the function")?;
        attribute.type_ = declared.unwrap_or_default().into();
        return Ok(attribute);
    }
    if !c.eat(b'[') {
        let kind = single(c, &mut attribute, declared, depth)?;
        return settle(c, attribute, kind, declared);
    }
    let element = declared.map(|list| element_of(list).unwrap_or(list));
    let mut kind = None;
    c.list(b']', |c| {
        let mut one = AttributeProto::default();
        let found = single(c, &mut one, element, depth)?;
        // `[1, 2.5]` is a list of floats, whichever comes first.
        if kind == Some(AttributeType::INTS) && found == AttributeType::FLOAT {
            attribute.floats = attribute.ints.drain(..).map(|i| i as f32).collect();
        }
        kind = Some(append(&mut attribute, one, found));
        Ok(())
    })?;
    let kind = kind.or(declared).ok_or_else(|| c.error("an empty list needs a type: name: ints = []"))?;
    settle(c, attribute, kind, declared)
}

fn settle(
    c: &Cursor,
    mut attribute: AttributeProto,
    found: AttributeType,
    declared: Option<AttributeType>,
) -> Result<AttributeProto> {
    if declared.is_some_and(|declared| declared != found) {
        return Err(c.error(format!("attribute \"{}\" has a value of another type than it declares", attribute.name)));
    }
    attribute.type_ = found.into();
    Ok(attribute)
}

/// Parses one value into the field for its type, which it returns; `wanted` turns integers into floats.
fn single(
    c: &mut Cursor,
    attribute: &mut AttributeProto,
    wanted: Option<AttributeType>,
    depth: usize,
) -> Result<AttributeType> {
    let word = c.peek_identifier();
    if is_type_word(word) {
        return type_or_tensor(c, attribute, depth);
    }
    if wanted == Some(AttributeType::GRAPH) || (!word.is_empty() && !is_float_word(word)) {
        attribute.g = Some(graph(c, depth)?).into();
        return Ok(AttributeType::GRAPH);
    }
    let number = |c: &Cursor, text: &str| text.parse().map_err(|_| c.error(format!("{text} is no float")));
    match c.literal()? {
        Literal::Int(text) if wanted != Some(AttributeType::FLOAT) => {
            attribute.i = text.parse().map_err(|_| c.error(format!("{text} does not fit int64")))?;
            Ok(AttributeType::INT)
        }
        Literal::Int(text) | Literal::Float(text) => {
            attribute.f = number(c, text)?;
            Ok(AttributeType::FLOAT)
        }
        Literal::Text(text) => {
            attribute.s = text.into_bytes();
            Ok(AttributeType::STRING)
        }
    }
}

fn type_or_tensor(c: &mut Cursor, attribute: &mut AttributeProto, depth: usize) -> Result<AttributeType> {
    let value_type = type_(c, depth)?;
    let next = c.peek();
    if matches!(next, Some(b'{' | b'=' | b'"' | b'[')) || !c.peek_identifier().is_empty() {
        let name = if next == Some(b'"') { c.string()? } else { c.identifier().to_owned() };
        c.eat(b'=');
        attribute.t = Some(constant(c, name, &value_type)?).into();
        return Ok(AttributeType::TENSOR);
    }
    attribute.tp = Some(value_type).into();
    Ok(AttributeType::TYPE_PROTO)
}

/// Moves one value of type `found` to the end of the list; returns the list's type.
fn append(list: &mut AttributeProto, one: AttributeProto, found: AttributeType) -> AttributeType {
    match found {
        AttributeType::INT if !list.floats.is_empty() => {
            list.floats.push(one.i as f32);
            return AttributeType::FLOATS;
        }
        AttributeType::INT => list.ints.push(one.i),
        AttributeType::FLOAT => list.floats.push(one.f),
        AttributeType::STRING => list.strings.push(one.s),
        AttributeType::GRAPH => list.graphs.extend(one.g.0.map(|g| *g)),
        AttributeType::TENSOR => list.tensors.extend(one.t.0.map(|t| *t)),
        _ => list.type_protos.extend(one.tp.0.map(|t| *t)),
    }
    list_of(found)
}

/// Attribute types by name: a single value and its list.
const ATTRIBUTE_TYPES: [(&str, AttributeType, &str, AttributeType); 7] = [
    ("float", AttributeType::FLOAT, "floats", AttributeType::FLOATS),
    ("int", AttributeType::INT, "ints", AttributeType::INTS),
    ("string", AttributeType::STRING, "strings", AttributeType::STRINGS),
    ("tensor", AttributeType::TENSOR, "tensors", AttributeType::TENSORS),
    ("graph", AttributeType::GRAPH, "graphs", AttributeType::GRAPHS),
    ("sparse_tensor", AttributeType::SPARSE_TENSOR, "sparse_tensors", AttributeType::SPARSE_TENSORS),
    ("type_proto", AttributeType::TYPE_PROTO, "type_protos", AttributeType::TYPE_PROTOS),
];

/// The name of an attribute type.
pub(super) fn attribute_type_name(kind: AttributeType) -> &'static str {
    let name = |(one_name, one, list_name, list): &(_, AttributeType, _, AttributeType)| {
        if *one == kind { Some(*one_name) } else { (*list == kind).then_some(*list_name) }
    };
    ATTRIBUTE_TYPES.iter().find_map(name).unwrap_or("undefined")
}

fn attribute_type(c: &mut Cursor) -> Result<AttributeType> {
    let word = c.peek_identifier();
    let found = ATTRIBUTE_TYPES.iter().find_map(|(one_name, one, list_name, list)| {
        if *one_name == word { Some(*one) } else { (*list_name == word).then_some(*list) }
    });
    let kind = found.ok_or_else(|| c.unexpected("an attribute type"))?;
    c.identifier();
    Ok(kind)
}

fn element_of(list_type: AttributeType) -> Option<AttributeType> {
    ATTRIBUTE_TYPES.iter().find(|(.., list)| *list == list_type).map(|(_, one, ..)| *one)
}

fn list_of(element: AttributeType) -> AttributeType {
    ATTRIBUTE_TYPES.iter().find(|(_, one, ..)| *one == element).map_or(AttributeType::UNDEFINED, |(.., list)| *list)
}
