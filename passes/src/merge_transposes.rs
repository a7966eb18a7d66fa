//! `merge_transposes`: Transposes in a row become one.

use crate::Pass;
use crate::facts::{inner_names, input, is_op, label, output};
use crate::layout::{listed_axes, perm, permute};
use std::collections::{HashMap, HashSet};
use tapq::Result;
use tapq::graph::ranks;
use tapq::graph::{Edit, Graph, Patch, set_attr};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// A Transpose of a Transpose reads what the first one reads; one that another repeats goes, or becomes an Identity if it
/// makes a graph output; so does an Unsqueeze of the axes that a Squeeze before it took.
///
/// ## Why
/// Exporters put them around each layer without a look at the neighbours. What is left says plainly which layout a
/// value has; a Transpose that permutes nothing any more is an identity like any other.
///
/// ## When it refuses
/// A Transpose without `perm`. A repeated one stays if a body defines a value of the name that its readers would read.
///
/// ## Example
/// `a = Transpose <perm = [0,2,3,1]> (x)  y = Transpose <perm = [0,3,1,2]> (a)` becomes
/// `y = Transpose <perm = [0,1,2,3]> (x)`.
pub struct MergeTransposes;

impl Pass for MergeTransposes {
    fn name(&self) -> &'static str {
        "merge_transposes"
    }

    fn about(&self) -> &'static str {
        "Transposes in a row become one"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut merge = Merge::new(graph);
        for (at, node) in graph.nodes().iter().enumerate() {
            if is_op(node, "Transpose") {
                merge.transpose(at, node);
            }
        }
        let squeezed = graph.nodes().iter().any(|n| is_op(n, "Squeeze"));
        let ranks = if squeezed { ranks(graph.proto()) } else { HashMap::new() };
        for (at, node) in graph.nodes().iter().enumerate().filter(|(_, n)| squeezed && is_op(n, "Unsqueeze")) {
            merge.unsqueeze(&ranks, at, node)?;
        }
        Ok(merge.finish().into_option())
    }
}

/// What a Transpose makes: of which value, in which order of axes.
type Source<'g> = (&'g str, Vec<usize>);

struct Merge<'g> {
    graph: &'g Graph,
    inner: HashSet<String>,
    sources: HashMap<&'g str, Source<'g>>,
    first: HashMap<Source<'g>, &'g str>,
    /// Transposes that read something else now, or are gone.
    changed: HashSet<usize>,
    /// Values that readers of repeated ones read from now on.
    repeated: HashSet<&'g str>,
    patch: Patch,
    redirects: Vec<Edit>,
}

impl<'g> Merge<'g> {
    fn new(graph: &'g Graph) -> Self {
        let (inner, patch, redirects) = (inner_names(graph), Patch::new(), vec![]);
        let (sources, first, changed, repeated) = (HashMap::new(), HashMap::new(), HashSet::new(), HashSet::new());
        Merge { graph, inner, sources, first, changed, repeated, patch, redirects }
    }

    fn transpose(&mut self, at: usize, node: &'g Node) {
        let (Some(x), Some(y), Some(own)) = (input(node, 0), output(node, 0), perm(node)) else { return };
        let before = self.sources.get(x).filter(|(_, perm)| perm.len() == own.len());
        let source = before.map_or_else(|| (x, own.clone()), |(root, perm)| (*root, permute(perm, &own)));
        if before.is_some() {
            let mut merged = node.clone();
            source.0.clone_into(&mut merged.input[0]);
            set_attr(&mut merged, "perm", source.1.iter().map(|p| *p as i64).collect::<Vec<_>>());
            self.patch.because(format!("{} follows another", label(node)));
            self.patch.push(Edit::Replace(at, merged));
            self.changed.insert(at);
        }
        self.sources.insert(y, source.clone());
        match self.first.get(&source) {
            Some(first) => self.repeat(at, node, first),
            None => drop(self.first.insert(source, y)),
        }
    }

    /// A Transpose that makes what `first` is goes; one that makes a graph output becomes an Identity.
    fn repeat(&mut self, at: usize, node: &'g Node, first: &'g str) {
        let Some(y) = output(node, 0).filter(|_| !self.inner.contains(first)) else { return };
        self.patch.because(format!("{} repeats another", label(node)));
        if self.graph.index().is_output(y) {
            self.patch.push(Edit::Replace(at, identity(first, y)));
        } else {
            self.patch.push(Edit::Remove(at));
            self.patch.push(Edit::RemoveValueInfo(y.to_owned()));
            self.redirects.push(Edit::Redirect(y.to_owned(), first.to_owned()));
        }
        self.changed.insert(at);
        self.repeated.insert(first);
    }

    fn unsqueeze(&mut self, ranks: &HashMap<&str, usize>, at: usize, node: &Node) -> Result<()> {
        let graph = self.graph;
        let producer = input(node, 0).and_then(|x| graph.index().producer(x)).map(|at| &graph.nodes()[at]);
        let Some(squeeze) = producer.filter(|n| is_op(n, "Squeeze")) else { return Ok(()) };
        let (Some(x), Some(y)) = (input(squeeze, 0), output(node, 0)) else { return Ok(()) };
        let rank = ranks.get(x).copied();
        let (taken, put) = (listed_axes(graph, squeeze, rank)?, listed_axes(graph, node, rank)?);
        if taken.is_some() && taken == put {
            self.patch.because(format!("{} puts back what {} takes", label(node), label(squeeze)));
            self.patch.push(Edit::Replace(at, identity(x, y)));
        }
        Ok(())
    }

    /// First the Transposes that nothing reads any more go, so that the layer before them has one reader less.
    fn finish(mut self) -> Patch {
        let index = self.graph.index();
        for (at, node) in self.graph.nodes().iter().enumerate().filter(|(_, n)| is_op(n, "Transpose")) {
            let Some(y) = output(node, 0) else { continue };
            let readers = index.readers(y);
            let unread = !readers.is_empty() && readers.iter().all(|reader| self.changed.contains(reader));
            if unread && !index.is_output(y) && !self.changed.contains(&at) && !self.repeated.contains(y) {
                self.patch.push(Edit::Remove(at));
            }
        }
        self.redirects.into_iter().for_each(|edit| self.patch.push(edit));
        self.patch
    }
}

fn identity(x: &str, y: &str) -> Node {
    let (input, output) = (vec![x.to_owned()], vec![y.to_owned()]);
    Node { op_type: "Identity".into(), input, output, ..Default::default() }
}
