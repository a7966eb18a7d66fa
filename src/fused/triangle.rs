//! Half of a matrix.

use super::is_on;
use super::spell::{Spell, refuse};
use crate::Result;
use crate::graph::{attr_i, input};
use crate::onnx::NodeProto as Node;

/// The opset that brought Trilu.
const TRILU_OPSET: i64 = 14;

/// `Trilu(x, k)` of the time before ONNX had it.
pub(super) fn trilu(node: &Node, s: &mut Spell) -> Result<()> {
    if s.facts.opset < TRILU_OPSET {
        return Err(refuse(format!("Trilu has no operator of ONNX before opset {TRILU_OPSET}")));
    }
    let inputs: Vec<&str> = [0, 1].into_iter().filter_map(|slot| input(node, slot)).collect();
    let upper = i64::from(attr_i(node, "upper").is_none() || is_on(node, "upper"));
    let y = s.op_with("Trilu", &inputs, [("upper", upper.into())]);
    s.give(&y, node, 0);
    Ok(())
}
