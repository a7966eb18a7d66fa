//! Rotation of pairs of features by an angle that grows with the position.

use super::is_on;
use super::spell::{Spell, refuse};
use crate::Result;
use crate::graph::{attr_f, attr_i, input};
use crate::onnx::NodeProto as Node;

/// `RotaryEmbedding(input, position_ids, cos_cache, sin_cache)`.
pub(super) fn rotary(node: &Node, s: &mut Spell) -> Result<()> {
    if is_on(node, "is_packed_batching") || attr_f(node, "scale").is_some_and(|v| v != 1.0) {
        return Err(refuse("RotaryEmbedding of packed batches or with a scale is not supported"));
    }
    let [x, positions, cos, sin] = [0, 1, 2, 3].map(|slot| input(node, slot).unwrap_or(""));
    let rank = s.facts.rank(x).ok_or_else(|| refuse(format!("the rank of '{x}' is not recorded")))?;
    let four = rank == 4;
    // Batch, positions, heads, features.
    let split = if four {
        s.transpose(x, &[0, 2, 1, 3])
    } else {
        let heads = attr_i(node, "num_heads").filter(|n| *n > 0);
        let features = s.facts.extent(cos, -1).map(|n| n.saturating_mul(2));
        match (heads, features) {
            (Some(heads), _) => s.reshape(x, &[0, 0, heads, -1]),
            (None, Some(features)) => s.reshape(x, &[0, 0, -1, features]),
            _ => return Err(refuse("neither its heads nor the extents of cos_cache are known")),
        }
    };
    // One number is where the first position stands.
    let positions = match s.facts.rank(positions) {
        Some(1) => {
            let count = s.extent(&split, 1);
            let [zero, one] = [0, 1].map(|v| s.int(v));
            let range = s.op("Range", &[&zero, &count, &one]);
            let moved = s.op("Add", &[&range, positions]);
            s.reshape(&moved, &[1, -1])
        }
        _ => positions.to_owned(),
    };
    let angles = Angles::at(s, &positions, cos, sin, is_on(node, "interleaved"));
    let y = angles.rotate(s, &split);
    let y = if four { s.transpose(&y, &[0, 2, 1, 3]) } else { s.reshape(&y, &[0, 0, -1]) };
    s.give(&y, node, 0);
    Ok(())
}

/// Cosines and sines at the positions of a sequence, one for each pair of features.
pub(super) struct Angles {
    cos: String,
    sin: String,
    /// Whether the features of a pair lie side by side, not half the features apart.
    interleaved: bool,
    /// Features that are turned; all where they are not known.
    turned: Option<i64>,
}

impl Angles {
    /// `positions` of batch (or 1), positions; tables of positions, pairs.
    pub(super) fn at(s: &mut Spell, positions: &str, cos: &str, sin: &str, interleaved: bool) -> Self {
        let turned = s.facts.extent(cos, -1).map(|n| n.saturating_mul(2));
        let [cos, sin] = [cos, sin].map(|table| {
            let rows = s.op_with("Gather", &[table, positions], [("axis", 0.into())]);
            s.unsqueeze(&rows, 2)
        });
        Angles { cos, sin, interleaved, turned }
    }

    /// Turns `x` of batch, positions, heads, features; features past those of the tables stay.
    pub(super) fn rotate(&self, s: &mut Spell, x: &str) -> String {
        const END: i64 = i64::MAX;
        let (turned, rest) = match self.turned {
            Some(turned) => (s.slice(x, 3, 0, turned), Some(s.slice(x, 3, turned, END))),
            None => (x.to_owned(), None),
        };
        let [first, second] = if self.interleaved {
            let pairs = s.reshape(&turned, &[0, 0, 0, -1, 2]);
            [0, 1].map(|at| {
                let at = s.int(at);
                s.op_with("Gather", &[&pairs, &at], [("axis", 4.into())])
            })
        } else {
            self.halves(s, &turned)
        };
        let product = |s: &mut Spell, a: &str, b: &str| s.op("Mul", &[a, b]);
        let [a, b] = [product(s, &first, &self.cos), product(s, &second, &self.sin)];
        let [c, d] = [product(s, &second, &self.cos), product(s, &first, &self.sin)];
        let [first, second] = [s.op("Sub", &[&a, &b]), s.op("Add", &[&c, &d])];
        let turned = if self.interleaved {
            let [first, second] = [first, second].map(|half| s.unsqueeze(&half, 4));
            let pairs = s.concat(&[&first, &second], 4);
            s.reshape(&pairs, &[0, 0, 0, -1])
        } else {
            s.concat(&[&first, &second], 3)
        };
        match rest {
            Some(rest) => s.concat(&[&turned, &rest], 3),
            None => turned,
        }
    }

    fn halves(&self, s: &mut Spell, x: &str) -> [String; 2] {
        if let Some(turned) = self.turned {
            return [s.slice(x, 3, 0, turned / 2), s.slice(x, 3, turned / 2, turned)];
        }
        // Two halves as an axis of their own.
        let pairs = s.reshape(x, &[0, 0, 0, 2, -1]);
        [0, 1].map(|at| {
            let at = s.int(at);
            s.op_with("Gather", &[&pairs, &at], [("axis", 3.into())])
        })
    }
}
