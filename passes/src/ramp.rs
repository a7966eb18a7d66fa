//! Ramps: `y = clamp(slope * x + shift, low, high)`, the same for each element, in however many nodes they are written.

use crate::facts::{Recorded, constant_floats, input, is_standard, output, recorded, sole_reader};
use std::cell::OnceCell;
use std::collections::HashMap;
use tapq::Result;
use tapq::graph::ranks;
use tapq::graph::{Edit, Graph, Patch, attr_f};
use tapq::onnx::{DataType, NodeProto as Node, Tensor};

/// Nodes of one ramp; exporters use four.
const MOST_NODES: usize = 8;
/// How far ends may differ and be the same: what a constant like 1/6 loses in float32.
const SAME: f64 = 2.4e-7;
/// How far from zero a value may be, in widths of the slope, before float32 loses digits of it that count.
const FARTHEST: f64 = 4.0;
/// Widths beyond these leave the range of float32 somewhere.
const WIDTHS: std::ops::Range<f64> = 1e-30..1e30;
/// Factors around a product; exporters use 1/6.
const FACTORS: std::ops::Range<f64> = 1e-6..1e6;

/// `clamp(slope * x + shift, low, high)`, with `low <= high`, either of which may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) slope: f64,
    pub(crate) shift: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ramp {
    /// The one that changes nothing.
    const NOTHING: Ramp = Ramp { slope: 1.0, shift: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };

    fn line(slope: f64, shift: f64) -> Option<Ramp> {
        let sound = slope != 0.0 && slope.is_finite() && shift.is_finite();
        sound.then_some(Ramp { slope, shift, ..Ramp::NOTHING })
    }

    fn clip(low: f64, high: f64) -> Option<Ramp> {
        (low <= high).then_some(Ramp { low, high, ..Ramp::NOTHING })
    }

    /// This one first, then the other.
    fn then(self, next: Ramp) -> Ramp {
        let end = |v: f64| (v * next.slope + next.shift).max(next.low).min(next.high);
        let (a, b) = (end(self.low), end(self.high));
        Ramp {
            slope: self.slope * next.slope,
            shift: self.shift * next.slope + next.shift,
            low: a.min(b),
            high: a.max(b),
        }
    }

    /// Whether it is no more than a Clip.
    pub(crate) fn only_clips(self) -> bool {
        self.slope == 1.0 && self.shift == 0.0
    }

    /// Whether both ends are there, and are not the same.
    pub(crate) fn has_two_ends(self) -> bool {
        self.low.is_finite() && self.high.is_finite() && self.low < self.high
    }

    /// Whether it is a HardSigmoid of any slope.
    pub(crate) fn is_hard_sigmoid(self) -> bool {
        self.low.abs() <= SAME && (self.high - 1.0).abs() <= SAME
    }

    /// Whether `x` times it is `HardSwish (x)`.
    fn is_of_hard_swish(self) -> bool {
        self.is_hard_sigmoid() && (self.slope * 6.0 - 1.0).abs() <= SAME && (self.shift - 0.5).abs() <= SAME
    }
}

/// Nodes in a row that are one ramp.
#[derive(Clone, Debug)]
pub(crate) struct Chain<'g> {
    /// What the first one reads.
    pub(crate) x: &'g str,
    /// Their positions, in order.
    pub(crate) nodes: Vec<usize>,
    steps: Vec<Ramp>,
}

impl<'g> Chain<'g> {
    fn at(x: &'g str) -> Self {
        Chain { x, nodes: vec![], steps: vec![] }
    }

    pub(crate) fn ramp(&self) -> Ramp {
        self.steps.iter().fold(Ramp::NOTHING, |whole, step| whole.then(*step))
    }

    /// Whether the first node is no more than a Clip, which the kernel before it may run.
    pub(crate) fn begins_with_clip(&self) -> bool {
        self.steps.first().is_some_and(|step| step.only_clips())
    }

    /// Whether float32 computes each step, and the whole at once, to within a few parts in ten million of its height.
    pub(crate) fn is_exact(&self) -> bool {
        let ramp = self.ramp();
        if !ramp.has_two_ends() {
            return false;
        }
        let mut ends = [ramp.low, ramp.high].map(|y| (y - ramp.shift) / ramp.slope);
        let kept = |[a, b]: [f64; 2]| {
            let width = (a - b).abs();
            WIDTHS.contains(&width) && a.abs().max(b.abs()) <= FARTHEST * width
        };
        kept(ends)
            && self.steps.iter().all(|step| {
                ends = ends.map(|v| v * step.slope + step.shift);
                kept(ends)
            })
    }
}

/// A product of `x` and a ramp of it that is `HardSwish (x)`, with the factors around it.
pub(crate) struct HardSwish<'g> {
    pub(crate) x: &'g str,
    /// Positions of its nodes but the last.
    pub(crate) inner: Vec<usize>,
    /// Position of the one that makes the result.
    pub(crate) last: usize,
}

/// Reads ramps of a graph.
pub(crate) struct Ramps<'g> {
    graph: &'g Graph,
    ranks: OnceCell<HashMap<&'g str, usize>>,
    recorded: OnceCell<HashMap<&'g str, Recorded>>,
}

impl<'g> Ramps<'g> {
    pub(crate) fn of(graph: &'g Graph) -> Self {
        Ramps { graph, ranks: OnceCell::new(), recorded: OnceCell::new() }
    }

    /// The chain that begins with a node and goes on as long as one node alone reads the last; all its beginnings are
    /// chains, too.
    fn from(&self, first: usize) -> Result<Option<Chain<'g>>> {
        let Some((x, step)) = self.step(first)? else { return Ok(None) };
        let (mut chain, mut last) = (Chain { x, nodes: vec![first], steps: vec![step] }, first);
        while let Some(next) = self.next(last).filter(|_| chain.nodes.len() < MOST_NODES) {
            let Some((_, step)) = self.step(next)? else { break };
            chain.nodes.push(next);
            chain.steps.push(step);
            last = next;
        }
        Ok(Some(chain))
    }

    /// The longest beginning of the chain from a node that is as asked.
    pub(crate) fn longest(&self, first: usize, wanted: impl Fn(&Chain) -> bool) -> Result<Option<Chain<'g>>> {
        let Some(mut chain) = self.from(first)? else { return Ok(None) };
        while !chain.nodes.is_empty() {
            if wanted(&chain) {
                return Ok(Some(chain));
            }
            chain.nodes.pop();
            chain.steps.pop();
        }
        Ok(None)
    }

    /// HardSwish around the product of two computed values at a position.
    pub(crate) fn hard_swish(&self, product: usize) -> Result<Option<HardSwish<'g>>> {
        let node = &self.graph.nodes()[product];
        let [a, b] = node.input.as_slice() else { return Ok(None) };
        if node.op_type != "Mul" || !is_standard(node) || [a, b].iter().any(|v| self.graph.constant(v).is_some()) {
            return Ok(None);
        }
        let behind = self.factors_behind(product)?;
        for (line, ramp) in [(a, b), (b, a)] {
            for line in self.before(product, line)?.iter().filter(|c| c.steps.iter().all(is_factor)) {
                for ramp in self.before(product, ramp)?.iter().filter(|c| c.x == line.x && c.is_exact()) {
                    let factors = line.steps.iter().fold(ramp.ramp(), |whole, step| whole.then(*step));
                    let fits = |taken: &usize| {
                        let taken = behind.steps[..*taken].iter();
                        taken.fold(factors, |whole, step| whole.then(*step)).is_of_hard_swish()
                    };
                    let Some(taken) = (0..=behind.nodes.len()).find(fits) else { continue };
                    let mut inner = [line.nodes.as_slice(), &ramp.nodes, &[product], &behind.nodes[..taken]].concat();
                    let last = inner.pop().unwrap_or(product);
                    return Ok(Some(HardSwish { x: line.x, inner, last }));
                }
            }
        }
        Ok(None)
    }

    /// Constant factors behind a product, as far as each value is read once.
    fn factors_behind(&self, product: usize) -> Result<Chain<'g>> {
        let found = match self.next(product) {
            Some(next) => self.longest(next, |chain| chain.steps.iter().all(is_factor))?,
            None => None,
        };
        Ok(found.unwrap_or(Chain::at("")))
    }

    /// Chains that end at what `reader` reads, shortest first; the first of no node.
    fn before(&self, reader: usize, value: &'g str) -> Result<Vec<Chain<'g>>> {
        let mut chains = vec![Chain::at(value)];
        let mut reader = reader;
        while let Some(last) = chains.last().filter(|c| c.nodes.len() < MOST_NODES) {
            let alone = sole_reader(self.graph, last.x) == Some(reader);
            let Some(at) = self.graph.index().producer(last.x).filter(|_| alone) else { break };
            let Some((x, step)) = self.step(at)? else { break };
            let (nodes, steps) = ([&[at], last.nodes.as_slice()].concat(), [&[step], last.steps.as_slice()].concat());
            chains.push(Chain { x, nodes, steps });
            reader = at;
        }
        Ok(chains)
    }

    fn next(&self, at: usize) -> Option<usize> {
        sole_reader(self.graph, output(&self.graph.nodes()[at], 0)?)
    }

    /// What a node reads and does to it, if that is the same to each element.
    fn step(&self, at: usize) -> Result<Option<(&'g str, Ramp)>> {
        let node = &self.graph.nodes()[at];
        if !is_standard(node) || node.output.len() != 1 {
            return Ok(None);
        }
        let (slot, ramp) = match node.op_type.as_str() {
            "Relu" => (0, Ramp::clip(0.0, f64::INFINITY)),
            "HardSigmoid" => (0, hard_sigmoid(node)),
            "Clip" => (0, self.clip(node)?),
            "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" => match self.operand(node)? {
                Some((slot, constant)) => (1 - slot, arithmetic(&node.op_type, slot, constant)),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let x = input(node, slot).filter(|x| self.graph.constant(x).is_none());
        Ok(x.zip(ramp))
    }

    fn clip(&self, node: &Node) -> Result<Option<Ramp>> {
        // Bounds were attributes once.
        if self.graph.opset() < 11 {
            return Ok(None);
        }
        let mut ends = [f64::NEG_INFINITY, f64::INFINITY];
        for (end, slot) in ends.iter_mut().zip([1, 2]) {
            let Some(name) = input(node, slot) else { continue };
            let Some((bound, _)) = self.constant(name)? else { return Ok(None) };
            *end = bound;
        }
        Ok(Ramp::clip(ends[0], ends[1]))
    }

    /// The constant that one of two operands is, and its slot, where the result has the shape of the other operand.
    fn operand(&self, node: &Node) -> Result<Option<(usize, f64)>> {
        if node.input.len() != 2 || self.graph.opset() < 7 {
            return Ok(None);
        }
        for slot in [1, 0] {
            let (Some(name), Some(x)) = (input(node, slot), input(node, 1 - slot)) else { continue };
            if let Some((value, tensor)) = self.constant(name)?.filter(|(v, _)| v.is_finite()) {
                return Ok(self.keeps_shape(x, tensor).then_some((slot, value)));
            }
        }
        Ok(None)
    }

    /// The one value of a float32 constant, and the constant.
    fn constant(&self, name: &str) -> Result<Option<(f64, &'g Tensor)>> {
        let (Some(values), Some(tensor)) = (constant_floats(self.graph, name)?, self.graph.constant(name)) else {
            return Ok(None);
        };
        let first = values.first().filter(|first| !first.is_nan() && values.iter().all(|v| v == *first));
        Ok(first.map(|first| (f64::from(*first), tensor)))
    }

    /// Whether a constant beside `x` leaves its shape alone.
    fn keeps_shape(&self, x: &str, constant: &Tensor) -> bool {
        if constant.dims.is_empty() {
            return true;
        }
        let ranks = self.ranks.get_or_init(|| ranks(self.graph.proto()));
        let recorded = self.recorded.get_or_init(|| recorded(self.graph.proto()));
        let dims = recorded.get(x).and_then(|r| r.dims.as_deref());
        let Some(missing) =
            ranks.get(x).copied().or(dims.map(<[_]>::len)).and_then(|r| r.checked_sub(constant.dims.len()))
        else {
            return false;
        };
        let extent = |axis: usize| dims.and_then(|dims| dims.get(missing + axis).copied().flatten());
        constant.dims.iter().enumerate().all(|(axis, d)| *d == 1 || extent(axis) == Some(*d))
    }

    /// Whether a value is not known to be of another type than float32.
    pub(crate) fn may_be_float(&self, value: &str) -> bool {
        let recorded = self.recorded.get_or_init(|| recorded(self.graph.proto()));
        recorded.get(value).is_none_or(|r| r.data_type == 0 || r.data_type == DataType::FLOAT as i32)
    }
}

fn hard_sigmoid(node: &Node) -> Option<Ramp> {
    let of = |name: &str, default: f32| f64::from(attr_f(node, name).unwrap_or(default));
    Ramp::line(of("alpha", 0.2), of("beta", 0.5)).map(|line| Ramp { low: 0.0, high: 1.0, ..line })
}

fn arithmetic(op: &str, slot: usize, constant: f64) -> Option<Ramp> {
    match op {
        "Add" => Ramp::line(1.0, constant),
        "Sub" if slot == 0 => Ramp::line(-1.0, constant),
        "Sub" => Ramp::line(1.0, -constant),
        "Mul" => Ramp::line(constant, 0.0),
        "Div" if slot == 1 => Ramp::line(1.0 / constant, 0.0),
        "Min" => Ramp::clip(f64::NEG_INFINITY, constant),
        "Max" => Ramp::clip(constant, f64::INFINITY),
        _ => None,
    }
}

/// Whether a step is a factor, and none with which a product leaves the range of float32 on its way.
fn is_factor(step: &Ramp) -> bool {
    let bounded = step.low != f64::NEG_INFINITY || step.high != f64::INFINITY;
    !bounded && step.shift == 0.0 && FACTORS.contains(&step.slope.abs())
}

/// Pushes that nodes go, and what the model records of their results.
pub(crate) fn remove(graph: &Graph, nodes: &[usize], patch: &mut Patch) {
    for at in nodes {
        patch.push(Edit::Remove(*at));
        if let Some(value) = output(&graph.nodes()[*at], 0) {
            patch.push(Edit::RemoveValueInfo(value.to_owned()));
        }
    }
}
