//! From statistics to scale and zero point of every activation.

use super::bounds::known_bound;
use super::{ActivationPlan, Site};
use crate::graph::{Graph, attr_f, input_behind};
use crate::quant::{Affine, Bound, ChosenRange, IntFormat, RangeRule, affine_for_range, choose_range, lattice_range};
use crate::samples::Sample;
use crate::stats::{TensorStats, ValueObservation};
use crate::target::Target;
use rayon::prelude::*;

/// What is known of the graph inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputFacts<'a> {
    /// Bounds that preprocessing implies.
    pub range: Option<(f32, f32)>,
    /// The samples themselves.
    pub samples: &'a [Sample],
}

/// Chooses the range of each site; sites of one group get one range from the statistics of all of them.
///
/// `seen` has one entry a site; `bits` is the width of each value, the widest of a group counts; `rule` is how ranges are
/// found that nothing else decides.
pub fn plan_activations(
    graph: &Graph,
    target: &Target,
    sites: &[Site],
    seen: &[&ValueObservation],
    bits: &(dyn Fn(&str) -> u32 + Sync),
    rule: RangeRule,
    input: &InputFacts,
) -> Vec<ActivationPlan> {
    let leaders: Vec<usize> = (0..sites.len()).filter(|i| sites[*i].group == *i).collect();
    let chosen: Vec<(usize, (Affine, String))> = leaders
        .par_iter()
        .map(|leader| (*leader, plan_group((graph, target), (sites, seen), *leader, bits, rule, input)))
        .collect();
    let of_group = |group: usize| chosen.iter().find(|(leader, _)| *leader == group).map(|(_, c)| c.clone());
    let plan = |site: &Site| of_group(site.group).map(|(affine, because)| activation(graph, site, affine, because));
    sites.iter().filter_map(plan).collect()
}

pub(super) fn activation(graph: &Graph, site: &Site, affine: Affine, because: String) -> ActivationPlan {
    ActivationPlan {
        value: site.value.clone(),
        bits: affine.format.bits,
        signed: affine.format.signed,
        scale: affine.scale,
        zero_point: affine.zero_point,
        because,
        readers: site.readers.iter().map(|(node, slot)| (graph.nodes()[*node].name.clone(), *slot)).collect(),
    }
}

fn plan_group(
    (graph, target): (&Graph, &Target),
    (sites, seen): (&[Site], &[&ValueObservation]),
    leader: usize,
    bits: &(dyn Fn(&str) -> u32 + Sync),
    rule: RangeRule,
    input: &InputFacts,
) -> (Affine, String) {
    let members: Vec<usize> = (0..sites.len()).filter(|i| sites[*i].group == leader).collect();
    let bits = members.iter().map(|m| bits(&sites[*m].value)).max().unwrap_or(8);
    let samples = members.iter().map(|m| seen[*m].samples.len()).max().unwrap_or(0);
    let of_sample = |s: usize| members.iter().filter_map(|m| seen[*m].samples.get(s)).collect::<Vec<&TensorStats>>();
    let mut pooled: Vec<Vec<&TensorStats>> = (0..samples).map(of_sample).collect();
    let mut joined = "";
    if pooled.iter().flatten().all(|stats| stats.count == 0)
        && let Some(others) = joined_with(graph, sites, seen, &members)
    {
        (pooled, joined) = (others, "nothing was in it; as what it is joined with: ");
    }
    let bounds = members.iter().map(|m| known_bound(graph, &sites[*m].value, input.range));
    let bound = bounds.reduce(Bound::hull).unwrap_or_default();
    let format = IntFormat { bits, signed: signed(target, bound), narrow: false };
    if let Some(affine) = members.iter().find_map(|m| fixed_grid(graph, target, &sites[*m].value, format)) {
        return (affine, format!("{} has this grid in its kernel", target.name));
    }
    let symmetric = is_symmetric(target, format);
    let to_affine = |lo: f32, hi: f32| affine_for_range(lo, hi, format, symmetric, target.activations.power_of_two);
    let inputs: Vec<&[f32]> =
        members.iter().flat_map(|m| input_values(graph, input.samples, &sites[*m].value)).collect();
    let may_be_lattice = !bound.attained && !target.activations.power_of_two;
    let lattice = may_be_lattice.then(|| lattice_range(&inputs, format, symmetric));
    let range = match lattice.flatten() {
        Some((lo, hi)) => ChosenRange { lo, hi, because: "the input holds multiples of one step".to_owned() },
        _ => {
            let below_zero = members.iter().map(|m| share_below_zero(graph, &sites[*m])).fold(0.0, f64::max);
            choose_range(&pooled, bound, rule, symmetric, below_zero, &to_affine)
        }
    };
    let shared = if members.len() > 1 { format!("; shared by {} values", members.len()) } else { String::new() };
    (to_affine(range.lo, range.hi), format!("{joined}{}{shared}", range.because))
}

/// Statistics of what an empty value is joined with: the cache of a decoder before its first token holds what it makes.
fn joined_with<'s>(
    graph: &Graph,
    sites: &[Site],
    seen: &[&'s ValueObservation],
    members: &[usize],
) -> Option<Vec<Vec<&'s TensorStats>>> {
    let readers = members.iter().flat_map(|m| &sites[*m].readers).map(|(node, _)| &graph.nodes()[*node]);
    let values = readers.filter(|node| node.op_type == "Concat").flat_map(|node| node.output.iter().chain(&node.input));
    let held = |value: &String| {
        let site = sites.iter().position(|site| site.value == *value)?;
        seen[site].samples.iter().any(|stats| stats.count > 0).then(|| seen[site].samples.iter().map(|s| vec![s]))
    };
    values.into_iter().find_map(held).map(Iterator::collect)
}

/// The share of an error below zero that is left where the value is used: the slope of the LeakyRelu that alone reads it.
fn share_below_zero(graph: &Graph, site: &Site) -> f64 {
    let slope = |(node, _): &(usize, usize)| {
        let node = &graph.nodes()[*node];
        let leaky = node.op_type == "LeakyRelu";
        if leaky { f64::from(attr_f(node, "alpha").unwrap_or(0.01).abs()).min(1.0) } else { 1.0 }
    };
    if graph.index().is_output(&site.value) {
        return 1.0;
    }
    site.readers.iter().map(slope).reduce(f64::max).unwrap_or(1.0)
}

/// The grid that the kernel which makes `value` has whatever the values are.
fn fixed_grid(graph: &Graph, target: &Target, value: &str, format: IntFormat) -> Option<Affine> {
    let maker = &graph.nodes()[graph.index().producer(value)?];
    let fixed = target.rule(&maker.op_type)?.fixed_output.iter().find(|fixed| fixed.bits == format.bits)?;
    Some(Affine { scale: fixed.scale, zero_point: fixed.zero_point, format })
}

/// Whether the target wants zero in the middle: unsigned integers with zero point 0 are as symmetric as a value that is
/// never negative can have them.
pub(super) fn is_symmetric(target: &Target, format: IntFormat) -> bool {
    target.activations.symmetric && format.signed == target.activations.signed
}

/// Whether the target's integers are signed for a value within `bound`.
pub(super) fn signed(target: &Target, bound: Bound) -> bool {
    let positive = bound.lo.is_some_and(|lo| lo >= 0.0);
    target.activations.signed && !(target.activations.unsigned_where_positive && positive)
}

/// The values of a graph input in each sample; none for any other value.
fn input_values<'a>(graph: &Graph, samples: &'a [Sample], value: &str) -> Vec<&'a [f32]> {
    let Some(input) = input_behind(graph, value) else { return vec![] };
    let of_sample = |s: &'a Sample| s.inputs.iter().find(|(name, _)| name == input).and_then(|(_, a)| a.as_f32());
    samples.iter().filter_map(of_sample).collect()
}
