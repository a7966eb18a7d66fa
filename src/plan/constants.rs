//! Scale and zero point of the constants that arithmetic takes beside activations.

use super::activations::{activation, is_symmetric, signed};
use super::{ActivationPlan, Operators, Site};
use crate::graph::Graph;
use crate::onnx;
use crate::quant::{Bound, IntFormat, affine_for_range};
use crate::target::{Role, Target};
use crate::{Context, Result};

/// Bits of the scale of a normalization, whatever its activations have: it is a weight.
const SCALE_BITS: u32 = 8;

fn scales_only(graph: &Graph, target: &Target, site: &Site) -> bool {
    let normalizes =
        |node: usize| target.rule(&graph.nodes()[node].op_type).is_some_and(|rule| rule.role == Role::Normalization);
    site.readers.iter().all(|(node, _)| normalizes(*node))
}

/// Plans `constants` beside `activations`: their extremes are known, their width is that of the operators that read
/// them.
///
/// # Errors
/// If a constant's data cannot be read.
pub fn plan_constants(
    graph: &Graph,
    target: &Target,
    constants: &[Site],
    activations: &[ActivationPlan],
) -> Result<Vec<ActivationPlan>> {
    let operators = Operators::of_activations(graph, activations, target);
    let bits_of = |at: usize| activations[at].bits;
    let mut planned = vec![];
    for site in constants {
        let Some(tensor) = graph.constant(&site.value) else { continue };
        let values = onnx::floats(tensor, graph.external()).at(|| format!("tensor '{}'", site.value))?;
        // A wider reader takes it through a second pair; a wider constant would make every narrower reader wide.
        let widths = site.readers.iter().filter_map(|(node, _)| operators.width(*node, &bits_of));
        let bits = match scales_only(graph, target, site) {
            true => SCALE_BITS,
            false => widths.min().unwrap_or(target.default_activation_bits()),
        };
        let (lo, hi) = values.iter().fold((0f32, 0f32), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        let bound = Bound { lo: Some(lo), hi: Some(hi), ..Bound::default() };
        let format = IntFormat { bits, signed: signed(target, bound), narrow: false };
        let affine = affine_for_range(lo, hi, format, is_symmetric(target, format), target.activations.power_of_two);
        planned.push(activation(graph, site, affine, "a constant: its extremes".to_owned()));
    }
    Ok(planned)
}
