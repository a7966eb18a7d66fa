//! What the rules of an upgrade know of the graph around a node, and where they leave new constants.

use crate::facts::{Names, Recorded, output, recorded};
use std::collections::HashMap;
use tapq::graph::{Graph, ranks, types};
use tapq::onnx::{DataType, GraphProto, NodeProto as Node, Tensor};
use tapq::{Code, Error, Result};

/// What is known of the graph around a node.
pub(crate) struct ScopeFacts<'a> {
    main: &'a Graph,
    proto: &'a GraphProto,
    recorded: HashMap<&'a str, Recorded>,
    ranks: HashMap<&'a str, usize>,
    types: HashMap<&'a str, i32>,
}

impl<'a> ScopeFacts<'a> {
    /// Of `proto`, which is the main graph or a body within it.
    pub(crate) fn new(main: &'a Graph, proto: &'a GraphProto) -> Self {
        ScopeFacts { main, proto, recorded: recorded(proto), ranks: ranks(proto), types: types(proto, &HashMap::new()) }
    }
}

/// Where the rules find facts, and leave new constants.
pub(crate) struct Scope<'a> {
    pub(crate) facts: &'a ScopeFacts<'a>,
    pub(crate) to: i64,
    pub(crate) names: &'a mut Names,
    pub(crate) tensors: &'a mut Vec<Tensor>,
}

impl Scope<'_> {
    /// Rank of a value, where it follows from the graph.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        let recorded = || self.facts.recorded.get(name).and_then(|r| r.dims.as_ref()).map(Vec::len);
        self.facts.ranks.get(name).copied().or_else(recorded)
    }

    /// Extent of one axis of a value, where it is recorded.
    pub(crate) fn extent(&self, name: &str, axis: usize) -> Option<i64> {
        *self.facts.recorded.get(name)?.dims.as_ref()?.get(axis)?
    }

    /// Whether anything reads the value.
    pub(crate) fn is_read(&self, name: &str) -> bool {
        let proto = self.facts.proto;
        proto.output.iter().any(|v| v.name == name) || proto.node.iter().any(|n| tapq::graph::reads(n).contains(name))
    }

    /// A float32 constant of the scope or of the main graph.
    pub(crate) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let own = self.facts.proto.initializer.iter().find(|t| t.name == name);
        match own.or_else(|| self.facts.main.constant(name)).filter(|t| t.data_type == DataType::FLOAT as i32) {
            Some(tensor) => tapq::onnx::floats(tensor, self.facts.main.external()).map(Some),
            None => Ok(None),
        }
    }

    /// Element type of a float value, float32 where it does not follow.
    pub(crate) fn float_type(&self, name: &str) -> i32 {
        self.facts.types.get(name).copied().unwrap_or(DataType::FLOAT as i32)
    }

    /// Adds a constant named after the node's first output, and gives its name.
    pub(crate) fn constant(&mut self, node: &Node, what: &str, make: impl FnOnce(&str) -> Tensor) -> String {
        let name = self.names.fresh(&format!("{}_{what}", output(node, 0).unwrap_or("")));
        self.tensors.push(make(&name));
        name
    }
}

/// A conversion that is not possible.
pub(crate) fn refuse(message: impl Into<String>) -> Error {
    Error::new(Code::Opset, message).help("export the model again with a newer opset, or record its shapes first")
}
