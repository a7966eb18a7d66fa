//! Reading and writing node attributes by name.

use crate::onnx::{AttributeProto, AttributeType, GraphProto, NodeProto as Node, Tensor};

fn find<'a>(node: &'a Node, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// Integer attribute.
pub fn attr_i(node: &Node, name: &str) -> Option<i64> {
    find(node, name).map(|a| a.i)
}

/// Float attribute.
pub fn attr_f(node: &Node, name: &str) -> Option<f32> {
    find(node, name).map(|a| a.f)
}

/// List of integers.
pub fn attr_ints<'a>(node: &'a Node, name: &str) -> Option<&'a [i64]> {
    find(node, name).map(|a| a.ints.as_slice())
}

/// String attribute; `None` when it is not UTF-8.
pub fn attr_s<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    find(node, name).and_then(|a| std::str::from_utf8(&a.s).ok())
}

/// Tensor attribute.
pub fn attr_t<'a>(node: &'a Node, name: &str) -> Option<&'a Tensor> {
    find(node, name).and_then(|a| a.t.as_ref())
}

/// Graph attribute: the body of an operator.
pub fn attr_graph<'a>(node: &'a Node, name: &str) -> Option<&'a GraphProto> {
    find(node, name).and_then(|a| a.g.as_ref())
}

/// A value that an attribute can be set to.
pub enum Value {
    /// Integer.
    Int(i64),
    /// Float.
    Float(f32),
    /// List of integers.
    Ints(Vec<i64>),
    /// String.
    Text(String),
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Int(v)
    }
}
impl From<f32> for Value {
    fn from(v: f32) -> Self {
        Value::Float(v)
    }
}
impl From<Vec<i64>> for Value {
    fn from(v: Vec<i64>) -> Self {
        Value::Ints(v)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::Text(v.to_owned())
    }
}

/// Sets or replaces an attribute.
pub fn set_attr(node: &mut Node, name: &str, value: impl Into<Value>) {
    let mut attribute = AttributeProto { name: name.to_owned(), ..Default::default() };
    match value.into() {
        Value::Int(i) => (attribute.i, attribute.type_) = (i, AttributeType::INT.into()),
        Value::Float(f) => (attribute.f, attribute.type_) = (f, AttributeType::FLOAT.into()),
        Value::Ints(v) => (attribute.ints, attribute.type_) = (v, AttributeType::INTS.into()),
        Value::Text(s) => (attribute.s, attribute.type_) = (s.into_bytes(), AttributeType::STRING.into()),
    }
    match node.attribute.iter_mut().find(|a| a.name == name) {
        Some(old) => *old = attribute,
        None => node.attribute.push(attribute),
    }
}
