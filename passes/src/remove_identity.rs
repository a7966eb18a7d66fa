//! `remove_identity`: nodes that return what they read go.

use crate::Pass;
use crate::facts::{Recorded, constant_ints, inner_names, input, is_standard, label, output, recorded};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch, attr_i, attr_ints, types};
use tapq::onnx::NodeProto as Node;

/// ## What it does
/// Removes Identity, Dropout at inference, Cast and CastLike to the type it reads, Reshape and Transpose that change nothing,
/// Pad by zero elements and Concat of one tensor.
///
/// ## Why
/// Each of them hides a layer from what folds into it, and asks for a scale of its own.
///
/// ## When it refuses
/// A Dropout whose mask is read or that may train; a Cast of a value whose type does not follow, a Reshape of one whose
/// shape is not recorded;
/// a graph input or initializer that goes straight to a graph output.
/// A graph output keeps its name: the node before takes it over.
///
/// ## Example
/// `a = Relu (x)  b = Identity (a)  y = Abs (b)` becomes `a = Relu (x)  y = Abs (a)`.
pub struct RemoveIdentity;

impl Pass for RemoveIdentity {
    fn name(&self) -> &'static str {
        "remove_identity"
    }

    fn about(&self) -> &'static str {
        "nodes that return what they read go"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let facts = Facts { graph, types: OnceCell::new(), recorded: recorded(graph.proto()) };
        let mut removal = Removal::new(graph);
        for (at, node) in graph.nodes().iter().enumerate() {
            if is_standard(node) && returns_its_input(graph, &facts, node)? {
                removal.remove(at, node);
            }
        }
        Ok(removal.into_patch().into_option())
    }
}

/// Removals of one patch; whoever would touch a value twice waits for the next.
struct Removal<'g> {
    graph: &'g Graph,
    inner: HashSet<String>,
    /// What a value of the graph that was read is now called.
    now: HashMap<&'g str, &'g str>,
    removed: HashSet<usize>,
    replaced: HashSet<usize>,
    replacements: Vec<Edit>,
    others: Patch,
}

impl<'g> Removal<'g> {
    fn new(graph: &'g Graph) -> Self {
        let (inner, now, removed, replaced) = (inner_names(graph), HashMap::new(), HashSet::new(), HashSet::new());
        Removal { graph, inner, now, removed, replaced, replacements: vec![], others: Patch::new() }
    }

    fn remove(&mut self, at: usize, node: &'g Node) {
        let (Some(x), Some(y)) = (input(node, 0), output(node, 0)) else { return };
        let done = match self.graph.index().is_output(y) {
            true => self.rename_producer(x, y),
            false => self.redirect(y, self.now.get(x).copied().unwrap_or(x)),
        };
        if done {
            self.others.because(format!("{} returns what it reads", label(node)));
            self.others.push(Edit::Remove(at));
            self.removed.insert(at);
        }
    }

    fn redirect(&mut self, from: &'g str, to: &'g str) -> bool {
        if self.inner.contains(to) {
            return false;
        }
        self.now.insert(from, to);
        self.others.push(Edit::Redirect(from.to_owned(), to.to_owned()));
        self.others.push(Edit::RemoveValueInfo(from.to_owned()));
        true
    }

    /// The node that makes `x` makes the graph output `y` instead.
    fn rename_producer(&mut self, x: &'g str, y: &'g str) -> bool {
        let index = self.graph.index();
        let free = |at: &usize| !self.removed.contains(at) && !self.replaced.contains(at);
        let Some(at) = index.producer(x).filter(free) else { return false };
        if index.is_output(x) || self.now.contains_key(x) || !self.redirect(x, y) {
            return false;
        }
        let mut producer = self.graph.nodes()[at].clone();
        producer.output.iter_mut().filter(|name| *name == x).for_each(|name| y.clone_into(name));
        self.replaced.insert(at);
        self.replacements.push(Edit::Replace(at, producer));
        true
    }

    /// Replacements first: the redirects then reach them too.
    fn into_patch(self) -> Patch {
        let mut patch = Patch::new();
        self.replacements.into_iter().for_each(|edit| patch.push(edit));
        patch.extend(self.others);
        patch
    }
}

/// What is known of the values of the graph.
struct Facts<'g> {
    graph: &'g Graph,
    /// Asked for where there is a Cast, which most graphs do not have.
    types: OnceCell<HashMap<&'g str, i32>>,
    recorded: HashMap<&'g str, Recorded>,
}

impl Facts<'_> {
    fn element_type(&self, name: &str) -> Option<i32> {
        self.types.get_or_init(|| types(self.graph.proto(), &HashMap::new())).get(name).copied()
    }
}

fn returns_its_input(graph: &Graph, facts: &Facts, node: &Node) -> Result<bool> {
    let Some(x) = input(node, 0) else { return Ok(false) };
    let dims = facts.recorded.get(x).and_then(|f| f.dims.as_deref());
    Ok(match node.op_type.as_str() {
        "Identity" => true,
        "Dropout" => passes_through(graph, node)?,
        "Cast" => facts.element_type(x).is_some_and(|of| Some(i64::from(of)) == attr_i(node, "to")),
        "CastLike" => {
            let of = |slot| input(node, slot).and_then(|name| facts.element_type(name));
            of(0).is_some() && of(0) == of(1)
        }
        "Concat" => node.input.len() == 1,
        "Transpose" => attr_ints(node, "perm").is_some_and(|p| p.iter().copied().eq(0..p.len() as i64)),
        "Reshape" => keeps_shape(graph, node, dims)?,
        "Pad" => pads_nothing(graph, node)?,
        _ => false,
    })
}

fn passes_through(graph: &Graph, node: &Node) -> Result<bool> {
    let mask_is_read = |mask| !graph.index().readers(mask).is_empty() || graph.index().is_output(mask);
    if graph.opset() < 7 || output(node, 1).is_some_and(mask_is_read) {
        return Ok(false);
    }
    let Some(training) = input(node, 2) else { return Ok(true) };
    let Some(tensor) = graph.constant(training) else { return Ok(false) };
    Ok(tapq::onnx::ints(tensor, graph.external())?.iter().all(|v| *v == 0))
}

fn keeps_shape(graph: &Graph, node: &Node, dims: Option<&[Option<i64>]>) -> Result<bool> {
    let (Some(dims), Some(shape)) = (dims, input(node, 1)) else { return Ok(false) };
    let Some(shape) = constant_ints(graph, shape)?.filter(|s| s.len() == dims.len()) else { return Ok(false) };
    let copies_zero = attr_i(node, "allowzero").unwrap_or(0) == 0;
    let same = |(d, s): (&Option<i64>, &i64)| (*s == 0 && copies_zero) || (*s >= 0 && *d == Some(*s));
    let different: Vec<i64> = dims.iter().zip(&shape).filter(|pair| !same(*pair)).map(|(_, s)| *s).collect();
    let no_zero = || dims.iter().all(|d| d.is_none_or(|d| d > 0)) && !shape.contains(&0);
    Ok(different.is_empty() || (different == [-1] && (no_zero() || copies_zero)))
}

fn pads_nothing(graph: &Graph, node: &Node) -> Result<bool> {
    let pads = match (attr_ints(node, "pads"), input(node, 1)) {
        (Some(pads), _) => Some(pads.to_vec()),
        (None, Some(name)) => constant_ints(graph, name)?,
        _ => None,
    };
    Ok(pads.is_some_and(|pads| pads.iter().all(|p| *p == 0)))
}
