//! Which activations get more bits first.

use crate::pipeline::choice::Field;
use crate::pipeline::observed::Observed;
use std::collections::BTreeMap;
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::target::Target;

/// The path from one width for all activations to the widest: widths of the groups of `field`, one step more at a time.
pub fn path(field: &Field, from: u32, work: &dyn Fn(usize) -> f64) -> Vec<Vec<u32>> {
    let mut steps: Vec<(f64, usize, u32)> = vec![];
    for (g, group) in field.groups.iter().enumerate() {
        let mut least = f64::INFINITY;
        for pair in (1..group.bits.len()).filter(|i| group.bits[i - 1] >= from) {
            let (narrow, wide) = (group.bits[pair - 1], group.bits[pair]);
            let gain = group.damage[pair - 1] - group.damage[pair];
            // What is worth more than the step before it goes with that one.
            least = f64::min(least, gain / (work(g) * f64::from(wide - narrow)).max(f64::MIN_POSITIVE));
            steps.push((least, g, wide));
        }
    }
    // Stable: equal ones stay in the order of the file, and the steps of a group in theirs.
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut path = vec![field.uniform(from)];
    for (_, group, wide) in steps {
        let mut next = path[path.len() - 1].clone();
        next[group] = wide;
        path.push(next);
    }
    path
}

/// Gives each weight a width that the device takes beside the activations of every layer that reads it: its own where
/// it is one.
pub fn fit_weights(
    widths: &mut BTreeMap<String, Option<u32>>,
    layers: &[Layer],
    target: &Target,
    beside: &dyn Fn(&Layer) -> u32,
) {
    for layer in layers {
        let Some(own) = widths.get(&layer.name).copied().flatten() else { continue };
        let sharers: Vec<&Layer> = layers.iter().filter(|l| l.weight == layer.weight).collect();
        let taken = |bits: u32| sharers.iter().all(|l| target.weight_choices_at(&l.op, beside(l)).contains(&bits));
        let offered = target.weight_choices_at(&layer.op, beside(layer));
        let wider = offered.iter().copied().filter(|b| *b > own && taken(*b)).min();
        if let Some(bits) = wider.filter(|_| !taken(own)) {
            widths.insert(layer.name.clone(), Some(bits));
        }
    }
}

/// Multiply-accumulates and elements that a group of values takes part in.
pub fn work(graph: &Graph, field: &Field, observed: &Observed) -> Vec<f64> {
    let mut work: Vec<f64> = field.groups.iter().map(|g| g.elements).collect();
    for (node, named) in graph.nodes().iter().enumerate() {
        let macs = observed.macs.get(&named.name).copied().unwrap_or(0) as f64;
        field.groups_at(node).into_iter().for_each(|g| work[g] += macs);
    }
    work
}
