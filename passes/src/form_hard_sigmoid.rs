//! `form_hard_sigmoid`: a HardSigmoid that is written in parts becomes one.

use crate::Pass;
use crate::facts::{label, output};
use crate::nodes::plain_node;
use crate::ramp::{Chain, Ramps, remove};
use std::collections::HashSet;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, with_attr};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Arithmetic with one constant for all elements, and Clips in it, becomes the HardSigmoid that it is, with its `alpha`
/// and `beta`: `Clip (x + 3, 0, 6) / 6` and `Clip (x / 6 + 0.5, 0, 1)` are two of many spellings.
///
/// ## Why
/// Keras and older exporters write it so. Devices with an integer kernel have it for the whole, which asks for one scale
/// instead of three; in float it is one walk over the tensor.
///
/// ## When it refuses
/// A value on the way that something else reads; constants that are computed, not float32, differ from element to
/// element or give the result another shape; ends other than 0 and 1; steps in which float32 loses digits; a Clip at the
/// beginning, which the kernel before it may run.
///
/// ## Example
/// `a = Add (x, {3})  c = Clip (a, {0}, {6})  y = Mul (c, {0.16666667})` becomes
/// `y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)`.
pub struct FormHardSigmoid;

impl Pass for FormHardSigmoid {
    fn name(&self) -> &'static str {
        "form_hard_sigmoid"
    }

    fn about(&self) -> &'static str {
        "HardSigmoid that is written in parts becomes one"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let (mut patch, ramps, mut taken) = (Patch::new(), Ramps::of(graph), HashSet::new());
        let wanted = |chain: &Chain| {
            chain.nodes.len() > 1 && !chain.begins_with_clip() && chain.ramp().is_hard_sigmoid() && chain.is_exact()
        };
        for first in 0..graph.nodes().len() {
            if taken.contains(&first) {
                continue;
            }
            let Some(chain) = ramps.longest(first, wanted)? else { continue };
            form(graph, &chain, &mut patch);
            taken.extend(chain.nodes);
        }
        Ok(patch.into_option())
    }
}

fn form(graph: &Graph, chain: &Chain, patch: &mut Patch) {
    let Some((last, inner)) = chain.nodes.split_last() else { return };
    let (node, ramp) = (&graph.nodes()[*last], chain.ramp());
    let Some(y) = output(node, 0) else { return };
    let formed = with_attr(plain_node("HardSigmoid", &[chain.x], y), "alpha", ramp.slope as f32);
    let formed = with_attr(Node { name: node.name.clone(), ..formed }, "beta", ramp.shift as f32);
    patch.because(format!("{} ends a HardSigmoid of '{}'", label(node), chain.x));
    remove(graph, inner, patch);
    patch.push(Edit::Replace(*last, formed));
}
