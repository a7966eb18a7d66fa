//! Parsing attributes of nodes.

use super::super::{AttributeProto, AttributeType};
use super::cursor::deeper;
use super::cursor::{Cursor, Literal, is_float_word};
use super::parse::graph;
use super::value::{constant, is_type_word, type_};
use crate::Result;

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
