//! Which operators leave the integer domain: those that bring the harm of the others down to a level.
//!
//! A value is rid of its rounding only if everything that reads it runs in float, and, where kernels write integers,
//! what makes it does, too. Such a set of operators is taken out at a time: the one whose roundings harm the output most
//! for what it costs in float. Each set is put on those before it, so that the sets are a path from all integers to none.
//! For a level, the path is followed as far as it must be, and what was taken out on the way and turns out to be needed
//! no more, since a later set did most of it, goes back.

use super::cost::{Costs, inside};
use super::harm::Harm;
use crate::pipeline::choice::Assignment;
use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use std::collections::BTreeSet;
use tapq::graph::Graph;
use tapq::plan::{Placement, maker, place};

/// The network with some operators in float.
struct Left {
    /// Names of operators that are left in float.
    nodes: BTreeSet<String>,
    /// What remains quantized.
    placement: Placement,
    /// Relative squared output error that the remaining roundings are predicted to cause.
    harm: f64,
    cost: f64,
}

/// What may be freed of rounding.
#[derive(Clone, Debug, PartialEq)]
enum Candidate {
    /// Values that share a scale.
    Values(Vec<String>),
    /// The weights of an operator.
    Weights(String),
}

/// Operators whose weights are stored as integers.
fn stored(placement: &Placement) -> impl Iterator<Item = &String> {
    placement.layers.iter().map(|layer| &layer.name).chain(placement.weight_only.iter().map(|node| &node.name))
}

/// What is quantized with these operators in float.
pub fn placement(graph: &Graph, observed: &Observed, options: &Options, float: &BTreeSet<String>) -> Placement {
    let keep_float = options.keep_float.iter().chain(float).cloned().collect();
    let mut placement = place(graph, options.target, &keep_float);
    placement.retain_sites(|site| observed.value(&site.value).is_some());
    placement
}

impl Left {
    /// Operators that run with integers, or read them and always did without.
    fn inside<'g>(&'g self, graph: &'g Graph) -> impl Iterator<Item = usize> + 'g {
        inside(&self.placement).into_iter().filter(|node| !self.nodes.contains(&graph.nodes()[*node].name))
    }
}

/// The path from all integers to none.
pub struct Leaving<'a> {
    graph: &'a Graph,
    observed: &'a Observed,
    options: &'a Options<'a>,
    harm: &'a Harm,
    costs: Costs,
    /// Steps on the path, the first with nothing in float, as long as anything is left of the integers.
    path: Vec<Step>,
}

struct Step {
    /// Names of operators that leave with this step.
    leaving: BTreeSet<String>,
    /// Predicted harm of what remains.
    harm: f64,
}

impl<'a> Leaving<'a> {
    /// Finds the path.
    pub fn new(graph: &'a Graph, observed: &'a Observed, options: &'a Options<'a>, harm: &'a Harm) -> Self {
        let mut leaving = Leaving { graph, observed, options, harm, costs: Costs::of(graph, observed), path: vec![] };
        let mut last = leaving.left(BTreeSet::new());
        let mut open: Vec<(f64, Candidate)> = leaving.candidates().into_iter().map(|c| (f64::INFINITY, c)).collect();
        leaving.path.push(Step { leaving: BTreeSet::new(), harm: last.harm });
        while let Some((taken, next)) = leaving.best(&last, &mut open) {
            if next.placement.layers.is_empty() && next.placement.weight_only.is_empty() {
                break;
            }
            open.retain(|(_, candidate)| *candidate != taken);
            let own = next.nodes.difference(&last.nodes).cloned().collect();
            leaving.path.push(Step { leaving: own, harm: next.harm });
            last = next;
        }
        leaving
    }

    /// Predicted harm with all in integers, and with all in float that the path takes there.
    pub fn bounds(&self) -> [f64; 2] {
        [self.path.first(), self.path.last()].map(|end| end.map_or(0.0, |step| step.harm))
    }

    /// Leaves operators in float, so that those among the integers do no more harm than `most`.
    pub fn within(&self, most: f64, widths: &mut Assignment) {
        let last = self.path.len().saturating_sub(1);
        let end = self.path.iter().position(|step| step.harm <= most).unwrap_or(last);
        let steps = self.path.iter().take(end + 1);
        let mut left = self.left(steps.flat_map(|step| step.leaving.iter().cloned()).collect());
        // What came late did most for its cost of what was left; what came before it may be needed no more.
        for step in self.path.iter().take(end).skip(1).rev() {
            let fewer = self.left(left.nodes.difference(&step.leaving).cloned().collect());
            if fewer.harm <= most && fewer.cost > left.cost {
                left = fewer;
            }
        }
        let named = widths.weights.iter_mut().filter(|(name, _)| left.nodes.contains(*name));
        named.for_each(|(_, bits)| *bits = None);
        widths.float = left.nodes;
    }

    fn candidates(&self) -> Vec<Candidate> {
        let sites = &self.observed.placement.sites;
        let members = |group: usize| sites.iter().filter(|s| s.group == group).map(|s| s.value.clone()).collect();
        let leaders = (0..sites.len()).filter(|i| sites[*i].group == *i);
        let values = leaders.map(|group| Candidate::Values(members(group)));
        values.chain(stored(&self.observed.placement).map(|name| Candidate::Weights(name.clone()))).collect()
    }

    /// The candidate that takes away most harm for its cost. What a candidate was worth earlier on the path bounds what
    /// it is worth now well enough that only those at the top of the list are worked out anew.
    fn best(&self, from: &Left, open: &mut [(f64, Candidate)]) -> Option<(Candidate, Left)> {
        let mut best: Option<(f64, usize, Left)> = None;
        // Stable, so that equal ones stay in the order of the file.
        open.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (i, (worth, candidate)) in open.iter_mut().enumerate() {
            if best.as_ref().is_some_and(|(found, ..)| *found >= *worth) {
                break;
            }
            let left = self.without(from, candidate);
            *worth = left.as_ref().map_or(0.0, |left| (from.harm - left.harm) / (from.cost - left.cost).max(1e-9));
            if let Some(left) = left.filter(|_| *worth > best.as_ref().map_or(0.0, |b| b.0)) {
                best = Some((*worth, i, left));
            }
        }
        best.map(|(_, i, left)| (open[i].1.clone(), left))
    }

    /// The network in which a candidate is rounded no more; `None` if it is not rounded as it is.
    fn without(&self, from: &Left, candidate: &Candidate) -> Option<Left> {
        let values = match candidate {
            Candidate::Weights(name) => {
                let quantized = stored(&from.placement).any(|other| other == name);
                return quantized.then(|| self.left(from.nodes.iter().chain([name]).cloned().collect()));
            }
            Candidate::Values(values) => values,
        };
        let is_member = |value: &str| values.iter().any(|v| v == value);
        let sites = || from.placement.sites.iter().filter(|s| is_member(&s.value));
        sites().next()?;
        let name = |node: usize| self.graph.nodes()[node].name.clone();
        let readers = sites().flat_map(|s| s.readers.iter().map(|(node, _)| name(*node)));
        let nodes: BTreeSet<String> = from.nodes.iter().cloned().chain(readers).collect();
        let left = self.left(nodes);
        let still: Vec<&str> =
            left.placement.sites.iter().map(|s| s.value.as_str()).filter(|value| is_member(value)).collect();
        if still.is_empty() {
            return Some(left);
        }
        let is_quantized = |value: &str| left.placement.sites.iter().any(|s| s.value == value);
        let maker = |value: &&str| maker(self.graph, self.options.target, value, &is_quantized);
        let makers = still.iter().filter_map(maker).map(name);
        Some(self.left(left.nodes.iter().cloned().chain(makers).collect()))
    }

    fn left(&self, nodes: BTreeSet<String>) -> Left {
        let placement = placement(self.graph, self.observed, self.options, &nodes);
        let harm = self.harm.of(&placement);
        let mut left = Left { nodes, placement, harm, cost: 0.0 };
        left.cost = self.costs.of_nodes(left.inside(self.graph));
        left
    }
}
