//! Which activations get more bits: those that bring the harm of all down to a level for the least work.

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
