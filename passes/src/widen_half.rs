//! `widen_half`: float16 and bfloat16 become float32.

use crate::Pass;
use tapq::Result;
use tapq::graph::{Graph, Patch, half_to_float};

/// ## What it does
/// Makes a graph compute in float32 where it computes in float16 or bfloat16: constants, types that nodes name, bodies.
/// Inputs and outputs keep their type, with a Cast behind or before them; Casts that change nothing any more become
/// Identity.
///
/// ## Why
/// Weights are rounded to integers from float32, and scales of integers are float32; processors compute in it, and what
/// stays in float on another device is a matter of how its compiler is called.
///
/// ## When it refuses
/// A model that takes or gives sequences of such floats.
///
/// ## Example
/// `float16[2] x, y = MatMul (x, w)` becomes `x_float32 = Cast <to = float> (x)  y_float32 = MatMul (x_float32, w)
/// y = Cast <to = float16> (y_float32)`, with `w` in float32.
pub struct WidenHalf;

impl Pass for WidenHalf {
    fn name(&self) -> &'static str {
        "widen_half"
    }

    fn about(&self) -> &'static str {
        "float16 and bfloat16 become float32"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        half_to_float(graph)
    }
}
