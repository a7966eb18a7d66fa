//! Causal attention in which several heads of queries share one of keys and values, with a cache of what came before.

use super::attention::{SWAP, Scores};
use super::spell::{Spell, refuse};
use super::{DOMAIN, is_on, mask, rotary};
use crate::Result;
use crate::graph::{Graph, attr_f, attr_i, attr_t, input, output};
use crate::onnx::{DataType, NodeProto as Node, Tensor, ints};

/// No attention has more heads.
const MOST_HEADS: i64 = 1 << 16;

/// `GroupQueryAttention(query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos, sin, positions,
/// attention_bias, sink)`.
///
/// A cache of the whole sequence is taken to hold the past and nothing else, as where ONNX Runtime is not told to share
/// its buffers: lengths then follow from extents. One of a window holds the latest positions at its beginning, and
/// `total_sequence_length` says how many there were.
pub(super) fn grouped(node: &Node, s: &mut Spell) -> Result<()> {
    let foreign = (12..node.input.len()).any(|slot| input(node, slot).is_some());
    let off = |name: &str| attr_i(node, name).is_none_or(|v| v <= 0);
    if foreign || output(node, 3).is_some() || !off("kv_cache_bit_width") {
        return Err(refuse("GroupQueryAttention with a quantized cache, or that gives out scores, is not supported"));
    }
    if attr_i(node, "causal") == Some(0) {
        return Err(refuse("GroupQueryAttention that looks ahead is not supported"));
    }
    let count = |name: &str| attr_i(node, name).filter(|n| (1..=MOST_HEADS).contains(n));
    let (Some(heads), Some(shared)) = (count("num_heads"), count("kv_num_heads")) else {
        return Err(refuse("it has no num_heads or kv_num_heads"));
    };
    if heads % shared != 0 {
        return Err(refuse(format!("{heads} heads of queries do not share {shared} of keys")));
    }
    let group = heads / shared;
    let [mut q, mut k, v] = apart(node, s, heads, shared);
    let past = Past::of(node, s, &q);
    if is_on(node, "do_rotary") {
        let (Some(cos), Some(sin)) = (input(node, 7), input(node, 8)) else {
            return Err(refuse("it rotates, but has no cos_cache and sin_cache"));
        };
        let mut positions = past.positions(s, &q);
        if let Some(given) = input(node, 9).filter(|_| past.held.is_some()) {
            // ONNX Runtime counts the first positions itself, whatever is given.
            let zero = s.int(0);
            let first = s.op("Equal", &[&past.count, &zero]);
            positions = s.op("Where", &[&first, &positions, given]);
        }
        let angles = rotary::Angles::at(s, &positions, cos, sin, is_on(node, "rotary_interleaved"));
        q = angles.rotate(s, &q);
        k = angles.rotate(s, &k);
    }
    let [k, v] = [k, v].map(|x| s.transpose(&x, &SWAP));
    let (keys, values) = match &past.held {
        Some([past_k, past_v]) => (s.concat(&[past_k, &k], 2), s.concat(&[past_v, &v], 2)),
        None => (k, v),
    };
    let swapped = s.transpose(&q, &SWAP);
    let mut masks = vec![mask::causal(s, &swapped, &keys, window(node))];
    if let Some(bias) = input(node, 10) {
        masks.push(bias_of_heads(s, bias, shared, group)?);
    }
    let sink = match input(node, 11) {
        Some(sink) if group == 1 => Some(s.reshape(sink, &[1, shared, 1, 1])),
        Some(sink) => Some(s.reshape(sink, &[1, shared, group, 1, 1])),
        None if is_on(node, "smooth_softmax") && !off("smooth_softmax") => Some(s.number(0.0)),
        None => None,
    };
    let softcap = attr_f(node, "softcap").filter(|cap| *cap > 0.0);
    let scores = Scores { scale: attr_f(node, "scale"), features: None, softcap, masks, sink };
    let y = if group == 1 {
        let y = scores.attend(s, &swapped, &keys, &values, 4);
        s.transpose(&y, &SWAP)
    } else {
        // The queries of one head of keys lie side by side.
        let grouped = s.reshape(&q, &[0, 0, shared, group, -1]);
        let grouped = s.transpose(&grouped, &[0, 2, 3, 1, 4]);
        let [k, v] = [&keys, &values].map(|x| s.unsqueeze(x, 2));
        let y = scores.attend(s, &grouped, &k, &v, 5);
        s.transpose(&y, &[0, 3, 1, 2, 4])
    };
    let y = s.reshape(&y, &[0, 0, -1]);
    for (slot, held) in [(1, &keys), (2, &values)] {
        let present = past.present(node, s, slot + 2, held);
        s.give(&present, node, slot);
    }
    s.give(&y, node, 0);
    Ok(())
}

/// Features of a head of a cache that such attention reads, by the layer that makes its queries.
pub(super) fn features_of_cache(graph: &Graph, cache: &str) -> Option<usize> {
    let readers = |value: &str| graph.index().readers(value).iter().map(|at| &graph.nodes()[*at]);
    let wide = readers(cache).find(|n| n.op_type == "Cast").and_then(|n| output(n, 0));
    let node = readers(cache).chain(wide.into_iter().flat_map(readers)).find(|n| n.domain == DOMAIN)?;
    let count = |name: &str| attr_i(node, name).filter(|n| (1..=MOST_HEADS).contains(n)).map(|n| n as usize);
    let heads = match (node.op_type.as_str(), input(node, 1)) {
        ("GroupQueryAttention", None) => count("num_heads")? + 2 * count("kv_num_heads")?,
        ("GroupQueryAttention" | "MultiHeadAttention", Some(_)) => count("num_heads")?,
        _ => return None,
    };
    let columns = columns(graph, input(node, 0)?)?;
    columns.is_multiple_of(heads).then(|| columns / heads)
}

/// Columns of the layer behind which the value is, with what keeps its extent in between.
fn columns<'g>(graph: &'g Graph, mut value: &'g str) -> Option<usize> {
    const MOST_BETWEEN: usize = 8;
    for _ in 0..MOST_BETWEEN {
        let node = &graph.nodes()[graph.index().producer(value)?];
        let weight = || input(node, 1).and_then(|name| constant(graph, name));
        let extent = match node.op_type.as_str() {
            "MatMul" => weight()?.dims.last(),
            "Gemm" => weight()?.dims.get(usize::from(!is_on(node, "transB"))),
            "Split" => {
                let slot = node.output.iter().position(|name| name == value)?;
                let sizes = ints(weight()?, graph.external()).ok()?;
                return usize::try_from(*sizes.get(slot)?).ok();
            }
            "Add" | "Identity" | "Reshape" | "RotaryEmbedding" | "SimplifiedLayerNormalization" => {
                let is_computed = |name: &&str| graph.index().producer(name).is_some();
                value = [0, 1].into_iter().filter_map(|slot| input(node, slot)).find(is_computed)?;
                continue;
            }
            _ => return None,
        };
        return usize::try_from(*extent?).ok();
    }
    None
}

/// An initializer, or what a Constant holds: no pass may have been here.
fn constant<'g>(graph: &'g Graph, name: &str) -> Option<&'g Tensor> {
    let made = || graph.index().producer(name).and_then(|at| attr_t(&graph.nodes()[at], "value"));
    graph.constant(name).or_else(made)
}

/// How many keys a query looks at, itself among them.
fn window(node: &Node) -> Option<i64> {
    attr_i(node, "local_window_size").filter(|n| *n > 0)
}

/// A bias of batch, heads, queries, keys, parted as the queries are; one for all heads stays one.
fn bias_of_heads(s: &mut Spell, bias: &str, shared: i64, group: i64) -> Result<String> {
    match s.facts.extent(bias, 1) {
        _ if group == 1 => Ok(bias.to_owned()),
        Some(1) => Ok(s.unsqueeze(bias, 2)),
        Some(_) => {
            let last = s.transpose(bias, &[0, 2, 3, 1]);
            let parted = s.reshape(&last, &[0, 0, 0, shared, group]);
            Ok(s.transpose(&parted, &[0, 3, 4, 1, 2]))
        }
        None => Err(refuse(format!("the extents of its attention_bias '{bias}' are not recorded"))),
    }
}

/// What came before.
struct Past {
    /// Keys and values of batch, heads, positions, features.
    held: Option<[String; 2]>,
    /// How many positions, of rank 0: more than are held where a window is.
    count: String,
    windowed: bool,
}

impl Past {
    fn of(node: &Node, s: &mut Spell, q: &str) -> Past {
        let windowed = is_on(node, "sliding_window_cache");
        let [Some(keys), Some(values)] = [3, 4].map(|slot| input(node, slot)) else {
            return Past { held: None, count: s.int(0), windowed: false };
        };
        let (Some(total), Some(window), true) = (input(node, 6), window(node), windowed) else {
            let count = s.extent(keys, 2);
            return Past { held: Some([keys.to_owned(), values.to_owned()]), count, windowed: false };
        };
        let total = s.cast(total, DataType::INT64);
        let total = s.reshape(&total, &[]);
        let new = s.extent(q, 1);
        let count = s.op("Sub", &[&total, &new]);
        let window = s.int(window);
        let resident = s.op("Min", &[&count, &window]);
        let resident = s.reshape(&resident, &[1]);
        let [zero, axis] = [0, 2].map(|v| s.ints(&[v]));
        let held = [keys, values].map(|x| s.op("Slice", &[x, &zero, &resident, &axis]));
        Past { held: Some(held), count, windowed }
    }

    /// Positions that go on from there, of one batch.
    fn positions(&self, s: &mut Spell, q: &str) -> String {
        let new = s.extent(q, 1);
        let end = s.op("Add", &[&self.count, &new]);
        let range = s.range(&self.count, &end);
        s.reshape(&range, &[1, -1])
    }

    /// What is held afterwards: `all`, or as much as the window's buffer `past` takes, with anything behind it.
    fn present(&self, node: &Node, s: &mut Spell, past: usize, all: &str) -> String {
        let (true, Some(buffer)) = (self.windowed, input(node, past)) else { return all.to_owned() };
        let [rows, capacity] = [all, buffer].map(|x| s.extent(x, 2));
        let kept = s.op("Min", &[&rows, &capacity]);
        let first = s.op("Sub", &[&rows, &kept]);
        let [rows, capacity, kept, first] = [rows, capacity, kept, first].map(|x| s.reshape(&x, &[1]));
        let axis = s.ints(&[2]);
        let latest = s.op("Slice", &[all, &first, &rows, &axis]);
        let rest = s.op("Slice", &[buffer, &kept, &capacity, &axis]);
        s.concat(&[&latest, &rest], 2)
    }
}

/// Queries, keys and values of batch, positions, heads, features; they may come in one input.
fn apart(node: &Node, s: &mut Spell, heads: i64, shared: i64) -> [String; 3] {
    let query = input(node, 0).unwrap_or("");
    if let [Some(key), Some(value)] = [1, 2].map(|slot| input(node, slot)) {
        return [(query, heads), (key, shared), (value, shared)].map(|(x, heads)| s.reshape(x, &[0, 0, heads, -1]));
    }
    let packed = s.reshape(query, &[0, 0, heads + 2 * shared, -1]);
    let mut start = 0;
    [heads, shared, shared].map(|count| {
        start += count;
        s.slice(&packed, 2, start - count, start)
    })
}
