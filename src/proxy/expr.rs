//! The tree of a formula.
//!
//! Sums and products hold all their terms and factors; `a - b` is a sum with a negated term, `a / b` a product with
//! an inverted factor. The constructors keep these invariants, which make printing and reading inverse to each other:
//! no sum directly in a sum, no product directly in a product, no negated number, no double negation, no `1` before
//! an inverted factor at the head of a product.

use super::feature::{Feature, Shape};
use super::function::{Function, Reach};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    Number(f64),
    Feature(&'static Feature),
    Negate,
    /// One over the argument.
    Invert,
    Add,
    Multiply,
    Power,
    Call(Function),
    Less,
    LessEqual,
    And,
    Or,
    Not,
    /// Arguments: value where the condition holds, condition, value elsewhere; the order they are written in.
    Choose,
    /// A condition that is settled; only while a formula is simplified.
    Truth(bool),
}

/// One node and what is below it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub op: Op,
    pub args: Vec<Expr>,
}

impl Expr {
    pub fn new(op: Op, args: Vec<Expr>) -> Expr {
        match op {
            Op::Number(value) => Expr::number(value),
            Op::Add | Op::Multiply | Op::And | Op::Or => Expr::chain(op, args),
            Op::Negate => args.into_iter().next().map_or_else(|| Expr::number(0.0), Expr::negate),
            _ => Expr { op, args },
        }
    }

    pub fn number(value: f64) -> Expr {
        // Minus zero would print as another number than it is.
        Expr { op: Op::Number(if value == 0.0 { 0.0 } else { value }), args: vec![] }
    }

    pub fn feature(feature: &'static Feature) -> Expr {
        Expr { op: Op::Feature(feature), args: vec![] }
    }

    pub fn truth(value: bool) -> Expr {
        Expr { op: Op::Truth(value), args: vec![] }
    }

    pub fn call(function: Function, args: Vec<Expr>) -> Expr {
        Expr { op: Op::Call(function), args }
    }

    pub fn negate(self) -> Expr {
        match self.op {
            Op::Number(value) => Expr::number(-value),
            Op::Negate => self.args.into_iter().next().unwrap_or_else(|| Expr::number(0.0)),
            _ => Expr { op: Op::Negate, args: vec![self] },
        }
    }

    pub fn invert(self) -> Expr {
        Expr { op: Op::Invert, args: vec![self] }
    }

    pub fn add(terms: Vec<Expr>) -> Expr {
        Expr::chain(Op::Add, terms)
    }

    pub fn multiply(factors: Vec<Expr>) -> Expr {
        Expr::chain(Op::Multiply, factors)
    }

    /// A node whose arguments of the same kind are merged into it; its one argument where it has only one.
    pub fn chain(op: Op, args: Vec<Expr>) -> Expr {
        let mut flat = Vec::with_capacity(args.len());
        for arg in args {
            if arg.op == op { flat.extend(arg.args) } else { flat.push(arg) }
        }
        if op == Op::Multiply
            && let [first, second, ..] = flat.as_slice()
            && first.op == Op::Number(1.0)
            && second.op == Op::Invert
        {
            flat.remove(0);
        }
        match (flat.len(), flat.pop()) {
            (0 | 1, Some(only)) => only,
            (_, Some(last)) => {
                flat.push(last);
                Expr { op, args: flat }
            }
            (_, None) => Expr::number(if op == Op::Multiply { 1.0 } else { 0.0 }),
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self.op {
            Op::Number(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it is true or false, not a number.
    pub fn is_condition(&self) -> bool {
        matches!(self.op, Op::Less | Op::LessEqual | Op::And | Op::Or | Op::Not | Op::Truth(_))
    }

    /// Numbers, names, calls and operators as a person counts them; signs are free, so that moving them is.
    pub fn nodes(&self) -> usize {
        let own = match self.op {
            Op::Negate | Op::Invert => 0,
            Op::Add | Op::Multiply | Op::And | Op::Or => self.args.len().saturating_sub(1),
            _ => 1,
        };
        own + self.args.iter().map(Expr::nodes).sum::<usize>()
    }

    /// Levels of the tree; signs are free.
    pub fn depth(&self) -> usize {
        let own = usize::from(self.op != Op::Negate);
        own + self.args.iter().map(Expr::depth).max().unwrap_or(0)
    }

    /// What the value varies with.
    pub fn shape(&self) -> Shape {
        let widest = self.args.iter().map(Expr::shape).max().unwrap_or(Shape::Constant);
        match self.op {
            Op::Feature(feature) => feature.shape,
            Op::Call(function) => match (function.spec().reach, widest) {
                (Reach::Pool, Shape::Layer) => Shape::Constant,
                (Reach::Across, Shape::Constant) => Shape::Layer,
                _ => widest,
            },
            _ => widest,
        }
    }

    /// Visits this node and all below it, parents first.
    pub fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Expr)) {
        see(self);
        self.args.iter().for_each(|arg| arg.visit(see));
    }

    /// Whether it is within the limits of the language.
    pub fn fits(&self) -> bool {
        use super::limits;
        let mut sound = true;
        self.visit(&mut |e| sound &= e.as_number().is_none_or(limits::writable));
        sound
            && self.nodes() <= limits::NODES
            && self.depth() <= limits::DEPTH
            && self.to_string().len() <= limits::BYTES
    }
}
