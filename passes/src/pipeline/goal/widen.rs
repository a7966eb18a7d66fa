//! Which activations get more bits, and then which weights: those that bring the harm of all down to a level for the
//! least work, and for the fewest bytes.

use super::harm::Harm;
use crate::pipeline::choice::Field;
use crate::pipeline::observed::Observed;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::allocate::{self, Budget, Choice, Problem};
use tapq::graph::Graph;
use tapq::plan::Layer;
use tapq::target::Target;

/// The widths that activations may have, with what each costs and what harm it does.
pub struct Widening<'a> {
    field: &'a Field,
    /// Position of the first width that is offered.
    from: usize,
    work: Vec<f64>,
}

impl<'a> Widening<'a> {
    /// From a width for all on.
    pub fn new(graph: &Graph, field: &'a Field, observed: &Observed) -> Self {
        let from = field.bits().iter().position(|b| *b >= observed.activation_bits).unwrap_or(0);
        Widening { field, from, work: work(graph, field, observed) }
    }

    /// Predicted harm with all activations at their narrowest, and at their widest.
    pub fn bounds(&self) -> [f64; 2] {
        let of = |w: usize| self.field.groups.iter().filter_map(|g| g.damage.get(w)).sum();
        [of(self.from), of(self.field.bits().len() - 1)]
    }

    /// Widths of the groups of the field that do no more harm than `most`, for the least work.
    pub fn within(&self, most: f64) -> Result<Vec<u32>> {
        let widths = self.from..self.field.bits().len();
        let choice = |g: usize, w: usize| Choice {
            cost: self.work[g] * f64::from(self.field.groups[g].bits[w]),
            weights: vec![self.field.groups[g].damage[w]],
        };
        let layers = (0..self.field.groups.len()).map(|g| widths.clone().map(|w| choice(g, w)).collect()).collect();
        let budget = Budget { name: "output error".to_owned(), limit: most, over: 1.0 };
        let solution = allocate::solve(&Problem { layers, budgets: vec![budget] })?;
        Ok(self.field.groups.iter().zip(solution.picks).map(|(g, pick)| g.bits[self.from + pick]).collect())
    }
}

/// Weights that the device takes wider beside its widest activations.
pub struct WideWeights<'a> {
    /// Layers that share a weight, its width, the widest, and its elements.
    weights: Vec<(Vec<&'a str>, u32, u32, f64)>,
    harm: &'a Harm,
}

impl<'a> WideWeights<'a> {
    /// Of layers that have `widths` beside activations of width `beside`.
    pub fn new(
        layers: &'a [Layer],
        widths: &BTreeMap<String, Option<u32>>,
        target: &Target,
        beside: u32,
        harm: &'a Harm,
    ) -> Self {
        let mut weights: Vec<(Vec<&str>, u32, u32, f64)> = vec![];
        for layer in layers {
            let sharers: Vec<&Layer> = layers.iter().filter(|l| l.weight == layer.weight).collect();
            let taken = |b: &&u32| sharers.iter().all(|l| target.weight_choices_at(&l.op, beside).contains(b));
            let widest = target.weight_choices_at(&layer.op, beside).iter().filter(taken).max().copied();
            let own = widths.get(&layer.name).copied().flatten();
            if let (Some(own), Some(wide), true) = (own, widest, sharers[0].name == layer.name) {
                let names = sharers.iter().map(|l| l.name.as_str()).collect();
                weights.push((names, own, wide.max(own), layer.params() as f64));
            }
        }
        WideWeights { weights, harm }
    }

    /// Whether any weight can be wider than it is.
    pub fn offers(&self) -> bool {
        self.weights.iter().any(|(_, own, wide, _)| wide > own)
    }

    /// Predicted harm of all weights as they are, and at their widest.
    pub fn bounds(&self) -> [f64; 2] {
        [false, true].map(|wide| self.weights.iter().map(|w| self.of(w, wide)).sum())
    }

    /// Layers and the widths of their weights that do no more harm than `most`, for the fewest bytes.
    pub fn within(&self, most: f64) -> Result<BTreeMap<String, u32>> {
        let choice = |weight: &(Vec<&str>, u32, u32, f64), wide: bool| Choice {
            cost: if wide { weight.3 * f64::from(weight.2 - weight.1) } else { 0.0 },
            weights: vec![self.of(weight, wide)],
        };
        let layers = self.weights.iter().map(|w| vec![choice(w, false), choice(w, true)]).collect();
        let budget = Budget { name: "output error".to_owned(), limit: most, over: 1.0 };
        let solution = allocate::solve(&Problem { layers, budgets: vec![budget] })?;
        let wide = self.weights.iter().zip(solution.picks).filter(|((_, own, wide, _), pick)| *pick > 0 && wide > own);
        Ok(wide.flat_map(|((names, _, wide, _), _)| names.iter().map(|n| ((*n).to_owned(), *wide))).collect())
    }

    /// Each bit more leaves a quarter of the harm.
    fn of(&self, (names, own, wide, _): &(Vec<&str>, u32, u32, f64), widened: bool) -> f64 {
        let harm = self.harm.of(std::iter::empty(), names.iter().copied());
        if widened { harm * 0.25f64.powi((wide - own) as i32) } else { harm }
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
        let taken = |bits: u32| sharers.iter().all(|l| target.weight_choices_at(&l.op, beside(l)).contains(&bits));
        let offered = target.weight_choices_at(&layer.op, beside(layer));
        let wider = offered.iter().copied().filter(|b| *b > own && taken(*b)).min();
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
