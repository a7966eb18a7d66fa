//! Weight layers: Conv, ConvTranspose, Gemm and MatMul nodes that read a constant weight.

use crate::graph::{Graph, attr_f, attr_i, attr_ints};
use crate::onnx::{DataType, NodeProto as Node};
use crate::quant::Granularity;
use crate::stats::Patches;
use crate::target::Target;

/// A node that multiplies an activation by a constant weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Position of the node.
    pub node: usize,
    /// Name of the node.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Name of the weight's initializer (input 1).
    pub weight: String,
    /// Shape of the weight.
    pub dims: Vec<usize>,
    /// Axis of the weight that output channels run along.
    pub axis: usize,
    /// The activation it reads (input 0).
    pub input: String,
    /// Name of the constant bias, if there is one.
    pub bias: Option<String>,
    /// Whether the scales of a per-channel weight are also those of the output channels; false for
    /// grouped ConvTranspose, whose axis runs inside a group.
    pub channelwise: bool,
}

impl Layer {
    /// Elements of the weight.
    pub fn params(&self) -> usize {
        self.dims.iter().product()
    }

    /// Weights of a block where the target stores this layer's weight in blocks at a width.
    pub fn block_size(&self, target: &Target, bits: u32) -> Option<usize> {
        target.block_size(&self.op, self.fan_in(), bits)
    }

    /// Which of its weights share a scale at a width.
    pub fn granularity(&self, target: &Target, bits: u32) -> Granularity {
        target.granularity(&self.op, self.fan_in(), bits)
    }

    /// The widths that its weight may have beside an activation width, ascending.
    pub fn widths(&self, target: &Target, activation_bits: u32) -> Vec<u32> {
        target.weight_widths(&self.op, self.fan_in(), activation_bits)
    }

    /// Whether a constant bias can be added to the layer or is there already.
    pub fn takes_bias(&self, graph: &Graph) -> bool {
        let input = graph.nodes()[self.node].input.get(2).filter(|n| !n.is_empty());
        let node = &graph.nodes()[self.node];
        let transposed = attr_i(node, "transA").unwrap_or(0) != 0;
        let plain =
            !transposed && attr_f(node, "alpha").unwrap_or(1.0) == 1.0 && attr_f(node, "beta").unwrap_or(1.0) == 1.0;
        self.op != "MatMul" && self.channelwise && plain && (input.is_none() || self.bias.is_some())
    }

    /// Multiply-accumulates for one input of shape `input`; 0 where the shape says nothing.
    pub fn macs(&self, graph: &Graph, input: &[usize]) -> u64 {
        let node = &graph.nodes()[self.node];
        let positions = match self.op.as_str() {
            "Conv" => conv_positions(node, &self.dims, input),
            "ConvTranspose" => input.iter().skip(2).product(),
            "Gemm" if attr_i(node, "transA").unwrap_or(0) == 1 => input.get(1).copied().unwrap_or(1),
            _ => input[..input.len().saturating_sub(1)].iter().product(),
        };
        self.params() as u64 * positions as u64
    }

    /// How the layer cuts its input into rows, where its Gram matrix is defined.
    pub fn patches(&self, graph: &Graph) -> Option<Patches> {
        let node = &graph.nodes()[self.node];
        match self.op.as_str() {
            "Conv" => conv_patches(node, &self.dims),
            "MatMul" => Some(Patches::Last),
            // A product that is scaled is not the weight's alone.
            "Gemm" if attr_i(node, "transA").unwrap_or(0) == 0 && attr_f(node, "alpha").unwrap_or(1.0) == 1.0 => {
                Some(Patches::Last)
            }
            _ => None,
        }
    }

    /// The weight as rows of output channels by columns of fan-in, from its elements in tensor order.
    pub fn rows<T: Copy>(&self, weight: &[T]) -> (usize, Vec<T>) {
        let outer: usize = self.dims[..self.axis].iter().product();
        let (extent, inner) = (self.dims[self.axis], self.dims[self.axis + 1..].iter().product::<usize>());
        if outer == 1 {
            return (extent, weight.to_vec());
        }
        let mut rows = Vec::with_capacity(weight.len());
        for c in 0..extent {
            for o in 0..outer {
                rows.extend_from_slice(&weight[(o * extent + c) * inner..][..inner]);
            }
        }
        (extent, rows)
    }
}

/// Every weight layer of the main graph, in file order.
pub fn weight_layers(graph: &Graph) -> Vec<Layer> {
    graph.nodes().iter().enumerate().filter_map(|(i, node)| layer(graph, i, node)).collect()
}

fn layer(graph: &Graph, index: usize, node: &Node) -> Option<Layer> {
    if !node.domain.is_empty() && node.domain != "ai.onnx" {
        return None;
    }
    let weight = node.input.get(1).and_then(|n| graph.constant(n))?;
    let dims: Vec<usize> = weight.dims.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>().ok()?;
    let groups = attr_i(node, "group").unwrap_or(1);
    let axis = match (node.op_type.as_str(), dims.len()) {
        ("Conv", 3..) => 0,
        ("ConvTranspose", 3..) => 1,
        ("Gemm", 2) => usize::from(attr_i(node, "transB").unwrap_or(0) == 0),
        ("MatMul", 2) => 1,
        _ => return None,
    };
    if weight.data_type != DataType::FLOAT as i32 || graph.constant(&node.input[0]).is_some() || dims.contains(&0) {
        return None;
    }
    let bias = node.input.get(2).filter(|n| graph.constant(n).is_some());
    Some(Layer {
        node: index,
        name: node.name.clone(),
        op: node.op_type.clone(),
        weight: weight.name.clone(),
        dims,
        axis,
        input: node.input[0].clone(),
        bias: bias.cloned(),
        channelwise: node.op_type != "ConvTranspose" || groups == 1,
    })
}

/// Height and width of an attribute; 1-D convolutions have height 1.
fn two(values: Option<&[i64]>, rank: usize) -> Option<[usize; 2]> {
    match (values, rank) {
        (None, 1 | 2) => Some([1, 1]),
        (Some([w]), 1) => Some([1, usize::try_from(*w).ok()?]),
        (Some([h, w]), 2) => Some([usize::try_from(*h).ok()?, usize::try_from(*w).ok()?]),
        _ => None,
    }
}

fn conv_patches(node: &Node, dims: &[usize]) -> Option<Patches> {
    let rank = dims.len() - 2;
    let kernel = match dims[2..] {
        [w] => [1, w],
        [h, w] => [h, w],
        _ => return None,
    };
    let auto = crate::graph::attr_s(node, "auto_pad").unwrap_or("NOTSET");
    let pads = match (attr_ints(node, "pads"), rank) {
        _ if auto == "SAME_UPPER" || auto == "SAME_LOWER" => return None,
        (None, _) => [0; 4],
        (Some([l, r]), 1) => [0, usize::try_from(*l).ok()?, 0, usize::try_from(*r).ok()?],
        (Some(&[t, l, b, r]), 2) => {
            [usize::try_from(t).ok()?, usize::try_from(l).ok()?, usize::try_from(b).ok()?, usize::try_from(r).ok()?]
        }
        _ => return None,
    };
    let groups = usize::try_from(attr_i(node, "group").unwrap_or(1)).ok().filter(|g| *g > 0)?;
    let stride = two(attr_ints(node, "strides"), rank)?;
    let dilation = two(attr_ints(node, "dilations"), rank)?;
    let positive = stride.iter().chain(&dilation).chain(&kernel).all(|v| *v > 0);
    positive.then_some(Patches::Conv { kernel, stride, dilation, pads, groups })
}

fn conv_positions(node: &Node, dims: &[usize], input: &[usize]) -> usize {
    let spatial = input.get(2..).unwrap_or(&[]);
    let at = |name: &str, i: usize, default: i64| {
        attr_ints(node, name).and_then(|v| v.get(i)).copied().unwrap_or(default).max(0) as usize
    };
    let auto = crate::graph::attr_s(node, "auto_pad").unwrap_or("NOTSET");
    let out = |(i, extent): (usize, &usize)| {
        let stride = at("strides", i, 1).max(1);
        if auto.starts_with("SAME") {
            return extent.div_ceil(stride);
        }
        let reach = at("dilations", i, 1) * (dims.get(2 + i).copied().unwrap_or(1).saturating_sub(1)) + 1;
        let padded = extent + at("pads", i, 0) + at("pads", i + spatial.len(), 0);
        padded.checked_sub(reach).map_or(0, |r| r / stride + 1)
    };
    input.first().copied().unwrap_or(1) * spatial.iter().enumerate().map(out).product::<usize>()
}
