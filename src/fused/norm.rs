//! Normalization over the last axes, with what is added in front of it.

use super::LAYER_NORM_OPSET;
use super::spell::{Spell, refuse};
use crate::Result;
use crate::graph::{attr_f, attr_i, input, output};
use crate::onnx::NodeProto as Node;

/// No value has more axes.
const MOST_AXES: i64 = 64;

/// `SkipLayerNormalization(input, skip, gamma, beta, bias)`; outputs behind the first are the mean, the inverse of the
/// deviation, and what is normalized.
pub(super) fn skip(node: &Node, s: &mut Spell) -> Result<()> {
    if input(node, 4).is_some() {
        without_bias(node, 4, s);
        return Ok(());
    }
    let sum = summed(node, s);
    let parameters = [input(node, 2), input(node, 3)];
    let epsilon = attr_f(node, "epsilon").unwrap_or(1e-12);
    let y = match output(node, 1).or(output(node, 2)) {
        None => layer_norm(s, &sum, parameters, epsilon),
        Some(_) => {
            let [y, mean, deviation] = spelled_norm(s, &sum, parameters, epsilon);
            let inverse = s.op("Reciprocal", &[&deviation]);
            s.give(&mean, node, 1);
            s.give(&inverse, node, 2);
            y
        }
    };
    s.give(&sum, node, 3);
    s.give(&y, node, 0);
    Ok(())
}

/// `SkipSimplifiedLayerNormalization(input, skip, gamma, bias)`: without mean and beta; there is nothing at its second
/// output.
pub(super) fn skip_simplified(node: &Node, s: &mut Spell) -> Result<()> {
    if input(node, 3).is_some() {
        without_bias(node, 3, s);
        return Ok(());
    }
    let sum = summed(node, s);
    let (y, inverse) = root_mean_square(s, &sum, input(node, 2), attr_f(node, "epsilon").unwrap_or(1e-12), &[-1]);
    s.give(&inverse, node, 2);
    s.give(&sum, node, 3);
    s.give(&y, node, 0);
    Ok(())
}

/// `SimplifiedLayerNormalization(x, scale)`; its second output is the inverse of the root of the mean square.
pub(super) fn simplified(node: &Node, s: &mut Spell) -> Result<()> {
    let x = input(node, 0).unwrap_or("");
    let axis = attr_i(node, "axis").unwrap_or(-1);
    let first = match (axis, s.facts.rank(x)) {
        (..0, _) => axis,
        (_, Some(rank)) => axis - rank as i64,
        _ => return Err(refuse(format!("the rank of '{x}' is not recorded"))),
    };
    if !(-MOST_AXES..0).contains(&first) {
        return Err(refuse(format!("its axis {axis} is none of '{x}'")));
    }
    let axes: Vec<i64> = (first..0).collect();
    let (y, inverse) = root_mean_square(s, x, input(node, 1), attr_f(node, "epsilon").unwrap_or(1e-5), &axes);
    s.give(&inverse, node, 1);
    s.give(&y, node, 0);
    Ok(())
}

fn summed(node: &Node, s: &mut Spell) -> String {
    let [x, skip] = [0, 1].map(|slot| input(node, slot).unwrap_or(""));
    s.op("Add", &[x, skip])
}

/// The same operator behind an Add of its bias, which is that of the layer in front, as it was before the fusion.
fn without_bias(node: &Node, slot: usize, s: &mut Spell) {
    let [x, bias] = [0, slot].map(|slot| input(node, slot).unwrap_or(""));
    let sum = s.op("Add", &[x, bias]);
    let mut rest = node.clone();
    rest.input[0] = sum;
    rest.input.truncate(slot);
    s.nodes.push(rest);
}

/// LayerNormalization over the last axis, written out where the opset has none.
pub(super) fn layer_norm(s: &mut Spell, x: &str, [gamma, beta]: [Option<&str>; 2], epsilon: f32) -> String {
    if s.facts.opset >= LAYER_NORM_OPSET
        && let Some(gamma) = gamma
    {
        let inputs: Vec<&str> = [x, gamma].into_iter().chain(beta).collect();
        return s.op_with("LayerNormalization", &inputs, [("axis", (-1).into()), ("epsilon", epsilon.into())]);
    }
    let [y, _, _] = spelled_norm(s, x, [gamma, beta], epsilon);
    y
}

/// LayerNormalization in its parts: the result, the mean, the deviation.
fn spelled_norm(s: &mut Spell, x: &str, [gamma, beta]: [Option<&str>; 2], epsilon: f32) -> [String; 3] {
    let mean = s.mean(x, &[-1]);
    let centred = s.op("Sub", &[x, &mean]);
    let squared = s.op("Mul", &[&centred, &centred]);
    let variance = s.mean(&squared, &[-1]);
    let epsilon = s.number(epsilon);
    let variance = s.op("Add", &[&variance, &epsilon]);
    let deviation = s.op("Sqrt", &[&variance]);
    let mut y = s.op("Div", &[&centred, &deviation]);
    if let Some(gamma) = gamma {
        y = s.op("Mul", &[&y, gamma]);
    }
    if let Some(beta) = beta {
        y = s.op("Add", &[&y, beta]);
    }
    [y, mean, deviation]
}

/// `x / sqrt(mean(x²) + epsilon) * gamma`, and the inverse of the root.
fn root_mean_square(s: &mut Spell, x: &str, gamma: Option<&str>, epsilon: f32, axes: &[i64]) -> (String, String) {
    let squared = s.op("Mul", &[x, x]);
    let mean = s.mean(&squared, axes);
    let epsilon = s.number(epsilon);
    let mean = s.op("Add", &[&mean, &epsilon]);
    let root = s.op("Sqrt", &[&mean]);
    let inverse = s.op("Reciprocal", &[&root]);
    let mut y = s.op("Mul", &[x, &inverse]);
    if let Some(gamma) = gamma {
        y = s.op("Mul", &[&y, gamma]);
    }
    (y, inverse)
}
