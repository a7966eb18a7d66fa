//! Where QuantizeLinear/DequantizeLinear go: which values carry a pair, who reads the dequantized one,
//! and which of them must share a scale.
//!
//! Compute operators are integer wherever they are found. Arithmetic and same-scale operators join them
//! where everything around them is integer too, found as a greatest fixpoint: all candidates are in at
//! first, and leave while one of their neighbours is float. Values are quantized after the fused
//! activation, never between an operator and its activation. A value that a compute operator reads is
//! quantized anyway, so its other readers may be integer at no further cost.

use super::layers::{Layer, weight_layers};
use crate::graph::Graph;
use crate::onnx::{DataType, NodeProto as Node, type_proto};
use crate::target::{ResidualAdd, Role, Target};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Layers whose weights are stored as integers, in file order.
    pub layers: Vec<Layer>,
    /// Values that carry Q/DQ, in order of definition.
    pub sites: Vec<Site>,
    /// Weight layers that stay in float, and the reason.
    pub float_layers: Vec<(Layer, String)>,
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
    let (inside, outside): (Vec<Layer>, Vec<Layer>) = layers.into_iter().partition(|l| domain.inside[l.node]);
    let because = |layer: Layer| {
        let reason = match keep_float.contains(&layer.name) {
            true => "kept in float by the plan".to_owned(),
            false => domain.why_not(&layer),
        };
        (layer, reason)
    };
    let float_layers = outside.into_iter().map(because).collect();
    Placement { layers: inside, sites: domain.sites(), float_layers }
}

/// The set of nodes that run with integers.
struct Domain<'a> {
    graph: &'a Graph,
    target: &'a Target,
    inside: Vec<bool>,
}

impl<'a> Domain<'a> {
    fn new(graph: &'a Graph, target: &'a Target, keep_float: &BTreeSet<String>) -> Self {
        let mut domain = Domain { graph, target, inside: vec![] };
        let candidate = |node: &Node| !keep_float.contains(&node.name) && domain.is_candidate(node);
        domain.inside = graph.nodes().iter().map(candidate).collect();
        domain
    }

    fn role(&self, node: &Node) -> Option<Role> {
        let standard = node.domain.is_empty() || node.domain == "ai.onnx";
        self.target.rule(&node.op_type).filter(|_| standard).map(|rule| rule.role)
    }

    fn is_candidate(&self, node: &Node) -> bool {
        match self.role(node) {
            Some(Role::Compute) => self.is_compute(node),
            Some(Role::Arithmetic) => {
                let residual = node.op_type == "Add" && self.target.residual_add == ResidualAdd::Float;
                !residual && node.input.iter().all(|n| n.is_empty() || self.graph.constant(n).is_none())
            }
            Some(Role::SameScale) => node.output.len() == 1 && self.pads_with_zero(node),
            Some(Role::FusedActivation) | None => false,
        }
    }

    fn is_compute(&self, node: &Node) -> bool {
        let [data, other, ..] = node.input.as_slice() else { return false };
        let constant = |name: &String| self.graph.constant(name);
        let overridable = |name: &String| self.graph.index().initializer(name).is_some() && constant(name).is_none();
        if overridable(data) || overridable(other) {
            return false;
        }
        match (constant(data), constant(other)) {
            (None, Some(w)) => w.data_type == DataType::FLOAT as i32 && w.dims.len() >= 2 && self.has_layer(node),
            (None, None) => self.target.rule(&node.op_type).is_some_and(|r| r.two_activations),
            _ => false,
        }
    }

    /// Whether the weight's shape is one that [`weight_layers`] takes.
    fn has_layer(&self, node: &Node) -> bool {
        let rank = self.graph.constant(&node.input[1]).map_or(0, |t| t.dims.len());
        let fits = if node.op_type.starts_with("Conv") { rank >= 3 } else { rank == 2 };
        fits && !self.target.weight_choices(&node.op_type).is_empty()
    }

    fn pads_with_zero(&self, node: &Node) -> bool {
        let mode = crate::graph::attr_s(node, "mode").unwrap_or("constant");
        let value = node.input.get(2).filter(|n| !n.is_empty());
        let zero = |n: &String| {
            let tensor = self.graph.constant(n);
            tensor.and_then(|t| crate::onnx::floats(t, self.graph.external()).ok()).is_some_and(|v| v == [0.0])
        };
        node.op_type != "Pad" || (mode == "constant" && value.is_none_or(zero))
    }

    fn shrink_to_fixpoint(&mut self) {
        loop {
            let leaving: Vec<usize> =
                (0..self.inside.len()).filter(|i| self.inside[*i] && !self.may_stay(*i)).collect();
            if leaving.is_empty() {
                return;
            }
            leaving.into_iter().for_each(|i| self.inside[i] = false);
        }
    }

    fn may_stay(&self, index: usize) -> bool {
        let node = &self.graph.nodes()[index];
        let readers = self.graph.index().readers(self.quantized_output(node)).to_vec();
        let fed = |value: &String| self.is_integer_value(value) || self.feeds_compute(value);
        let inputs: Vec<bool> = activation_slots(node).map(|slot| fed(&node.input[slot])).collect();
        let read = || readers.iter().any(|r| self.inside[*r]);
        match self.role(node) {
            Some(Role::Compute) => true,
            // A residual join is worth quantizing its other branch for; elsewhere that costs more than it gains.
            Some(Role::Arithmetic) if node.op_type == "Add" => inputs.contains(&true) && read(),
            Some(Role::Arithmetic | Role::SameScale) => !inputs.contains(&false) && read(),
            _ => false,
        }
    }

    /// Whether a kernel produces this value as integers, or could: graph inputs are quantized where they enter.
    fn is_integer_value(&self, value: &str) -> bool {
        let Some(producer) = self.graph.index().producer(value) else { return self.is_float_input(value) };
        let node = &self.graph.nodes()[producer];
        match self.role(node) {
            Some(Role::FusedActivation) => {
                let inner = node.input.first().map_or("", String::as_str);
                let source = self.graph.index().producer(inner);
                source.is_some_and(|p| self.has_integer_output(p) && self.fuses(&self.graph.nodes()[p], producer))
            }
            _ => self.has_integer_output(producer),
        }
    }

    /// Whether a compute operator reads this value, so that it is quantized whoever else reads it.
    fn feeds_compute(&self, value: &str) -> bool {
        let compute = |r: &usize| self.inside[*r] && self.role(&self.graph.nodes()[*r]) == Some(Role::Compute);
        self.graph.index().readers(value).iter().any(compute)
    }

    fn is_float_input(&self, value: &str) -> bool {
        let input = self.graph.proto().input.iter().find(|v| v.name == value);
        input.and_then(|v| v.type_.value.as_ref()).is_some_and(|t| match t {
            type_proto::Value::TensorType(t) => t.elem_type == DataType::FLOAT as i32,
            _ => false,
        })
    }

    fn has_integer_output(&self, index: usize) -> bool {
        let node = &self.graph.nodes()[index];
        let kernel = self.target.rule(&node.op_type).is_some_and(|r| r.role != Role::Compute || r.quantized_output);
        self.inside[index] && kernel
    }

    /// Whether kernels of this target write integers, so that their results exist in no other form. Elsewhere
    /// float readers take the float value, which is closer and leaves less for optimizers to move about.
    fn kernels_store_integers(&self) -> bool {
        self.target.operators.iter().any(|rule| rule.quantized_output)
    }

    /// Whether `activation` is the only reader of the node's output and runs inside its kernel.
    fn fuses(&self, node: &Node, activation: usize) -> bool {
        let ([output], [result]) = (node.output.as_slice(), self.graph.nodes()[activation].output.as_slice()) else {
            return false;
        };
        let alone = self.graph.index().readers(output) == [activation] && !self.graph.index().is_output(output);
        let next = &self.graph.nodes()[activation];
        let constant_bounds = next.input.iter().skip(1).all(|n| n.is_empty() || self.graph.constant(n).is_some());
        !result.is_empty() && alone && self.role(next) == Some(Role::FusedActivation) && constant_bounds
    }

    /// The value that carries the node's result: after the fused activation, if there is one.
    fn quantized_output<'n>(&'n self, node: &'n Node) -> &'n str {
        let Some(output) = node.output.first() else { return "" };
        match self.graph.index().readers(output) {
            [only] if self.fuses(node, *only) => &self.graph.nodes()[*only].output[0],
            _ => output,
        }
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: BTreeMap<String, Site> = BTreeMap::new();
        let mut groups = Groups::default();
        for (index, node) in self.graph.nodes().iter().enumerate() {
            if self.inside[index] {
                self.add_node(index, node, &mut sites, &mut groups);
            } else if node.op_type == "Add" && self.target.residual_add == ResidualAdd::SkipBranch {
                self.add_skip_branch(index, node, &mut sites);
            }
        }
        self.take_all_readers(&mut sites);
        let mut sites: Vec<Site> = sites.into_values().collect();
        sites.sort_by_key(|s| (self.graph.index().producer(&s.value).map_or(0, |p| p + 1), s.value.clone()));
        let values: Vec<String> = sites.iter().map(|s| s.value.clone()).collect();
        for site in &mut sites {
            let leader = groups.leader(&site.value);
            site.group = values.iter().position(|v| groups.leader(v) == leader).unwrap_or(0);
        }
        sites
    }

    fn add_node(&self, index: usize, node: &Node, sites: &mut BTreeMap<String, Site>, groups: &mut Groups) {
        for slot in activation_slots(node).filter(|s| self.graph.constant(&node.input[*s]).is_none()) {
            site(sites, &node.input[slot]).readers.insert((index, slot));
        }
        let output = self.quantized_output(node);
        if self.has_integer_output(index) {
            site(sites, output).all_readers |= self.kernels_store_integers();
        }
        let shared_add = node.op_type == "Add" && self.target.residual_add == ResidualAdd::SharedScale;
        if self.role(node) == Some(Role::SameScale) {
            activation_slots(node).for_each(|slot| groups.join(&node.input[slot], output));
        } else if let (true, [a, b]) = (shared_add, node.input.as_slice()) {
            groups.join(a, b);
        }
    }

    /// TensorRT fuses one convolution into the Add; the other operand must be int8 for that to pay.
    fn add_skip_branch(&self, index: usize, node: &Node, sites: &mut BTreeMap<String, Site>) {
        let [a, b] = node.input.as_slice() else { return };
        let convolution = |value: &String| {
            let producer = self.graph.index().producer(value)?;
            let fused = self.inside[producer] && self.graph.nodes()[producer].op_type == "Conv";
            (fused && self.graph.index().readers(value) == [index]).then_some(producer)
        };
        let skip = match (convolution(a), convolution(b)) {
            (Some(x), Some(y)) => usize::from(x > y),
            (Some(_), None) => 1,
            (None, Some(_)) => 0,
            (None, None) => return,
        };
        let feeds_integers = self.graph.index().readers(self.quantized_output(node)).iter().any(|r| self.inside[*r]);
        let other = &node.input[skip];
        if self.graph.constant(other).is_none() && (feeds_integers || sites.contains_key(other)) {
            site(sites, other).readers.insert((index, skip));
        }
    }

    fn take_all_readers(&self, sites: &mut BTreeMap<String, Site>) {
        for site in sites.values_mut().filter(|s| s.all_readers) {
            for reader in self.graph.index().readers(&site.value) {
                let node = &self.graph.nodes()[*reader];
                let slots = node.input.iter().enumerate().filter(|(_, n)| **n == site.value).map(|(slot, _)| slot);
                site.readers.extend(slots.map(|slot| (*reader, slot)));
            }
        }
    }

    fn why_not(&self, layer: &Layer) -> String {
        let refusal = self.target.refusal(&layer.op, None, None).map(|r| r.because.clone());
        refusal.unwrap_or_else(|| format!("{} has no integer kernel for {}", self.target.name, layer.op))
    }
}

fn site<'s>(sites: &'s mut BTreeMap<String, Site>, value: &str) -> &'s mut Site {
    sites.entry(value.to_owned()).or_insert_with(|| Site {
        value: value.to_owned(),
        all_readers: false,
        readers: BTreeSet::new(),
        group: 0,
    })
}

/// Input slots that hold activations, as opposed to weights, biases, shapes and axes.
fn activation_slots(node: &Node) -> impl Iterator<Item = usize> + '_ {
    let upto = match node.op_type.as_str() {
        "Concat" | "Add" | "Mul" | "Sub" | "Div" | "MatMul" => node.input.len(),
        _ => 1,
    };
    (0..upto.min(node.input.len())).filter(|slot| !node.input[*slot].is_empty())
}

/// Union-find over value names, leaders by least name so that order does not matter.
#[derive(Default)]
struct Groups {
    parent: BTreeMap<String, String>,
}

impl Groups {
    fn leader(&self, value: &str) -> String {
        let mut at = value;
        while let Some(next) = self.parent.get(at) {
            at = next;
        }
        at.to_owned()
    }

    fn join(&mut self, a: &str, b: &str) {
        let (a, b) = (self.leader(a), self.leader(b));
        if a != b {
            self.parent.insert(a.clone().max(b.clone()), a.min(b));
        }
    }
}
