//! Layers that were fused with what stands around them.

use super::is_on;
use super::spell::{Spell, refuse};
use crate::Result;
use crate::graph::{Value, attr_f, attr_s, input};
use crate::onnx::NodeProto as Node;

/// `FusedConv(x, w, b, z)`: Conv, a sum, an activation.
pub(super) fn conv(node: &Node, s: &mut Spell) -> Result<()> {
    let mut y = s.recast(node, "Conv", 3, &[]);
    if let Some(z) = input(node, 3) {
        y = s.op("Add", &[&y, z]);
    }
    let listed = node.attribute.iter().find(|a| a.name == "activation_params").map_or(&[][..], |a| &a.floats);
    finish(node, s, &y, listed)
}

/// `FusedGemm(a, b, c)`: Gemm and an activation.
pub(super) fn gemm(node: &Node, s: &mut Spell) -> Result<()> {
    let y = s.recast(node, "Gemm", 3, &[]);
    let named = ["activation_alpha", "activation_beta", "activation_gamma"].map(|name| attr_f(node, name));
    let named: Vec<f32> = named.into_iter().flatten().collect();
    finish(node, s, &y, &named)
}

fn finish(node: &Node, s: &mut Spell, y: &str, parameters: &[f32]) -> Result<()> {
    let parameter = |at: usize, default: f32| Value::Float(parameters.get(at).copied().unwrap_or(default));
    let y = match attr_s(node, "activation") {
        None | Some("") => y.to_owned(),
        Some(op @ ("Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Softsign")) => s.op(op, &[y]),
        Some("LeakyRelu") => s.op_with("LeakyRelu", &[y], [("alpha", parameter(0, 0.01))]),
        Some("HardSigmoid") => {
            s.op_with("HardSigmoid", &[y], [("alpha", parameter(0, 0.2)), ("beta", parameter(1, 0.5))])
        }
        Some("Clip") => {
            let [low, high] = [(0, f32::MIN), (1, f32::MAX)].map(|(at, default)| {
                let bound = parameters.get(at).copied().unwrap_or(default);
                s.number(bound)
            });
            s.op("Clip", &[y, &low, &high])
        }
        Some(other) => return Err(refuse(format!("{} with '{other}' is not supported", node.op_type))),
    };
    s.give(&y, node, 0);
    Ok(())
}

/// `FusedMatMul(a, b)`: a product of what may be transposed, and a factor.
pub(super) fn matmul(node: &Node, s: &mut Spell) -> Result<()> {
    let [a, b] = [0, 1].map(|slot| input(node, slot).unwrap_or("").to_owned());
    let a = oriented(s, &a, is_on(node, "transA"), is_on(node, "transBatchA"))?;
    let b = oriented(s, &b, is_on(node, "transB"), is_on(node, "transBatchB"))?;
    let mut y = s.op("MatMul", &[&a, &b]);
    if let Some(alpha) = attr_f(node, "alpha").filter(|v| *v != 1.0) {
        let alpha = s.number(alpha);
        y = s.op("Mul", &[&y, &alpha]);
    }
    s.give(&y, node, 0);
    Ok(())
}

/// `x` with its first axis moved behind those of the batch, and with its matrices transposed.
fn oriented(s: &mut Spell, x: &str, matrix: bool, batch: bool) -> Result<String> {
    if !matrix && !batch {
        return Ok(x.to_owned());
    }
    let rank = s.facts.rank(x).ok_or_else(|| refuse(format!("the rank of '{x}' is not recorded")))?;
    if rank < 2 {
        // A vector has nothing to transpose.
        return Ok(x.to_owned());
    }
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    if batch {
        perm[..rank - 1].rotate_left(1);
    }
    if matrix {
        perm.swap(rank - 2, rank - 1);
    }
    Ok(s.transpose(x, &perm))
}
