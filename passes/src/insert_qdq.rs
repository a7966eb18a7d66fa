//! Puts a QuantizeLinear/DequantizeLinear pair after each planned activation.
//!
//! ## What it does
//! Quantizes the value where it is made and lets the planned readers take the dequantized one. Widths
//! below the storage type are expressed by a Clip between the two (QCDQ) where the target reads it so.
//! An operator whose activations must have one width gets the narrower ones through a second pair, whose
//! grid holds every value of the first exactly. A planned constant is stored as integers behind a
//! DequantizeLinear.
//!
//! ## Why
//! Runtimes find integer kernels by the pattern DequantizeLinear, operator, QuantizeLinear.
//!
//! ## When it refuses
//! A planned value or reader that the graph does not have.

use crate::nodes::{dequantize_node, fresh_name, quantize_node};
use std::collections::BTreeMap;
use tapq::graph::{Edit, Graph, Patch, set_attr};
use tapq::onnx::{self, DataType, NodeProto as Node, Tensor};
use tapq::plan::{ActivationPlan, Operators, Plan};
use tapq::quant::{IntFormat, quantize_bias};
use tapq::target::{Role, Target};
use tapq::{Code, Context, Error, Result};

/// Puts a Q/DQ pair after each planned activation.
pub fn insert_qdq(graph: &Graph, plan: &Plan, target: &Target) -> Result<Option<Patch>> {
    let positions: BTreeMap<&str, usize> =
        graph.nodes().iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
    let mut patch = Patch::new();
    // Replacements of producers come first: later edits of the same node build on them.
    rename_outputs(graph, plan, &mut patch);
    let operators = Operators::of_plan(graph, plan, target);
    for at in 0..plan.activations.len() {
        Place { graph, plan, at, target, positions: &positions, operators: &operators }.add_pairs(&mut patch)?;
    }
    Ok(patch.into_option())
}

/// A graph output keeps its name, so the value before quantization gets another one: one replacement a producer.
fn rename_outputs(graph: &Graph, plan: &Plan, patch: &mut Patch) {
    let mut producers: BTreeMap<usize, Node> = BTreeMap::new();
    let mut redirects = vec![];
    for value in plan.activations.iter().map(|a| &a.value).filter(|v| graph.index().is_output(v)) {
        let Some(producer) = graph.index().producer(value) else { continue };
        let raw = raw_name(graph, value);
        let node = producers.entry(producer).or_insert_with(|| graph.nodes()[producer].clone());
        node.output.iter_mut().filter(|n| *n == value).for_each(|n| n.clone_from(&raw));
        redirects.push(Edit::Redirect(value.clone(), raw));
    }
    producers.into_iter().for_each(|(at, node)| patch.push(Edit::Replace(at, node)));
    redirects.into_iter().for_each(|edit| patch.push(edit));
}

fn raw_name(graph: &Graph, value: &str) -> String {
    match graph.index().is_output(value) && graph.index().producer(value).is_some() {
        true => fresh_name(graph, value, "float"),
        false => value.to_owned(),
    }
}

/// Where the pairs of one value go.
struct Place<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    /// Position of the value among the planned ones.
    at: usize,
    target: &'a Target,
    positions: &'a BTreeMap<&'a str, usize>,
    operators: &'a Operators,
}

impl Place<'_> {
    fn add_pairs(&self, patch: &mut Patch) -> Result<()> {
        let activation = &self.plan.activations[self.at];
        let (graph, value, planned) = (self.graph, &activation.value, self.plan.activation_bits());
        if let Some(tensor) = graph.constant(value) {
            return self.store_constant(tensor, patch);
        }
        let at = match graph.index().producer(value) {
            Some(producer) => producer + 1,
            None if graph.index().is_input(value) => 0,
            None => return Err(self.misfit("is not in the model".to_owned())),
        };
        let raw = raw_name(graph, value);
        let output = if raw == *value { fresh_name(graph, value, "dequantized") } else { value.clone() };
        let mut nodes = vec![];
        let mut source = raw;
        let written = self.operators.written_at(self.at, &planned);
        if written > activation.bits {
            let name = fresh_name(graph, value, &format!("written_{written}"));
            nodes.extend(self.pair(&refined(activation, written), &name, [&source, &name], patch));
            source = name;
        }
        nodes.extend(self.pair(activation, value, [&source, &output], patch));
        self.rewire((at, nodes), &output, patch)?;
        patch.because(format!("activation '{value}' at {} bits", activation.bits));
        Ok(())
    }

    /// A constant is stored as the integers that its pair would make of it.
    fn store_constant(&self, tensor: &Tensor, patch: &mut Patch) -> Result<()> {
        let activation = &self.plan.activations[self.at];
        let (graph, value, affine) = (self.graph, &activation.value, activation.affine());
        let values = onnx::floats(tensor, graph.external()).at(|| format!("tensor '{value}'"))?;
        let integers: Vec<i32> = values.iter().map(|v| affine.quantize(*v)).collect();
        let dims: Vec<usize> = tensor.dims.iter().map(|d| (*d).max(0) as usize).collect();
        let data_type = stored_type(activation);
        let [stored, scale, output] = ["quantized", "scale", "dequantized"].map(|what| fresh_name(graph, value, what));
        patch.push(Edit::SetInitializer(onnx::from_ints(&stored, data_type, &dims, &integers)));
        patch.push(Edit::SetInitializer(onnx::from_floats(&scale, &[], &[affine.scale])));
        let zero = zero_point(affine.zero_point, data_type, patch);
        let read = dequantize_node(value, [&stored, &scale], Some(&zero), &output, None, &self.tags(activation));
        self.rewire((0, vec![read]), &output, patch)?;
        self.store_biases(affine.scale, patch)?;
        patch.because(format!("constant '{value}' at {} bits", activation.bits));
        Ok(())
    }

    /// The biases of normalizations that read a constant as their scale: int32, at input scale times scale.
    fn store_biases(&self, scale: f32, patch: &mut Patch) -> Result<()> {
        let (graph, planned) = (self.graph, self.plan.activation_bits());
        let readers =
            self.plan.activations[self.at].readers.iter().filter_map(|(name, _)| self.positions.get(name.as_str()));
        for position in readers.copied().filter(|p| self.is_normalization(*p)) {
            let node = &graph.nodes()[position];
            let input = self.plan.activations.iter().position(|a| a.readers.contains(&(node.name.clone(), 0)));
            let tensor = node.input.get(2).and_then(|name| graph.constant(name));
            let (Some(input), Some(tensor)) = (input, tensor) else { continue };
            let read = self.operators.read_at(position, input, &planned);
            let of_input = self.plan.activations[input].affine().refined(read).scale;
            let values = onnx::floats(tensor, graph.external()).at(|| format!("tensor '{}'", tensor.name))?;
            let bias = quantize_bias(&values, of_input, &[scale], ACCUMULATOR_BITS);
            let stem = format!("{}_{}", node.name, tensor.name);
            let [stored, scale, output] =
                ["quantized", "scale", "dequantized"].map(|what| fresh_name(graph, &stem, what));
            patch.push(Edit::SetInitializer(onnx::from_ints(
                &stored,
                DataType::INT32 as i32,
                &[values.len()],
                &bias.values,
            )));
            patch.push(Edit::SetInitializer(onnx::from_floats(&scale, &[], &bias.scales)));
            let tags = [("tapq.target", self.target.name.clone())];
            patch.push(Edit::Insert(0, dequantize_node(&stem, [&stored, &scale], None, &output, None, &tags)));
            patch.push(Edit::SetInput(position, 2, output));
        }
        Ok(())
    }

    fn is_normalization(&self, position: usize) -> bool {
        let rule = self.target.rule(&self.graph.nodes()[position].op_type);
        rule.is_some_and(|rule| rule.role == Role::Normalization)
    }

    fn misfit(&self, what: String) -> Error {
        let value = &self.plan.activations[self.at].value;
        Error::new(Code::PlanMismatch, what).at(format!("activation '{value}'"))
    }

    fn tags(&self, activation: &ActivationPlan) -> [(&'static str, String); 2] {
        [("tapq.activation_bits", activation.bits.to_string()), ("tapq.target", self.target.name.clone())]
    }

    /// Lets the planned readers take `output`, or a conversion of it where they run wider, and puts `nodes` and the
    /// conversions at a place.
    fn rewire(&self, (at, mut nodes): (usize, Vec<Node>), output: &str, patch: &mut Patch) -> Result<()> {
        let activation = &self.plan.activations[self.at];
        let (graph, value, planned) = (self.graph, &activation.value, self.plan.activation_bits());
        let mut converted: BTreeMap<u32, String> = BTreeMap::new();
        for (reader, slot) in &activation.readers {
            let position = self.positions.get(reader.as_str()).copied();
            let fits = position.filter(|p| graph.nodes()[*p].input.get(*slot) == Some(value));
            let position =
                fits.ok_or_else(|| self.misfit(format!("node '{reader}' does not read it at input {slot}")))?;
            // The scale of a normalization is a weight, which is read as it is stored.
            let as_stored = *slot > 0 && self.is_normalization(position);
            let bits = if as_stored { activation.bits } else { self.operators.read_at(position, self.at, &planned) };
            let mut read = output.to_owned();
            if bits > activation.bits {
                read = converted.entry(bits).or_insert_with(|| fresh_name(graph, value, &format!("as_{bits}"))).clone();
            }
            patch.push(Edit::SetInput(position, *slot, read));
        }
        for (bits, name) in &converted {
            nodes.extend(self.pair(&refined(activation, *bits), name, [output, name], patch));
        }
        nodes.into_iter().for_each(|node| patch.push(Edit::Insert(at, node)));
        Ok(())
    }

    /// Whether the zero point is left to the type, which `output_dtype` can say since opset 21.
    ///
    /// ONNX Runtime 1.31 states int8 on the copy of a pair from opset 21 on, and then turns int8 zero points into uint8
    /// ones: the file does not load. A pair without a zero point is left alone; so it must not meet others in one kernel,
    /// and beside the operator that moves it only weight layers may read it.
    fn implies_zero(&self, activation: &ActivationPlan) -> bool {
        let is_planned = |value: &String| self.plan.activations.iter().any(|a| a.value == *value);
        let is_moved = |name: &str| {
            let node = self.positions.get(name).map(|at| &self.graph.nodes()[*at]);
            node.is_some_and(|n| MOVERS.contains(&n.op_type.as_str()) && !n.output.iter().any(is_planned))
        };
        let is_weighed = |name: &str| self.plan.layers.iter().any(|l| l.name == name);
        self.graph.opset() >= 21
            && activation.zero_point == 0
            && stored_type(activation) == DataType::INT8 as i32
            && activation.readers.iter().any(|(reader, _)| is_moved(reader))
            && activation.readers.iter().all(|(reader, _)| is_moved(reader) || is_weighed(reader))
    }

    /// The nodes of one pair, named after `stem`, and their constants as edits.
    fn pair(
        &self,
        activation: &ActivationPlan,
        stem: &str,
        [source, output]: [&str; 2],
        patch: &mut Patch,
    ) -> Vec<Node> {
        let graph = self.graph;
        let affine = activation.affine();
        let data_type = stored_type(activation);
        let scale = fresh_name(graph, stem, "scale");
        patch.push(Edit::SetInitializer(onnx::from_floats(&scale, &[], &[affine.scale])));
        let implied = self.implies_zero(activation);
        let zero = (!implied).then(|| zero_point(affine.zero_point, data_type, patch));
        let tags = self.tags(activation);
        let stored = fresh_name(graph, stem, "quantized");
        let mut quantize = quantize_node(stem, [source, &scale], zero.as_deref(), &stored, &tags);
        if implied {
            set_attr(&mut quantize, "output_dtype", i64::from(data_type));
        }
        let mut nodes = vec![quantize];
        let mut read = stored.clone();
        if affine.format.bits < 8 || affine.format.is_restricted() {
            read = fresh_name(graph, stem, "clipped");
            nodes.push(clip_node(stem, &stored, &read, activation, patch));
        }
        nodes.push(dequantize_node(stem, [&read, &scale], zero.as_deref(), output, None, &tags));
        nodes
    }
}

/// The same value on a grid of more bits.
fn refined(activation: &ActivationPlan, bits: u32) -> ActivationPlan {
    let affine = activation.affine().refined(bits);
    ActivationPlan { bits, scale: affine.scale, zero_point: affine.zero_point, ..activation.clone() }
}

/// Bits of a normalization's bias.
const ACCUMULATOR_BITS: u32 = 32;

/// Operators that ONNX Runtime copies a Q/DQ pair behind.
const MOVERS: [&str; 5] = ["Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// Widths below 8 are stored as 8-bit integers: Clip, which carries the width, takes no narrower type.
fn stored_type(activation: &ActivationPlan) -> i32 {
    let format = activation.affine().format;
    IntFormat { bits: format.bits.max(8), ..format }.data_type() as i32
}

/// Zero points are shared: a model holds few different ones.
fn zero_point(value: i32, data_type: i32, patch: &mut Patch) -> String {
    let kind = onnx::data_type(data_type).map_or_else(|| data_type.to_string(), |t| format!("{t:?}").to_lowercase());
    let name = format!("tapq_{kind}_{value}");
    patch.push(Edit::SetInitializer(onnx::from_ints(&name, data_type, &[], &[value])));
    name
}

/// Clip on the integers: what QCDQ readers take the width from.
fn clip_node(value: &str, input: &str, output: &str, activation: &ActivationPlan, patch: &mut Patch) -> Node {
    let format = activation.affine().format;
    let data_type = stored_type(activation);
    let bounds = [format.min(), format.max()].map(|b| zero_point(b, data_type, patch));
    let mut node = Node { op_type: "Clip".to_owned(), name: format!("{value}_Clip"), ..Default::default() };
    node.input = [input.to_owned()].into_iter().chain(bounds).collect();
    node.output = vec![output.to_owned()];
    node
}
