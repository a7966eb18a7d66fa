//! What a query may not look at, as numbers that are added to its scores.

use super::spell::{Spell, refuse};
use crate::Result;
use crate::onnx::DataType;

/// What ONNX Runtime adds where no score may count: finite, so that no difference of two is NaN.
const LOWEST: f32 = f32::MIN;

/// The axis of positions of heads, of four axes: batch, heads, positions, features.
const POSITIONS: i64 = 2;

/// Forbids each query the keys behind it, and all but the last `window` of the others, itself among them; queries are the
/// last of the keys.
pub(super) fn causal(s: &mut Spell, queries: &str, keys: &str, window: Option<i64>) -> String {
    let count = s.extent(queries, POSITIONS);
    let total = s.extent(keys, POSITIONS);
    let past = s.op("Sub", &[&total, &count]);
    let zero = s.int(0);
    let columns = s.range(&zero, &total);
    let rows = s.range(&past, &total);
    let rows = s.reshape(&rows, &[-1, 1]);
    let mut hidden = s.op("Greater", &[&columns, &rows]);
    if let Some(window) = window {
        let window = s.int(window);
        let first = s.op("Sub", &[&rows, &window]);
        let before = s.op("LessOrEqual", &[&columns, &first]);
        hidden = s.op("Or", &[&hidden, &before]);
    }
    let [lowest, zero] = [LOWEST, 0.0].map(|v| s.number(v));
    s.op("Where", &[&hidden, &lowest, &zero])
}

/// Forbids keys that are padding, by a mask of rank 1 (how many keys count), 2 (batch, keys) or 3 (batch, queries, keys).
pub(super) fn padding(s: &mut Spell, mask: &str, keys: &str, filter: f32) -> Result<String> {
    let seen = match s.facts.rank(mask).unwrap_or(2) {
        1 => {
            let total = s.extent(keys, POSITIONS);
            let zero = s.int(0);
            let columns = s.range(&zero, &total);
            let lengths = s.cast(mask, DataType::INT64);
            let lengths = s.reshape(&lengths, &[-1, 1, 1, 1]);
            s.op("Less", &[&columns, &lengths])
        }
        2 => {
            let wide = s.reshape(mask, &[0, 1, 1, -1]);
            s.cast(&wide, DataType::BOOL)
        }
        3 => {
            let wide = s.unsqueeze(mask, 1);
            s.cast(&wide, DataType::BOOL)
        }
        rank => return Err(refuse(format!("a mask of {rank} axes is not supported"))),
    };
    let [zero, filter] = [0.0, filter].map(|v| s.number(v));
    Ok(s.op("Where", &[&seen, &zero, &filter]))
}
