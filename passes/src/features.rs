//! Equalization of features, the last axis of what transformers compute: which constants make a value, and which layers
//! read it.
//!
//! A normalization scales each feature for good, and so does a layer; what nothing but linear layers read can have the
//! factors of its features moved into them. Xiao, Lin, Seznec, Wu, Demouth, Han 2023, "SmoothQuant: Accurate and
//! Efficient Post-Training Quantization for Large Language Models", section 4; here with powers of two.

use crate::facts::{Names, constant_floats, constant_ints, input, is_own, is_standard, label, output, sole_reader};
use tapq::Result;
use tapq::fused::DOMAIN;
use tapq::graph::{Edit, Graph, Patch, attr_i};
use tapq::onnx::{NodeProto as Node, Tensor, from_floats};

/// A value whose features can be divided where it is made and multiplied where it is read.
pub(crate) struct Features<'g> {
    /// The value.
    pub(crate) value: &'g str,
    /// Position of the node whose constants divide.
    pub(crate) from: usize,
    /// Positions of the layers that read the value: all of its readers.
    pub(crate) to: Vec<usize>,
    /// How many features there are.
    pub(crate) count: usize,
    /// Constants that are divided, feature by feature.
    divided: Vec<Constant<'g>>,
    /// Weights of the readers, in their order.
    weights: Vec<Constant<'g>>,
}

/// A constant of a node.
#[derive(Clone)]
struct Constant<'g> {
    node: usize,
    slot: usize,
    tensor: &'g Tensor,
    /// Whether features are the rows of the matrix, not its last axis.
    rows: bool,
}

/// Every such value of the main graph, in file order.
pub(crate) fn features(graph: &Graph) -> Vec<Features<'_>> {
    let values = graph.nodes().iter().filter_map(|node| output(node, 0));
    values.filter_map(|value| features_of(graph, value)).collect()
}

/// Features of one value; `None` where they cannot be scaled.
pub(crate) fn features_of<'g>(graph: &'g Graph, value: &'g str) -> Option<Features<'g>> {
    let index = graph.index();
    let to = index.readers(value).to_vec();
    if to.is_empty() || index.is_output(value) {
        return None;
    }
    let weights: Vec<Constant> = to.iter().map(|at| read_weight(graph, *at, value)).collect::<Option<_>>()?;
    let count = weights[0].extent();
    let fits = weights.iter().all(|w| w.extent() == count && is_own(graph, &graph.nodes()[w.node], &w.tensor.name));
    let mut source = Source { graph, count, passed: 0, divided: vec![] };
    let from = Some(()).filter(|()| fits).and_then(|()| source.walk(value))?;
    Some(Features { value, from, to, count, divided: source.divided, weights })
}

impl Constant<'_> {
    /// Extent of the axis of features.
    fn extent(&self) -> usize {
        let dims = &self.tensor.dims;
        let at = if self.rows { 0 } else { dims.len().saturating_sub(1) };
        dims.get(at).map_or(1, |d| *d as usize)
    }

    /// Elements that lie between one of a feature and one of the next.
    fn stride(&self) -> usize {
        if self.rows { self.tensor.dims[1..].iter().product::<i64>() as usize } else { 1 }
    }

    /// The feature of an element.
    fn feature(&self, at: usize) -> usize {
        at / self.stride().max(1) % self.extent().max(1)
    }

    /// The other index of an element of a matrix.
    fn other(&self, at: usize) -> usize {
        if self.rows { at % self.stride().max(1) } else { at / self.extent().max(1) }
    }
}

/// The weights by which a layer multiplies the features of `value`, and nothing else of it.
fn read_weight<'g>(graph: &'g Graph, at: usize, value: &str) -> Option<Constant<'g>> {
    let node = &graph.nodes()[at];
    let once = node.input.iter().filter(|name| *name == value).count() == 1;
    if !once || !is_standard(node) || input(node, 0) != Some(value) {
        return None;
    }
    let rows = match node.op_type.as_str() {
        "MatMul" => true,
        "Gemm" if attr_i(node, "transA").unwrap_or(0) == 0 => attr_i(node, "transB").unwrap_or(0) == 0,
        _ => return None,
    };
    matrix(graph, at, rows)
}

/// The constant matrix in the second slot of a node.
fn matrix(graph: &Graph, node: usize, rows: bool) -> Option<Constant<'_>> {
    let constant = constant(graph, node, 1)?;
    (constant.tensor.dims.len() == 2 && constant.tensor.dims.iter().all(|d| *d > 0))
        .then_some(Constant { rows, ..constant })
}

fn constant(graph: &Graph, node: usize, slot: usize) -> Option<Constant<'_>> {
    let tensor = graph.constant(input(&graph.nodes()[node], slot)?)?;
    let is_float = tensor.data_type == tapq::onnx::DataType::FLOAT as i32;
    is_float.then_some(Constant { node, slot, tensor, rows: false })
}

/// Nodes between a value and what scales it.
const MOST_BETWEEN: usize = 16;

/// The way back from a value to the constants that give its features their scale.
struct Source<'g> {
    graph: &'g Graph,
    count: usize,
    /// Nodes that were passed.
    passed: usize,
    divided: Vec<Constant<'g>>,
}

impl<'g> Source<'g> {
    /// Goes back to the node whose constants divide everything; what is in between commutes, or has constants of its own.
    fn walk(&mut self, mut value: &'g str) -> Option<usize> {
        loop {
            let at = self.graph.index().producer(value).filter(|_| self.passed < MOST_BETWEEN)?;
            self.passed += 1;
            let node = &self.graph.nodes()[at];
            if output(node, 0) != Some(value) || !(is_standard(node) || node.domain == DOMAIN) {
                return None;
            }
            value = match (node.op_type.as_str(), is_standard(node)) {
                ("LayerNormalization", true) => return self.normalization(at, 1, Some(2)),
                ("RMSNormalization" | "SimplifiedLayerNormalization", true) => {
                    return self.normalization(at, 1, None);
                }
                ("SkipLayerNormalization", false) => return self.normalization(at, 2, Some(3)),
                ("SkipSimplifiedLayerNormalization", false) => return self.normalization(at, 2, None),
                ("MatMul", true) => return self.layer(matrix(self.graph, at, false)?),
                ("Gemm", true) => {
                    let transposed = attr_i(node, "transB").unwrap_or(0) != 0;
                    if input(node, 2).is_some() {
                        self.vector(constant(self.graph, at, 2)?)?;
                    }
                    return self.layer(matrix(self.graph, at, transposed)?);
                }
                ("Relu" | "LeakyRelu" | "Identity", true) => self.alone(input(node, 0)?)?,
                // What has as many features in front has the same ones.
                ("Reshape", true) if self.keeps_features(node) => self.alone(input(node, 0)?)?,
                ("Add", true) => {
                    let slot = self.constant_slot(at)?;
                    self.vector(constant(self.graph, at, slot)?)?;
                    self.alone(input(node, 1 - slot)?)?
                }
                ("Mul", true) => match self.constant_slot(at).map(|slot| (slot, constant(self.graph, at, slot))) {
                    Some((slot, Some(scalar))) if scalar.tensor.dims.iter().all(|d| *d == 1) => {
                        self.alone(input(node, 1 - slot)?)?
                    }
                    Some((_, scale)) => {
                        self.vector(scale?)?;
                        return Some(at);
                    }
                    None => return self.factor(node),
                },
                _ => return None,
            };
        }
    }

    /// Whether the last extent of a Reshape is said to be the number of features.
    fn keeps_features(&self, node: &Node) -> bool {
        let shape = input(node, 1).and_then(|name| constant_ints(self.graph, name).ok()?);
        shape.is_some_and(|shape| shape.last() == Some(&(self.count as i64)))
    }

    /// Which of two inputs is a constant.
    fn constant_slot(&self, at: usize) -> Option<usize> {
        let node = &self.graph.nodes()[at];
        (0..2).find(|slot| input(node, *slot).is_some_and(|name| self.graph.constant(name).is_some()))
    }

    /// A value that the node in hand alone reads.
    fn alone(&self, value: &'g str) -> Option<&'g str> {
        sole_reader(self.graph, value).map(|_| value)
    }

    /// A constant of as many elements as there are features.
    fn vector(&mut self, constant: Constant<'g>) -> Option<()> {
        let elements: i64 = constant.tensor.dims.iter().product();
        let fits = constant.extent() == self.count && elements == self.count as i64;
        fits.then(|| self.divided.push(constant))
    }

    /// A normalization over the last axis, with its scale and, where it has one, its bias in these slots.
    fn normalization(&mut self, at: usize, scale: usize, bias: Option<usize>) -> Option<usize> {
        let node = &self.graph.nodes()[at];
        let over_last = attr_i(node, "axis").unwrap_or(-1) == -1;
        self.vector(constant(self.graph, at, scale).filter(|_| over_last)?)?;
        if let Some(slot) = bias.filter(|slot| input(node, *slot).is_some()) {
            self.vector(constant(self.graph, at, slot)?)?;
        }
        Some(at)
    }

    fn layer(&mut self, weight: Constant<'g>) -> Option<usize> {
        let at = weight.node;
        let fits = weight.extent() == self.count;
        fits.then(|| self.divided.push(weight)).map(|()| at)
    }

    /// One of two computed factors: what scales it scales the product.
    fn factor(&mut self, node: &'g Node) -> Option<usize> {
        let before = self.divided.len();
        for slot in [1, 0] {
            let Some(value) = input(node, slot).and_then(|value| self.alone(value)) else { continue };
            // Of a gate and what it lets through, the gate is no product.
            if let Some(from) = self.walk(value) {
                return Some(from);
            }
            self.divided.truncate(before);
        }
        None
    }
}

/// The weights by which a layer multiplies the channels of what it reads.
pub(crate) struct Reader<'a> {
    /// The weights.
    pub(crate) values: Vec<f32>,
    /// The input channel that a weight multiplies, by its position.
    pub(crate) input: Box<dyn Fn(usize) -> usize + 'a>,
    /// The output channel that it contributes to.
    pub(crate) output: Box<dyn Fn(usize) -> usize + 'a>,
    /// How many output channels there are.
    pub(crate) outputs: usize,
    /// How many weights join an input channel with an output channel, where any do.
    pub(crate) taps: usize,
}

impl Features<'_> {
    /// The layers that read the value.
    pub(crate) fn readers(&self, graph: &Graph) -> Result<Vec<Reader<'_>>> {
        let mut all = vec![];
        for weight in &self.weights {
            let values = constant_floats(graph, &weight.tensor.name)?.unwrap_or_default();
            let outputs = values.len() / self.count.max(1);
            let (input, output) = (|at| weight.feature(at), |at| weight.other(at));
            all.push(Reader { values, input: Box::new(input), output: Box::new(output), outputs, taps: 1 });
        }
        Ok(all)
    }

    /// The edits that divide the features by `2^exponents` and multiply by it what reads them; `None` where that leaves the
    /// range of float32.
    pub(crate) fn rescale(&self, graph: &Graph, exponents: &[i8]) -> Result<Option<Patch>> {
        let (mut patch, mut names) = (Patch::new(), Names::of(graph));
        let signed = self.divided.iter().map(|c| (c, -1)).chain(self.weights.iter().map(|c| (c, 1)));
        for (constant, sign) in signed {
            let tensor = constant.tensor;
            let Some(mut values) = constant_floats(graph, &tensor.name)? else { return Ok(None) };
            for (at, value) in values.iter_mut().enumerate() {
                *value = (f64::from(*value) * 2f64.powi(sign * i32::from(exponents[constant.feature(at)]))) as f32;
            }
            if values.iter().any(|v| !v.is_finite()) {
                return Ok(None);
            }
            let own = is_own(graph, &graph.nodes()[constant.node], &tensor.name);
            let name = if own { tensor.name.clone() } else { names.fresh(&format!("{}_equalized", tensor.name)) };
            let dims: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
            patch.push(Edit::SetInitializer(from_floats(&name, &dims, &values)));
            if !own {
                patch.push(Edit::SetInput(constant.node, constant.slot, name));
            }
        }
        let nodes = graph.nodes();
        let readers: Vec<String> = self.to.iter().map(|at| label(&nodes[*at])).collect();
        patch.because(format!("{} and {} share factors of features", label(&nodes[self.from]), readers.join(", ")));
        Ok(Some(patch))
    }
}
