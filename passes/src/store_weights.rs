//! Stores the weights of operators that compute in float.
//!
//! ## What it does
//! Replaces the float weights of every node that the plan lists under `weight_only` by integers with a scale for
//! each row. A DequantizeLinear turns them back into float in front of the node; a table that is looked up (Gather)
//! is turned back behind it, the rows that were found times their scales.
//!
//! ## Why
//! Tables of embeddings and the matrices of recurrent layers are most of some files, and runtimes have no integer
//! kernel for them. A table that is turned back in front of the lookup would be turned back whole in every run:
//! 4 ms instead of 0.04 ms for 30 522 rows of 768 in ONNX Runtime.
//!
//! ## When it refuses
//! A weight that holds NaN or infinity; a node of the plan that the graph does not have.

use crate::nodes::{dequantize_node, fresh_name, plain_node, property};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use tapq::graph::{Edit, Graph, Patch, set_attr};
use tapq::onnx::{self, DataType, NodeProto as Node};
use tapq::plan::{Plan, WEIGHT_ONLY_BITS, WeightOnly, WeightSlot};
use tapq::quant::{self, IntFormat};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result, proxy};

/// Names of what stands in the file for one weight.
struct Stored {
    integers: String,
    scales: String,
    /// The float value that a DequantizeLinear makes.
    float: String,
}

/// Stores the weights that the plan lists under `weight_only`.
pub fn store_weights(graph: &Graph, plan: &Plan, target: &Target) -> Result<Option<Patch>> {
    let nodes = plan.weight_only_nodes(graph, target)?;
    let mut patch = Patch::new();
    let mut stored: BTreeMap<(&str, usize), Stored> = BTreeMap::new();
    let mut turned_back: BTreeSet<String> = BTreeSet::new();
    for node in &nodes {
        for weight in &node.weights {
            let key = (weight.weight.as_str(), weight.axis);
            let names = match stored.entry(key) {
                Entry::Occupied(done) => done.into_mut(),
                Entry::Vacant(new) => new.insert(store(graph, node, weight, target, &mut patch)?),
            };
            if node.op == "Gather" {
                look_up(graph, node, names, target, &mut patch);
                continue;
            }
            if turned_back.insert(names.float.clone()) {
                let axis = target.per_channel(&node.op).then_some(weight.axis);
                let inputs = [names.integers.as_str(), names.scales.as_str()];
                let tags = tags(target);
                let turn_back = dequantize_node(&weight.weight, inputs, None, &names.float, axis, &tags);
                patch.push(Edit::Insert(node.node, turn_back));
            }
            patch.push(Edit::SetInput(node.node, weight.slot, names.float.clone()));
        }
        patch.because(format!("weights of {} '{}' at {} bits", node.op, node.name, WEIGHT_ONLY_BITS));
    }
    Ok(patch.into_option())
}

fn store(graph: &Graph, node: &WeightOnly, weight: &WeightSlot, target: &Target, patch: &mut Patch) -> Result<Stored> {
    let place = || format!("weight '{}' of node '{}'", weight.weight, node.name);
    let missing = || Error::new(Code::InvalidGraph, "the weight is not a constant");
    let tensor = graph.constant(&weight.weight).ok_or_else(missing).at(place)?;
    let values = onnx::floats(tensor, graph.external()).at(place)?;
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        return Err(Error::new(Code::NonFinite, format!("element {i} is {}", values[i]))).at(place);
    }
    let format = IntFormat { bits: WEIGHT_ONLY_BITS, signed: true, narrow: target.weights.narrow_range };
    let axis = target.per_channel(&node.op).then_some(weight.axis);
    let (dims, rule) = (&weight.dims, proxy::range_rule(WEIGHT_ONLY_BITS));
    let quantized = quant::quantize_weight(&values, dims, axis, format, rule, target.weights.power_of_two, &[]);
    let [integers, scales, float] =
        ["quantized", "scale", "dequantized"].map(|what| fresh_name(graph, &weight.weight, what));
    // The scales of a table are looked up as its rows are, and multiplied with them.
    let scale_dims: Vec<usize> = match (axis, node.op.as_str()) {
        (None, _) => vec![],
        (Some(axis), "Gather") => (0..dims.len()).map(|d| if d == axis { dims[d] } else { 1 }).collect(),
        (Some(axis), _) => vec![dims[axis]],
    };
    let data_type = format.data_type() as i32;
    patch.push(Edit::SetInitializer(onnx::from_ints(&integers, data_type, dims, &quantized.values)));
    patch.push(Edit::SetInitializer(onnx::from_floats(&scales, &scale_dims, &quantized.scales)));
    Ok(Stored { integers, scales, float })
}

/// Looks up integers and scales, and multiplies what was found.
fn look_up(graph: &Graph, lookup: &WeightOnly, names: &Stored, target: &Target, patch: &mut Patch) {
    let node = &graph.nodes()[lookup.node];
    let result = node.output[0].clone();
    let [rows, float] = ["quantized", "unscaled"].map(|what| fresh_name(graph, &result, what));
    let mut found = node.clone();
    (found.input[0], found.output[0]) = (names.integers.clone(), rows.clone());
    let mut cast = Node { name: format!("{}_Cast", node.name), ..plain_node("Cast", &[&rows], &float) };
    set_attr(&mut cast, "to", i64::from(DataType::FLOAT as i32));
    let mut nodes = vec![cast];
    let scale = match target.per_channel("Gather") {
        false => names.scales.clone(),
        true => {
            let scale = fresh_name(graph, &result, "scale");
            let mut scales = node.clone();
            scales.name = format!("{}_scale", node.name);
            (scales.input[0], scales.output[0]) = (names.scales.clone(), scale.clone());
            nodes.push(scales);
            scale
        }
    };
    nodes.push(Node {
        name: format!("{}_Mul", node.name),
        metadata_props: tags(target).iter().map(|(key, value)| property(key, value)).collect(),
        ..plain_node("Mul", &[&float, &scale], &result)
    });
    patch.push(Edit::Replace(lookup.node, found));
    nodes.into_iter().for_each(|n| patch.push(Edit::Insert(lookup.node + 1, n)));
}

fn tags(target: &Target) -> [(&'static str, String); 2] {
    [("tapq.weight_bits", WEIGHT_ONLY_BITS.to_string()), ("tapq.target", target.name.clone())]
}
