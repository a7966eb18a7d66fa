//! Where QuantizeLinear/DequantizeLinear go: which values carry a pair, who reads the dequantized one,
//! and which of them must share a scale.
//!
//! Compute operators are integer wherever they are found. Arithmetic and same-scale operators join them
//! where everything around them is integer too, found as a greatest fixpoint: all candidates are in at
//! first, and leave while one of their neighbours is float. Values are quantized after the fused
//! activation, never between an operator and its activation. A value that a compute operator reads is
//! quantized anyway, so its other readers may be integer at no further cost.

mod captured;
mod domain;
mod groups;
mod sites;

use super::layers::{Layer, weight_layers};
use super::weight_only::{WeightOnly, weight_only};
use crate::graph::Graph;
use crate::target::Target;
pub use captured::moves_pairs;
use domain::Domain;
use std::collections::BTreeSet;

/// A value that carries a Q/DQ pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Name of the value.
    pub value: String,
    /// Whether every reader takes the dequantized value, as kernels that fuse Q need.
    pub all_readers: bool,
    /// Node positions and input slots that read the dequantized value.
    pub readers: BTreeSet<(usize, usize)>,
    /// Sites of one group share scale and zero point; the group is named by its first site's position.
    pub group: usize,
}

/// What is quantized, and what stays in float and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Layers whose weights are stored as integers, in file order: those that run with integers, and those that have
    /// no integer kernel but weights in blocks.
    pub layers: Vec<Layer>,
    /// Values that carry Q/DQ, in order of definition.
    pub sites: Vec<Site>,
    /// Constants that arithmetic takes beside activations, and that are stored as integers, too.
    pub constants: Vec<Site>,
    /// Weight layers that stay in float, and the reason.
    pub float_layers: Vec<(Layer, String)>,
    /// Nodes that compute in float with weights that are stored as integers, in file order.
    pub weight_only: Vec<WeightOnly>,
}

impl Placement {
    /// Keeps the sites that `keep` accepts, and renumbers their groups.
    pub fn retain_sites(&mut self, keep: impl Fn(&Site) -> bool) {
        self.sites.retain(keep);
        let groups: Vec<usize> = self.sites.iter().map(|s| s.group).collect();
        for site in &mut self.sites {
            site.group = groups.iter().position(|g| *g == site.group).unwrap_or(0);
        }
    }
}

/// Places Q/DQ for a target; layers named in `keep_float` are left alone.
pub fn place(graph: &Graph, target: &Target, keep_float: &BTreeSet<String>) -> Placement {
    let mut domain = Domain::new(graph, target, keep_float);
    domain.shrink_to_fixpoint();
    let layers = weight_layers(graph);
    let in_blocks = |layer: &Layer| {
        let widths = || layer.widths(target, target.default_activation_bits());
        target.only_blocks(&layer.op) && !keep_float.contains(&layer.name) && !widths().is_empty()
    };
    let (inside, outside): (Vec<Layer>, Vec<Layer>) =
        layers.into_iter().partition(|l| domain.inside[l.node] || in_blocks(l));
    let because = |layer: Layer| {
        let reason = match keep_float.contains(&layer.name) {
            true => "kept in float by the plan".to_owned(),
            false => domain.why_not(&layer),
        };
        (layer, reason)
    };
    let float_layers = outside.into_iter().map(because).collect();
    let weight_only = weight_only(graph, target, &inside, keep_float);
    Placement { layers: inside, sites: domain.sites(), constants: domain.constants(), float_layers, weight_only }
}
