//! Which activations get more bits, and then which weights: those that bring the harm of all down to a level for the
//! least work, and for the fewest bytes.

use super::harm::Harm;
use crate::pipeline::choice::{Assignment, Field, Group};
use crate::pipeline::observed::Observed;
use std::collections::{BTreeMap, BTreeSet};
use tapq::Result;
use tapq::allocate::{self, Budget, Choice, Problem};
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::target::Target;

/// The widths that activations may have, with what each costs and what harm it does.
pub struct Widening<'a> {
    field: &'a Field,
    layers: &'a [Layer],
    target: &'a Target,
    /// Position of the first width that is offered to each group.
    from: Vec<usize>,
    work: Vec<f64>,
}

impl<'a> Widening<'a> {
    /// From a width for all on; the groups of `needed` have the widest.
    pub fn new(
        graph: &Graph,
        field: &'a Field,
        observed: &'a Observed,
        target: &'a Target,
        needed: &BTreeSet<usize>,
    ) -> Self {
        let last = field.bits().len().saturating_sub(1);
        let usual = field.bits().iter().position(|b| *b >= observed.activation_bits).unwrap_or(0);
        let from = (0..field.groups.len()).map(|g| if needed.contains(&g) { last } else { usual }).collect();
        Widening { field, layers: &observed.placement.layers, target, from, work: work(graph, field, observed) }
    }

    /// Predicted harm with all activations at their narrowest, and at their widest.
    pub fn bounds(&self) -> [f64; 2] {
        let groups = || self.field.groups.iter().zip(&self.from);
        let narrow = groups().filter_map(|(g, from)| g.damage.get(*from)).sum();
        [narrow, groups().filter_map(|(g, _)| g.damage.last()).sum()]
    }

    /// Sets the widths of activations that do no more harm than `most`, for the least work.
    pub fn within(&self, most: f64, widths: &mut Assignment) -> Result<()> {
        let groups = || self.field.groups.iter().zip(&self.from).zip(&self.work);
        let choices = |((group, from), work): ((&Group, &usize), &f64)| {
            let widths = *from..group.bits.len();
            widths.map(|w| Choice { cost: work * f64::from(group.bits[w]), weights: vec![group.damage[w]] }).collect()
        };
        let budget = Budget { name: "output error".to_owned(), limit: most, over: 1.0 };
        let solution = allocate::solve(&Problem { layers: groups().map(choices).collect(), budgets: vec![budget] })?;
        let bits: Vec<u32> =
            groups().zip(solution.picks).map(|(((group, from), _), pick)| group.bits[from + pick]).collect();
        widths.activations = self.field.by_value(&bits);
        let beside = |layer: &Layer| self.field.width(layer.node, &bits).unwrap_or(8);
        fit_weights(&mut widths.weights, self.layers, self.target, &beside);
        Ok(())
    }
}

/// Weights that the device takes wider beside its widest activations.
pub struct WideWeights<'a> {
    weights: Vec<Weight<'a>>,
    harm: &'a Harm,
}

/// A weight and how wide it may be.
struct Weight<'a> {
    /// Layers that share it.
    layers: Vec<&'a String>,
    own: u32,
    widest: u32,
    params: usize,
}

impl<'a> WideWeights<'a> {
    /// Of layers that have `widths` beside activations of the last width of `beside`.
    pub fn new(
        layers: &'a [Layer],
        widths: &BTreeMap<String, Option<u32>>,
        target: &Target,
        beside: &[u32],
        harm: &'a Harm,
    ) -> Self {
        let beside = beside.last().copied().unwrap_or(8);
        let weight = |layer: &'a Layer| {
            let sharers: Vec<&Layer> = layers.iter().filter(|l| l.weight == layer.weight).collect();
            let taken = |b: &u32| sharers.iter().all(|l| l.widths(target, beside).contains(b));
            let widest = layer.widths(target, beside).into_iter().filter(taken).max()?;
            let own = widths.get(&layer.name).copied().flatten()?;
            let layers = sharers.iter().map(|l| &l.name).collect();
            let first = sharers[0].name == layer.name;
            first.then_some(Weight { layers, own, widest: widest.max(own), params: layer.params() })
        };
        WideWeights { weights: layers.iter().filter_map(weight).collect(), harm }
    }

    /// Whether any weight can be wider than it is.
    pub fn offers(&self) -> bool {
        self.weights.iter().any(|weight| weight.widest > weight.own)
    }

    /// Predicted harm of all weights as they are, and at their widest.
    pub fn bounds(&self) -> [f64; 2] {
        [false, true].map(|widened| self.weights.iter().map(|weight| self.of(weight, widened)).sum())
    }

    /// Sets the widths of weights that do no more harm than `most`, for the fewest bytes.
    pub fn within(&self, most: f64, widths: &mut Assignment) -> Result<()> {
        let choice = |weight: &Weight, widened: bool| {
            let more = if widened { weight.widest - weight.own } else { 0 };
            Choice { cost: weight.params as f64 * f64::from(more), weights: vec![self.of(weight, widened)] }
        };
        let layers = self.weights.iter().map(|w| vec![choice(w, false), choice(w, true)]).collect();
        let budget = Budget { name: "output error".to_owned(), limit: most, over: 1.0 };
        let solution = allocate::solve(&Problem { layers, budgets: vec![budget] })?;
        for (weight, _) in self.weights.iter().zip(solution.picks).filter(|(_, pick)| *pick > 0) {
            widths.weights.extend(weight.layers.iter().map(|name| ((*name).clone(), Some(weight.widest))));
        }
        Ok(())
    }

    /// Each bit more leaves a quarter of the harm.
    fn of(&self, weight: &Weight, widened: bool) -> f64 {
        let harm = self.harm.of_weights(weight.layers.iter().copied());
        if widened { harm * 0.25f64.powi((weight.widest - weight.own) as i32) } else { harm }
    }
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
        let taken = |bits: u32| sharers.iter().all(|l| l.widths(target, beside(l)).contains(&bits));
        let offered = layer.widths(target, beside(layer));
        let wider = offered.into_iter().filter(|b| *b > own && taken(*b)).min();
        if let Some(bits) = wider.filter(|_| !taken(own)) {
            widths.insert(layer.name.clone(), Some(bits));
        }
    }
}

/// Multiply-accumulates and elements that each group of values takes part in.
fn work(graph: &Graph, field: &Field, observed: &Observed) -> Vec<f64> {
    let mut work: Vec<f64> = field.groups.iter().map(|g| g.elements).collect();
    for (node, named) in graph.nodes().iter().enumerate() {
        let macs = observed.macs.get(&named.name).copied().unwrap_or(0) as f64;
        field.groups_at(node).into_iter().for_each(|g| work[g] += macs);
    }
    work
}
