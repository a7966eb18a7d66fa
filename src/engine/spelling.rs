//! Operators that are written out in others: nodes without names of their own, numbers as constants.

use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::*;

/// Nodes that follow each other under one name.
pub(super) struct Spelling<'a> {
    prefix: &'a str,
    model: &'a mut TypedModel,
    made: usize,
}

impl<'a> Spelling<'a> {
    /// Nodes of `model` called `prefix` and a number.
    pub(super) fn new(prefix: &'a str, model: &'a mut TypedModel) -> Self {
        Spelling { prefix, model, made: 0 }
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("{}.{}", self.prefix, self.made)
    }

    /// One more node; its only output.
    pub(super) fn node(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        let name = self.name();
        self.model.wire_node(name, op, inputs)?.first().copied().context("a node without outputs")
    }

    /// `tensor` as a constant.
    pub(super) fn constant(&mut self, tensor: Tensor) -> TractResult<OutletId> {
        let name = self.name();
        self.model.add_const(name, tensor)
    }

    /// One number with `rank` axes.
    pub(super) fn number(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        self.constant(tensor0(value).broadcast_into_rank(rank)?)
    }

    /// The value in another type, itself where it is of that type.
    pub(super) fn cast(&mut self, wire: OutletId, to: DatumType) -> TractResult<OutletId> {
        match self.datum_type(wire)? == to {
            true => Ok(wire),
            false => self.node(cast(to), &[wire]),
        }
    }

    pub(super) fn datum_type(&self, wire: OutletId) -> TractResult<DatumType> {
        Ok(self.model.outlet_fact(wire)?.datum_type)
    }

    /// The shape, which must not depend on values.
    pub(super) fn shape(&self, wire: OutletId) -> TractResult<TVec<usize>> {
        self.model.outlet_fact(wire)?.shape.iter().map(|d| Ok(d.to_usize()?)).collect()
    }
}
