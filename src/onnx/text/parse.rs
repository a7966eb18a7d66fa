//! Parsing models, graphs, functions and nodes.

use super::super::{FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, Tensor, ValueInfoProto};
use super::attribute::attribute;
use super::cursor::{Cursor, deeper};
use super::value::{constant, entries, is_type_word, type_};
use crate::Result;

/// Parses a model written in the textual syntax.
///
/// Constants are stored as raw data. Errors name line and column.
pub fn parse_text(text: &str) -> Result<ModelProto> {
    let mut cursor = Cursor::new(text);
    let c = &mut cursor;
    let mut model = ModelProto::default();
    if c.eat(b'<') {
        c.list(b'>', |c| model_key(c, &mut model))?;
    }
    model.graph = Some(graph(c, 0)?).into();
    while c.peek().is_some() {
        model.functions.push(function(c)?);
    }
    Ok(model)
}

fn model_key(c: &mut Cursor, model: &mut ModelProto) -> Result<()> {
    let key = key(c)?;
    match key {
        "ir_version" => model.ir_version = c.integer()?,
        "opset_import" => model.opset_import = opsets(c)?,
        "producer_name" => model.producer_name = c.string()?,
        "producer_version" => model.producer_version = c.string()?,
        "domain" => model.domain = c.string()?,
        "model_version" => model.model_version = c.integer()?,
        "doc_string" => model.doc_string = c.string()?,
        "metadata_props" => {
            c.expect(b'[')?;
            model.metadata_props = entries(c)?;
        }
        _ => return Err(c.error(format!("a model has no key \"{key}\""))),
    }
    Ok(())
}

fn key<'a>(c: &mut Cursor<'a>) -> Result<&'a str> {
    let key = c.identifier();
    c.expect(b':')?;
    Ok(key)
}

fn opsets(c: &mut Cursor) -> Result<Vec<OperatorSetIdProto>> {
    let mut opsets = vec![];
    c.expect(b'[')?;
    c.list(b']', |c| {
        let domain = c.string()?;
        c.expect(b':')?;
        opsets.push(OperatorSetIdProto { domain, version: c.integer()?, ..Default::default() });
        Ok(())
    })?;
    Ok(opsets)
}

/// `name (inputs) => (outputs) <constants and value_info> { nodes }`
pub(super) fn graph(c: &mut Cursor, depth: usize) -> Result<GraphProto> {
    let depth = deeper(c, depth)?;
    let mut graph = GraphProto { name: c.name("the name of a graph")?, ..Default::default() };
    if c.eat(b'(') {
        for (info, default) in values(c, b')', depth)? {
            graph.input.push(info);
            graph.initializer.extend(default);
        }
    }
    arrow(c)?;
    c.expect(b'(')?;
    graph.output = values(c, b')', depth)?.into_iter().map(|(info, _)| info).collect();
    if c.eat(b'<') {
        for (info, constant) in values(c, b'>', depth)? {
            match constant {
                Some(constant) => graph.initializer.push(constant),
                None => graph.value_info.push(info),
            }
        }
    }
    graph.node = nodes(c, depth)?;
    Ok(graph)
}

fn arrow(c: &mut Cursor) -> Result<()> {
    c.expect(b'=')?;
    c.expect(b'>')
}

/// Names up to and including `close`, typed or not, with their constant values where given.
fn values(c: &mut Cursor, close: u8, depth: usize) -> Result<Vec<(ValueInfoProto, Option<Tensor>)>> {
    let mut values = vec![];
    c.list(close, |c| {
        let info = value_info(c, depth)?;
        let value = if c.eat(b'=') { Some(constant(c, info.name.clone(), &info.type_)?) } else { None };
        values.push((info, value));
        Ok(())
    })?;
    Ok(values)
}

fn value_info(c: &mut Cursor, depth: usize) -> Result<ValueInfoProto> {
    let mut info = ValueInfoProto::default();
    if is_type_word(c.peek_identifier()) {
        info.type_ = Some(type_(c, depth)?).into();
    }
    info.name = c.name("a name")?;
    Ok(info)
}

fn nodes(c: &mut Cursor, depth: usize) -> Result<Vec<NodeProto>> {
    let mut nodes = vec![];
    c.expect(b'{')?;
    while !c.eat(b'}') {
        nodes.push(node(c, depth)?);
    }
    Ok(nodes)
}

/// `[name] outputs = domain.Op:overload <attributes> (inputs) <attributes>`
fn node(c: &mut Cursor, depth: usize) -> Result<NodeProto> {
    let mut node = NodeProto::default();
    if c.eat(b'[') {
        node.name = c.name("the name of a node")?;
        c.expect(b']')?;
    }
    node.output = names(c, b'=')?;
    let mut parts = vec![c.name("an operator")?];
    while c.eat(b'.') {
        parts.push(c.name("an operator")?);
    }
    node.op_type = parts.pop().unwrap_or_default();
    node.domain = parts.join(".");
    if c.eat(b':') {
        node.overload = c.name("an overload")?;
    }
    node.attribute = attributes(c, depth)?;
    c.expect(b'(')?;
    node.input = names(c, b')')?;
    node.attribute.extend(attributes(c, depth)?);
    Ok(node)
}

fn attributes(c: &mut Cursor, depth: usize) -> Result<Vec<super::super::AttributeProto>> {
    let mut attributes = vec![];
    if c.eat(b'<') {
        c.list(b'>', |c| {
            let name = c.name("an attribute")?;
            attributes.push(attribute(c, name, depth)?);
            Ok(())
        })?;
    }
    Ok(attributes)
}

/// Names up to and including `close`; nothing before a comma is an empty name.
fn names(c: &mut Cursor, close: u8) -> Result<Vec<String>> {
    let mut names = vec![];
    c.list(close, |c| {
        names.push(if c.peek() == Some(b',') { String::new() } else { c.name("a name")? });
        Ok(())
    })?;
    Ok(names)
}

/// `<domain: "d", opset_import: [...]> name <attributes> (inputs) => (outputs) <value_info> { nodes }`
fn function(c: &mut Cursor) -> Result<FunctionProto> {
    let mut function = FunctionProto::default();
    if c.eat(b'<') {
        c.list(b'>', |c| function_key(c, &mut function))?;
    }
    function.name = c.name("the name of a function")?;
    if c.eat(b'<') {
        c.list(b'>', |c| {
            let name = c.name("an attribute")?;
            match c.peek() {
                Some(b':' | b'=') => function.attribute_proto.push(attribute(c, name, 0)?),
                _ => function.attribute.push(name),
            }
            Ok(())
        })?;
    }
    function.input = function_values(c, &mut function.value_info)?;
    arrow(c)?;
    function.output = function_values(c, &mut function.value_info)?;
    if c.eat(b'<') {
        function.value_info.extend(values(c, b'>', 0)?.into_iter().map(|(info, _)| info));
    }
    function.node = nodes(c, 0)?;
    Ok(function)
}

fn function_key(c: &mut Cursor, function: &mut FunctionProto) -> Result<()> {
    let key = key(c)?;
    match key {
        "opset_import" => function.opset_import = opsets(c)?,
        "doc_string" => function.doc_string = c.string()?,
        "domain" => function.domain = c.string()?,
        "overload" => function.overload = c.string()?,
        _ => return Err(c.error(format!("a function has no key \"{key}\""))),
    }
    Ok(())
}

/// The names in parentheses; those that have a type also go to `infos`.
fn function_values(c: &mut Cursor, infos: &mut Vec<ValueInfoProto>) -> Result<Vec<String>> {
    let mut names = vec![];
    c.expect(b'(')?;
    c.list(b')', |c| {
        let info = value_info(c, 0)?;
        names.push(info.name.clone());
        if info.type_.is_some() {
            infos.push(info);
        }
        Ok(())
    })?;
    Ok(names)
}
