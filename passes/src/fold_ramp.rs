//! `fold_ramp`: a HardSigmoid behind a layer becomes a Clip.

use crate::Pass;
use crate::facts::{Names, label, output, sole_reader};
use crate::linear::Linear;
use crate::nodes::plain_node;
use crate::ramp::{Chain, Ramps, remove};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::{NodeProto as Node, from_floats};

/// ## What it does
/// HardSigmoid behind a Conv, ConvTranspose or Gemm becomes a Clip to 0 and 1, and slope and shift go into the weights
/// and the bias; so do factors and summands of one constant on either side of a Clip, whatever its ends.
///
/// ## Why
/// Gates of squeeze-and-excitation are written this way. The Clip runs in the kernel of the layer on every device, and
/// its eight bits are spent on 0 to 1, not on what the gate cuts off; HardSigmoid runs in float on most.
///
/// ## When it refuses
/// Another reader of a value on the way; no Clip of two ends; whatever [`FoldScale`](crate::FoldScale) refuses of a layer
/// and [`FormHardSigmoid`](crate::FormHardSigmoid) of constants.
///
/// ## Example
/// `c = Conv (x, w, b)  y = HardSigmoid <alpha = 0.2, beta = 0.5> (c)` becomes `c = Conv (x, w, b)  y = Clip (c, {0}, {1})`
/// with a fifth of the weights.
pub struct FoldRamp;

impl Pass for FoldRamp {
    fn name(&self) -> &'static str {
        "fold_ramp"
    }

    fn about(&self) -> &'static str {
        "HardSigmoid behind a layer becomes a Clip"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let (mut patch, ramps, mut names) = (Patch::new(), Ramps::of(graph), None);
        let wanted = |chain: &Chain| !chain.ramp().only_clips() && chain.is_exact();
        // Clip has its ends as inputs from here on.
        for at in (0..graph.nodes().len()).filter(|_| graph.opset() >= 11) {
            let Some(first) = output(&graph.nodes()[at], 0).and_then(|x| sole_reader(graph, x)) else { continue };
            let Some(chain) = ramps.longest(first, wanted)? else { continue };
            let Some(layer) = Linear::read(graph, at)? else { continue };
            fold(graph, &layer, &chain, names.get_or_insert_with(|| Names::of(graph)), &mut patch)?;
        }
        Ok(patch.into_option())
    }
}

fn fold(graph: &Graph, layer: &Linear, chain: &Chain, names: &mut Names, patch: &mut Patch) -> Result<()> {
    let (Some((last, inner)), ramp) = (chain.nodes.split_last(), chain.ramp()) else { return Ok(()) };
    let node = &graph.nodes()[*last];
    let (Some(y), channels) = (output(node, 0), layer.channels()) else { return Ok(()) };
    // Of a low end that rounding left above zero, kernels would not be told that zero is in the range.
    let ends = if ramp.is_hard_sigmoid() { [0.0, 1.0] } else { [ramp.low as f32, ramp.high as f32] };
    let line = (vec![ramp.slope; channels], vec![ramp.shift; channels]);
    if !ends.iter().all(|v| v.is_finite()) || !layer.rescale(graph, (&line.0, &line.1), chain.x, names, patch)? {
        return Ok(());
    }
    let [low, high] = ["min", "max"].map(|end| names.fresh(&format!("{y}_{end}")));
    patch.push(Edit::SetInitializer(from_floats(&low, &[], &ends[..1])));
    patch.push(Edit::SetInitializer(from_floats(&high, &[], &ends[1..])));
    patch.because(format!("{} is a Clip of '{}'", label(node), chain.x));
    remove(graph, inner, patch);
    let clip = plain_node("Clip", &[chain.x, &low, &high], y);
    patch.push(Edit::Replace(*last, Node { name: node.name.clone(), ..clip }));
    Ok(())
}
