//! QDQ in our own words: stored weights become floats, quantize-clip-dequantize chains become fake quantization.

use super::constants::{Constants, shape_of};
use super::dequantize::Granularity;
use super::failure::node_place;
use super::ops::FAKE_QUANTIZE;
use crate::graph::{attr_i, set_attr};
use crate::onnx::{DataType, INT2, NodeProto as Node, UINT2, data_type};
use crate::quant::FakeQuantize;
use crate::{Code, Context, Error, Result};
use std::collections::HashMap;

/// A computed constant: name, shape, elements.
pub(super) type Made = (String, Vec<usize>, Vec<f32>);

/// Replaces what this room computes itself; returns the remaining nodes and the constants that replaced others.
pub(super) fn lower(nodes: &[&Node], constants: &Constants) -> Result<(Vec<Node>, Vec<Made>)> {
    let mut lowering = Lowering { nodes, constants, producer: HashMap::new(), done: HashMap::new(), made: vec![] };
    for (i, node) in nodes.iter().enumerate() {
        lowering.producer.extend(node.output.iter().map(|n| (n.as_str(), i)));
    }
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        if node.op_type == "Constant" && node.output.first().is_some_and(|n| constants.get(n).is_some()) {
            continue;
        }
        let lowered = match is(node, "DequantizeLinear") {
            true => lowering.dequantize(node).at(|| node_place(node))?,
            false => Replacement::None,
        };
        match lowered {
            Replacement::None => kept.push((*node).clone()),
            Replacement::Node(node) => kept.push(node),
            Replacement::Constant(made) => lowering.made.push(made),
        }
    }
    Ok((kept, lowering.made))
}

/// What is left of Q and DQ goes to tract, which knows 8 bits with one scale.
pub(super) fn refuse_rest(nodes: &[Node], constants: &Constants) -> Result<()> {
    for node in nodes.iter().filter(|n| is(n, "QuantizeLinear") || is(n, "DequantizeLinear")) {
        let data_type =
            node.input.get(2).and_then(|n| constants.get(n)).map_or(DataType::UINT8 as i32, |t| t.data_type);
        let one = node.input.get(1).and_then(|n| constants.get(n)).is_some_and(|t| t.dims.iter().all(|d| *d == 1));
        if !one || ![DataType::UINT8 as i32, DataType::INT8 as i32].contains(&data_type) {
            let what = "only 8-bit integers with one constant scale can pass between other nodes";
            return Err(Error::new(Code::Engine, what).at(node_place(node)));
        }
    }
    Ok(())
}

enum Replacement {
    None,
    Node(Node),
    Constant(Made),
}

struct Lowering<'a> {
    nodes: &'a [&'a Node],
    constants: &'a Constants<'a>,
    producer: HashMap<&'a str, usize>,
    /// Fake-quantized values by source and parameters, so that several dequantizers of one value share the work.
    done: HashMap<(String, [u32; 5]), String>,
    made: Vec<Made>,
}

impl<'a> Lowering<'a> {
    fn dequantize(&mut self, node: &Node) -> Result<Replacement> {
        let Some(to) = Parameters::of(node, self.constants)? else { return Ok(Replacement::None) };
        let output = node.output.first().cloned().unwrap_or_default();
        if let Some(stored) = self.constants.get(&node.input[0]) {
            let dims = shape_of(stored)?;
            let Some(values) = self.constants.ints(&node.input[0])? else { return Ok(Replacement::None) };
            return Ok(Replacement::Constant((output, dims.clone(), to.dequantize(&dims, &values)?)));
        }
        let Some((quantizer, clip)) = self.trace(&node.input[0])? else { return Ok(Replacement::None) };
        let Some(from) = Parameters::of(quantizer, self.constants)? else { return Ok(Replacement::None) };
        let range = from.range(clip).at(|| node_place(quantizer))?;
        if let Some(mut values) = self.constants.floats(&quantizer.input[0])? {
            let dims = self.constants.get(&quantizer.input[0]).map_or(Ok(vec![]), shape_of)?;
            round_trip(&from, &to, range, &dims, &mut values)?;
            return Ok(Replacement::Constant((output, dims, values)));
        }
        if from.scale.len() != 1 || to.scale.len() != 1 {
            let what = "activations quantized with more than one scale are not supported";
            return Err(Error::new(Code::Engine, what).at(node_place(quantizer)));
        }
        Ok(Replacement::Node(self.fake(&quantizer.input[0], &output, &from.fake(&to, 0, 0, range))))
    }

    /// The quantizer that makes the integers called `name`, and the bounds of the `Clip`s on the way.
    fn trace(&self, name: &str) -> Result<Option<(&'a Node, (i64, i64))>> {
        let (mut name, mut low, mut high) = (name, i64::MIN, i64::MAX);
        // A chain cannot be longer than the graph; a cycle would be.
        for _ in 0..=self.nodes.len() {
            let Some(&i) = self.producer.get(name) else { return Ok(None) };
            let node = self.nodes[i];
            match node.op_type.as_str() {
                "QuantizeLinear" if is(node, "QuantizeLinear") => return Ok(Some((node, (low, high)))),
                "Identity" => {}
                "Clip" => {
                    let (Some(l), Some(h)) = (self.bound(node, 1)?, self.bound(node, 2)?) else { return Ok(None) };
                    (low, high) = (low.max(l.unwrap_or(low)), high.min(h.unwrap_or(high)));
                }
                _ => return Ok(None),
            }
            let Some(input) = node.input.first() else { return Ok(None) };
            name = input;
        }
        Ok(None)
    }

    /// A bound of an integer `Clip`: absent, or one constant integer; the outer `None` where it is neither.
    fn bound(&self, node: &Node, slot: usize) -> Result<Option<Option<i64>>> {
        match node.input.get(slot).filter(|n| !n.is_empty()) {
            None => Ok(Some(None)),
            Some(name) => Ok(self.constants.ints(name)?.and_then(|v| v.first().copied()).map(Some)),
        }
    }

    fn fake(&mut self, source: &str, output: &str, op: &FakeQuantize) -> Node {
        let numbers = [op.scale, op.low, op.high, op.offset, op.out_scale];
        let key = (source.to_owned(), numbers.map(f32::to_bits));
        let mut node = Node { output: vec![output.to_owned()], ..Default::default() };
        if let Some(earlier) = self.done.get(&key) {
            (node.op_type, node.input) = ("Identity".to_owned(), vec![earlier.clone()]);
            return node;
        }
        (node.op_type, node.input) = (FAKE_QUANTIZE.to_owned(), vec![source.to_owned()]);
        for (name, number) in ["scale", "low", "high", "offset", "out_scale"].into_iter().zip(numbers) {
            set_attr(&mut node, name, number);
        }
        self.done.insert(key, output.to_owned());
        node
    }
}

/// Scales, zero points and type of a QuantizeLinear or DequantizeLinear.
struct Parameters {
    scale: Vec<f32>,
    scale_dims: Vec<usize>,
    zero: Vec<i64>,
    data_type: i32,
    axis: i64,
    block: usize,
}

impl Parameters {
    /// `None` where scale or zero point is not a constant, or the scale is not float32.
    fn of(node: &Node, constants: &Constants) -> Result<Option<Parameters>> {
        let Some((name, stored)) = node.input.get(1).and_then(|n| Some((n, constants.get(n)?))) else {
            return Ok(None);
        };
        let Some(scale) = constants.floats(name)? else { return Ok(None) };
        let zero_name = node.input.get(2).filter(|n| !n.is_empty());
        let (zero, data_type) = match zero_name.map(|n| Ok::<_, Error>((constants.get(n), constants.ints(n)?))) {
            None => (vec![0; scale.len()], attr_i(node, "output_dtype").unwrap_or(DataType::UINT8 as i64) as i32),
            Some(found) => match found? {
                (Some(tensor), Some(zero)) => (zero, tensor.data_type),
                _ => return Ok(None),
            },
        };
        if zero.len() != scale.len() {
            return Err(Error::new(Code::InvalidGraph, "scale and zero point differ in size"));
        }
        let axis = attr_i(node, "axis").unwrap_or(1);
        let block = usize::try_from(attr_i(node, "block_size").unwrap_or(0)).unwrap_or(0);
        Ok(Some(Parameters { scale, scale_dims: shape_of(stored)?, zero, data_type, axis, block }))
    }

    fn granularity(&self, dims: &[usize]) -> Result<Granularity> {
        Granularity::new(dims, &self.scale_dims, self.axis, self.block)
    }

    fn dequantize(&self, dims: &[usize], values: &[i64]) -> Result<Vec<f32>> {
        let granularity = self.granularity(dims)?;
        let mut floats = vec![0.0; values.len()];
        granularity.each(values.len(), |at, i| floats[i] = (values[i] - self.zero[at]) as f32 * self.scale[at]);
        Ok(floats)
    }

    /// Least and greatest integer that leaves the quantizer and passes `clip`.
    fn range(&self, clip: (i64, i64)) -> Result<(i64, i64)> {
        let (low, high) = match data_type(self.data_type) {
            Some(DataType::INT8) => (-128, 127),
            Some(DataType::UINT8) => (0, 255),
            Some(DataType::INT16) => (-32768, 32767),
            Some(DataType::UINT16) => (0, 65535),
            Some(DataType::INT4) => (-8, 7),
            Some(DataType::UINT4) => (0, 15),
            _ if self.data_type == INT2 => (-2, 1),
            _ if self.data_type == UINT2 => (0, 3),
            _ => {
                let what = format!("quantization to data type {} is not supported", self.data_type);
                return Err(Error::new(Code::Engine, what));
            }
        };
        Ok((low.max(clip.0), high.min(clip.1)))
    }

    /// The operator for this quantizer's scale `at` and the dequantizer's scale `out`.
    fn fake(&self, to: &Parameters, at: usize, out: usize, (low, high): (i64, i64)) -> FakeQuantize {
        let zero = self.zero[at];
        FakeQuantize {
            scale: self.scale[at],
            low: (low - zero) as f32,
            high: (high - zero) as f32,
            offset: (zero - to.zero[out]) as f32,
            out_scale: to.scale[out],
        }
    }
}

/// Quantizes and dequantizes a float constant.
fn round_trip(from: &Parameters, to: &Parameters, range: (i64, i64), dims: &[usize], values: &mut [f32]) -> Result<()> {
    if from.granularity(dims)? != to.granularity(dims)? {
        return Err(Error::new(Code::Engine, "a constant is quantized and dequantized with different granularities"));
    }
    from.granularity(dims)?.each(values.len(), |at, i| from.fake(to, at, at, range).apply(&mut values[i..=i]));
    Ok(())
}

/// ONNX Runtime's own domain means the same by these names, and had the narrow types first.
fn is(node: &Node, op_type: &str) -> bool {
    node.op_type == op_type && matches!(node.domain.as_str(), "" | "ai.onnx" | "com.microsoft")
}
