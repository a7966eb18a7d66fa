//! What stands at the beginning of a BERT.

use super::norm::layer_norm;
use super::spell::{Spell, refuse};
use crate::Result;
use crate::graph::{attr_f, attr_i, input};
use crate::onnx::{DataType, NodeProto as Node};

/// `EmbedLayerNormalization(ids, segments, words, positions, segment_table, gamma, beta, mask, position_ids)`; outputs are
/// the normalized sum, how many positions of each sequence count, and the sum.
pub(super) fn embed(node: &Node, s: &mut Spell) -> Result<()> {
    if attr_i(node, "mask_index_type").is_some_and(|kind| kind != 0) {
        return Err(refuse("EmbedLayerNormalization with a mask_index_type is not supported"));
    }
    let [ids, words, table] = [0, 2, 3].map(|slot| input(node, slot).unwrap_or(""));
    let mut sum = s.op("Gather", &[words, ids]);
    let positions = match input(node, 8) {
        Some(positions) => s.op("Gather", &[table, positions]),
        None => {
            let count = s.extent(ids, 1);
            let zero = s.int(0);
            let from_the_beginning = s.range(&zero, &count);
            s.op("Gather", &[table, &from_the_beginning])
        }
    };
    sum = s.op("Add", &[&sum, &positions]);
    if let (Some(segments), Some(table)) = (input(node, 1), input(node, 4)) {
        let segments = s.op("Gather", &[table, segments]);
        sum = s.op("Add", &[&sum, &segments]);
    }
    let y = layer_norm(s, &sum, [input(node, 5), input(node, 6)], attr_f(node, "epsilon").unwrap_or(1e-12));
    let lengths = match input(node, 7) {
        Some(mask) => s.sum_over(mask, 1),
        None => {
            let batch = s.extent(ids, 0);
            let batch = s.reshape(&batch, &[1]);
            let zeros = s.op("ConstantOfShape", &[&batch]);
            s.cast(&zeros, DataType::INT32)
        }
    };
    s.give(&sum, node, 2);
    s.give(&lengths, node, 1);
    s.give(&y, node, 0);
    Ok(())
}
