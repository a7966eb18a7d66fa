//! What was given up, for the plan.

use super::cost::{Costs, inside};
use super::leave;
use crate::pipeline::choice::{Assignment, Field};
use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use std::collections::BTreeSet;
use tapq::graph::Graph;
use tapq::plan::GoalRecord;
use tapq::target::Role;

/// What a record is made from.
pub struct Before<'a> {
    /// The float network.
    pub graph: &'a Graph,
    /// What the caller wants.
    pub options: &'a Options<'a>,
    /// What was seen of it, and what could be quantized.
    pub observed: &'a Observed,
}

impl Before<'_> {
    /// What is wider than it was.
    pub fn widened(&self, now: &Assignment, before: &Assignment, field: &Field, record: GoalRecord) -> GoalRecord {
        let from = self.observed.activation_bits;
        let is_wide = |value: &String| now.activations.get(value).is_some_and(|bits| *bits > from);
        let groups: BTreeSet<usize> = field.group_of(is_wide);
        let nodes = 0..self.graph.nodes().len();
        let touched = nodes.filter(|node| field.groups_at(*node).iter().any(|g| groups.contains(g)));
        let wider = now.weights.iter().filter(|(name, bits)| before.weights.get(*name) != Some(*bits));
        GoalRecord {
            macs: Costs::of(self.graph, self.observed).macs_of(touched),
            values: field.values.len(),
            relieved: field.values.iter().filter(|value| is_wide(value)).count(),
            weights: wider.count(),
            ..record
        }
    }

    /// What is in float and was not.
    pub fn left(&self, now: &Assignment, record: GoalRecord) -> GoalRecord {
        let before = &self.observed.placement;
        let after = leave::placement(self.graph, self.observed, self.options, &now.float);
        let stays = inside(&after);
        let is_gone = |node: &usize| !stays.contains(node) || now.float.contains(&self.graph.nodes()[*node].name);
        let gone: Vec<usize> = inside(before).into_iter().filter(is_gone).collect();
        let is_layer = |node: usize| before.layers.iter().any(|l| l.node == node);
        let ran = |node: usize| {
            let rule = self.options.target.rule(&self.graph.nodes()[node].op_type);
            rule.is_some_and(|r| !matches!(r.role, Role::FusedActivation | Role::WeightOnly))
        };
        let is_alone = |node: usize| before.weight_only.iter().any(|alone| alone.node == node);
        let others = gone.iter().filter(|node| !is_layer(**node) && (ran(**node) || is_alone(**node)));
        GoalRecord {
            macs: Costs::of(self.graph, self.observed).macs_of(gone.iter().copied()),
            values: before.sites.len(),
            relieved: before.sites.len() - after.sites.len(),
            operators: others.map(|node| self.graph.nodes()[*node].name.clone()).collect(),
            ..record
        }
    }
}
