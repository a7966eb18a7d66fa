//! The edits that run a region in another layout.

use super::Layout;
use super::change::{Change, Literal, write};
use super::edges::{Entry, Exit};
use super::region::{Entrance, Made, Region, Step};
use crate::facts::{Names, input, label, output};
use std::collections::{HashMap, HashSet};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, set_attr, with_attr};
use tapq::onnx::NodeProto as Node;

/// One patch for regions that do not touch each other.
pub(crate) struct Rewriter<'g> {
    graph: &'g Graph,
    inner: HashSet<String>,
    names: Names,
    /// Nodes that an accepted region rewrites, removes or relies on.
    touched: HashSet<usize>,
    /// Constants that are already written for a layout.
    constants: HashMap<(String, Layout), String>,
    patch: Patch,
    /// Redirects come last, so that they reach what is replaced before.
    redirects: Vec<Edit>,
}

impl<'g> Rewriter<'g> {
    /// `inner` are the names that bodies of the graph define.
    pub(crate) fn new(graph: &'g Graph, inner: HashSet<String>) -> Self {
        Rewriter {
            graph,
            inner,
            names: Names::of(graph),
            touched: HashSet::new(),
            constants: HashMap::new(),
            patch: Patch::new(),
            redirects: vec![],
        }
    }

    /// Rewrites the region, unless one before it touches the same nodes.
    pub(crate) fn take(&mut self, region: &Region) -> Result<()> {
        let touches = touches(self.graph, region);
        if touches.iter().any(|at| self.touched.contains(at)) {
            return Ok(());
        }
        self.touched.extend(touches);
        let mut renamed = HashMap::new();
        for made in &region.made {
            renamed.insert(made.name.clone(), self.new_name(made));
        }
        for entrance in &region.entrances {
            let name = self.enter(region, entrance);
            renamed.insert(entrance.name.clone(), name);
        }
        for step in &region.steps {
            self.step(region, step, &renamed)?;
        }
        for made in &region.made {
            self.leave(region, made, &renamed[&made.name]);
        }
        let first = label(&self.graph.nodes()[region.steps[0].at]);
        let all = match region.steps.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        self.patch.because(format!("{first}{all} need not wait for other axes"));
        Ok(())
    }

    /// The patch.
    pub(crate) fn finish(mut self) -> Patch {
        self.redirects.into_iter().for_each(|edit| self.patch.push(edit));
        self.patch
    }

    /// A value takes the name of what a Transpose behind it made, best that of a graph output.
    fn new_name(&mut self, made: &Made) -> String {
        let undone = made.exits.iter().filter(|(_, exit)| matches!(exit, Exit::Undone));
        let made_there: Vec<&str> = undone.filter_map(|(at, _)| output(&self.graph.nodes()[*at], 0)).collect();
        let returned = made_there.iter().find(|name| self.graph.index().is_output(name));
        let free = || made_there.iter().find(|name| !self.inner.contains(**name));
        match returned.or_else(free) {
            Some(name) => (*name).to_owned(),
            None => self.names.fresh(&format!("{}_moved", made.name)),
        }
    }

    /// The name of an entering value in the region's layout.
    fn enter(&mut self, region: &Region, entrance: &Entrance) -> String {
        let (layout, x) = (&region.layout, entrance.name.as_str());
        let producer = entrance.producer.map(|at| &self.graph.nodes()[at]);
        let before = producer.and_then(|node| input(node, 0)).unwrap_or(x).to_owned();
        if entrance.removed {
            entrance.producer.into_iter().for_each(|at| self.patch.push(Edit::Remove(at)));
            self.patch.push(Edit::RemoveValueInfo(x.to_owned()));
        }
        for (at, changes) in &entrance.beside {
            self.replace(*at, changes, &before);
        }
        if matches!(entrance.entry, Entry::Undone) {
            return before;
        }
        let inside = |at: &&usize| region.steps.binary_search_by_key(*at, |step| step.at).is_ok();
        let first = self.graph.index().readers(x).iter().find(inside).copied().unwrap_or(0);
        let name = self.names.fresh(&format!("{x}_moved"));
        let node = match (&entrance.entry, producer) {
            (Entry::Merged(perm), _) => transpose(&before, perm, &name),
            (Entry::Changed(changes), Some(producer)) => {
                let mut node = Node { output: vec![name.clone()], ..producer.clone() };
                self.change(&mut node, changes);
                node
            }
            _ => self.axes_node(layout, true, x, &name),
        };
        self.patch.push(Edit::Insert(first, node));
        name
    }

    fn step(&mut self, region: &Region, step: &Step, renamed: &HashMap<String, String>) -> Result<()> {
        let mut node = self.graph.nodes()[step.at].clone();
        for slot in &step.member.data {
            let name = &node.input[*slot];
            node.input[*slot] = renamed.get(name).unwrap_or(name).clone();
        }
        for slot in &step.member.constants {
            node.input[*slot] = self.constant(&region.layout, &node.input[*slot])?;
        }
        self.change(&mut node, &step.changes);
        for name in &mut node.output {
            if let Some(new) = renamed.get(name) {
                name.clone_from(new);
            }
        }
        self.patch.push(Edit::Replace(step.at, node));
        Ok(())
    }

    /// What nodes behind the region read.
    fn leave(&mut self, region: &Region, made: &Made, name: &str) {
        if made.outside {
            let at = self.graph.index().producer(&made.name).map_or(0, |at| at + 1);
            let node = self.axes_node(&region.layout, false, name, &made.name);
            self.patch.push(Edit::Insert(at, node));
        } else {
            self.patch.push(Edit::RemoveValueInfo(made.name.clone()));
        }
        for (at, exit) in &made.exits {
            let node = &self.graph.nodes()[*at];
            match exit {
                Exit::Undone => {
                    self.patch.push(Edit::Remove(*at));
                    if node.output[0] != name {
                        self.patch.push(Edit::RemoveValueInfo(node.output[0].clone()));
                        self.redirects.push(Edit::Redirect(node.output[0].clone(), name.to_owned()));
                    }
                }
                Exit::Merged(perm) => {
                    let mut node = node.clone();
                    name.clone_into(&mut node.input[0]);
                    set_attr(&mut node, "perm", integers(perm));
                    self.patch.push(Edit::Replace(*at, node));
                }
                Exit::Changed(changes) => self.replace(*at, changes, name),
                Exit::Outside => {}
            }
        }
    }

    /// The node at `at` reads `name` instead, with changes.
    fn replace(&mut self, at: usize, changes: &[Change], name: &str) {
        let mut node = self.graph.nodes()[at].clone();
        name.clone_into(&mut node.input[0]);
        self.change(&mut node, changes);
        for change in changes {
            let Change::Gathered(axes) = change else { continue };
            let shape = self.names.fresh(&format!("{}_moved", node.output[0]));
            let indices = self.names.fresh(&format!("{}_axes", node.output[0]));
            self.patch.push(Edit::SetInitializer(Literal::Ints(axes).tensor(&indices)));
            let gathered = std::mem::replace(&mut node.output[0], shape.clone());
            self.patch.push(Edit::Insert(at + 1, plain("Gather", vec![shape, indices], &gathered)));
        }
        self.patch.push(Edit::Replace(at, node));
    }

    fn change(&mut self, node: &mut Node, changes: &[Change]) {
        for change in changes {
            write(node, change, &mut |stem, literal| {
                let name = self.names.fresh(&format!("{stem}_axes"));
                self.patch.push(Edit::SetInitializer(literal.tensor(&name)));
                name
            });
        }
    }

    /// The name of the constant as the layout reads it; one of one element is as good as it is, if it has no more
    /// axes than the inner value.
    fn constant(&mut self, layout: &Layout, name: &str) -> Result<String> {
        let Some(tensor) = self.graph.constant(name) else { return Ok(name.to_owned()) };
        if tensor.dims.iter().all(|d| *d == 1) && tensor.dims.len() < layout.inner_rank() {
            return Ok(name.to_owned());
        }
        let key = (name.to_owned(), layout.clone());
        if let Some(known) = self.constants.get(&key) {
            return Ok(known.clone());
        }
        let moved = self.names.fresh(&format!("{name}_moved"));
        self.patch.push(Edit::SetInitializer(layout.tensor(self.graph, tensor, &moved)?));
        self.constants.insert(key, moved.clone());
        Ok(moved)
    }

    /// The node that enters the layout, or leaves it.
    fn axes_node(&mut self, layout: &Layout, enters: bool, from: &str, to: &str) -> Node {
        if layout.is_permutation() {
            let entering = layout.entering();
            return transpose(from, if enters { &entering } else { layout.leaving() }, to);
        }
        let axes = self.names.fresh(&format!("{to}_axes"));
        let units = layout.unit_axes();
        self.patch.push(Edit::SetInitializer(Literal::Ints(&integers(&units)).tensor(&axes)));
        plain(if enters { "Unsqueeze" } else { "Squeeze" }, vec![from.to_owned(), axes], to)
    }
}

/// Nodes that the region rewrites, removes, or expects to stay.
fn touches(graph: &Graph, region: &Region) -> Vec<usize> {
    let mut at: Vec<usize> = region.steps.iter().map(|step| step.at).collect();
    let moves = |at: &usize| matches!(graph.nodes()[*at].op_type.as_str(), "Transpose" | "Squeeze" | "Unsqueeze");
    for entrance in &region.entrances {
        at.extend(entrance.beside.iter().map(|(at, _)| *at));
        let read = entrance.producer.and_then(|at| input(&graph.nodes()[at], 0));
        let before = read.and_then(|name| graph.index().producer(name)).filter(moves);
        let own = entrance.producer.filter(|at| entrance.removed || moves(at));
        at.extend(own.into_iter().chain(before));
    }
    at.extend(region.made.iter().flat_map(|made| &made.exits).map(|(at, _)| *at));
    at
}

fn integers(list: &[usize]) -> Vec<i64> {
    list.iter().map(|v| *v as i64).collect()
}

/// A Transpose without a name.
pub(crate) fn transpose(from: &str, perm: &[usize], to: &str) -> Node {
    with_attr(plain("Transpose", vec![from.to_owned()], to), "perm", integers(perm))
}

fn plain(op: &str, input: Vec<String>, output: &str) -> Node {
    Node { op_type: op.to_owned(), input, output: vec![output.to_owned()], ..Default::default() }
}
