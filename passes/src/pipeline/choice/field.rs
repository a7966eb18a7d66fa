//! Activations whose widths can be chosen, and what each width does to the output.
//!
//! Values that share a scale share a width. What a width does is measured where it does something: each group in turn
//! is rounded to a coarse grid and only what follows is run again; the other widths follow from the noise that their
//! grids add to the values themselves.

use super::budget::nearest;
use super::probe::{Change, Changes, Probe, Step};
use crate::pipeline::depth::Depth;
use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tapq::Result;
use tapq::array::Array;
use tapq::engine::{Options as EngineOptions, TapView};
use tapq::graph::Graph;
use tapq::plan::{InputFacts, Operators, plan_activations};
use tapq::quant::{Affine, FakeQuantize, RangeRule};
use tapq::report::Compare;
use tapq::samples::Sample;

/// Values that share one scale, and with it one width.
pub struct Group {
    /// Positions of the values.
    members: Vec<usize>,
    /// Elements of all of them in one sample.
    pub elements: f64,
    /// Widths that are offered, ascending.
    pub bits: Vec<u32>,
    /// The grid at each width.
    grids: Vec<Affine>,
    /// Squared error that each grid adds to the values, over their squares.
    pub noise: Vec<f64>,
    /// Relative squared output error that each width is predicted to cause.
    pub damage: Vec<f64>,
}

/// All activations whose widths can be chosen.
pub struct Field {
    /// Names of the values.
    pub values: Vec<String>,
    /// Groups of them.
    pub groups: Vec<Group>,
    group_of: Vec<usize>,
    operators: Operators,
    probe: Probe,
}

impl Field {
    /// Measures what each width does to each group.
    pub fn measure(graph: &Graph, observed: &Observed, options: &Options, progress: &dyn Progress) -> Result<Field> {
        let sites = &observed.placement.sites;
        let values: Vec<String> = sites.iter().map(|s| s.value.clone()).collect();
        let probe = Probe::new(graph, &[], &values, &EngineOptions::with_dims(&options.dims))?;
        let leaders: Vec<usize> = (0..sites.len()).filter(|i| sites[*i].group == *i).collect();
        let group_of: Vec<usize> =
            sites.iter().map(|s| leaders.iter().position(|l| *l == s.group).unwrap_or(0)).collect();
        let mut bits = options.target.activations.bits.clone();
        bits.sort_unstable();
        let seen: Vec<_> = observed.seen.values.iter().take(sites.len()).collect();
        let input = InputFacts { range: options.input_range, samples: &options.calibration.samples };
        let at =
            |b: &u32| plan_activations(graph, options.target, sites, &seen, &|_| *b, RangeRule::LeastError, &input);
        let planned: Vec<_> = bits.iter().map(at).collect();
        let group = |g: usize| {
            let members: Vec<usize> = (0..sites.len()).filter(|i| group_of[*i] == g).collect();
            let elements = members.iter().map(|m| seen[*m].dims.iter().product::<usize>() as f64).sum();
            let grids = planned.iter().filter_map(|p| p.get(members[0]).map(|a| a.affine())).collect();
            Group { members, elements, bits: bits.clone(), grids, noise: vec![], damage: vec![] }
        };
        let groups = (0..leaders.len()).map(group).collect();
        let operators = Operators::of_sites(graph, sites, options.target);
        let mut field = Field { values, groups, group_of, operators, probe };
        let depth = Depth::of(options.effort);
        let samples = &options.calibration.samples[..depth.field_samples.min(options.calibration.samples.len())];
        field.add_noise(observed, samples)?;
        field.add_damage(&observed.seen.outputs, samples, &depth, progress)?;
        Ok(field)
    }

    /// What each grid does to the values themselves.
    fn add_noise(&mut self, observed: &Observed, samples: &[Sample]) -> Result<()> {
        let widths = self.groups.first().map_or(0, |g| g.bits.len());
        let one = |sample: &Sample| -> Result<Vec<Vec<f64>>> {
            let mut found = vec![vec![0.0; widths + 1]; self.groups.len()];
            let mut rounded: Vec<f32> = vec![];
            let mut look = |tap: usize, view: &TapView| {
                let Some(group) = self.group_of.get(tap) else { return };
                let own = &mut found[*group];
                own[widths] += view.values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
                for (w, grid) in self.groups[*group].grids.iter().enumerate() {
                    rounded.clear();
                    rounded.extend_from_slice(view.values);
                    FakeQuantize::from(*grid).apply(&mut rounded);
                    own[w] += rounded.iter().zip(view.values).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
                }
            };
            observed.run(sample, &mut look)?;
            Ok(found)
        };
        let each: Vec<Vec<Vec<f64>>> = samples.par_iter().map(one).collect::<Result<_>>()?;
        for (g, group) in self.groups.iter_mut().enumerate() {
            let total = |w: usize| each.iter().map(|sample| sample[g][w]).sum::<f64>();
            let power = total(widths).max(f64::MIN_POSITIVE);
            group.noise = (0..widths).map(|w| total(w) / power).collect();
        }
        Ok(())
    }

    /// Output error of a few coarse grids, one group at a time, carried over to the others by their noise.
    fn add_damage(
        &mut self,
        outputs: &[Vec<Array>],
        samples: &[Sample],
        depth: &Depth,
        progress: &dyn Progress,
    ) -> Result<()> {
        let coarse = |g: usize| {
            let mut at: Vec<u32> = depth.gain_bits.iter().map(|b| nearest(&self.groups[g].bits, *b)).collect();
            at.dedup();
            at.into_iter().map(move |b| (g, b))
        };
        let tried: Vec<(usize, u32)> = (0..self.groups.len()).flat_map(coarse).collect();
        let changes: Vec<Change> =
            tried.iter().map(|(g, b)| Change { weights: vec![], steps: self.steps_of(*g, *b) }).collect();
        progress.stage("measure activations", samples.len());
        let errors = self.errors(&changes, samples, outputs, progress)?;
        let mut logs: Vec<Vec<f64>> = vec![vec![]; self.groups.len()];
        for ((g, bits), error) in tried.iter().zip(&errors) {
            let noise = self.groups[*g].noise_at(*bits);
            if noise > 0.0 && error.relative_error() > 0.0 {
                logs[*g].push((error.relative_error() / noise).ln());
            }
        }
        for (group, logs) in self.groups.iter_mut().zip(logs) {
            let gain = if logs.is_empty() { 0.0 } else { (logs.iter().sum::<f64>() / logs.len() as f64).exp() };
            group.damage = group.noise.iter().map(|noise| noise * gain).collect();
        }
        Ok(())
    }

    /// Output errors of changes on samples, whose float outputs are `outputs`.
    pub fn errors(
        &self,
        changes: &[Change],
        samples: &[Sample],
        outputs: &[Vec<Array>],
        progress: &dyn Progress,
    ) -> Result<Vec<Compare>> {
        let inputs: Vec<&Sample> = samples.iter().collect();
        let wanted: Vec<&Vec<Array>> = outputs.iter().take(samples.len()).collect();
        let make = |c: usize| changes[c].clone();
        let changes = Changes { count: changes.len(), make: &make };
        self.probe.errors(&inputs, &wanted, changes, &|| progress.tick())
    }

    /// Widths that are offered, ascending.
    pub fn bits(&self) -> &[u32] {
        self.groups.first().map_or(&[], |g| &g.bits)
    }

    /// One width for all groups.
    pub fn uniform(&self, bits: u32) -> Vec<u32> {
        vec![bits; self.groups.len()]
    }

    /// Predicted damage of all groups at these widths.
    pub fn damage(&self, bits: &[u32]) -> f64 {
        self.groups.iter().zip(bits).map(|(g, b)| g.position(*b).map_or(0.0, |i| g.damage[i])).sum()
    }

    /// Relative squared output error that each value alone causes at a width; those of a group bear equal parts.
    pub fn harm(&self, bits: u32) -> BTreeMap<String, f64> {
        let of_group = |g: &Group| g.position(bits).map_or(0.0, |i| g.damage[i]) / g.members.len().max(1) as f64;
        let by_group: Vec<f64> = self.groups.iter().map(of_group).collect();
        self.values.iter().zip(&self.group_of).map(|(value, g)| (value.clone(), by_group[*g])).collect()
    }

    /// Groups of values.
    pub fn group_of(&self, values: impl Fn(&String) -> bool) -> BTreeSet<usize> {
        self.values.iter().zip(&self.group_of).filter(|(value, _)| values(value)).map(|(_, g)| *g).collect()
    }

    /// Average bits over the elements.
    pub fn average(&self, bits: &[u32]) -> f64 {
        let elements: f64 = self.groups.iter().map(|g| g.elements).sum();
        self.groups.iter().zip(bits).map(|(g, b)| g.elements * f64::from(*b)).sum::<f64>() / elements.max(1.0)
    }

    /// Width of each value by name.
    pub fn by_value(&self, bits: &[u32]) -> BTreeMap<String, u32> {
        self.values.iter().zip(&self.group_of).map(|(value, g)| (value.clone(), bits[*g])).collect()
    }

    /// What quantizing every value to these widths changes.
    pub fn steps(&self, bits: &[u32]) -> Vec<Step> {
        bits.iter().enumerate().flat_map(|(g, b)| self.steps_of(g, *b)).collect()
    }

    fn steps_of(&self, group: usize, bits: u32) -> Vec<Step> {
        let group = &self.groups[group];
        let grid = group.position(bits).and_then(|i| group.grids.get(i));
        grid.into_iter().flat_map(|grid| group.members.iter().map(|m| Step { value: *m, grid: *grid })).collect()
    }

    /// The width that a node runs at; none if it touches no activation.
    pub fn width(&self, node: usize, bits: &[u32]) -> Option<u32> {
        self.operators.width(node, &|value| bits[self.group_of[value]])
    }

    /// Groups that decide the width of a node.
    pub fn groups_at(&self, node: usize) -> Vec<usize> {
        self.operators.touched(node).iter().map(|value| self.group_of[*value]).collect()
    }
}

impl Group {
    fn position(&self, bits: u32) -> Option<usize> {
        self.bits.iter().position(|b| *b == bits)
    }

    fn noise_at(&self, bits: u32) -> f64 {
        self.position(bits).and_then(|i| self.noise.get(i)).copied().unwrap_or(0.0)
    }
}
