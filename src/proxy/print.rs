//! A tree as text, with no more parentheses than it takes to read the same tree back.

use super::expr::{Expr, Op};
use std::fmt;

/// How tightly a node binds, as Python has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Choose,
    Or,
    And,
    Not,
    Compare,
    Add,
    Multiply,
    Sign,
    Power,
    Atom,
}

fn binding(expr: &Expr) -> Binding {
    match expr.op {
        Op::Number(value) if value < 0.0 => Binding::Sign,
        Op::Number(_) | Op::Feature(_) | Op::Call(_) | Op::Truth(_) => Binding::Atom,
        Op::Negate => Binding::Sign,
        Op::Invert | Op::Multiply => Binding::Multiply,
        Op::Add => Binding::Add,
        Op::Power => Binding::Power,
        Op::Less | Op::LessEqual => Binding::Compare,
        Op::And => Binding::And,
        Op::Or => Binding::Or,
        Op::Not => Binding::Not,
        Op::Choose => Binding::Choose,
    }
}

/// `expr`, in parentheses where it binds less tightly than `least`.
struct Within<'a>(&'a Expr, Binding);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if binding(self.0) < self.1 { write!(f, "({})", self.0) } else { self.0.fmt(f) }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.op, self.args.as_slice()) {
            (Op::Number(value), _) => number(f, value),
            (Op::Feature(feature), _) => f.write_str(feature.name),
            (Op::Truth(value), _) => write!(f, "{value}"),
            (Op::Negate, [x]) => write!(f, "-{}", Within(x, Binding::Power)),
            (Op::Invert, [x]) => write!(f, "1 / {}", Within(x, Binding::Sign)),
            (Op::Add, [first, rest @ ..]) => {
                write!(f, "{}", Within(first, Binding::Multiply))?;
                rest.iter().try_for_each(|term| later_term(f, term))
            }
            (Op::Multiply, [first, rest @ ..]) => {
                // An inverted factor at the head brings its own `1 /`.
                let least = if first.op == Op::Invert { Binding::Multiply } else { Binding::Sign };
                write!(f, "{}", Within(first, least))?;
                rest.iter().try_for_each(|factor| later_factor(f, factor))
            }
            (Op::Power, [base, exponent]) => {
                write!(f, "{} ** {}", Within(base, Binding::Atom), Within(exponent, Binding::Sign))
            }
            (Op::Less, [a, b]) => write!(f, "{} < {}", Within(a, Binding::Add), Within(b, Binding::Add)),
            (Op::LessEqual, [a, b]) => write!(f, "{} <= {}", Within(a, Binding::Add), Within(b, Binding::Add)),
            (Op::Not, [x]) => write!(f, "not {}", Within(x, Binding::Compare)),
            (Op::And, args) => joined(f, args, " and ", Binding::Not),
            (Op::Or, args) => joined(f, args, " or ", Binding::And),
            (Op::Choose, [a, condition, b]) => {
                write!(f, "{} if {} else {b}", Within(a, Binding::Or), Within(condition, Binding::Or))
            }
            (Op::Call(function), args) => {
                write!(f, "{}(", function.name())?;
                joined(f, args, ", ", Binding::Choose)?;
                f.write_str(")")
            }
            // The constructors give every other node its arguments.
            _ => Err(fmt::Error),
        }
    }
}

fn later_term(f: &mut fmt::Formatter<'_>, term: &Expr) -> fmt::Result {
    match (term.op, term.args.as_slice()) {
        (Op::Negate, [x]) => write!(f, " - {}", Within(x, Binding::Multiply)),
        (Op::Number(value), _) if value < 0.0 => {
            f.write_str(" - ")?;
            number(f, -value)
        }
        _ => write!(f, " + {}", Within(term, Binding::Multiply)),
    }
}

fn later_factor(f: &mut fmt::Formatter<'_>, factor: &Expr) -> fmt::Result {
    match (factor.op, factor.args.as_slice()) {
        (Op::Invert, [x]) => write!(f, " / {}", Within(x, Binding::Sign)),
        _ => write!(f, " * {}", Within(factor, Binding::Sign)),
    }
}

fn joined(f: &mut fmt::Formatter<'_>, args: &[Expr], between: &str, least: Binding) -> fmt::Result {
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            f.write_str(between)?;
        }
        write!(f, "{}", Within(arg, least))?;
    }
    Ok(())
}

/// The shortest digits that read back to the same number.
fn number(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let (plain, short) = (format!("{value}"), format!("{value:e}"));
    f.write_str(if short.len() < plain.len() { &short } else { &plain })
}
