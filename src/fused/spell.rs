//! Operators being written down: each gives the name of its result to the next.

use super::{DOMAIN, Facts};
use crate::graph::{Names, Value, output, set_attr};
use crate::onnx::{AttributeProto, AttributeType, DataType, NodeProto as Node, Tensor, from_floats, from_i64s};
use crate::{Code, Error};

/// The parts of one fused operator.
pub(super) struct Spell<'s> {
    pub(super) nodes: Vec<Node>,
    pub(super) facts: &'s Facts<'s>,
    names: &'s mut Names,
    /// What values are named after.
    stem: String,
    /// What nodes are named after, and their operators.
    node_stem: String,
}

impl<'s> Spell<'s> {
    pub(super) fn new(node: &Node, facts: &'s Facts<'s>, names: &'s mut Names) -> Self {
        let stem = output(node, 0).or_else(|| node.output.iter().map(String::as_str).find(|n| !n.is_empty()));
        Spell { nodes: vec![], facts, names, stem: stem.unwrap_or("").to_owned(), node_stem: node.name.clone() }
    }

    /// A node of the default domain with one output; what that is called.
    pub(super) fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.op_with(op, inputs, [])
    }

    /// As [`Self::op`], with attributes.
    pub(super) fn op_with<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: [(&str, Value); N],
    ) -> String {
        self.node(op, inputs, 1, attributes).remove(0)
    }

    /// A node of the default domain with `outputs` outputs; what those are called.
    pub(super) fn node<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: [(&str, Value); N],
    ) -> Vec<String> {
        let made: Vec<String> =
            (0..outputs).map(|_| self.names.fresh(&format!("{}_{}", self.stem, op.to_lowercase()))).collect();
        let mut node = Node { op_type: op.to_owned(), output: made.clone(), ..Default::default() };
        node.input = inputs.iter().map(|n| (*n).to_owned()).collect();
        if !self.node_stem.is_empty() {
            node.name = self.names.fresh(&format!("{}/{op}", self.node_stem));
        }
        attributes.into_iter().for_each(|(name, value)| set_attr(&mut node, name, value));
        self.nodes.push(node);
        made
    }

    /// As [`Self::node`], of ONNX Runtime's own domain.
    pub(super) fn own<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: [(&str, Value); N],
    ) -> Vec<String> {
        let made = self.node(op, inputs, outputs, attributes);
        if let Some(node) = self.nodes.last_mut() {
            DOMAIN.clone_into(&mut node.domain);
        }
        made
    }

    /// Sets an attribute of the last node.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        if let Some(node) = self.nodes.last_mut() {
            set_attr(node, name, value);
        }
    }

    /// A copy of `node` as another operator of the default domain, with some of its attributes and one output.
    pub(super) fn recast(&mut self, node: &Node, op: &str, inputs: usize, drop: &[&str]) -> String {
        let made = self.names.fresh(&format!("{}_{}", self.stem, op.to_lowercase()));
        let mut copy = Node { op_type: op.to_owned(), domain: String::new(), ..node.clone() };
        copy.input.truncate(inputs);
        copy.output = vec![made.clone()];
        copy.attribute.retain(|a| !drop.contains(&a.name.as_str()) && !a.name.starts_with("activation"));
        self.nodes.push(copy);
        made
    }

    /// Calls what was made `value` the output `slot` of the fused node, if it has that.
    pub(super) fn give(&mut self, value: &str, node: &Node, slot: usize) {
        let Some(wanted) = output(node, slot) else { return };
        for part in &mut self.nodes {
            part.input.iter_mut().chain(&mut part.output).filter(|n| *n == value).for_each(|n| wanted.clone_into(n));
        }
    }

    fn constant(&mut self, tensor: impl FnOnce(&str) -> Tensor) -> String {
        let name = self.names.fresh(&format!("{}_constant", self.stem));
        let mut node = Node { op_type: "Constant".to_owned(), output: vec![name.clone()], ..Default::default() };
        node.attribute.push(AttributeProto {
            name: "value".to_owned(),
            type_: AttributeType::TENSOR.into(),
            t: Some(tensor(&name)).into(),
            ..Default::default()
        });
        self.nodes.push(node);
        name
    }

    /// A float32 constant of rank 0.
    pub(super) fn number(&mut self, value: f32) -> String {
        self.constant(|name| from_floats(name, &[], &[value]))
    }

    /// An int64 constant of rank 1.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(|name| from_i64s(name, &[values.len()], values))
    }

    /// An int64 constant of rank 0.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.constant(|name| from_i64s(name, &[], &[value]))
    }

    pub(super) fn reshape(&mut self, x: &str, extents: &[i64]) -> String {
        let shape = self.ints(extents);
        self.op("Reshape", &[x, &shape])
    }

    pub(super) fn transpose(&mut self, x: &str, perm: &[i64]) -> String {
        self.op_with("Transpose", &[x], [("perm", perm.to_vec().into())])
    }

    /// From `start` up to `end` along one axis.
    pub(super) fn slice(&mut self, x: &str, axis: i64, start: i64, end: i64) -> String {
        let [start, end, axis] = [start, end, axis].map(|v| self.ints(&[v]));
        self.op("Slice", &[x, &start, &end, &axis])
    }

    pub(super) fn concat(&mut self, parts: &[&str], axis: i64) -> String {
        self.op_with("Concat", parts, [("axis", axis.into())])
    }

    /// A new axis of extent 1.
    pub(super) fn unsqueeze(&mut self, x: &str, axis: i64) -> String {
        if self.facts.opset < 13 {
            return self.op_with("Unsqueeze", &[x], [("axes", vec![axis].into())]);
        }
        let axes = self.ints(&[axis]);
        self.op("Unsqueeze", &[x, &axes])
    }

    /// Mean over `axes`, which stay with extent 1.
    pub(super) fn mean(&mut self, x: &str, axes: &[i64]) -> String {
        if self.facts.opset < 18 {
            return self.op_with("ReduceMean", &[x], [("axes", axes.to_vec().into()), ("keepdims", 1.into())]);
        }
        let axes = self.ints(axes);
        self.op_with("ReduceMean", &[x, &axes], [("keepdims", 1.into())])
    }

    /// Sum over one axis, which goes.
    pub(super) fn sum_over(&mut self, x: &str, axis: i64) -> String {
        if self.facts.opset < 13 {
            return self.op_with("ReduceSum", &[x], [("axes", vec![axis].into()), ("keepdims", 0.into())]);
        }
        let axes = self.ints(&[axis]);
        self.op_with("ReduceSum", &[x, &axes], [("keepdims", 0.into())])
    }

    /// Parts of these extents along one axis.
    pub(super) fn split(&mut self, x: &str, axis: i64, extents: &[i64]) -> Vec<String> {
        if self.facts.opset < 13 {
            let attributes = [("axis", axis.into()), ("split", extents.to_vec().into())];
            return self.node("Split", &[x], extents.len(), attributes);
        }
        let sizes = self.ints(extents);
        self.node("Split", &[x, &sizes], extents.len(), [("axis", axis.into())])
    }

    /// One extent of `x`, of rank 0.
    pub(super) fn extent(&mut self, x: &str, axis: i64) -> String {
        let shape = self.op("Shape", &[x]);
        let at = self.int(axis);
        self.op_with("Gather", &[&shape, &at], [("axis", 0.into())])
    }

    /// Integers from `start` to below `end`, both of rank 0.
    pub(super) fn range(&mut self, start: &str, end: &str) -> String {
        let step = self.int(1);
        self.op("Range", &[start, end, &step])
    }

    pub(super) fn cast(&mut self, x: &str, to: DataType) -> String {
        self.op_with("Cast", &[x], [("to", (to as i64).into())])
    }
}

/// Refuses a form of an operator.
pub(super) fn refuse(what: impl Into<String>) -> Error {
    Error::new(Code::Engine, what)
        .help("use the model as it was exported, before ONNX Runtime's optimizer fused operators in it")
}
