//! Floats of 16 bits become float32: float16 and bfloat16 say how a model is stored and moved, not what it computes.
//!
//! Each of their values is one of float32, so nothing is lost, and no operator takes one of the types without float32.
//! What a caller sees stays as it was: inputs and outputs keep their type, with a Cast behind or before them.

use super::types::{element_type, types};
use super::{Edit, Graph, Names, Patch, attr_i, attr_t, input, is_standard, output, with_attr};
use crate::onnx::{
    self, AttributeProto, AttributeType, DataType, GraphProto, NodeProto as Node, Tensor, TypeProto, ValueInfoProto,
    floats, from_floats, type_name, type_proto,
};
use crate::{Context, Result};
use half::{bf16, f16};
use std::collections::{BTreeSet, HashMap};

const FLOAT: i32 = DataType::FLOAT as i32;

/// Attributes that hold the number of an element type.
const TYPES: [&str; 7] =
    ["to", "dtype", "output_datatype", "output_dtype", "precision", "softmax_precision", "stash_type"];

/// Inputs and outputs that a reason names.
const MOST_NAMED: usize = 4;

/// Whether an element type is a float of 16 bits.
pub fn is_half(data_type: i32) -> bool {
    [DataType::FLOAT16 as i32, DataType::BFLOAT16 as i32].contains(&data_type)
}

/// The number of a type of 16 bits that is nearest to `x`, ties to even; any other type has every float32.
pub fn round_to(data_type: i32, x: f32) -> f32 {
    match onnx::data_type(data_type) {
        Some(DataType::FLOAT16) => f16::from_f32(x).to_f32(),
        Some(DataType::BFLOAT16) => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// The input of the graph that `value` is: itself, or what a Cast makes of one of 16 bits.
pub fn input_behind<'g>(graph: &'g Graph, value: &'g str) -> Option<&'g str> {
    let Some(producer) = graph.index().producer(value) else {
        return Some(value).filter(|value| graph.index().is_input(value));
    };
    let cast = Some(&graph.nodes()[producer]).filter(|node| cast_to(node) == Some(FLOAT))?;
    let declared = graph.proto().input.iter().find(|v| Some(v.name.as_str()) == input(cast, 0))?;
    element_type(declared).is_some_and(is_half).then_some(&declared.name)
}

/// What makes a graph compute in float32 where it computes in float16 or bfloat16; `None` where nothing does.
///
/// A Cast that changes nothing any more becomes an Identity. A model that takes or gives sequences of such floats is left
/// as it is.
///
/// # Errors
/// Whatever reading a constant says, with its name.
pub fn half_to_float(graph: &Graph) -> Result<Option<Patch>> {
    let proto = graph.proto();
    let mut halves = BTreeSet::new();
    half_types(proto, &mut halves);
    let mut declared = proto.input.iter().chain(&proto.output);
    if halves.is_empty() || declared.any(|v| element_type(v).is_none() && holds_half(v)) {
        return Ok(None);
    }
    let known = types(proto, &HashMap::new());
    let (names, patch) = (Names::of(graph), Patch::new());
    let mut widening = Widening { graph, known, names, patch, redirects: vec![] };
    let mut kept = widening.inputs();
    kept.extend(widening.nodes()?);
    widening.constants()?;
    widening.recorded();
    let mut patch = widening.finish();
    if !patch.is_empty() {
        patch.because(reason(&halves, &kept));
    }
    Ok(patch.into_option())
}

/// The types of 16 bits that anything in a graph has.
fn half_types(graph: &GraphProto, found: &mut BTreeSet<i32>) {
    let declared = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    found.extend(declared.filter_map(|v| v.type_.as_ref().and_then(half_in)));
    let mut stored = |tensor: &Tensor| found.extend(Some(tensor.data_type).filter(|t| is_half(*t)));
    graph.initializer.iter().for_each(&mut stored);
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    attributes().flat_map(|a| a.t.iter().chain(&a.tensors)).for_each(&mut stored);
    found.extend(attributes().filter_map(half_number));
    attributes().flat_map(|a| a.g.iter().chain(&a.graphs)).for_each(|body| half_types(body, found));
}

fn reason(types: &BTreeSet<i32>, kept: &[&str]) -> String {
    let types: Vec<&str> = types.iter().filter_map(|t| type_name(*t)).collect();
    let mut reason = match types[..] {
        [one] => format!("{one} is computed and stored as float32"),
        _ => format!("{} are computed and stored as float32", types.join(" and ")),
    };
    match kept {
        [] => {}
        [one] => reason += &format!("; {one} keeps its type"),
        all if all.len() <= MOST_NAMED => reason += &format!("; {} keep their type", all.join(", ")),
        all => {
            let (named, more) = all.split_at(MOST_NAMED);
            reason += &format!("; {} and {} more keep their type", named.join(", "), more.len());
        }
    }
    reason
}

/// The type that an attribute names, where it is one of the two.
fn half_number(attribute: &AttributeProto) -> Option<i32> {
    let number = i32::try_from(attribute.i).ok().filter(|number| is_half(*number));
    number.filter(|_| TYPES.contains(&attribute.name.as_str()))
}

fn half_in(of: &TypeProto) -> Option<i32> {
    use type_proto::Value::{MapType, OptionalType, SequenceType, SparseTensorType, TensorType};
    match of.value.as_ref()? {
        TensorType(t) => Some(t.elem_type).filter(|t| is_half(*t)),
        SparseTensorType(t) => Some(t.elem_type).filter(|t| is_half(*t)),
        SequenceType(t) => half_in(&t.elem_type),
        OptionalType(t) => half_in(&t.elem_type),
        MapType(t) => half_in(&t.value_type),
        _ => None,
    }
}

fn holds_half(value: &ValueInfoProto) -> bool {
    value.type_.as_ref().is_some_and(|t| half_in(t).is_some())
}

fn widen_type(of: &mut TypeProto) {
    use type_proto::Value::{MapType, OptionalType, SequenceType, SparseTensorType, TensorType};
    let wider = |t: i32| if is_half(t) { FLOAT } else { t };
    match of.value.as_mut() {
        Some(TensorType(t)) => t.elem_type = wider(t.elem_type),
        Some(SparseTensorType(t)) => t.elem_type = wider(t.elem_type),
        Some(SequenceType(t)) => t.elem_type.as_mut().into_iter().for_each(widen_type),
        Some(OptionalType(t)) => t.elem_type.as_mut().into_iter().for_each(widen_type),
        Some(MapType(t)) => t.value_type.as_mut().into_iter().for_each(widen_type),
        _ => {}
    }
}

fn cast(from: &str, to: &str, data_type: i32) -> Node {
    let node = Node {
        op_type: "Cast".to_owned(),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        ..Default::default()
    };
    with_attr(node, "to", i64::from(data_type))
}

/// The type that a Cast makes.
fn cast_to(node: &Node) -> Option<i32> {
    let number = attr_i(node, "to").filter(|_| node.op_type == "Cast" && is_standard(node));
    number.and_then(|number| i32::try_from(number).ok())
}

struct Widening<'g> {
    graph: &'g Graph,
    /// Element types as they were.
    known: HashMap<&'g str, i32>,
    names: Names,
    patch: Patch,
    /// Values of which all readers read another one; said last, so that it reaches what was replaced.
    redirects: Vec<(String, String)>,
}

impl<'g> Widening<'g> {
    /// Puts a Cast behind each input of 16 bits; returns those inputs.
    fn inputs(&mut self) -> Vec<&'g str> {
        let halves: Vec<&ValueInfoProto> =
            self.graph.proto().input.iter().filter(|v| self.is_half_input(&v.name)).collect();
        for value in &halves {
            if self.is_cast_already(&value.name) {
                continue;
            }
            let wide = self.wide_twin(value);
            self.patch.push(Edit::Insert(0, cast(&value.name, &wide, FLOAT)));
        }
        halves.into_iter().map(|v| v.name.as_str()).collect()
    }

    /// Whether callers feed the value, or may feed it, as floats of 16 bits.
    fn is_half_input(&self, name: &str) -> bool {
        let may_be_fed = self.graph.index().is_input(name) && self.graph.constant(name).is_none();
        may_be_fed && self.known.get(name).is_some_and(|t| is_half(*t))
    }

    /// Whether all that reads a value casts it to float32.
    fn is_cast_already(&self, name: &str) -> bool {
        let readers = self.graph.index().readers(name);
        readers.iter().all(|at| cast_to(&self.graph.nodes()[*at]) == Some(FLOAT))
    }

    /// A new value of float32 that everyone reads in place of this one.
    fn wide_twin(&mut self, value: &ValueInfoProto) -> String {
        let name = self.names.fresh(&format!("{}_float32", value.name));
        let mut wide = ValueInfoProto { name: name.clone(), ..value.clone() };
        wide.type_.as_mut().into_iter().for_each(widen_type);
        self.patch.push(Edit::Record(wide));
        self.redirects.push((value.name.clone(), name.clone()));
        name
    }

    /// Rewrites nodes, and puts a Cast before each output of 16 bits; returns those outputs.
    fn nodes(&mut self) -> Result<Vec<&'g str>> {
        let halves = self.graph.proto().output.iter().filter(|v| element_type(v).is_some_and(is_half));
        let halves: HashMap<&str, &ValueInfoProto> = halves.map(|v| (v.name.as_str(), v)).collect();
        let mut kept = vec![];
        for (at, node) in self.graph.nodes().iter().enumerate() {
            let made =
                node.output.iter().enumerate().filter_map(|(slot, name)| Some((slot, *halves.get(name.as_str())?)));
            let made: Vec<(usize, &ValueInfoProto)> = made.collect();
            kept.extend(made.iter().map(|(_, value)| value.name.as_str()));
            if self.stands_at_border(node) {
                continue;
            }
            let mut wide = match self.rounded_constant(node)? {
                Some(constant) => constant,
                None => widened(node, &self.known, self.graph)?,
            };
            for (slot, value) in made {
                let name = self.wide_twin(value);
                let to = element_type(value).unwrap_or_default();
                self.patch.push(Edit::Insert(at + 1, cast(&name, &value.name, to)));
                wide.output[slot] = name;
            }
            if wide != *node {
                self.patch.push(Edit::Replace(at, wide));
            }
        }
        Ok(kept)
    }

    /// What a Cast of a float32 constant makes: a mask of the least float32 is infinite in 16 bits, and is meant so.
    fn rounded_constant(&self, node: &Node) -> Result<Option<Node>> {
        let Some(to) = cast_to(node).filter(|to| is_half(*to)) else { return Ok(None) };
        let Some(name) = input(node, 0) else { return Ok(None) };
        let made = || attr_t(&self.graph.nodes()[self.graph.index().producer(name)?], "value");
        let stored = self.graph.constant(name).or_else(made).filter(|t| t.data_type == FLOAT);
        let Some(tensor) = stored else { return Ok(None) };
        let values = floats(tensor, self.graph.external()).at(|| format!("constant '{name}'"))?;
        let rounded: Vec<f32> = values.into_iter().map(|x| round_to(to, x)).collect();
        let dims: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
        let mut constant = node.clone();
        (constant.op_type, constant.input) = ("Constant".to_owned(), vec![]);
        constant.attribute = vec![AttributeProto {
            name: "value".to_owned(),
            type_: AttributeType::TENSOR.into(),
            t: Some(from_floats("", &dims, &rounded)).into(),
            ..Default::default()
        }];
        Ok(Some(constant))
    }

    /// Whether the node is a Cast as this puts behind inputs and before outputs.
    fn stands_at_border(&self, node: &Node) -> bool {
        let (Some(to), Some(x), Some(y)) = (cast_to(node), input(node, 0), output(node, 0)) else { return false };
        let index = self.graph.index();
        let gives = || is_half(to) && index.is_output(y) && index.readers(y).is_empty();
        match self.is_half_input(x) {
            true => to == FLOAT && self.is_cast_already(x),
            false => gives() && self.known.get(x).is_some_and(|t| is_wide(*t)),
        }
    }

    fn constants(&mut self) -> Result<()> {
        let stored = self.graph.proto().initializer.iter().filter(|t| is_half(t.data_type));
        for tensor in stored.filter(|t| self.graph.constant(&t.name).is_some()) {
            let mut wide = wide_tensor(tensor, self.graph)?;
            if self.graph.index().is_output(&tensor.name) {
                wide.name = self.names.fresh(&format!("{}_float32", tensor.name));
                self.redirects.push((tensor.name.clone(), wide.name.clone()));
                self.patch.push(Edit::RemoveInitializer(tensor.name.clone()));
                self.patch.push(Edit::Insert(0, cast(&wide.name, &tensor.name, tensor.data_type)));
            }
            self.patch.push(Edit::SetInitializer(wide));
        }
        Ok(())
    }

    /// Types that are recorded of what is neither an input that callers may feed nor an output.
    fn recorded(&mut self) {
        let proto = self.graph.proto();
        let listed = proto.input.iter().filter(|v| self.graph.constant(&v.name).is_some());
        for value in proto.value_info.iter().chain(listed).filter(|v| holds_half(v)) {
            let mut wide = value.clone();
            wide.type_.as_mut().into_iter().for_each(widen_type);
            self.patch.push(Edit::Record(wide));
        }
    }

    fn finish(mut self) -> Patch {
        self.redirects.into_iter().for_each(|(from, to)| self.patch.push(Edit::Redirect(from, to)));
        self.patch
    }
}

/// Whether a value of this type is of float32 afterwards.
fn is_wide(data_type: i32) -> bool {
    data_type == FLOAT || is_half(data_type)
}

/// The tensor as float32; others as they are.
fn wide_tensor(tensor: &Tensor, graph: &Graph) -> Result<Tensor> {
    if !is_half(tensor.data_type) {
        return Ok(tensor.clone());
    }
    let values = floats(tensor, graph.external()).at(|| format!("constant '{}'", tensor.name))?;
    let dims: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
    Ok(from_floats(&tensor.name, &dims, &values))
}

/// The node, and what is in its bodies, in float32; `known` are the types around it as they were.
fn widened(node: &Node, known: &HashMap<&str, i32>, graph: &Graph) -> Result<Node> {
    let mut wide = node.clone();
    let from = input(node, 0).and_then(|x| known.get(x).copied());
    if let (Some(from), Some(to)) = (from, cast_to(node))
        && is_wide(from)
        && is_wide(to)
        && (is_half(from) || is_half(to))
    {
        "Identity".clone_into(&mut wide.op_type);
        wide.attribute.clear();
        return Ok(wide);
    }
    for attribute in &mut wide.attribute {
        if half_number(attribute).is_some() {
            attribute.i = i64::from(FLOAT);
        }
        for tensor in attribute.t.as_mut().into_iter().chain(&mut attribute.tensors) {
            *tensor = wide_tensor(tensor, graph)?;
        }
        for body in attribute.g.as_mut().into_iter().chain(&mut attribute.graphs) {
            widen_body(body, known, graph)?;
        }
    }
    Ok(wide)
}

fn widen_body(body: &mut GraphProto, outer: &HashMap<&str, i32>, graph: &Graph) -> Result<()> {
    let before = body.clone();
    let known = types(&before, outer);
    for (node, was) in body.node.iter_mut().zip(&before.node) {
        *node = widened(was, &known, graph)?;
    }
    for tensor in &mut body.initializer {
        *tensor = wide_tensor(tensor, graph)?;
    }
    let declared = body.input.iter_mut().chain(&mut body.output).chain(&mut body.value_info);
    declared.filter_map(|v| v.type_.as_mut()).for_each(widen_type);
    Ok(())
}
