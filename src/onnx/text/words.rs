//! Printing names, types and lists.

use super::super::types::type_name;
use super::super::{
    Dimension, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto, dimension,
    type_proto,
};
use super::value::is_type_word;

pub(super) fn value_infos(infos: &[ValueInfoProto]) -> String {
    infos.iter().map(value_info).collect::<Vec<_>>().join(", ")
}

pub(super) fn value_info(info: &ValueInfoProto) -> String {
    let label = name(&info.name);
    match info.type_.as_ref().map(type_).filter(|t| !t.is_empty()) {
        Some(type_) => format!("{type_} {label}"),
        None => label,
    }
}

pub(super) fn type_(value: &TypeProto) -> String {
    let element = |number: i32| type_name(number).unwrap_or("undefined");
    let inner = |inner: &protobuf::MessageField<TypeProto>| inner.as_ref().map(type_).unwrap_or_default();
    match &value.value {
        Some(type_proto::Value::TensorType(t)) => format!("{}{}", element(t.elem_type), shape(t.shape.as_ref())),
        Some(type_proto::Value::SparseTensorType(t)) => {
            format!("sparse_tensor({}{})", element(t.elem_type), shape(t.shape.as_ref()))
        }
        Some(type_proto::Value::SequenceType(t)) => format!("seq({})", inner(&t.elem_type)),
        Some(type_proto::Value::OptionalType(t)) => format!("optional({})", inner(&t.elem_type)),
        Some(type_proto::Value::MapType(t)) => format!("map({}, {})", element(t.key_type), inner(&t.value_type)),
        _ => String::new(),
    }
}

fn shape(shape: Option<&TensorShapeProto>) -> String {
    let dim = |dim: &Dimension| match &dim.value {
        Some(dimension::Value::DimValue(value)) => value.to_string(),
        Some(dimension::Value::DimParam(symbol)) => name(symbol),
        _ => "?".to_owned(),
    };
    match shape {
        None => "[]".to_owned(),
        Some(shape) if shape.dim.is_empty() => String::new(),
        Some(shape) => format!("[{}]", shape.dim.iter().map(dim).collect::<Vec<_>>().join(",")),
    }
}

pub(super) fn opsets(opsets: &[OperatorSetIdProto]) -> String {
    list(opsets.iter().map(|o| format!("{} : {}", quoted(&o.domain), o.version)))
}

/// `["key": "value", ...]`
pub(super) fn entries(entries: &[StringStringEntryProto]) -> String {
    list(entries.iter().map(|e| format!("{}: {}", quoted(&e.key), quoted(&e.value))))
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

pub(super) fn names(list: &[String]) -> String {
    list.iter().map(|n| name(n)).collect::<Vec<_>>().join(", ")
}

/// A name, quoted where it is no identifier or would read as a type.
pub(super) fn name(name: &str) -> String {
    let head = |c: char| c.is_ascii_alphabetic() || c == '_';
    let identifier = name.starts_with(head) && name.chars().all(|c| head(c) || c.is_ascii_digit());
    if identifier && !is_type_word(name) { name.to_owned() } else { quoted(name) }
}

/// In quotes, with a backslash before quotes and backslashes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
