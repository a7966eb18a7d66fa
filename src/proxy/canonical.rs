//! The canonical form: one tree for all formulas that are equal by simple algebra.
//!
//! Every rule keeps the value for all inputs, up to rounding and to the limits on partial results: `x / x` stays, since
//! it is 0 where `x` is. No rule makes a tree larger or deeper, so that the canonical form of a formula is a formula.

use super::expr::{Expr, Op};
use super::function::Function;
use super::limits;
use super::order::{compare, compare_terms, unsigned};
use super::scalar::{self, Product, Sum, is_odd};

/// The canonical form of `expr`.
pub(super) fn canonical(expr: &Expr) -> Expr {
    let args: Vec<Expr> = expr.args.iter().map(canonical).collect();
    match (expr.op, args.as_slice()) {
        (Op::Add, _) => sum(args),
        (Op::Multiply | Op::Invert, _) => product(expr.op, args),
        (Op::Negate, [x]) => negated(x.clone()),
        (Op::Power, [base, exponent]) => power(base, exponent),
        (Op::Call(function), _) => call(function, args),
        (Op::Less, [a, b]) => compared(Op::Less, a, b),
        (Op::LessEqual, [a, b]) => compared(Op::LessEqual, a, b),
        (Op::And, _) => combined(Op::And, args),
        (Op::Or, _) => combined(Op::Or, args),
        (Op::Not, [x]) => opposite(x.clone()),
        (Op::Choose, [a, condition, b]) => choice(a, condition, b),
        _ => Expr { op: expr.op, args },
    }
}

/// `-expr` of a canonical tree: the sign goes into sums and numbers.
fn negated(expr: Expr) -> Expr {
    match expr.op {
        Op::Add => sum(expr.args.into_iter().map(Expr::negate).collect()),
        _ => expr.negate(),
    }
}

/// A canonical tree without its sign, and whether it had one; a sum has the sign of its first term.
fn without_sign(expr: Expr) -> (bool, Expr) {
    let negative = match (expr.op, expr.args.as_slice()) {
        (Op::Negate, _) => true,
        (Op::Number(value), _) => value < 0.0,
        (Op::Add, [first, ..]) => first.op == Op::Negate,
        _ => false,
    };
    (negative, if negative { negated(expr) } else { expr })
}

fn sum(args: Vec<Expr>) -> Expr {
    let flat = args.into_iter().flat_map(|arg| if arg.op == Op::Add { arg.args } else { vec![arg] });
    let (mut numbers, mut terms): (Vec<Expr>, Vec<Expr>) = flat.partition(|e| e.as_number().is_some());
    terms.sort_by(compare_terms);
    drop_opposites(&mut terms);
    numbers.sort_by(compare);
    let mut total = Sum::default();
    numbers.iter().filter_map(Expr::as_number).for_each(|x| total.add(x));
    if limits::writable(total.value()) {
        numbers = vec![Expr::number(total.value())];
        numbers.retain(|n| n.as_number() != Some(0.0));
    }
    terms.extend(numbers);
    Expr::add(terms)
}

/// `x - x` is zero; sorted terms have such pairs side by side.
fn drop_opposites(terms: &mut Vec<Expr>) {
    let mut kept: Vec<Expr> = Vec::with_capacity(terms.len());
    for term in terms.drain(..) {
        match kept.last() {
            Some(last) if last.op != term.op && unsigned(last) == unsigned(&term) => {
                kept.pop();
            }
            _ => kept.push(term),
        }
    }
    *terms = kept;
}

/// The factors of a product: what is multiplied, what is divided by, and how many signs were taken off.
#[derive(Default)]
struct Factors {
    numbers: Vec<Expr>,
    others: Vec<Expr>,
    negative: bool,
}

impl Factors {
    fn take(&mut self, expr: Expr, inverted: bool) {
        match expr.op {
            Op::Multiply => expr.args.into_iter().for_each(|e| self.take(e, inverted)),
            Op::Invert => expr.args.into_iter().for_each(|e| self.take(e, !inverted)),
            _ => {
                let (negative, plain) = without_sign(expr);
                self.negative ^= negative;
                // A sum loses a sign as a whole; other signs may uncover a product.
                if negative && matches!(plain.op, Op::Multiply | Op::Invert) {
                    return self.take(plain, inverted);
                }
                match (plain.as_number(), inverted) {
                    (Some(x), true) if x != 0.0 && limits::writable(1.0 / x) => {
                        self.numbers.push(Expr::number(1.0 / x));
                    }
                    (Some(_), true) => self.numbers.push(plain.invert()),
                    (Some(_), false) => self.numbers.push(plain),
                    (None, true) => self.others.push(plain.invert()),
                    (None, false) => self.others.push(plain),
                }
            }
        }
    }
}

fn product(op: Op, args: Vec<Expr>) -> Expr {
    let mut factors = Factors::default();
    args.into_iter().for_each(|arg| factors.take(arg, op == Op::Invert));
    let Factors { mut numbers, mut others, negative } = factors;
    let is_zero = |e: &Expr| e.as_number() == Some(0.0) || e.args.iter().any(|x| x.as_number() == Some(0.0));
    if numbers.iter().any(is_zero) {
        return Expr::number(0.0);
    }
    numbers.sort_by(compare);
    let mut total = Product::default();
    for number in &numbers {
        match (number.as_number(), number.args.first().and_then(Expr::as_number)) {
            (Some(x), _) => total.multiply(x),
            (None, Some(x)) => total.divide(x),
            (None, None) => {}
        }
    }
    if limits::writable(total.value()) && total.value() != 0.0 {
        numbers = vec![Expr::number(total.value())];
        numbers.retain(|n| n.as_number() != Some(1.0));
    }
    others.sort_by(compare);
    numbers.extend(others);
    let whole = Expr::multiply(numbers);
    if negative { negated(whole) } else { whole }
}

fn power(base: &Expr, exponent: &Expr) -> Expr {
    let Some(b) = exponent.as_number() else {
        return match base.as_number() {
            Some(1.0) => Expr::number(1.0),
            _ => Expr::new(Op::Power, vec![base.clone(), exponent.clone()]),
        };
    };
    let folded = base.as_number().map(|a| scalar::power(a, b)).filter(|x| limits::writable(*x));
    if let Some(value) = folded {
        return Expr::number(value);
    }
    if b == 0.0 {
        Expr::number(1.0)
    } else if b == 1.0 {
        base.clone()
    } else if b == -1.0 {
        product(Op::Invert, vec![base.clone()])
    } else if b == 2.0 {
        call(Function::Square, vec![base.clone()])
    } else if b == 0.5 {
        call(Function::Sqrt, vec![base.clone()])
    } else {
        let base = if is_odd(b) { base.clone() } else { magnitude(base.clone()) };
        Expr::new(Op::Power, vec![base, exponent.clone()])
    }
}

/// A tree of the same magnitude, without the sign and the `abs` that make no difference to it.
fn magnitude(expr: Expr) -> Expr {
    let (_, plain) = without_sign(expr);
    match (plain.op, plain.args.as_slice()) {
        (Op::Call(Function::Abs), [inner]) => inner.clone(),
        _ => plain,
    }
}

fn call(function: Function, mut args: Vec<Expr>) -> Expr {
    if matches!(function, Function::Min | Function::Max) {
        return extreme(function, args);
    }
    if let Some(value) = folded(function, &args) {
        return Expr::number(value);
    }
    if function.is_even() {
        args = args.into_iter().map(magnitude).collect();
    }
    match args.as_slice() {
        [x] if function == Function::Abs && is_nonnegative(x) => x.clone(),
        [x] if function.is_odd() => {
            let (negative, plain) = without_sign(x.clone());
            let called = Expr::call(function, vec![plain]);
            if negative { called.negate() } else { called }
        }
        _ => Expr::call(function, args),
    }
}

fn is_nonnegative(expr: &Expr) -> bool {
    matches!(expr.op, Op::Call(function) if function.is_nonnegative())
}

/// The value of a function of numbers, where it may be written.
fn folded(function: Function, args: &[Expr]) -> Option<f64> {
    use super::function::Reach;
    if function.spec().reach != Reach::Each {
        return None;
    }
    let numbers: Vec<f64> = args.iter().map(Expr::as_number).collect::<Option<_>>()?;
    let value = match numbers.as_slice() {
        [x] => scalar::unary(function, *x),
        [x, lo, hi] => scalar::clip(*x, *lo, *hi),
        _ => return None,
    };
    Some(value).filter(|x| limits::writable(*x))
}

fn extreme(function: Function, args: Vec<Expr>) -> Expr {
    let op = Op::Call(function);
    let flat = args.into_iter().flat_map(|arg| if arg.op == op { arg.args } else { vec![arg] });
    let (numbers, mut others): (Vec<Expr>, Vec<Expr>) = flat.partition(|e| e.as_number().is_some());
    let pick = if function == Function::Min { f64::min } else { f64::max };
    others.extend(numbers.iter().filter_map(Expr::as_number).reduce(pick).map(Expr::number));
    others.sort_by(compare);
    others.dedup();
    match others.as_slice() {
        [only] => only.clone(),
        _ => Expr::call(function, others),
    }
}

fn compared(op: Op, a: &Expr, b: &Expr) -> Expr {
    match (a.as_number(), b.as_number()) {
        (Some(x), Some(y)) => Expr::truth(if op == Op::Less { x < y } else { x <= y }),
        _ if a == b => Expr::truth(op == Op::LessEqual),
        _ => Expr::new(op, vec![a.clone(), b.clone()]),
    }
}

/// `not expr`: every condition has an opposite, since there is no NaN.
fn opposite(expr: Expr) -> Expr {
    match (expr.op, expr.args.as_slice()) {
        (Op::Truth(value), _) => Expr::truth(!value),
        (Op::Less, [a, b]) => Expr::new(Op::LessEqual, vec![b.clone(), a.clone()]),
        (Op::LessEqual, [a, b]) => Expr::new(Op::Less, vec![b.clone(), a.clone()]),
        (Op::And, _) => combined(Op::Or, expr.args.into_iter().map(opposite).collect()),
        (Op::Or, _) => combined(Op::And, expr.args.into_iter().map(opposite).collect()),
        _ => Expr::new(Op::Not, vec![expr]),
    }
}

fn combined(op: Op, args: Vec<Expr>) -> Expr {
    let mut flat: Vec<Expr> = args.into_iter().flat_map(|a| if a.op == op { a.args } else { vec![a] }).collect();
    // `and` ends at the first thing that is false, `or` at the first that is true.
    let end = Expr::truth(op == Op::Or);
    if flat.contains(&end) {
        return end;
    }
    flat.retain(|e| !matches!(e.op, Op::Truth(_)));
    flat.sort_by(compare);
    flat.dedup();
    if flat.is_empty() { Expr::truth(op == Op::And) } else { Expr::chain(op, flat) }
}

fn choice(a: &Expr, condition: &Expr, b: &Expr) -> Expr {
    match condition.op {
        Op::Truth(holds) => if holds { a } else { b }.clone(),
        _ if a == b => a.clone(),
        _ => Expr::new(Op::Choose, vec![a.clone(), condition.clone(), b.clone()]),
    }
}
