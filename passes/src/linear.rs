//! Layers that are linear in their input, with constant weights: what scales and shifts fold into.

use crate::facts::{Names, constant_floats, input, is_own, is_standard, output};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_f, attr_i, set_attr};
use tapq::onnx::{NodeProto as Node, Tensor, from_floats};

/// A Conv, ConvTranspose or Gemm whose weights and bias are float32 constants.
pub(crate) struct Linear<'g> {
    node: &'g Node,
    position: usize,
    kind: Kind,
    weight: &'g Tensor,
    bias: Bias,
    /// Whether nothing else reads the weights, so that they keep their name.
    own_weight: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Weights `[M, C/g, …]`.
    Conv,
    /// Weights `[C, M/g, …]`.
    ConvTranspose { groups: usize },
    /// Weights `[N, K]` where transposed, else `[K, N]`.
    Gemm { transposed: bool, beta: f32 },
}

struct Bias {
    values: Vec<f32>,
    /// The name it keeps: that of a bias that nothing else reads.
    name: Option<String>,
}

impl<'g> Linear<'g> {
    /// Reads the node at `position`; `None` if it is no such layer.
    pub(crate) fn read(graph: &'g Graph, position: usize) -> Result<Option<Self>> {
        let node = &graph.nodes()[position];
        let (Some(kind), Some(name)) = (kind(node), input(node, 1)) else { return Ok(None) };
        let Some(weight) = graph.constant(name) else { return Ok(None) };
        let float = weight.data_type == tapq::onnx::DataType::FLOAT as i32;
        if !float || weight.dims.iter().any(|d| *d < 1) || weight.dims.len() < kind.least_rank() {
            return Ok(None);
        }
        if matches!(kind, Kind::ConvTranspose { groups } if !(weight.dims[0] as usize).is_multiple_of(groups)) {
            return Ok(None);
        }
        let channels = kind.channels(&weight.dims);
        let Some(bias) = bias(graph, node, kind, channels)? else { return Ok(None) };
        Ok(Some(Linear { node, position, kind, weight, bias, own_weight: is_own(graph, node, name) }))
    }

    /// How many channels come out, along axis 1.
    pub(crate) fn channels(&self) -> usize {
        self.kind.channels(&self.weight.dims)
    }

    /// Rank of the output.
    pub(crate) fn rank(&self) -> usize {
        self.weight.dims.len()
    }

    /// Pushes the edits after which the layer makes `scale[c] * y[c] + shift[c]` under the name `result`.
    ///
    /// Pushes nothing and returns false where that leaves the range of float32.
    pub(crate) fn rescale(
        &self,
        graph: &Graph,
        (scale, shift): (&[f64], &[f64]),
        result: &str,
        names: &mut Names,
        patch: &mut Patch,
    ) -> Result<bool> {
        let Some(weights) = constant_floats(graph, &self.weight.name)? else { return Ok(false) };
        let scaled = |(i, w): (usize, &f32)| (f64::from(*w) * scale[self.kind.channel(&self.weight.dims, i)]) as f32;
        let weights: Vec<f32> = weights.iter().enumerate().map(scaled).collect();
        let shifted = |((b, s), t): ((&f32, &f64), &f64)| (f64::from(*b) * s + t) as f32;
        let bias: Vec<f32> = self.bias.values.iter().zip(scale).zip(shift).map(shifted).collect();
        if weights.iter().chain(&bias).any(|v| !v.is_finite()) {
            return Ok(false);
        }
        self.push(&weights, &bias, result, names, patch);
        Ok(true)
    }

    /// How many channels go in, along axis 1; `None` for a ConvTranspose.
    pub(crate) fn input_channels(&self) -> Option<usize> {
        match self.kind {
            Kind::Conv => {
                let groups = usize::try_from(attr_i(self.node, "group").unwrap_or(1)).ok().filter(|g| *g > 0)?;
                let fits = (self.weight.dims[0] as usize).is_multiple_of(groups);
                fits.then_some(self.weight.dims[1] as usize * groups)
            }
            Kind::Gemm { transposed, .. } if attr_i(self.node, "transA").unwrap_or(0) == 0 => {
                Some(self.weight.dims[usize::from(transposed)] as usize)
            }
            _ => None,
        }
    }

    /// The input channel that each weight multiplies; empty for a ConvTranspose.
    pub(crate) fn input_channel_of_weights(&self) -> Vec<usize> {
        let Some(channels) = self.input_channels() else { return vec![] };
        let (rows, row) = (self.weight.dims[0] as usize, self.weight.dims[1..].iter().product::<i64>() as usize);
        let own = self.weight.dims[1] as usize;
        let of = |i: usize| match self.kind {
            Kind::Gemm { transposed: true, .. } => i % row,
            Kind::Gemm { .. } => i / row,
            _ => (i / row) / (rows * own / channels).max(1) * own + (i % row) / (row / own).max(1),
        };
        (0..rows * row).map(of).collect()
    }

    /// The output channel that each weight contributes to.
    pub(crate) fn channel_of_weights(&self) -> Vec<usize> {
        (0..self.weight.dims.iter().product::<i64>() as usize)
            .map(|i| self.kind.channel(&self.weight.dims, i))
            .collect()
    }

    /// How many weights join an input channel with an output channel.
    pub(crate) fn taps(&self) -> usize {
        self.weight.dims[2..].iter().product::<i64>() as usize
    }

    /// The weights.
    pub(crate) fn weights(&self, graph: &Graph) -> Result<Option<Vec<f32>>> {
        constant_floats(graph, &self.weight.name)
    }

    /// Pushes the edits after which the layer multiplies what it reads of input channel `c` by `scale[c]`.
    ///
    /// Pushes nothing and returns false where that leaves the range of float32.
    pub(crate) fn rescale_input(
        &self,
        graph: &Graph,
        scale: &[f64],
        names: &mut Names,
        patch: &mut Patch,
    ) -> Result<bool> {
        let Some(mut weights) = self.weights(graph)? else { return Ok(false) };
        for (w, channel) in weights.iter_mut().zip(self.input_channel_of_weights()) {
            *w = (f64::from(*w) * scale.get(channel).copied().unwrap_or(1.0)) as f32;
        }
        if weights.iter().any(|v| !v.is_finite()) {
            return Ok(false);
        }
        let name = self.weight_name(names);
        let dims: Vec<usize> = self.weight.dims.iter().map(|d| *d as usize).collect();
        patch.push(Edit::SetInitializer(from_floats(&name, &dims, &weights)));
        let mut node = self.node.clone();
        node.input[1] = name;
        patch.push(Edit::Replace(self.position, node));
        Ok(true)
    }

    /// The name of changed weights: their own, if nothing else reads them.
    fn weight_name(&self, names: &mut Names) -> String {
        match self.own_weight {
            true => self.weight.name.clone(),
            false => names.fresh(&format!("{}_folded", self.weight.name)),
        }
    }

    fn push(&self, weights: &[f32], bias: &[f32], result: &str, names: &mut Names, patch: &mut Patch) {
        let weight_name = self.weight_name(names);
        let base = if self.node.name.is_empty() { result } else { &self.node.name };
        let bias_name = self.bias.name.clone().unwrap_or_else(|| names.fresh(&format!("{base}_bias")));
        let dims: Vec<usize> = self.weight.dims.iter().map(|d| *d as usize).collect();
        patch.push(Edit::SetInitializer(from_floats(&weight_name, &dims, weights)));
        patch.push(Edit::SetInitializer(from_floats(&bias_name, &[bias.len()], bias)));
        let mut node = self.node.clone();
        node.input.resize(3, String::new());
        (node.input[1], node.input[2]) = (weight_name, bias_name);
        node.output = vec![result.to_owned()];
        if matches!(self.kind, Kind::Gemm { beta, .. } if beta != 1.0) {
            set_attr(&mut node, "beta", 1.0);
        }
        patch.push(Edit::Replace(self.position, node));
    }
}

impl Kind {
    fn least_rank(self) -> usize {
        if matches!(self, Kind::Gemm { .. }) { 2 } else { 3 }
    }

    fn channels(self, dims: &[i64]) -> usize {
        match self {
            Kind::Conv | Kind::Gemm { transposed: true, .. } => dims[0] as usize,
            Kind::ConvTranspose { groups } => dims[1] as usize * groups,
            Kind::Gemm { transposed: false, .. } => dims[1] as usize,
        }
    }

    /// The output channel that element `i` of the weights contributes to.
    fn channel(self, dims: &[i64], i: usize) -> usize {
        let rows = dims[0] as usize;
        let row = dims[1..].iter().product::<i64>() as usize;
        match self {
            Kind::Conv | Kind::Gemm { transposed: true, .. } => i / row,
            Kind::Gemm { transposed: false, .. } => i % row,
            Kind::ConvTranspose { groups } => {
                let (columns, column) = (dims[1] as usize, row / dims[1] as usize);
                (i / row) / (rows / groups) * columns + (i % row) / column
            }
        }
    }
}

fn kind(node: &Node) -> Option<Kind> {
    if !is_standard(node) || node.output.len() != 1 || output(node, 0).is_none() {
        return None;
    }
    match node.op_type.as_str() {
        "Conv" => Some(Kind::Conv),
        "ConvTranspose" => {
            let groups = usize::try_from(attr_i(node, "group").unwrap_or(1)).ok().filter(|g| *g > 0)?;
            Some(Kind::ConvTranspose { groups })
        }
        "Gemm" => Some(Kind::Gemm {
            transposed: attr_i(node, "transB").unwrap_or(0) != 0,
            beta: attr_f(node, "beta").unwrap_or(1.0),
        }),
        _ => None,
    }
}

/// The bias as it is added, one value a channel (`beta` of a Gemm multiplied in); `None` if it is not such a constant.
fn bias(graph: &Graph, node: &Node, kind: Kind, channels: usize) -> Result<Option<Bias>> {
    let Some(name) = input(node, 2) else { return Ok(Some(Bias { values: vec![0.0; channels], name: None })) };
    let (Some(values), Some(tensor)) = (constant_floats(graph, name)?, graph.constant(name)) else { return Ok(None) };
    let factor = if let Kind::Gemm { beta, .. } = kind { beta } else { 1.0 };
    let per_channel = tensor.dims.last() == Some(&(channels as i64)) && values.len() == channels;
    let values: Vec<f32> = match per_channel {
        true => values.iter().map(|v| v * factor).collect(),
        false if values.len() == 1 && matches!(kind, Kind::Gemm { .. }) => vec![values[0] * factor; channels],
        false => return Ok(None),
    };
    Ok(Some(Bias { values, name: is_own(graph, node, name).then(|| name.to_owned()) }))
}
