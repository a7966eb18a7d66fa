//! A total order of trees, which sums, products and other commutative operations are sorted by.

use super::expr::{Expr, Op};
use std::cmp::Ordering;

/// Numbers first, then names, then what is made of them; inverted and negated things last.
pub(super) fn compare(a: &Expr, b: &Expr) -> Ordering {
    let own = match (a.op, b.op) {
        (Op::Number(x), Op::Number(y)) => x.total_cmp(&y),
        (Op::Feature(x), Op::Feature(y)) => x.name.cmp(y.name),
        (Op::Call(x), Op::Call(y)) => x.name().cmp(y.name()),
        (Op::Truth(x), Op::Truth(y)) => x.cmp(&y),
        _ => class(a.op).cmp(&class(b.op)),
    };
    let below = || a.args.iter().zip(&b.args).map(|(x, y)| compare(x, y)).find(|o| o.is_ne());
    own.then_with(|| below().unwrap_or(Ordering::Equal)).then_with(|| a.args.len().cmp(&b.args.len()))
}

/// Terms of a sum: by what is left without the sign, numbers last, so that a sum rarely starts with a sign.
pub(super) fn compare_terms(a: &Expr, b: &Expr) -> Ordering {
    let last = |e: &Expr| e.as_number().is_some();
    last(a).cmp(&last(b)).then_with(|| compare(unsigned(a), unsigned(b))).then_with(|| compare(a, b))
}

/// `expr` without a negation around it.
pub(super) fn unsigned(expr: &Expr) -> &Expr {
    match (expr.op, expr.args.as_slice()) {
        (Op::Negate, [inner]) => inner,
        _ => expr,
    }
}

fn class(op: Op) -> u8 {
    match op {
        Op::Truth(_) => 0,
        Op::Number(_) => 1,
        Op::Feature(_) => 2,
        Op::Call(_) => 3,
        Op::Power => 4,
        Op::Add => 5,
        Op::Multiply => 6,
        Op::Choose => 7,
        Op::Less => 8,
        Op::LessEqual => 9,
        Op::And => 10,
        Op::Or => 11,
        Op::Not => 12,
        Op::Invert => 13,
        Op::Negate => 14,
    }
}
