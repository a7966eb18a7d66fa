//! Which nodes run with integers.

use super::super::layers::Layer;
use super::captured::moves_to_bodies;
use crate::graph::{Graph, attr_i, element_type, input_behind, is_half};
use crate::onnx::{DataType, NodeProto as Node};
use crate::target::{OperatorRule, ResidualAdd, Role, Target};
use std::collections::BTreeSet;

/// Constants that an Add takes from this magnitude on are masks: PyTorch and its libraries write -1e4 and less.
const LEAST_MASK: f32 = 1e3;
/// The same where a softmax follows: Swin writes -100.
const LEAST_MASK_OF_SOFTMAX: f32 = 30.0;
/// Divisors whose magnitudes differ by more keep too few steps at the small end.
const MOST_SPREAD: f32 = 16.0;

/// The set of nodes that run with integers.
pub(super) struct Domain<'a> {
    pub(super) graph: &'a Graph,
    pub(super) target: &'a Target,
    pub(super) inside: Vec<bool>,
    /// Nodes that no pair may stand before.
    pub(super) before_bodies: Vec<bool>,
}

impl<'a> Domain<'a> {
    pub(super) fn new(graph: &'a Graph, target: &'a Target, keep_float: &BTreeSet<String>) -> Self {
        let mut domain = Domain { graph, target, inside: vec![], before_bodies: moves_to_bodies(graph) };
        let candidate = |(node, before_body): (&Node, &bool)| {
            !before_body && !keep_float.contains(&node.name) && domain.is_candidate(node)
        };
        domain.inside = graph.nodes().iter().zip(&domain.before_bodies).map(candidate).collect();
        domain
    }

    pub(super) fn role(&self, node: &Node) -> Option<Role> {
        let standard = node.domain.is_empty() || node.domain == "ai.onnx";
        self.target.rule(&node.op_type).filter(|_| standard).map(|rule| rule.role)
    }

    fn is_candidate(&self, node: &Node) -> bool {
        match self.role(node) {
            Some(Role::Compute) => self.is_compute(node),
            Some(Role::Arithmetic) => {
                let residual = node.op_type == "Add" && self.target.residual_add == ResidualAdd::Float;
                !residual && self.operands_fit(node)
            }
            Some(Role::Normalization) => self.is_normalization(node),
            Some(Role::SameScale) => (node.output.len() == 1 || node.op_type == "Split") && self.pads_with_zero(node),
            Some(Role::FusedActivation | Role::WeightOnly) | None => false,
        }
    }

    /// Whether the operands are activations, or constants beside one that the target stores as integers.
    fn operands_fit(&self, node: &Node) -> bool {
        let (constants, computed): (Vec<usize>, Vec<usize>) =
            activation_slots(node).partition(|slot| self.graph.constant(&node.input[*slot]).is_some());
        let stored = |slot: &usize| self.target.activations.constant_operands && self.is_storable(node, *slot);
        !computed.is_empty() && constants.iter().all(stored)
    }

    /// Whether a constant operand is fit for few bits: not a mask, which would give the result its range, and not a
    /// divisor that could round to zero.
    fn is_storable(&self, node: &Node, slot: usize) -> bool {
        let tensor = self.graph.constant(&node.input[slot]).filter(|t| t.data_type == DataType::FLOAT as i32);
        let values = tensor.and_then(|t| crate::onnx::floats(t, self.graph.external()).ok()).unwrap_or_default();
        let bar = if self.reaches_softmax(node) { LEAST_MASK_OF_SOFTMAX } else { LEAST_MASK };
        let magnitudes = || values.iter().map(|v| v.abs());
        let (least, most) = (magnitudes().fold(f32::INFINITY, f32::min), magnitudes().fold(0.0, f32::max));
        let divides = node.op_type == "Div" && slot == 1;
        !values.is_empty() && values.iter().all(|v| v.abs() < bar) && (!divides || least >= most / MOST_SPREAD)
    }

    /// Whether a softmax takes what the node makes, at most moved: what is added there may be a mask.
    fn reaches_softmax(&self, node: &Node) -> bool {
        let mut at = node;
        for _ in 0..self.graph.nodes().len() {
            let Some([next]) = at.output.first().map(|value| self.graph.index().readers(value)) else { return false };
            at = &self.graph.nodes()[*next];
            if at.op_type == "Softmax" {
                return true;
            }
            if self.role(at) != Some(Role::SameScale) {
                return false;
            }
        }
        false
    }

    /// Whether a compute operator stands somewhere before a value: masks are made from inputs without one.
    fn is_computed(&self, value: &str) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![value]);
        while let Some(value) = open.pop() {
            let Some(producer) = self.graph.index().producer(value) else { continue };
            let node = &self.graph.nodes()[producer];
            if self.inside[producer] && self.role(node) == Some(Role::Compute) {
                return true;
            }
            if seen.insert(producer) {
                open.extend(node.input.iter().map(String::as_str));
            }
        }
        false
    }

    /// Over the last axis, as kernels have it, with a scale and a bias that can be stored.
    fn is_normalization(&self, node: &Node) -> bool {
        let float = |name: &String| self.graph.constant(name).is_some_and(|t| t.data_type == DataType::FLOAT as i32);
        let [_, scale, rest @ ..] = node.input.as_slice() else { return false };
        let last = attr_i(node, "axis").unwrap_or(-1) == -1;
        last && node.output.len() == 1 && float(scale) && rest.iter().all(|bias| bias.is_empty() || float(bias))
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

    pub(super) fn shrink_to_fixpoint(&mut self) {
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
        let fed = |value: &String| self.is_integer_value(value) || self.feeds_compute(value);
        let computed = |slot: &usize| self.graph.constant(&node.input[*slot]).is_none();
        let inputs: Vec<bool> = activation_slots(node).filter(computed).map(|slot| fed(&node.input[slot])).collect();
        let is_read = |value: &&str| self.graph.index().readers(value).iter().any(|r| self.inside[*r]);
        let read = || self.results(node).iter().any(is_read);
        match self.role(node) {
            Some(Role::Compute) => true,
            // What is added in front of a softmax may be a mask, whose range would be that of the scores.
            Some(Role::Arithmetic) if matches!(node.op_type.as_str(), "Add" | "Sub") && self.reaches_softmax(node) => {
                let slots = || activation_slots(node).filter(computed);
                !inputs.contains(&false) && read() && slots().all(|slot| self.is_computed(&node.input[slot]))
            }
            // A residual join is worth quantizing its other branch for; elsewhere that costs more than it gains.
            Some(Role::Arithmetic) if node.op_type == "Add" => inputs.contains(&true) && read(),
            Some(Role::Arithmetic | Role::Normalization | Role::SameScale) => !inputs.contains(&false) && read(),
            _ => false,
        }
    }

    /// Whether a kernel produces this value as integers, or could: graph inputs are quantized where they enter.
    fn is_integer_value(&self, value: &str) -> bool {
        if self.is_float_input(value) {
            return true;
        }
        let Some(producer) = self.graph.index().producer(value) else { return false };
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
        let input = input_behind(self.graph, value);
        let declared = self.graph.proto().input.iter().find(|v| Some(v.name.as_str()) == input);
        declared.and_then(element_type).is_some_and(|of| of == DataType::FLOAT as i32 || is_half(of))
    }

    pub(super) fn has_integer_output(&self, index: usize) -> bool {
        let node = &self.graph.nodes()[index];
        let fused = || node.output.first().is_some_and(|output| self.quantized_output(node) != output);
        let writes =
            |r: &OperatorRule| r.role != Role::Compute || r.quantized_output || (r.quantized_if_fused && fused());
        self.inside[index] && self.target.rule(&node.op_type).is_some_and(writes)
    }

    /// Whether kernels of this target write integers, so that their results exist in no other form. Elsewhere
    /// float readers take the float value, which is closer and leaves less for optimizers to move about.
    pub(super) fn kernels_store_integers(&self) -> bool {
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

    /// The values that carry what the node makes, as far as anything takes them.
    pub(super) fn results<'n>(&'n self, node: &'n Node) -> Vec<&'n str> {
        let index = self.graph.index();
        match node.output.as_slice() {
            [_] => vec![self.quantized_output(node)],
            several => {
                let taken = |value: &&String| !index.readers(value).is_empty() || index.is_output(value);
                several.iter().filter(|value| !value.is_empty()).filter(taken).map(String::as_str).collect()
            }
        }
    }

    /// The value that carries the node's result: after the fused activation, if there is one.
    pub(super) fn quantized_output<'n>(&'n self, node: &'n Node) -> &'n str {
        let Some(output) = node.output.first() else { return "" };
        match self.graph.index().readers(output) {
            [only] if self.fuses(node, *only) => &self.graph.nodes()[*only].output[0],
            _ => output,
        }
    }

    pub(super) fn why_not(&self, layer: &Layer) -> String {
        let refusal = self.target.refusal(&layer.op, None, None).map(|r| r.because.clone());
        if self.role(&self.graph.nodes()[layer.node]) == Some(Role::WeightOnly) {
            return format!("{} runs {} in float, with weights of 8 bits", self.target.name, layer.op);
        }
        if self.target.only_blocks(&layer.op) {
            return format!("a fan-in of {} is no multiple of the blocks of {}", layer.fan_in(), self.target.name);
        }
        if self.target.variant.weight_only {
            return format!("{} has no weights of {} in blocks", self.target.name, layer.op);
        }
        refusal.unwrap_or_else(|| format!("{} has no integer kernel for {}", self.target.name, layer.op))
    }
}

/// Input slots that hold activations, as opposed to weights, biases, shapes and axes.
pub(super) fn activation_slots(node: &Node) -> impl Iterator<Item = usize> + '_ {
    let upto = match node.op_type.as_str() {
        "Concat" | "Add" | "Mul" | "Sub" | "Div" | "MatMul" => node.input.len(),
        _ => 1,
    };
    (0..upto.min(node.input.len())).filter(|slot| !node.input[*slot].is_empty())
}
