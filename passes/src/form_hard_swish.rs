//! `form_hard_swish`: a HardSwish that is written in parts becomes one.

use crate::Pass;
use crate::facts::{label, output};
use crate::nodes::plain_node;
use crate::ramp::{HardSwish, Ramps, remove};
use crate::upgrade_opset::upgrade_opset;
use std::collections::HashSet;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// A value times its own HardSigmoid of slope 1/6 becomes HardSwish, however the HardSigmoid is written and wherever the
/// factor 1/6 stands; an older opset than 14, where HardSwish came, is raised to it.
///
/// ## Why
/// Exporters of TensorFlow, Paddle and older PyTorch write it so. In float it reads its input once instead of twice; and
/// where a device runs it with integers, the parts do not: their constants have no scale.
///
/// ## When it refuses
/// A value on the way that something else reads; other constants; whatever
/// [`FormHardSigmoid`](crate::FormHardSigmoid) refuses of constants; a model that cannot be raised. It is not run for a
/// target that reads no opset 14.
///
/// ## Example
/// `a = Add (x, {3})  c = Clip (a, {0}, {6})  m = Mul (x, c)  y = Div (m, {6})` becomes `y = HardSwish (x)`.
pub struct FormHardSwish;

/// The opset that HardSwish came with.
pub(crate) const HARD_SWISH_OPSET: i64 = 14;

impl Pass for FormHardSwish {
    fn name(&self) -> &'static str {
        "form_hard_swish"
    }

    fn about(&self) -> &'static str {
        "HardSwish that is written in parts becomes one"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let (mut patch, ramps, mut taken) = (Patch::new(), Ramps::of(graph), HashSet::new());
        for product in 0..graph.nodes().len() {
            let Some(found) = ramps.hard_swish(product)? else { continue };
            let mut nodes = found.inner.iter().chain([&found.last]);
            if ramps.may_be_float(found.x) && !nodes.clone().any(|at| taken.contains(at)) {
                form(graph, &found, &mut patch);
                taken.extend(nodes.by_ref().copied());
            }
        }
        if patch.is_empty() || graph.opset() >= HARD_SWISH_OPSET {
            return Ok(patch.into_option());
        }
        // What this opset changes is refused, never rewritten, so that the edits do not meet those of the nodes above.
        let Ok(raised) = upgrade_opset(graph, HARD_SWISH_OPSET) else { return Ok(None) };
        patch.extend(raised);
        Ok(Some(patch))
    }
}

fn form(graph: &Graph, found: &HardSwish, patch: &mut Patch) {
    let node = &graph.nodes()[found.last];
    let Some(y) = output(node, 0) else { return };
    let formed = Node { name: node.name.clone(), ..plain_node("HardSwish", &[found.x], y) };
    patch.because(format!("{} ends a HardSwish of '{}'", label(node), found.x));
    remove(graph, &found.inner, patch);
    patch.push(Edit::Replace(found.last, formed));
}
