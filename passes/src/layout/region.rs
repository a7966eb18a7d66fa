//! Regions: connected nodes that run in any layout, and what it takes to run them in another one.

use super::Layout;
use super::change::Change;
use super::edges::{Entry, Exit, entry, exit};
use super::members::{Member, changes, member};
use crate::facts::{input, is_standard};
use std::collections::{BTreeMap, HashMap, HashSet};
use tapq::Result;
use tapq::graph::Graph;

/// A node of a region, and what it writes differently.
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) member: Member,
    pub(crate) changes: Vec<Change>,
}

/// A value that the region reads and does not make.
pub(crate) struct Entrance {
    pub(crate) name: String,
    pub(crate) entry: Entry,
    /// Position of the node that makes it, `None` for a graph input.
    pub(crate) producer: Option<usize>,
    /// Whether nothing reads it any more.
    pub(crate) removed: bool,
    /// Nodes beside the region that then read it in the other layout too.
    pub(crate) beside: Vec<(usize, Vec<Change>)>,
}

/// A value that the region makes.
pub(crate) struct Made {
    pub(crate) name: String,
    /// How nodes behind the region read it, by position.
    pub(crate) exits: Vec<(usize, Exit)>,
    /// Whether it must exist in the layout it had.
    pub(crate) outside: bool,
}

/// Connected nodes with all that is needed to run them in another layout.
pub(crate) struct Region {
    pub(crate) layout: Layout,
    pub(crate) steps: Vec<Step>,
    pub(crate) entrances: Vec<Entrance>,
    pub(crate) made: Vec<Made>,
    pub(crate) cost: Cost,
}

/// What changes for the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    /// How many more nodes move axes.
    moves: isize,
    /// How many fewer reads of the region are right behind a layer.
    behind: isize,
    /// How many fewer layers read right behind the region.
    before: isize,
}

impl Cost {
    /// Whether the region should run in its layout.
    ///
    /// Layers fold and fuse with what is next to them, so nothing moves away from them for fewer Transposes. Each round
    /// of the pass has fewer nodes that move axes, or as many and more reads right behind a layer, so it ends.
    pub(crate) fn is_gain(self) -> bool {
        (self.moves < 0 && self.behind + self.before <= 0) || (self.moves == 0 && self.behind < 0)
    }
}

/// Everything that [`regions`] asks.
struct Scene<'g> {
    graph: &'g Graph,
    ranks: &'g HashMap<&'g str, usize>,
    layout: &'g Layout,
    inside: HashSet<usize>,
}

/// All regions that could run in `layout`, by their first node.
pub(crate) fn regions(graph: &Graph, ranks: &HashMap<&str, usize>, layout: &Layout) -> Result<Vec<Region>> {
    let mut steps = BTreeMap::new();
    for (at, node) in graph.nodes().iter().enumerate() {
        let Some(member) = member(graph, ranks, node).filter(|m| m.rank == layout.inner_rank()) else { continue };
        if let Some(changes) = changes(graph, layout, node)? {
            steps.insert(at, Step { at, member, changes });
        }
    }
    let mut found = vec![];
    for steps in connected(graph, steps) {
        let inside = steps.iter().map(|step| step.at).collect();
        found.extend(Scene { graph, ranks, layout, inside }.region(steps)?);
    }
    Ok(found)
}

/// Steps that read each other's data, group by group.
fn connected(graph: &Graph, steps: BTreeMap<usize, Step>) -> Vec<Vec<Step>> {
    let mut parent: HashMap<usize, usize> = steps.keys().map(|at| (*at, *at)).collect();
    for step in steps.values() {
        for slot in &step.member.data {
            let producer = input(&graph.nodes()[step.at], *slot).and_then(|name| graph.index().producer(name));
            let Some(producer) = producer.filter(|at| steps.contains_key(at)) else { continue };
            let (a, b) = (root(&mut parent, producer), root(&mut parent, step.at));
            parent.insert(a.max(b), a.min(b));
        }
    }
    let mut groups: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for (at, step) in steps {
        groups.entry(root(&mut parent, at)).or_default().push(step);
    }
    groups.into_values().collect()
}

/// The least position of the group, with the path to it halved.
fn root(parent: &mut HashMap<usize, usize>, mut at: usize) -> usize {
    while parent[&at] != at {
        let next = parent[&parent[&at]];
        parent.insert(at, next);
        at = next;
    }
    at
}

impl Scene<'_> {
    fn region(&self, steps: Vec<Step>) -> Result<Option<Region>> {
        let (mut entrances, mut made, mut seen) = (vec![], vec![], HashSet::new());
        for step in &steps {
            let node = &self.graph.nodes()[step.at];
            for name in step.member.data.iter().filter_map(|slot| input(node, *slot)) {
                let producer = self.graph.index().producer(name);
                if producer.is_none_or(|at| !self.inside.contains(&at)) && seen.insert(name) {
                    entrances.push(self.entrance(&steps, name, producer)?);
                }
            }
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                made.push(self.made(&steps, name)?);
            }
        }
        let undone: HashSet<usize> = made.iter().flat_map(|m| &m.exits).map(|(at, _)| *at).collect();
        if entrances.iter().any(|e| e.producer.is_some_and(|at| undone.contains(&at))) {
            return Ok(None);
        }
        let (moves, behind) = (count(&entrances, &made), -self.reads_layers(&steps, &entrances));
        let before = -made.iter().map(|made| self.read_by_layers(made)).sum::<isize>();
        let cost = Cost { moves, behind, before };
        Ok(Some(Region { layout: self.layout.clone(), steps, entrances, made, cost }))
    }

    fn entrance(&self, steps: &[Step], name: &str, producer: Option<usize>) -> Result<Entrance> {
        let entry = match producer {
            Some(at) => entry(self.graph, self.ranks, self.layout, &self.graph.nodes()[at])?,
            None => Entry::Inserted,
        };
        let (mut beside, mut removed) = (vec![], !self.graph.index().is_output(name));
        for at in self.graph.index().readers(name).iter().filter(|at| !self.takes(steps, **at, name)) {
            match exit(self.graph, self.layout, &self.graph.nodes()[*at], name)? {
                Exit::Changed(changes) if matches!(entry, Entry::Undone) => beside.push((*at, changes)),
                _ => removed = false,
            }
        }
        let entry = match entry {
            Entry::Changed(_) if !removed => Entry::Inserted,
            Entry::Inserted | Entry::Changed(_) | Entry::Undone | Entry::Merged(_) => entry,
        };
        removed &= !matches!(entry, Entry::Inserted);
        Ok(Entrance { name: name.to_owned(), entry, producer, removed, beside })
    }

    fn made(&self, steps: &[Step], name: &str) -> Result<Made> {
        let index = self.graph.index();
        let (mut exits, mut outside, mut returned) = (vec![], index.is_output(name), false);
        for at in index.readers(name).iter().filter(|at| !self.takes(steps, **at, name)) {
            let node = &self.graph.nodes()[*at];
            let exit = exit(self.graph, self.layout, node, name)?;
            let output = matches!(exit, Exit::Undone) && index.is_output(&node.output[0]);
            match exit {
                Exit::Outside => outside = true,
                // One value cannot be two outputs of the graph.
                _ if output && returned => outside = true,
                exit => exits.push((*at, exit)),
            }
            returned |= output;
        }
        Ok(Made { name: name.to_owned(), exits, outside })
    }

    /// Whether the node at `at` is part of the region and reads `name` as data only.
    fn takes(&self, steps: &[Step], at: usize, name: &str) -> bool {
        let Ok(i) = steps.binary_search_by_key(&at, |step| step.at) else { return false };
        let reads = |slot: &usize| input(&self.graph.nodes()[at], *slot) == Some(name);
        let slots = 0..self.graph.nodes()[at].input.len();
        slots.into_iter().filter(reads).all(|slot| steps[i].member.data.contains(&slot))
    }

    /// How many more reads there are right behind a layer.
    fn reads_layers(&self, steps: &[Step], entrances: &[Entrance]) -> isize {
        let more = |entrance: &Entrance| {
            let Some(at) = entrance.producer else { return 0 };
            let before = input(&self.graph.nodes()[at], 0).and_then(|name| self.graph.index().producer(name));
            let reads = self.graph.index().readers(&entrance.name).iter();
            let reads = reads.filter(|at| self.takes(steps, **at, &entrance.name)).count() as isize;
            match entrance.entry {
                Entry::Undone => reads * isize::from(before.is_some_and(|at| self.is_layer(at))),
                _ => -reads * isize::from(self.is_layer(at)),
            }
        };
        entrances.iter().map(more).sum()
    }

    /// How many more layers read the value itself.
    fn read_by_layers(&self, made: &Made) -> isize {
        let layers =
            |name: &str| self.graph.index().readers(name).iter().filter(|at| self.is_layer(**at)).count() as isize;
        let undone = made.exits.iter().filter(|(_, exit)| matches!(exit, Exit::Undone));
        let more: isize = undone.map(|(at, _)| layers(&self.graph.nodes()[*at].output[0])).sum();
        more - layers(&made.name)
    }

    /// Layers compute with weights, mostly.
    fn is_layer(&self, at: usize) -> bool {
        let node = &self.graph.nodes()[at];
        is_standard(node)
            && matches!(node.op_type.as_str(), "BatchNormalization" | "Conv" | "ConvTranspose" | "Gemm" | "MatMul")
    }
}

/// How many more nodes move axes afterwards.
fn count(entrances: &[Entrance], made: &[Made]) -> isize {
    let before = |entrance: &Entrance| match entrance.entry {
        Entry::Undone => -isize::from(entrance.removed),
        Entry::Merged(_) => 1 - isize::from(entrance.removed),
        Entry::Changed(_) => 0,
        Entry::Inserted => 1,
    };
    let behind = |made: &Made| {
        let undone = made.exits.iter().filter(|(_, exit)| matches!(exit, Exit::Undone)).count() as isize;
        isize::from(made.outside) - undone
    };
    entrances.iter().map(before).sum::<isize>() + made.iter().map(behind).sum::<isize>()
}
