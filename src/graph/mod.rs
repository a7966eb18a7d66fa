//! The graph: a parsed model, an index over it, and edits as values.
//!
//! The [`Model`] stays the single source of truth, so everything that no pass touches survives.
//! A pass reads a `&Graph` and returns a [`Patch`]; only [`Graph::apply`] writes.

mod answers;
mod attributes;
mod half;
mod index;
mod names;
mod order;
mod patch;
mod rank;
mod recorded;
#[cfg(test)]
mod tests;
mod types;
mod verify;

pub use answers::{answers, caches};
pub use attributes::{Value, attr_f, attr_graph, attr_i, attr_ints, attr_s, attr_t, set_attr};
pub use half::{half_to_float, input_behind, is_half, round_to};
pub use index::{Index, captures, reads, subgraphs};
pub use names::{Names, names_in};
pub use patch::{Edit, Patch, with_attr};
pub use rank::ranks;
pub use recorded::{Recorded, recorded};
pub use types::{element_type, types};
pub use verify::{Violation, least_versions, node_place, verify};

use crate::onnx::{ExternalData, GraphProto, ModelProto as Model, NodeProto as Node, Tensor};
use std::sync::Arc;

/// A model with the index that passes need.
#[derive(Clone)]
pub struct Graph {
    model: Model,
    index: Index,
    external: Arc<ExternalData>,
}

impl Graph {
    /// Indexes `model`, its nodes put in order; `external` resolves tensors stored outside the file.
    pub fn new(mut model: Model, external: ExternalData) -> Self {
        model.graph.as_mut().into_iter().for_each(order::put_in_order);
        let index = Index::new(graph_of(&model));
        Graph { model, index, external: Arc::new(external) }
    }

    /// The whole model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The main graph.
    pub fn proto(&self) -> &GraphProto {
        graph_of(&self.model)
    }

    /// Nodes of the main graph in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.proto().node
    }

    /// Who produces and who reads each value of the main graph.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Resolver of external tensor data.
    pub fn external(&self) -> &ExternalData {
        &self.external
    }

    /// The initializer called `name`, unless it is also a graph input (then callers may override it).
    ///
    /// Up to IR 3 every initializer had to be listed as an input, so there the listing says nothing.
    pub fn constant(&self, name: &str) -> Option<&Tensor> {
        match self.index.is_input(name) && self.model.ir_version >= 4 {
            true => None,
            false => self.index.initializer(name).map(|i| &self.proto().initializer[i]),
        }
    }

    /// The version of the default operator set, 1 if the model imports none.
    pub fn opset(&self) -> i64 {
        let default = |d: &str| d.is_empty() || d == "ai.onnx";
        self.model.opset_import.iter().find(|o| default(&o.domain)).map_or(1, |o| o.version)
    }

    /// Applies a patch and rebuilds the index.
    pub fn apply(&mut self, patch: Patch) {
        patch.apply(&mut self.model);
        self.index = Index::new(graph_of(&self.model));
    }

    /// Gives the model back.
    pub fn into_model(self) -> (Model, Arc<ExternalData>) {
        (self.model, self.external)
    }
}

/// Whether a node is of the default domain.
pub fn is_standard(node: &Node) -> bool {
    node.domain.is_empty() || node.domain == "ai.onnx"
}

/// What an input slot reads; `None` where it is left out.
pub fn input(node: &Node, slot: usize) -> Option<&str> {
    node.input.get(slot).map(String::as_str).filter(|name| !name.is_empty())
}

/// What an output slot defines; `None` where it is left out.
pub fn output(node: &Node, slot: usize) -> Option<&str> {
    node.output.get(slot).map(String::as_str).filter(|name| !name.is_empty())
}

fn graph_of(model: &Model) -> &GraphProto {
    model.graph.as_ref().unwrap_or_else(|| crate::onnx::empty_graph())
}
