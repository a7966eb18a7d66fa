//! Attention of many heads, with and without the products in front of it.

use super::is_on;
use super::mask;
use super::spell::{Spell, refuse};
use crate::Result;
use crate::graph::{attr_f, attr_i, attr_ints, input, output};
use crate::onnx::NodeProto as Node;

/// The number that masks what is padding, unless the node says otherwise.
const FILTER: f32 = -10_000.0;

/// Batch, positions, heads, features to batch, heads, positions, features, and back.
pub(super) const SWAP: [i64; 4] = [0, 2, 1, 3];

/// `Attention(input, weights, bias, mask, past, attention_bias)`: one product makes queries, keys and values.
pub(super) fn attention(node: &Node, s: &mut Spell) -> Result<()> {
    if is_on(node, "do_rotary") || is_on(node, "past_present_share_buffer") || input(node, 6).is_some() {
        return Err(refuse("Attention with rotation or a shared cache is not supported"));
    }
    let [x, weights] = [0, 1].map(|slot| input(node, slot).unwrap_or(""));
    let mut made = s.op("MatMul", &[x, weights]);
    if let Some(bias) = input(node, 2) {
        made = s.op("Add", &[&made, bias]);
    }
    let sizes = match attr_ints(node, "qkv_hidden_sizes") {
        Some(sizes) if sizes.len() == 3 => sizes.to_vec(),
        _ => vec![thirds(s, &[(weights, 1), (input(node, 2).unwrap_or(""), 0)])?; 3],
    };
    let parts = s.split(&made, 2, &sizes);
    let mut inputs = vec![parts[0].clone(), parts[1].clone(), parts[2].clone(), String::new()];
    inputs.extend([3, 5].map(|slot| input(node, slot).unwrap_or("").to_owned()));
    if let Some(past) = input(node, 4) {
        for half in 0..2 {
            let at = s.int(half);
            inputs.push(s.op_with("Gather", &[past, &at], [("axis", 0.into())]));
        }
    }
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let present = output(node, 1).is_some();
    let attended = s.own("MultiHeadAttention", &inputs, if present { 3 } else { 1 }, []);
    for name in ["num_heads", "unidirectional"] {
        attr_i(node, name).into_iter().for_each(|value| s.set(name, value));
    }
    for name in ["mask_filter_value", "scale"] {
        attr_f(node, name).into_iter().for_each(|value| s.set(name, value));
    }
    if present {
        let halves = [1, 2].map(|slot: usize| s.unsqueeze(&attended[slot], 0));
        let present = s.concat(&[&halves[0], &halves[1]], 0);
        s.give(&present, node, 1);
    }
    s.give(&attended[0], node, 0);
    Ok(())
}

/// A third of the extent of the first value whose extent along an axis is known.
fn thirds(s: &Spell, values: &[(&str, i64)]) -> Result<i64> {
    let known = values.iter().find_map(|(name, axis)| s.facts.extent(name, *axis));
    let whole = known.ok_or_else(|| refuse("the extents of its weights are not recorded"))?;
    match whole % 3 {
        0 => Ok(whole / 3),
        _ => Err(refuse(format!("its {whole} columns are not queries, keys and values of one extent"))),
    }
}

/// `MultiHeadAttention(query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value)`.
pub(super) fn multi_head(node: &Node, s: &mut Spell) -> Result<()> {
    if input(node, 8).or(input(node, 9)).or(output(node, 3)).is_some() {
        return Err(refuse("MultiHeadAttention with a shared cache, or that gives out scores, is not supported"));
    }
    let heads = attr_i(node, "num_heads").filter(|n| *n > 0).ok_or_else(|| refuse("it has no num_heads"))?;
    let query = input(node, 0).unwrap_or("");
    let [q, mut k, mut v] = match (input(node, 1), input(node, 2)) {
        (Some(key), Some(value)) => {
            let given = [query, key, value];
            let biases = biases(node, s)?;
            [0, 1, 2].map(|i| split_heads(s, given[i], biases.as_ref().map(|b| b[i].as_str()), heads))
        }
        // Both packed: batch, positions, heads, 3 or 2, features.
        _ if input(node, 3).is_some() => return Err(refuse("a bias beside packed keys is not supported")),
        (Some(packed), None) => {
            let q = split_heads(s, query, None, heads);
            let [k, v] = unpack(s, packed);
            [q, k, v]
        }
        _ => unpack(s, query),
    };
    if let [Some(past_k), Some(past_v)] = [6, 7].map(|slot| input(node, slot)) {
        k = s.concat(&[past_k, &k], 2);
        v = s.concat(&[past_v, &v], 2);
    }
    let mut masks = vec![];
    if let Some(given) = input(node, 4) {
        masks.push(mask::padding(s, given, &k, attr_f(node, "mask_filter_value").unwrap_or(FILTER))?);
    }
    masks.extend(input(node, 5).map(str::to_owned));
    if is_on(node, "unidirectional") {
        masks.push(mask::causal(s, &q, &k, None));
    }
    let scores =
        Scores { scale: attr_f(node, "scale"), features: features(s, query, heads), softcap: None, masks, sink: None };
    let y = scores.attend(s, &q, &k, &v, 4);
    let y = s.transpose(&y, &SWAP);
    let y = s.reshape(&y, &[0, 0, -1]);
    s.give(&k, node, 1);
    s.give(&v, node, 2);
    s.give(&y, node, 0);
    Ok(())
}

/// Features of a head, where they are recorded.
fn features(s: &Spell, query: &str, heads: i64) -> Option<i64> {
    s.facts.extent(query, -1).filter(|_| s.facts.rank(query) == Some(3)).map(|n| n / heads)
}

/// What the bias adds to queries, keys and values.
fn biases(node: &Node, s: &mut Spell) -> Result<Option<Vec<String>>> {
    let Some(bias) = input(node, 3) else { return Ok(None) };
    let third = thirds(s, &[(bias, 0)])?;
    Ok(Some(s.split(bias, 0, &[third; 3])))
}

/// Batch, heads, positions, features; of four axes it is that already.
fn split_heads(s: &mut Spell, x: &str, bias: Option<&str>, heads: i64) -> String {
    if s.facts.rank(x) == Some(4) {
        return x.to_owned();
    }
    let x = match bias {
        Some(bias) => s.op("Add", &[x, bias]),
        None => x.to_owned(),
    };
    let parted = s.reshape(&x, &[0, 0, heads, -1]);
    s.transpose(&parted, &SWAP)
}

/// The parts of a value of batch, positions, heads, parts, features.
fn unpack<const N: usize>(s: &mut Spell, packed: &str) -> [String; N] {
    let first = s.transpose(packed, &[3, 0, 2, 1, 4]);
    std::array::from_fn(|part| {
        let at = s.int(part as i64);
        s.op_with("Gather", &[&first, &at], [("axis", 0.into())])
    })
}

/// How products of queries and keys become weights of values.
pub(super) struct Scores {
    /// What they are multiplied by; the inverse of the root of `features` where it is absent or zero.
    pub(super) scale: Option<f32>,
    /// Of a head, where they are known before the model runs.
    pub(super) features: Option<i64>,
    /// No score is farther from zero than this.
    pub(super) softcap: Option<f32>,
    /// Added to the scores, one after the other.
    pub(super) masks: Vec<String>,
    /// The score of a key that is in no value: it takes a share of the weights away.
    pub(super) sink: Option<String>,
}

impl Scores {
    /// Values weighted by the softmax of scores; all of `axes` axes, the last of which are positions and features.
    pub(super) fn attend(self, s: &mut Spell, q: &str, k: &str, v: &str, axes: i64) -> String {
        let mut perm: Vec<i64> = (0..axes).collect();
        perm.swap(axes as usize - 2, axes as usize - 1);
        let keys = s.transpose(k, &perm);
        let mut scores = s.op("MatMul", &[q, &keys]);
        let known = self.features.map(|n| 1.0 / (n as f32).sqrt());
        scores = match self.scale.filter(|v| *v != 0.0).or(known) {
            Some(scale) => {
                let scale = s.number(scale);
                s.op("Mul", &[&scores, &scale])
            }
            None => {
                let features = s.extent(q, axes - 1);
                let features = s.cast(&features, crate::onnx::DataType::FLOAT);
                let root = s.op("Sqrt", &[&features]);
                s.op("Div", &[&scores, &root])
            }
        };
        if let Some(cap) = self.softcap {
            let cap = s.number(cap);
            scores = s.op("Div", &[&scores, &cap]);
            scores = s.op("Tanh", &[&scores]);
            scores = s.op("Mul", &[&scores, &cap]);
        }
        for mask in &self.masks {
            scores = s.op("Add", &[&scores, mask]);
        }
        let last = axes - 1;
        if let Some(sink) = &self.sink {
            // A column of the right extents that is the sink in each row.
            let column = s.slice(&scores, last, 0, 1);
            let zero = s.number(0.0);
            let column = s.op("Mul", &[&column, &zero]);
            let column = s.op("Add", &[&column, sink]);
            scores = s.concat(&[&scores, &column], last);
        }
        let mut weights = s.op_with("Softmax", &[&scores], [("axis", last.into())]);
        if self.sink.is_some() {
            weights = s.slice(&weights, last, 0, -1);
        }
        s.op("MatMul", &[&weights, v])
    }
}
