//! What the renderings count over the layers.

use super::format::plural;
use super::{Refused, Report};
use crate::plan::AllocationRecord;
use serde::Serialize;
use std::collections::BTreeSet;

/// Layers of one width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// Nominal bits; absent means float.
    pub bits: Option<u32>,
    /// Layers.
    pub layers: usize,
    /// Share of all weights, 0 to 1.
    pub share: f64,
}

/// Layers and share of all weights at each width that occurs, ascending, float last.
pub fn tallies(report: &Report) -> Vec<Tally> {
    let layers = &report.layers;
    let all = layers.iter().map(|l| l.params).sum::<usize>() + report.size.elsewhere as usize / 4;
    let mut widths: Vec<Option<u32>> = layers.iter().map(|l| l.bits).collect();
    widths.sort_by_key(|b| b.unwrap_or(u32::MAX));
    widths.dedup();
    let of = |bits: Option<u32>| {
        let same = || layers.iter().filter(|l| l.bits == bits);
        let params: usize = same().map(|l| l.params).sum();
        Tally { bits, layers: same().count(), share: params as f64 / all.max(1) as f64 }
    };
    widths.into_iter().map(of).collect()
}

/// Which layers multiply in float with weights in blocks, in words; none where none do.
pub fn in_blocks(report: &Report) -> Option<String> {
    let sizes: BTreeSet<usize> = report.layers.iter().filter_map(|l| l.block).collect();
    let layers = report.layers.iter().filter(|l| l.block.is_some()).count();
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let multiply = if layers == 1 { "multiplies" } else { "multiply" };
    let words = || {
        format!(
            "{} {multiply} in float; blocks of {} weights share a scale",
            plural(layers, "layer"),
            sizes.join(" and ")
        )
    };
    (layers > 0).then(words)
}

/// What was refused for one and the same reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusedGroup {
    /// Nodes or requests, in order.
    pub what: Vec<String>,
    /// The reason.
    pub because: String,
}

/// Refusals by reason, in order of the first.
pub fn refused_groups(refused: &[Refused]) -> Vec<RefusedGroup> {
    let mut groups: Vec<RefusedGroup> = vec![];
    for Refused { what, because } in refused {
        match groups.iter_mut().find(|g| g.because == *because) {
            Some(group) => group.what.push(what.clone()),
            None => groups.push(RefusedGroup { what: vec![what.clone()], because: because.clone() }),
        }
    }
    groups
}

/// One budget: its name, what was asked and what the choice uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spending {
    /// Name of the budget.
    pub name: String,
    /// The limit, if there is one.
    pub limit: Option<f64>,
    /// What the choice uses, if it is known.
    pub used: Option<f64>,
}

/// Budgets and uses by name.
pub fn spending(allocation: &AllocationRecord) -> Vec<Spending> {
    let (budgets, used) = (&allocation.budgets, &allocation.used);
    let names: std::collections::BTreeSet<&String> = budgets.keys().chain(used.keys()).collect();
    let one = |name: &String| Spending {
        name: name.clone(),
        limit: budgets.get(name).copied(),
        used: used.get(name).copied(),
    };
    names.into_iter().map(one).collect()
}
