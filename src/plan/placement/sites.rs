//! Which values the integer domain needs quantized, and which of them share a scale.

use super::Site;
use super::domain::{Domain, activation_slots};
use super::groups::Groups;
use crate::onnx::NodeProto as Node;
use crate::target::{ResidualAdd, Role};
use std::collections::{BTreeMap, BTreeSet};

/// The slot of a normalization's scale.
const SCALE: usize = 1;

impl Domain<'_> {
    pub(super) fn sites(&self) -> Vec<Site> {
        let mut sites: BTreeMap<String, Site> = BTreeMap::new();
        let mut groups = Groups::default();
        for (index, node) in self.graph.nodes().iter().enumerate() {
            if self.inside[index] {
                self.add_node(index, node, &mut sites, &mut groups);
            } else if node.op_type == "Add" && self.target.residual_add == ResidualAdd::SkipBranch {
                self.add_skip_branch(index, node, &mut sites);
            }
        }
        self.take_all_readers(&mut sites);
        sites.values_mut().for_each(|site| site.readers.retain(|(reader, _)| !self.before_bodies[*reader]));
        // What nothing but such a node reads stays in float; a graph output is read by the caller.
        let is_taken = |site: &Site| !site.readers.is_empty() || !self.has_reader_before_a_body(&site.value);
        let mut sites: Vec<Site> = sites.into_values().filter(is_taken).collect();
        sites.sort_by_key(|s| (self.graph.index().producer(&s.value).map_or(0, |p| p + 1), s.value.clone()));
        let values: Vec<String> = sites.iter().map(|s| s.value.clone()).collect();
        for site in &mut sites {
            let leader = groups.leader(&site.value);
            site.group = values.iter().position(|v| groups.leader(v) == leader).unwrap_or(0);
        }
        sites
    }

    /// Whether a value is a part of what an earlier Concat made, at most moved: channels that are shuffled and passed on
    /// would be put on another grid by every Concat on their way.
    fn is_split_off(&self, value: &str) -> bool {
        let (mut at, mut split) = (value, false);
        // A chain cannot be longer than the graph; a cycle would be.
        for _ in 0..self.graph.nodes().len() {
            let Some(producer) = self.graph.index().producer(at).filter(|p| self.inside[*p]) else { return false };
            let node = &self.graph.nodes()[producer];
            if node.op_type == "Concat" {
                return split;
            }
            let Some(source) = node.input.first().filter(|_| self.role(node) == Some(Role::SameScale)) else {
                return false;
            };
            split |= node.op_type == "Split";
            at = source;
        }
        false
    }

    /// Constants that integer operators take beside activations, scales of normalizations among them.
    pub(super) fn constants(&self) -> Vec<Site> {
        let mut sites: BTreeMap<String, Site> = BTreeMap::new();
        for (index, node) in self.graph.nodes().iter().enumerate() {
            let slots: Vec<usize> = match self.role(node).filter(|_| self.inside[index]) {
                Some(Role::Arithmetic) => activation_slots(node).collect(),
                Some(Role::Normalization) => vec![SCALE],
                _ => vec![],
            };
            for slot in slots.into_iter().filter(|slot| self.graph.constant(&node.input[*slot]).is_some()) {
                site(&mut sites, &node.input[slot]).readers.insert((index, slot));
            }
        }
        sites.into_values().enumerate().map(|(group, site)| Site { group, ..site }).collect()
    }

    fn add_node(&self, index: usize, node: &Node, sites: &mut BTreeMap<String, Site>, groups: &mut Groups) {
        for slot in activation_slots(node).filter(|s| self.graph.constant(&node.input[*s]).is_none()) {
            site(sites, &node.input[slot]).readers.insert((index, slot));
        }
        let results = self.results(node);
        if self.has_integer_output(index) {
            results.iter().for_each(|result| site(sites, result).all_readers |= self.kernels_store_integers());
        }
        if node.op_type == "Concat" {
            let passed = activation_slots(node).filter(|slot| self.is_split_off(&node.input[*slot]));
            passed.for_each(|slot| results.iter().for_each(|result| groups.join(&node.input[slot], result)));
        }
        let shared_add = node.op_type == "Add" && self.target.residual_add == ResidualAdd::SharedScale;
        if self.role(node) == Some(Role::SameScale) {
            let slots = || activation_slots(node);
            results.iter().for_each(|result| slots().for_each(|slot| groups.join(&node.input[slot], result)));
        } else if let (true, [a, b]) = (shared_add, node.input.as_slice()) {
            groups.join(a, b);
        }
    }

    /// TensorRT fuses one convolution into the Add; the other operand must be int8 for that to pay.
    fn add_skip_branch(&self, index: usize, node: &Node, sites: &mut BTreeMap<String, Site>) {
        let [a, b] = node.input.as_slice() else { return };
        let convolution = |value: &String| {
            let producer = self.graph.index().producer(value)?;
            let fused = self.inside[producer] && self.graph.nodes()[producer].op_type == "Conv";
            (fused && self.graph.index().readers(value) == [index]).then_some(producer)
        };
        let skip = match (convolution(a), convolution(b)) {
            (Some(x), Some(y)) => usize::from(x > y),
            (Some(_), None) => 1,
            (None, Some(_)) => 0,
            (None, None) => return,
        };
        let feeds_integers = self.graph.index().readers(self.quantized_output(node)).iter().any(|r| self.inside[*r]);
        let other = &node.input[skip];
        if self.graph.constant(other).is_none() && (feeds_integers || sites.contains_key(other)) {
            site(sites, other).readers.insert((index, skip));
        }
    }

    fn has_reader_before_a_body(&self, value: &str) -> bool {
        self.graph.index().readers(value).iter().any(|reader| self.before_bodies[*reader])
    }

    fn take_all_readers(&self, sites: &mut BTreeMap<String, Site>) {
        for site in sites.values_mut().filter(|s| s.all_readers) {
            for reader in self.graph.index().readers(&site.value) {
                let node = &self.graph.nodes()[*reader];
                let slots = node.input.iter().enumerate().filter(|(_, n)| **n == site.value).map(|(slot, _)| slot);
                site.readers.extend(slots.map(|slot| (*reader, slot)));
            }
        }
    }
}

fn site<'s>(sites: &'s mut BTreeMap<String, Site>, value: &str) -> &'s mut Site {
    sites.entry(value.to_owned()).or_insert_with(|| Site {
        value: value.to_owned(),
        all_readers: false,
        readers: BTreeSet::new(),
        group: 0,
    })
}
