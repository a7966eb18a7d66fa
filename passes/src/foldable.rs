//! Which operators on constants may be computed at conversion time: their result type and a bound on their size.

use crate::facts::{input, is_standard};
use std::collections::HashMap;
use tapq::graph::{Graph, attr_i, attr_t};
use tapq::onnx::{DataType, NodeProto as Node, Tensor, element_count};

/// A constant, computed or given.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// Number of the element type.
    pub(crate) data_type: i32,
    /// Most elements that it can have.
    pub(crate) elements: u64,
    /// Exact extents, known for given constants only.
    dims: Option<Vec<i64>>,
}

/// What is known of the constants of a graph while its nodes are walked in order.
pub(crate) struct Facts<'g> {
    graph: &'g Graph,
    computed: HashMap<&'g str, Fact>,
}

const FLOAT: i32 = DataType::FLOAT as i32;
const INT64: i32 = DataType::INT64 as i32;
const BOOL: i32 = DataType::BOOL as i32;
/// Types that arrays of the engine hold exactly.
const TYPES: [i32; 7] = [
    FLOAT,
    DataType::DOUBLE as i32,
    INT64,
    DataType::INT32 as i32,
    DataType::UINT8 as i32,
    DataType::INT8 as i32,
    BOOL,
];
/// A result may be this many bytes larger than the inputs together.
pub(crate) const MOST_GROWTH: u64 = 1 << 20;

impl<'g> Facts<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Facts { graph, computed: HashMap::new() }
    }

    /// Whether the node can be computed from constants; remembers its results for the nodes after it.
    pub(crate) fn admit(&mut self, node: &'g Node) -> bool {
        let Some(fact) = self.result(node) else { return false };
        let outputs = node.output.iter().filter(|name| !name.is_empty());
        self.computed.extend(outputs.map(|name| (name.as_str(), fact.clone())));
        true
    }

    pub(crate) fn of(&self, name: &str) -> Option<Fact> {
        self.computed.get(name).cloned().or_else(|| self.graph.constant(name).and_then(given))
    }

    fn result(&self, node: &Node) -> Option<Fact> {
        if !is_standard(node) || node.input.is_empty() || !same_in_every_opset(node) {
            return None;
        }
        let inputs: Vec<Fact> =
            node.input.iter().filter(|name| !name.is_empty()).map(|name| self.of(name)).collect::<Option<_>>()?;
        let first = inputs.first()?;
        let (data_type, elements) = result(self.graph, node, first, &inputs)?;
        let before: u64 = inputs.iter().map(|f| f.elements.saturating_mul(size(f.data_type))).sum();
        let fits = elements.saturating_mul(size(data_type)) <= before.saturating_add(MOST_GROWTH);
        (fits && TYPES.contains(&data_type)).then_some(Fact { data_type, elements, dims: None })
    }
}

fn given(tensor: &Tensor) -> Option<Fact> {
    let elements = element_count(tensor).ok()? as u64;
    let known = TYPES.contains(&tensor.data_type);
    known.then(|| Fact { data_type: tensor.data_type, elements, dims: Some(tensor.dims.clone()) })
}

/// Bytes of an element.
fn size(data_type: i32) -> u64 {
    match data_type {
        t if t == INT64 || t == DataType::DOUBLE as i32 => 8,
        t if t == FLOAT || t == DataType::INT32 as i32 => 4,
        _ => 1,
    }
}

/// Dropout-like operators whose result depends on the mode are absent from the list; these need no attribute checks.
fn same_in_every_opset(node: &Node) -> bool {
    node.attribute.iter().all(|a| a.g.is_none() && a.graphs.is_empty())
}

/// Element type and most elements of the result; `None` for operators that are not on the list.
fn result(graph: &Graph, node: &Node, first: &Fact, inputs: &[Fact]) -> Option<(i32, u64)> {
    let same = first.data_type;
    Some(match node.op_type.as_str() {
        "Abs" | "Ceil" | "Erf" | "Exp" | "Floor" | "Identity" | "Log" | "Neg" | "Reciprocal" | "Relu" | "Round"
        | "Sigmoid" | "Sign" | "Sqrt" | "Tanh" | "Sin" | "Cos" | "Clip" => (same, first.elements),
        // Exporters of weight standardization leave it on weights.
        "BatchNormalization" if node.output.len() == 1 && attr_i(node, "training_mode").unwrap_or(0) == 0 => {
            (same, first.elements)
        }
        "Flatten" | "Reshape" | "Slice" | "Split" | "Squeeze" | "Transpose" | "Unsqueeze" => (same, first.elements),
        op if op.starts_with("Reduce") => (same, first.elements),
        "Not" => (BOOL, first.elements),
        "Cast" => (i32::try_from(attr_i(node, "to")?).ok()?, first.elements),
        "Shape" | "Size" => (INT64, first.elements.max(64)),
        "ArgMax" | "ArgMin" => (INT64, first.elements),
        "Add" | "Div" | "Max" | "Min" | "Mod" | "Mul" | "Pow" | "Sub" => (same, broadcast(inputs)),
        "And" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Or" => (BOOL, broadcast(inputs)),
        "Where" => (inputs.get(1)?.data_type, broadcast(inputs)),
        "Concat" => (same, inputs.iter().map(|f| f.elements).sum()),
        "Gather" => (same, first.elements.saturating_mul(inputs.get(1)?.elements.max(1))),
        "MatMul" => (same, matmul(first, inputs.get(1)?)),
        "Expand" => (same, first.elements.saturating_mul(product(graph, node, 1)?)),
        "Tile" => (same, first.elements.saturating_mul(product(graph, node, 1)?)),
        "ConstantOfShape" => (attr_t(node, "value").map_or(FLOAT, |t| t.data_type), product(graph, node, 0)?),
        "Range" => (same, range(graph, node)?),
        _ => return None,
    })
}

/// Most elements of a matrix product; the inner axis is known where the left extents are.
fn matmul(left: &Fact, right: &Fact) -> u64 {
    let inner = left.dims.as_ref().and_then(|d| u64::try_from(*d.last()?).ok()).unwrap_or(1).max(1);
    (left.elements / inner).saturating_mul((right.elements / inner).max(1))
}

/// Most elements after broadcasting: exact where all extents are known.
fn broadcast(inputs: &[Fact]) -> u64 {
    let product = || inputs.iter().fold(1u64, |a, f| a.saturating_mul(f.elements));
    let Some(dims) = inputs.iter().map(|f| f.dims.as_deref()).collect::<Option<Vec<_>>>() else { return product() };
    let rank = dims.iter().map(|d| d.len()).max().unwrap_or(0);
    let extent = |from_right: usize| {
        dims.iter().filter_map(|d| d.len().checked_sub(from_right + 1).map(|i| d[i])).max().unwrap_or(1)
    };
    (0..rank).fold(1u64, |a, i| a.saturating_mul(u64::try_from(extent(i)).unwrap_or(u64::MAX)))
}

/// Product of a given int64 constant; what is computed is known one round later.
fn product(graph: &Graph, node: &Node, slot: usize) -> Option<u64> {
    let values = crate::facts::constant_ints(graph, input(node, slot)?).ok()??;
    values.iter().try_fold(1u64, |a, v| Some(a.saturating_mul(u64::try_from(*v).ok()?)))
}

/// Length of a Range over given int64 constants.
fn range(graph: &Graph, node: &Node) -> Option<u64> {
    let at = |slot| crate::facts::constant_ints(graph, input(node, slot)?).ok()??.first().copied();
    let (start, limit, delta) = (at(0)?, at(1)?, at(2)?);
    if delta == 0 {
        return None;
    }
    let span = if delta > 0 { limit.saturating_sub(start) } else { start.saturating_sub(limit) };
    Some(u64::try_from(span).unwrap_or(0).div_ceil(delta.unsigned_abs()))
}
