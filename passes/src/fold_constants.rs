//! `fold_constants`: what depends on constants only is computed once, here.

use crate::Pass;
use crate::foldable::{Facts, MOST_GROWTH};
use std::collections::HashSet;
use tapq::Result;
use tapq::array::{Array, Values};
use tapq::engine::evaluate_constants;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::{DataType, Tensor};

/// ## What it does
/// Computes nodes whose inputs are all constant, with the engine, and makes their results initializers.
/// All of them in one run of the engine; where it fails, value by value.
///
/// ## Why
/// Exporters leave shape arithmetic, transposed weights and normalization constants as nodes; layers are found, and
/// folds apply, only where weights are initializers.
///
/// ## When it refuses
/// Operators not on the list in `foldable`: random numbers, control flow, QuantizeLinear and
/// DequantizeLinear among them. Results that could be more than 1 MiB larger than the inputs together. Graph outputs.
/// Types that the engine does not hold exactly (float16, strings). What the engine cannot compute stays as it is.
///
/// ## Example
/// `t = Transpose (w)  y = MatMul (x, t)` with the initializer `w` becomes `y = MatMul (x, t)` with `t`.
pub struct FoldConstants;

/// When the whole set fails, at most this many values are tried alone.
const MOST_SINGLE_TRIES: usize = 64;

impl Pass for FoldConstants {
    fn name(&self) -> &'static str {
        "fold_constants"
    }

    fn about(&self) -> &'static str {
        "what depends on constants only becomes an initializer"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut facts = Facts::new(graph);
        let outputs_stay = |names: &[String]| names.iter().any(|name| graph.index().is_output(name));
        let foldable: Vec<usize> = (graph.nodes().iter().enumerate())
            .filter(|(_, node)| !outputs_stay(&node.output) && facts.admit(node))
            .map(|(at, _)| at)
            .collect();
        let wanted = frontier(graph, &foldable);
        if wanted.is_empty() {
            return Ok(None);
        }
        let known = evaluate(graph, &facts, &wanted);
        let removable = removable(graph, &foldable, &known);
        Ok(patch(graph, &removable, known).into_option())
    }
}

/// Values of foldable nodes that something else reads, in file order.
fn frontier(graph: &Graph, foldable: &[usize]) -> Vec<String> {
    let folds: HashSet<usize> = foldable.iter().copied().collect();
    let outputs = foldable.iter().flat_map(|at| &graph.nodes()[*at].output);
    let leaves = |name: &&String| graph.index().readers(name).iter().any(|reader| !folds.contains(reader));
    outputs.filter(leaves).cloned().collect()
}

fn evaluate(graph: &Graph, facts: &Facts, wanted: &[String]) -> Vec<(String, Array)> {
    let arrays: Vec<Option<Array>> = match evaluate_constants(graph, wanted) {
        Ok(arrays) => arrays.into_iter().map(Some).collect(),
        Err(_) => wanted.iter().take(MOST_SINGLE_TRIES).map(|name| alone(graph, name)).collect(),
    };
    let pairs = wanted.iter().zip(arrays).filter_map(|(name, array)| Some((name.clone(), array?)));
    pairs.filter(|(name, array)| as_promised(facts, name, array)).collect()
}

fn alone(graph: &Graph, name: &String) -> Option<Array> {
    evaluate_constants(graph, std::slice::from_ref(name)).ok()?.into_iter().next()
}

/// The engine may compute in another type than ONNX says; such a result is not the same value.
fn as_promised(facts: &Facts, name: &str, array: &Array) -> bool {
    let sound = array.dims.iter().product::<usize>() == array.values.len();
    let fits = |elements: u64| array.values.len() as u64 <= elements.saturating_add(MOST_GROWTH);
    sound && facts.of(name).is_some_and(|f| f.data_type == data_type(&array.values) as i32 && fits(f.elements))
}

/// Nodes, last first, that nothing needs once the values are known.
fn removable(graph: &Graph, foldable: &[usize], known: &[(String, Array)]) -> Vec<usize> {
    let known: HashSet<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let mut removed: HashSet<usize> = HashSet::new();
    for at in foldable.iter().rev() {
        let gone = |reader: &usize| removed.contains(reader);
        let unneeded = |name: &String| known.contains(name.as_str()) || graph.index().readers(name).iter().all(gone);
        if graph.nodes()[*at].output.iter().all(unneeded) {
            removed.insert(*at);
        }
    }
    foldable.iter().rev().copied().filter(|at| removed.contains(at)).collect()
}

fn patch(graph: &Graph, removable: &[usize], known: Vec<(String, Array)>) -> Patch {
    let mut patch = Patch::new();
    let gone: HashSet<&str> = removable.iter().flat_map(|at| &graph.nodes()[*at].output).map(String::as_str).collect();
    for (name, array) in known.into_iter().filter(|(name, _)| gone.contains(name.as_str())) {
        patch.because(format!("'{name}' depends on constants only"));
        patch.push(Edit::SetInitializer(tensor(&name, &array)));
    }
    for at in removable {
        patch.push(Edit::Remove(*at));
    }
    patch
}

fn data_type(values: &Values) -> DataType {
    match values {
        Values::F32(_) => DataType::FLOAT,
        Values::F64(_) => DataType::DOUBLE,
        Values::I64(_) => DataType::INT64,
        Values::I32(_) => DataType::INT32,
        Values::U8(_) => DataType::UINT8,
        Values::I8(_) => DataType::INT8,
        Values::Bool(_) => DataType::BOOL,
    }
}

/// A tensor with raw data, little-endian as ONNX says.
fn tensor(name: &str, array: &Array) -> Tensor {
    let raw: Vec<u8> = match &array.values {
        Values::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Values::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Values::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Values::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Values::U8(v) => v.clone(),
        Values::I8(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Values::Bool(v) => v.iter().map(|x| u8::from(*x)).collect(),
    };
    let dims = array.dims.iter().map(|d| *d as i64).collect();
    let data_type = data_type(&array.values) as i32;
    Tensor { name: name.to_owned(), data_type, dims, raw_data: raw, ..Default::default() }
}
