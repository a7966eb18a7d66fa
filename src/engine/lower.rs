//! From a [`Graph`] to what tract is given: needed nodes only, weights as tensors, QDQ as fake quantization, taps placed.
//!
//! Stale `value_info` and declared output shapes are left behind; input shapes come from the samples.

use super::compile::MOST_ELEMENTS;
use super::constants::{Constant, Constants};
use super::failure::node_place;
use super::{Options, Place, batch_norm, depthwise, dialect, ops, quantized};
use crate::array::Array;
use crate::fused;
use crate::graph::{Graph, half_to_float, is_half, set_attr, subgraphs};
use crate::onnx::{
    DataType, Dimension, GraphProto, NodeProto as Node, OperatorSetIdProto, Tensor, ValueInfoProto, dimension,
};
use crate::samples::Sample;
use crate::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A graph in the form that [`super::compile`] feeds to tract.
pub(super) struct Lowered {
    /// Nodes called `i|name`, where `i` is a position in `places`.
    pub(super) nodes: Vec<Node>,
    /// What messages call each node of `nodes`.
    pub(super) places: Vec<String>,
    /// Weights and other constants by value name.
    pub(super) constants: BTreeMap<String, Constant>,
    /// Constants of types that only tract decodes.
    pub(super) foreign: Vec<Tensor>,
    /// Inputs that samples supply.
    pub(super) inputs: Vec<Input>,
    /// Value names of the outputs, in the order asked.
    pub(super) outputs: Vec<String>,
    /// Further outputs that nobody asked for.
    pub(super) dead_ends: Vec<String>,
    /// Names of the taps, by tap index.
    pub(super) taps: Vec<String>,
    /// The taps in the order of the graph's nodes.
    pub(super) tap_order: Vec<usize>,
    pub(super) imports: Vec<OperatorSetIdProto>,
    pub(super) ir_version: i64,
}

/// An input of the graph that samples supply.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) name: String,
    /// What the value is called in the lowered graph.
    pub(super) wire: String,
    /// `TensorProto.DataType`.
    pub(super) data_type: i32,
    /// Whether anything that was asked for depends on it.
    pub(super) needed: bool,
    /// `None` for an axis of free extent; `None` altogether where the file declares no shape.
    dims: Option<Vec<Option<usize>>>,
}

impl Input {
    /// The shape, where it does not depend on the sample.
    pub(super) fn static_shape(&self) -> Option<Vec<usize>> {
        self.dims.as_ref()?.iter().copied().collect()
    }

    /// The array that `sample` holds for this input.
    pub(super) fn pick<'a>(&self, sample: &'a Sample) -> Result<&'a Array> {
        let Some((_, array)) = sample.inputs.iter().find(|(name, _)| *name == self.name) else {
            let given: Vec<&str> = sample.inputs.iter().map(|(n, _)| n.as_str()).collect();
            return Err(Error::new(Code::Samples, format!("no array for the model's input '{}'", self.name))
                .help(format!("the sample holds: {}", given.join(", "))));
        };
        let fits = |dims: &[Option<usize>]| {
            dims.len() == array.dims.len() && dims.iter().zip(&array.dims).all(|(d, a)| d.is_none_or(|d| d == *a))
        };
        match &self.dims {
            Some(dims) if !fits(dims) => Err(self.misfit(dims, &array.dims)),
            _ => Ok(array),
        }
    }

    fn misfit(&self, dims: &[Option<usize>], found: &[usize]) -> Error {
        let shown: Vec<String> = dims.iter().map(|d| d.map_or("?".to_owned(), |d| d.to_string())).collect();
        let message = format!("input '{}' has shape [{}], the sample {found:?}", self.name, shown.join(", "));
        Error::new(Code::Samples, message).help("check the preprocessing, or bind a symbolic dimension with --dim")
    }
}

/// Lowers what `outputs` and `taps` need.
pub(super) fn lower(graph: &Graph, outputs: &[String], taps: &[String], options: &Options) -> Result<Lowered> {
    refuse_sparse(graph)?;
    let wide = half_to_float(graph)?.map(|patch| {
        let mut wide = graph.clone();
        wide.apply(patch);
        wide
    });
    let graph = wide.as_ref().unwrap_or(graph);
    let roots: BTreeSet<&str> = outputs.iter().chain(taps).map(String::as_str).collect();
    let apart: BTreeMap<usize, Vec<Node>> = fused::taken_apart(graph, &|_| false)?.into_iter().collect();
    let whole = |(at, node)| apart.get(&at).map_or(std::slice::from_ref(node), Vec::as_slice);
    let needed = prune(graph.nodes().iter().enumerate().flat_map(whole).collect(), &roots);
    let constants = Constants::new(graph, &needed);
    for node in needed.iter().flat_map(|node| std::iter::once(*node).chain(inner_nodes(node))) {
        refuse_foreign(graph, node)?;
        dialect::refuse_misread(node)?;
        refuse_huge_fill(node, &constants)?;
    }
    let (nodes, dequantized) = quantized::lower(&needed, &constants)?;
    let mut nodes: Vec<Node> = prune(nodes.iter().collect(), &roots).into_iter().cloned().collect();
    quantized::refuse_rest(&nodes, &constants)?;
    let read = read_names(&nodes, &roots);
    nodes.iter_mut().for_each(|node| translate(node, &read));
    let mut inputs = declared_inputs(graph, options, &read);
    if let Some(unknown) = outputs.iter().find(|n| !graph.index().knows(n)) {
        return Err(Error::new(Code::InvalidGraph, format!("'{unknown}' is not a value of the main graph")));
    }
    place_taps(taps, &mut nodes, &mut inputs, graph)?;
    let dead_ends = dead_ends(taps, &nodes, outputs);
    let places = nodes.iter().map(node_place).collect();
    for (i, node) in nodes.iter_mut().enumerate() {
        node.name = format!("{i}|{}", node.output.first().map_or("", String::as_str));
    }
    let (constants, foreign) = constants.decode(&read, dequantized)?;
    nodes.iter_mut().for_each(|node| batch_norm::recognise(node, |name| constants.contains_key(name)));
    for node in nodes.iter_mut().filter(|_| options.place == Place::Host) {
        let weights = node.input.get(1).and_then(|n| constants.get(n));
        depthwise::recognise(node, weights.map_or(&[], |w| w.shape()));
    }
    let mut tap_order: Vec<usize> = (0..taps.len()).collect();
    tap_order.sort_by_key(|tap| graph.index().producer(&taps[*tap]));
    let proto = graph.model();
    Ok(Lowered {
        nodes,
        places,
        constants,
        foreign,
        inputs,
        dead_ends,
        outputs: outputs.to_vec(),
        taps: taps.to_vec(),
        tap_order,
        imports: proto.opset_import.clone(),
        ir_version: proto.ir_version,
    })
}

fn refuse_sparse(graph: &Graph) -> Result<()> {
    match graph.proto().sparse_initializer.first() {
        Some(t) => Err(Error::new(Code::Engine, "sparse initializers are not supported").at(t.values.name.clone())),
        None => Ok(()),
    }
}

/// tract makes the tensor when it reads the graph, long before anyone sees its size.
fn refuse_huge_fill(node: &Node, constants: &Constants) -> Result<()> {
    let shape = node.input.first().filter(|_| node.op_type == "ConstantOfShape");
    let Some(dims) = shape.map(|name| constants.ints(name)).transpose()?.flatten() else { return Ok(()) };
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
    match count.filter(|n| *n <= MOST_ELEMENTS) {
        Some(_) => Ok(()),
        None => Err(Error::new(Code::Engine, format!("it makes a value of shape {dims:?}, which is too large"))
            .at(node_place(node))),
    }
}

/// tract looks operators up by type alone, so a domain that it does not know would be taken for ONNX's.
fn refuse_foreign(graph: &Graph, node: &Node) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Code::Engine, what).at(node_place(node)));
    if graph.model().functions.iter().any(|f| f.name == node.op_type && f.domain == node.domain) {
        return refuse(format!("the call of the model-local function '{}' could not be inlined", node.op_type));
    }
    if !matches!(node.domain.as_str(), "" | "ai.onnx" | "ai.onnx.ml" | "com.microsoft") {
        return refuse(format!("operators of domain '{}' are not supported", node.domain));
    }
    Ok(())
}

/// The nodes that `roots` depend on, in file order.
fn prune<'a>(nodes: Vec<&'a Node>, roots: &BTreeSet<&'a str>) -> Vec<&'a Node> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        producer.extend(node.output.iter().filter(|n| !n.is_empty()).map(|n| (n.as_str(), i)));
    }
    let mut keep = vec![false; nodes.len()];
    let mut open: Vec<&str> = roots.iter().copied().collect();
    while let Some(name) = open.pop() {
        if let Some(&i) = producer.get(name).filter(|i| !keep[**i]) {
            keep[i] = true;
            reads(nodes[i], &mut |n| open.push(n));
        }
    }
    nodes.into_iter().zip(keep).filter_map(|(node, keep)| keep.then_some(node)).collect()
}

/// Names that a node reads, and every name inside its subgraphs, which includes what they capture.
fn reads<'a>(node: &'a Node, see: &mut dyn FnMut(&'a str)) {
    node.input.iter().filter(|n| !n.is_empty()).for_each(|n| see(n));
    for body in node.attribute.iter().flat_map(|a| a.g.as_ref().into_iter().chain(&a.graphs)) {
        body_reads(body, see);
    }
}

fn body_reads<'a>(body: &'a GraphProto, see: &mut dyn FnMut(&'a str)) {
    body.node.iter().for_each(|node| reads(node, see));
    body.output.iter().for_each(|v| see(&v.name));
}

fn read_names(nodes: &[Node], roots: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut read: BTreeSet<String> = roots.iter().map(|n| (*n).to_owned()).collect();
    for node in nodes {
        reads(node, &mut |n| {
            read.insert(n.to_owned());
        });
    }
    read
}

/// All nodes in bodies of a node, however deep.
pub(super) fn inner_nodes(node: &Node) -> Vec<&Node> {
    let inside = subgraphs(node).flat_map(|body| &body.node);
    inside.flat_map(|inner| std::iter::once(inner).chain(inner_nodes(inner))).collect()
}

/// Puts a node, and the nodes in its bodies, in the words of the engine.
fn translate(node: &mut Node, read: &BTreeSet<String>) {
    dialect::translate(node, read);
    for body in node.attribute.iter_mut().flat_map(|a| a.g.as_mut().into_iter().chain(&mut a.graphs)) {
        let roots: BTreeSet<&str> = body.output.iter().map(|v| v.name.as_str()).collect();
        let read = read_names(&body.node, &roots);
        body.node.iter_mut().for_each(|inner| translate(inner, &read));
    }
}

fn declared_inputs(graph: &Graph, options: &Options, read: &BTreeSet<String>) -> Vec<Input> {
    let supplied = graph.proto().input.iter().filter(|v| graph.index().initializer(&v.name).is_none());
    supplied.map(|v| declared(v, options, read.contains(&v.name))).collect()
}

fn declared(value: &ValueInfoProto, options: &Options, needed: bool) -> Input {
    let tensor = value.type_.as_ref().map(|t| t.tensor_type());
    let dims = tensor.and_then(|t| t.shape.as_ref()).map(|s| {
        let dims = s.dim.iter().enumerate();
        dims.map(|(axis, d)| extent(axis, d, options)).collect()
    });
    // A float of 16 bits that comes in is a float32 already: samples hold nothing else.
    let data_type = tensor.map_or(0, |t| if is_half(t.elem_type) { DataType::FLOAT as i32 } else { t.elem_type });
    Input { name: value.name.clone(), wire: value.name.clone(), data_type, needed, dims }
}

/// A symbolic first axis is the batch, 1 unless bound; other symbolic axes are bound or free.
fn extent(axis: usize, dim: &Dimension, options: &Options) -> Option<usize> {
    let batch = (axis == 0).then_some(1);
    match &dim.value {
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).ok().filter(|n| *n > 0).or(batch),
        Some(dimension::Value::DimParam(name)) => options.dims.get(name).copied().or(batch),
        _ => batch,
    }
}

/// Puts a [`ops::TAP`] behind each tapped value, under the value's own name; taps of one value follow each other.
fn place_taps(taps: &[String], nodes: &mut Vec<Node>, inputs: &mut [Input], graph: &Graph) -> Result<()> {
    for (index, name) in taps.iter().enumerate() {
        let renamed = format!("{name}|untapped{index}");
        untap(name, &renamed, nodes, inputs, graph)?;
        let mut node = Node { op_type: ops::TAP.into(), name: format!("tap of {name}"), ..Default::default() };
        (node.input, node.output) = (vec![renamed], vec![name.clone()]);
        set_attr(&mut node, "index", index as i64);
        nodes.push(node);
    }
    Ok(())
}

/// Taps that nothing reads; tract would drop them if they were not outputs too.
fn dead_ends(taps: &[String], nodes: &[Node], outputs: &[String]) -> Vec<String> {
    let read = read_names(nodes, &outputs.iter().map(String::as_str).collect());
    let dead: BTreeSet<&String> = taps.iter().filter(|n| !read.contains(*n)).collect();
    dead.into_iter().cloned().collect()
}

/// Calls `name` by another name where it is made.
fn untap(name: &str, renamed: &str, nodes: &mut [Node], inputs: &mut [Input], graph: &Graph) -> Result<()> {
    let outputs = nodes.iter_mut().flat_map(|n| n.output.iter_mut());
    let wires = inputs.iter_mut().map(|i| &mut i.wire);
    if let Some(made) = outputs.chain(wires).find(|n| *n == name) {
        renamed.clone_into(made);
        return Ok(());
    }
    let why = match graph.index().knows(name) {
        true => "is a constant: its value is known without a run",
        false => "is not a value of the main graph",
    };
    Err(Error::new(Code::Engine, format!("cannot observe '{name}': it {why}")))
}
