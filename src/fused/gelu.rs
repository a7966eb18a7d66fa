//! Gelu, exact and approximated.

use super::spell::Spell;
use crate::Result;
use crate::graph::{attr_f, input};
use crate::onnx::NodeProto as Node;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

/// `BiasGelu(x, bias)`: Gelu of the sum.
pub(super) fn bias(node: &Node, s: &mut Spell) -> Result<()> {
    let x = with_bias(node, s);
    let y = exact(s, &x);
    s.give(&y, node, 0);
    Ok(())
}

/// `Gelu(x)` of the time before ONNX had it.
pub(super) fn plain(node: &Node, s: &mut Spell) -> Result<()> {
    let y = exact(s, input(node, 0).unwrap_or(""));
    s.give(&y, node, 0);
    Ok(())
}

/// `x / 2 * (1 + erf(x / sqrt 2))`, as exporters write it.
fn exact(s: &mut Spell, x: &str) -> String {
    let [root, one, half] = [SQRT_2, 1.0, 0.5].map(|v| s.number(v));
    let scaled = s.op("Div", &[x, &root]);
    let erf = s.op("Erf", &[&scaled]);
    let gate = s.op("Add", &[&erf, &one]);
    let gated = s.op("Mul", &[x, &gate]);
    s.op("Mul", &[&gated, &half])
}

/// `FastGelu(x, bias)`: `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, of the sum where there is a bias.
pub(super) fn fast(node: &Node, s: &mut Spell) -> Result<()> {
    let x = with_bias(node, s);
    if input(node, 1).is_some() {
        let y = s.own("FastGelu", &[&x], 1, []).remove(0);
        s.give(&y, node, 0);
        return Ok(());
    }
    let slope = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let [cubic, slope, one, half] = [0.044_715 * slope, slope, 1.0, 0.5].map(|v| s.number(v));
    let square = s.op("Mul", &[&x, &x]);
    let square = s.op("Mul", &[&square, &cubic]);
    let slope = s.op("Add", &[&square, &slope]);
    let inner = s.op("Mul", &[&x, &slope]);
    let tanh = s.op("Tanh", &[&inner]);
    let gate = s.op("Add", &[&tanh, &one]);
    let gated = s.op("Mul", &[&x, &gate]);
    let y = s.op("Mul", &[&gated, &half]);
    s.give(&y, node, 0);
    Ok(())
}

/// `QuickGelu(x)`: `x * sigmoid(alpha x)`.
pub(super) fn quick(node: &Node, s: &mut Spell) -> Result<()> {
    let x = input(node, 0).unwrap_or("");
    let alpha = s.number(attr_f(node, "alpha").unwrap_or(1.702));
    let inner = s.op("Mul", &[x, &alpha]);
    let gate = s.op("Sigmoid", &[&inner]);
    let y = s.op("Mul", &[x, &gate]);
    s.give(&y, node, 0);
    Ok(())
}

fn with_bias(node: &Node, s: &mut Spell) -> String {
    let x = input(node, 0).unwrap_or("");
    match input(node, 1) {
        Some(bias) => s.op("Add", &[x, bias]),
        None => x.to_owned(),
    }
}
