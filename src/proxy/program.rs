//! A tree as a flat list of steps, each result computed once.

use super::expr::{Expr, Op};

/// One operand: the step that made it, and whether it is negated (in a sum) or inverted (in a product).
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub step: usize,
    pub turned: bool,
}

/// One operation on columns. A lone negation is a sum of one term, a lone inverse a product of one factor.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub op: Op,
    pub operands: Vec<Operand>,
}

/// The steps of `expr`; the last one makes the result.
pub(super) fn compile(expr: &Expr) -> Vec<Step> {
    let mut compiler = Compiler { seen: vec![], steps: vec![] };
    compiler.step(expr);
    compiler.steps
}

struct Compiler<'a> {
    /// Trees that are steps already, at most as many as a formula may have nodes.
    seen: Vec<&'a Expr>,
    steps: Vec<Step>,
}

impl<'a> Compiler<'a> {
    fn step(&mut self, expr: &'a Expr) -> usize {
        if let Some(known) = self.seen.iter().position(|e| *e == expr) {
            return known;
        }
        let operands = match expr.op {
            Op::Negate | Op::Invert => expr.args.iter().map(|arg| self.operand(arg, true)).collect(),
            Op::Add => self.operands(expr, Op::Negate),
            Op::Multiply => self.operands(expr, Op::Invert),
            _ => expr.args.iter().map(|arg| self.operand(arg, false)).collect(),
        };
        let op = match expr.op {
            Op::Negate => Op::Add,
            Op::Invert => Op::Multiply,
            op => op,
        };
        self.seen.push(expr);
        self.steps.push(Step { op, operands });
        self.steps.len() - 1
    }

    fn operand(&mut self, expr: &'a Expr, turned: bool) -> Operand {
        Operand { step: self.step(expr), turned }
    }

    fn operands(&mut self, expr: &'a Expr, turn: Op) -> Vec<Operand> {
        let operand = |arg: &'a Expr| match arg.args.as_slice() {
            [inner] if arg.op == turn => self.operand(inner, true),
            _ => self.operand(arg, false),
        };
        expr.args.iter().map(operand).collect()
    }
}
