//! Stores the weights of planned layers as integers.
//!
//! ## What it does
//! Replaces the float weight of every layer that the plan gives bits to by an integer initializer, its
//! scales, and a DequantizeLinear; where the target wants int32 biases, the bias likewise.
//!
//! ## Why
//! Integers in the file are what makes it small and what runtimes fuse; a float weight followed by
//! QuantizeLinear is neither.
//!
//! ## When it refuses
//! A weight that holds NaN or infinity; layers that share a weight and disagree about its bits.

use crate::nodes::{dequantize_node, fresh_name};
use rayon::prelude::*;
use std::collections::BTreeMap;
use tapq::graph::{Edit, Graph, Patch, set_attr};
use tapq::onnx::{self, DataType};
use tapq::plan::{Layer, LayerPlan, Operators, Plan, Rounding, RoundingMethod, weight_layers};
use tapq::quant::{self, Affine, Granularity, IntFormat, QuantizedWeight, WeightRange};
use tapq::target::{BiasFormat, Target};
use tapq::{Code, Context, Error, Result};

/// One stored weight: the layers that read it and how it is quantized.
struct Stored<'a> {
    layers: Vec<&'a Layer>,
    granularity: Granularity,
    bits: u32,
    quantized: QuantizedWeight,
}

/// How a plan stores weights and biases.
pub struct Storage<'a> {
    graph: &'a Graph,
    target: &'a Target,
    /// The grid that a kernel reads its input on, by the position of its node.
    inputs: BTreeMap<usize, Affine>,
}

impl<'a> Storage<'a> {
    /// Of all layers of a plan: the grids of their inputs are looked up once.
    pub fn new(graph: &'a Graph, plan: &Plan, target: &'a Target) -> Self {
        let positions: BTreeMap<&str, usize> =
            graph.nodes().iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
        let operators = Operators::of_plan(graph, plan, target);
        let bits = plan.activation_bits();
        let mut inputs = BTreeMap::new();
        for (at, activation) in plan.activations.iter().enumerate() {
            let readers = activation.readers.iter().filter(|(_, slot)| *slot == 0);
            for node in readers.filter_map(|(name, _)| positions.get(name.as_str()).copied()) {
                let read = || activation.affine().refined(operators.read_at(node, at, &bits));
                inputs.entry(node).or_insert_with(read);
            }
        }
        Storage { graph, target, inputs }
    }

    /// The floats that a layer's stored weight will mean, as rows, for analyses that need them before the rewrite.
    pub fn stored_rows(&self, layer: &Layer, decision: &LayerPlan) -> Result<Vec<f32>> {
        let stored = self.store(&[(layer, decision)], &Rounding::default())?;
        Ok(layer.dequantized_rows(&stored.quantized, stored.granularity))
    }

    /// The least weight scale of each channel (or the one of all) with which the layer's bias fits; empty for none.
    pub fn weight_floor(&self, layer: &Layer, decision: &LayerPlan) -> Result<Vec<f32>> {
        let mut floor = vec![];
        if self.stores_bias(decision) {
            let per_channel = self.target.per_channel(&layer.op) && layer.channelwise;
            raise_floor(&mut floor, self.bias_floor(layer)?, per_channel);
        }
        Ok(floor)
    }

    /// Whether the layer's bias is stored as integers: that of a layer that multiplies in float is not.
    fn stores_bias(&self, decision: &LayerPlan) -> bool {
        self.target.bias == BiasFormat::Int32 && decision.is_integer()
    }

    fn store<'l>(&self, group: &[(&'l Layer, &LayerPlan)], rounding: &Rounding) -> Result<Stored<'l>> {
        let (first, decision) = group[0];
        let bits = decision.bits.unwrap_or(8);
        let range = decision.range.unwrap_or(WeightRange::Max);
        if let Some((other, d)) = group.iter().find(|(l, d)| {
            (d.bits, d.block, d.range, l.axis) != (Some(bits), decision.block, decision.range, first.axis)
        }) {
            let what = format!(
                "layers '{}' ({bits} bits) and '{}' ({:?} bits) share weight '{}'",
                first.name, other.name, d.bits, first.weight
            );
            return Err(Error::new(Code::PlanMismatch, what).help("give both layers the same bits"));
        }
        let granularity = decision.granularity(self.target);
        let layers = group.iter().map(|(l, _)| *l).collect();
        if let Some(found) = rounding.weights.get(&first.weight) {
            return Ok(Stored { layers, granularity, bits, quantized: found.clone() });
        }
        if decision.rounding == RoundingMethod::SecondOrder {
            let what = format!("weight '{}' must be rounded on samples before it can be stored", first.weight);
            return Err(Error::new(Code::PlanMismatch, what).at(format!("layer '{}'", first.name)));
        }
        let weight = weight_values(self.graph, first)?;
        let format = weight_format(self.target, bits, granularity);
        if let Granularity::Block(size) = granularity {
            let (channels, rows) = first.rows(&weight);
            let signed = self.target.signed_scales(&first.op);
            let rows = quant::quantize_blocks(&rows, (channels, size), format, range, signed);
            return Ok(Stored { layers, granularity, bits, quantized: first.in_tensor_order(rows) });
        }
        let axis = (granularity == Granularity::Channel).then_some(first.axis);
        let mut floor = vec![];
        for (layer, _) in group.iter().filter(|(_, d)| self.stores_bias(d)) {
            raise_floor(&mut floor, self.bias_floor(layer)?, axis.is_some() && layer.channelwise);
        }
        let quantized =
            quant::quantize_weight(&weight, &first.dims, axis, format, range, self.target.weights.power_of_two, &floor);
        Ok(Stored { layers, granularity, bits, quantized })
    }

    /// The least weight scale of each channel with which the bias fits int32; empty without bias.
    fn bias_floor(&self, layer: &Layer) -> Result<Vec<f32>> {
        let (Some(bias), Some(input)) = (bias_values(self.graph, layer, None)?, self.inputs.get(&layer.node)) else {
            return Ok(vec![]);
        };
        let bits = self.bias_bits(*input);
        Ok(bias.values.iter().map(|b| quant::least_weight_scale(*b, input.scale, bits)).collect())
    }

    /// Bits of the accumulator that a bias must fit; kernels for activations over 8 bits have the full 32.
    fn bias_bits(&self, input: Affine) -> u32 {
        if input.format.bits > 8 { 32 } else { self.target.bias_bits }
    }

    /// Stores the bias: as int32 where the target wants it and the input's scale is known, else in float if it moved.
    fn add_bias(
        &self,
        (layer, decision): (&Layer, &LayerPlan),
        bias: Option<Bias>,
        weight_scales: &[f32],
        patch: &mut Patch,
    ) -> Result<()> {
        let (graph, target) = (self.graph, self.target);
        let Some(bias) = bias else { return Ok(()) };
        // Two layers may share a bias and differ in scale, so the stored one is named after the layer.
        let stem = format!("{}_{}", layer.name, bias.name);
        let grid = self.inputs.get(&layer.node).filter(|_| self.stores_bias(decision));
        let dims = [bias.values.len()];
        let Some(input) = grid else {
            if !bias.untouched {
                let name = fresh_name(graph, &stem, "corrected");
                patch.push(Edit::SetInitializer(onnx::from_floats(&name, &dims, &bias.values)));
                patch.push(Edit::SetInput(layer.node, 2, name));
            }
            return Ok(());
        };
        let quantized = quant::quantize_bias(&bias.values, input.scale, weight_scales, self.bias_bits(*input));
        let (stored, scale) = (fresh_name(graph, &stem, "quantized"), fresh_name(graph, &stem, "scale"));
        let output = fresh_name(graph, &stem, "dequantized");
        patch.push(Edit::SetInitializer(onnx::from_ints(&stored, DataType::INT32 as i32, &dims, &quantized.values)));
        let (scale_dims, axis) = if quantized.scales.len() == 1 { (&[][..], None) } else { (&dims[..], Some(0)) };
        patch.push(Edit::SetInitializer(onnx::from_floats(&scale, scale_dims, &quantized.scales)));
        let tags = [("tapq.target", target.name.clone())];
        patch.push(Edit::Insert(layer.node, dequantize_node(&stem, [&stored, &scale], None, &output, axis, &tags)));
        patch.push(Edit::SetInput(layer.node, 2, output));
        Ok(())
    }
}

/// Stores the weights of the planned layers as integers.
pub fn quantize_weights(graph: &Graph, plan: &Plan, target: &Target, rounding: &Rounding) -> Result<Option<Patch>> {
    let layers = weight_layers(graph);
    let planned: BTreeMap<&str, &LayerPlan> = plan.layers.iter().map(|l| (l.name.as_str(), l)).collect();
    let mut by_weight: BTreeMap<(&str, usize), Vec<(&Layer, &LayerPlan)>> = BTreeMap::new();
    for layer in &layers {
        if let Some(decision) = planned.get(layer.name.as_str()).filter(|d| d.bits.is_some()) {
            by_weight.entry((&layer.weight, layer.axis)).or_default().push((layer, decision));
        }
    }
    let groups: Vec<_> = by_weight.into_values().collect();
    let storage = Storage::new(graph, plan, target);
    let stored: Vec<Stored> = groups.par_iter().map(|g| storage.store(g, rounding)).collect::<Result<_>>()?;
    let mut patch = Patch::new();
    for weight in &stored {
        add_weight(graph, weight, target, &mut patch);
        for layer in &weight.layers {
            let Some(decision) = planned.get(layer.name.as_str()).copied() else { continue };
            let bias = bias_values(graph, layer, Some(decision))?;
            storage.add_bias((layer, decision), bias, &weight.quantized.scales, &mut patch)?;
        }
    }
    Ok(patch.into_option())
}

/// Decodes a layer's weight and refuses what cannot be quantized.
fn weight_values(graph: &Graph, layer: &Layer) -> Result<Vec<f32>> {
    let place = || format!("weight '{}' of node '{}'", layer.weight, layer.name);
    let missing = || Error::new(Code::InvalidGraph, "the weight is not a constant");
    let tensor = graph.constant(&layer.weight).ok_or_else(missing).at(place)?;
    let weight = onnx::floats(tensor, graph.external()).at(place)?;
    match weight.iter().position(|w| !w.is_finite()) {
        Some(i) => Err(Error::new(Code::NonFinite, format!("element {i} is {}", weight[i]))).at(place),
        None => Ok(weight),
    }
}

/// The integers of a weight at a width. Blocks use the whole range: each has its own extreme, on one side or the other.
pub fn weight_format(target: &Target, bits: u32, granularity: Granularity) -> IntFormat {
    let narrow = target.weights.narrow_range && granularity.block().is_none();
    IntFormat { bits, signed: true, narrow }
}

fn raise_floor(floor: &mut Vec<f32>, other: Vec<f32>, per_channel: bool) {
    let other = match per_channel {
        true => other,
        false => other.into_iter().reduce(f32::max).into_iter().collect(),
    };
    if floor.is_empty() {
        *floor = other;
    } else {
        floor.iter_mut().zip(other).for_each(|(a, b)| *a = a.max(b));
    }
}

/// Integers and scales of a weight as they stand in the file.
struct Tensors {
    dims: Vec<usize>,
    values: Vec<i32>,
    scale_dims: Vec<usize>,
    scales: Vec<f32>,
    /// The axis that scales follow, and the weights of a block of it.
    axis: Option<(usize, Option<usize>)>,
    /// Whether a weight that was read transposed now stands as it is multiplied.
    turned: bool,
}

impl Stored<'_> {
    fn tensors(&self) -> Tensors {
        let layer = self.layers[0];
        let (dims, values, scales) = (layer.dims.clone(), &self.quantized.values, &self.quantized.scales);
        let plain = |scale_dims: Vec<usize>, axis| {
            let (values, scales) = (values.clone(), scales.clone());
            Tensors { dims: dims.clone(), values, scale_dims, scales, axis, turned: false }
        };
        match self.granularity {
            Granularity::Tensor => plain(vec![], None),
            Granularity::Channel => plain(vec![dims[layer.axis]], Some((layer.axis, None))),
            // Fan-in by channels, which is the one way that ONNX Runtime has a kernel for.
            Granularity::Block(size) => {
                let (channels, fan_in) = (dims[layer.axis], layer.fan_in());
                let turned = layer.axis == 0;
                let values = if turned { transposed(values, fan_in) } else { values.clone() };
                let blocks = fan_in.div_ceil(size);
                let (dims, scale_dims) = (vec![fan_in, channels], vec![blocks, channels]);
                let scales = transposed(scales, blocks);
                Tensors { dims, values, scale_dims, scales, axis: Some((0, Some(size))), turned }
            }
        }
    }
}

/// A matrix of `columns` columns, the other way round.
fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied()).collect()
}

fn add_weight(graph: &Graph, stored: &Stored, target: &Target, patch: &mut Patch) {
    let layer = stored.layers[0];
    let format = IntFormat { bits: stored.bits, signed: true, narrow: false };
    let (name, scale) = (fresh_name(graph, &layer.weight, "quantized"), fresh_name(graph, &layer.weight, "scale"));
    let output = fresh_name(graph, &layer.weight, "dequantized");
    let tensors = stored.tensors();
    let data_type = format.data_type() as i32;
    patch.push(Edit::SetInitializer(onnx::from_ints(&name, data_type, &tensors.dims, &tensors.values)));
    patch.push(Edit::SetInitializer(onnx::from_floats(&scale, &tensors.scale_dims, &tensors.scales)));
    let block = stored.granularity.block();
    // ONNX Runtime 1.31 fuses Gemm into an integer kernel only if its weight spells out the zero point.
    let zero = (layer.op == "Gemm" && block.is_none()).then(|| fresh_name(graph, &layer.weight, "zero_point"));
    if let Some(zero) = &zero {
        let zeros = vec![0; tensors.scale_dims.iter().product()];
        patch.push(Edit::SetInitializer(onnx::from_ints(zero, data_type, &tensors.scale_dims, &zeros)));
    }
    let tags = [("tapq.weight_bits", stored.bits.to_string()), ("tapq.target", target.name.clone())];
    let axis = tensors.axis.map(|(axis, _)| axis);
    let mut node = dequantize_node(&layer.weight, [&name, &scale], zero.as_deref(), &output, axis, &tags);
    if let Some(size) = block {
        set_attr(&mut node, "block_size", size as i64);
    }
    let first = stored.layers.iter().map(|l| l.node).min().unwrap_or(0);
    patch.push(Edit::Insert(first, node));
    for layer in &stored.layers {
        if tensors.turned {
            let mut node = graph.nodes()[layer.node].clone();
            set_attr(&mut node, "transB", 0);
            patch.push(Edit::Replace(layer.node, node));
        }
        patch.push(Edit::SetInput(layer.node, 1, output.clone()));
    }
    let in_blocks = block.map_or(String::new(), |size| format!(" in blocks of {size}"));
    patch.because(format!("weight '{}' at {} bits{in_blocks}", layer.weight, stored.bits));
}

/// A bias as the plan wants it.
struct Bias {
    /// Name of the float bias, or what a new one is called.
    name: String,
    values: Vec<f32>,
    /// Whether the values are those of the model.
    untouched: bool,
}

/// The layer's bias with the planned shift; none where it has none and needs none.
fn bias_values(graph: &Graph, layer: &Layer, decision: Option<&LayerPlan>) -> Result<Option<Bias>> {
    let shift = decision.map_or(&[][..], |d| &d.bias_shift.0);
    let channels = layer.dims[layer.axis];
    let place = || format!("bias of node '{}'", layer.name);
    let constant = layer.bias.as_ref().and_then(|name| graph.constant(name).map(|t| (name.clone(), t)));
    let (name, mut values) = match constant {
        Some((_, tensor)) if tensor.dims.last() != Some(&(channels as i64)) => return Ok(None),
        Some((name, tensor)) => (name, onnx::floats(tensor, graph.external()).at(place)?),
        None if !shift.is_empty() => ("bias".to_owned(), vec![0.0; channels]),
        None => return Ok(None),
    };
    if !layer.takes_bias(graph) || values.len() != channels {
        return Ok(None);
    }
    let untouched = shift.is_empty();
    if !untouched && shift.len() != channels {
        let what = format!("bias_shift holds {} numbers for {channels} channels", shift.len());
        return Err(Error::new(Code::PlanMismatch, what)).at(place);
    }
    values.iter_mut().zip(shift).for_each(|(b, s)| *b += s);
    Ok(Some(Bias { name, values, untouched }))
}
