//! Random formulas, and random changes of formulas, for a search without a language model.
//!
//! Results keep the limits of the language and are the same for the same state of the generator.

use super::expr::{Expr, Op};
use super::feature::Feature;
use super::formula::Formula;
use super::function::Function;
use super::limits;
use crate::random::SplitMix64;

/// Tries before a change is given up.
const TRIES: usize = 32;

/// Numbers that random formulas are made of.
const NUMBERS: [f64; 8] = [0.1, 0.25, 0.5, 2.0, 3.0, 4.0, 10.0, 1e-6];

/// Exponents that random formulas raise to.
const EXPONENTS: [f64; 5] = [-1.0, -0.5, 0.5, 1.5, 2.0];

/// Levels that a new subtree of a mutation has at most.
const GRAFT: usize = 3;

/// A random formula of at most `depth` levels (signs not counted, at least 1) that names some of `features`.
///
/// It tells layers apart, where one of the features does.
pub fn random(random: &mut SplitMix64, depth: usize, features: &[&'static Feature]) -> Formula {
    let depth = depth.clamp(1, limits::DEPTH);
    let mut made = Formula::new(tree(random, depth, features));
    for _ in 0..TRIES {
        if made.written.fits() && !made.is_degenerate() {
            break;
        }
        made = Formula::new(tree(random, depth, features));
    }
    // A tree that never fitted is left for the smallest one that does.
    if made.written.fits() { made } else { Formula::new(leaf(random, features)) }
}

/// `parent` with one random change: another subtree, operator, feature or number, more around a part, or a part alone.
///
/// New features come from `features`. The parent itself comes back where no change within the limits was found.
pub fn mutate(random: &mut SplitMix64, parent: &Formula, features: &[&'static Feature]) -> Formula {
    for _ in 0..TRIES {
        let mut tree = parent.written.clone();
        match random.below(6) {
            0 => edit(random, &mut tree, |_| true, |random, e| *e = same_kind(random, e, features)),
            1 => edit(random, &mut tree, |e| !e.args.is_empty(), change_operator),
            2 => edit(random, &mut tree, is_feature, |random, e| *e = leaf(random, features)),
            3 => edit(random, &mut tree, |e| e.as_number().is_some(), change_number),
            4 => edit(random, &mut tree, |e| !e.is_condition(), |random, e| *e = around(random, e, features)),
            _ => edit(random, &mut tree, |e| e.args.iter().any(|a| a.is_condition() == e.is_condition()), hoist),
        }
        let child = Formula::new(rebuilt(&tree));
        if child.written.fits() && child.meaning != parent.meaning && !child.is_degenerate() {
            return child;
        }
    }
    parent.clone()
}

/// Both formulas joined, or `a` with one of its subtrees replaced by one of `b`'s; `a` itself where none fits.
///
/// Of two formulas of one feature each, parts alone make nothing that is not there already.
pub fn crossover(random: &mut SplitMix64, a: &Formula, b: &Formula) -> Formula {
    for _ in 0..TRIES {
        let tree = match random.below(2) {
            0 => joined(random, &a.written, &b.written),
            _ => grafted(random, &a.written, &b.written),
        };
        let child = Formula::new(rebuilt(&tree));
        if child.written.fits() && child.meaning != a.meaning && !child.is_degenerate() {
            return child;
        }
    }
    a.clone()
}

/// `a` with one of its subtrees replaced by one of `b`'s.
fn grafted(random: &mut SplitMix64, a: &Expr, b: &Expr) -> Expr {
    let mut tree = a.clone();
    let mut parts = vec![];
    b.visit(&mut |e| {
        if !e.is_condition() {
            parts.push(e)
        }
    });
    if let Some(part) = parts.get(random.below(parts.len())) {
        edit(random, &mut tree, |e| !e.is_condition(), |_, e| *e = (*part).clone());
    }
    tree
}

/// One tree of two that stand for numbers.
fn joined(random: &mut SplitMix64, a: &Expr, b: &Expr) -> Expr {
    let both = vec![a.clone(), b.clone()];
    match random.below(4) {
        0 => Expr::multiply(both),
        // The geometric mean, which does not care about their sizes.
        1 => Expr::call(Function::Sqrt, vec![Expr::multiply(both)]),
        2 => Expr::add(vec![a.clone(), Expr::multiply(vec![number(random, &NUMBERS), b.clone()])]),
        _ => Expr::call(Function::Max, both),
    }
}

/// A larger tree around one that stands for a number.
fn around(random: &mut SplitMix64, expr: &Expr, features: &[&'static Feature]) -> Expr {
    match random.below(4) {
        0 => Expr::multiply(vec![expr.clone(), leaf(random, features)]),
        1 => Expr::add(vec![expr.clone(), leaf(random, features)]),
        2 => Expr::new(Op::Power, vec![expr.clone(), number(random, &EXPONENTS)]),
        _ => {
            let alone: Vec<Function> = Function::ALL.into_iter().filter(|f| f.spec().least == 1).collect();
            Expr::call(pick(random, &alone).unwrap_or(Function::Abs), vec![expr.clone()])
        }
    }
}

fn is_feature(expr: &Expr) -> bool {
    matches!(expr.op, Op::Feature(_))
}

fn pick<T: Copy>(random: &mut SplitMix64, from: &[T]) -> Option<T> {
    from.get(random.below(from.len())).copied()
}

fn leaf(random: &mut SplitMix64, features: &[&'static Feature]) -> Expr {
    match pick(random, features) {
        Some(feature) => Expr::feature(feature),
        None => number(random, &NUMBERS),
    }
}

fn number(random: &mut SplitMix64, from: &[f64]) -> Expr {
    Expr::number(pick(random, from).unwrap_or(1.0))
}

/// A tree of at most `depth` levels that stands for a number.
fn tree(random: &mut SplitMix64, depth: usize, features: &[&'static Feature]) -> Expr {
    let any = |random: &mut SplitMix64| tree(random, depth.saturating_sub(1), features);
    // A product of two features with a sign or an inverse takes three levels.
    match if depth < 2 { 0 } else { random.below(20) } {
        0..3 => leaf(random, features),
        3..9 => Expr::multiply(vec![any(random), any(random)]),
        9..11 if depth > 2 => {
            let below = tree(random, depth - 2, features);
            Expr::multiply(vec![any(random), below.invert()])
        }
        11..13 => Expr::add(vec![any(random), any(random)]),
        13 => Expr::add(vec![any(random), any(random).negate()]),
        14 => Expr::new(Op::Power, vec![any(random), number(random, &EXPONENTS)]),
        15 => Expr::multiply(vec![number(random, &NUMBERS), any(random)]),
        16 if depth > 2 => {
            let sides = vec![tree(random, depth - 2, features), tree(random, depth - 2, features)];
            Expr::new(Op::Choose, vec![any(random), Expr::new(comparison(random), sides), any(random)])
        }
        _ => {
            let function = pick(random, &Function::ALL).unwrap_or(Function::Abs);
            let count = function.spec().least;
            Expr::call(function, (0..count).map(|_| any(random)).collect())
        }
    }
}

fn comparison(random: &mut SplitMix64) -> Op {
    if random.below(2) == 0 { Op::Less } else { Op::LessEqual }
}

/// A new subtree that may stand where `expr` does.
fn same_kind(random: &mut SplitMix64, expr: &Expr, features: &[&'static Feature]) -> Expr {
    if expr.is_condition() {
        let sides = vec![leaf(random, features), tree(random, 2, features)];
        return Expr::new(comparison(random), sides);
    }
    tree(random, GRAFT, features)
}

/// Applies `change` to a random node that `suits`, if there is one.
fn edit(
    random: &mut SplitMix64,
    tree: &mut Expr,
    suits: impl Fn(&Expr) -> bool,
    change: impl FnOnce(&mut SplitMix64, &mut Expr),
) {
    let mut count = 0;
    tree.visit(&mut |e| count += usize::from(suits(e)));
    let mut left = random.below(count);
    if let Some(node) = find(tree, &suits, &mut left) {
        change(random, node);
    }
}

/// The node that suits and before which `left` others do, parents first.
fn find<'a>(tree: &'a mut Expr, suits: &impl Fn(&Expr) -> bool, left: &mut usize) -> Option<&'a mut Expr> {
    if suits(tree) {
        if *left == 0 {
            return Some(tree);
        }
        *left -= 1;
    }
    tree.args.iter_mut().find_map(|arg| find(arg, suits, left))
}

fn change_operator(random: &mut SplitMix64, expr: &mut Expr) {
    let same_count = |f: &Function, n: usize| (f.spec().least..=f.spec().most).contains(&n);
    expr.op = match expr.op {
        Op::Add => Op::Multiply,
        Op::Multiply => Op::Add,
        Op::Negate => Op::Invert,
        Op::Invert => Op::Negate,
        Op::Less => Op::LessEqual,
        Op::LessEqual => Op::Less,
        Op::And => Op::Or,
        Op::Or => Op::And,
        Op::Power => Op::Call(Function::Max),
        Op::Call(_) => {
            let fitting: Vec<Function> = Function::ALL.into_iter().filter(|f| same_count(f, expr.args.len())).collect();
            Op::Call(pick(random, &fitting).unwrap_or(Function::Abs))
        }
        op => op,
    };
}

fn change_number(random: &mut SplitMix64, expr: &mut Expr) {
    let factor = pick(random, &[0.1, 0.5, 2.0, 10.0, -1.0]).unwrap_or(2.0);
    let value = expr.as_number().unwrap_or(1.0) * factor;
    *expr = if value == 0.0 { number(random, &NUMBERS) } else { Expr::number(value) };
}

/// Puts an argument in the place of the node it belongs to.
fn hoist(random: &mut SplitMix64, expr: &mut Expr) {
    let wanted = expr.is_condition();
    let fitting: Vec<&Expr> = expr.args.iter().filter(|a| a.is_condition() == wanted).collect();
    if let Some(part) = pick(random, &fitting) {
        *expr = part.clone();
    }
}

/// The tree put together anew by the constructors, whose invariants a change of a part does not keep.
fn rebuilt(expr: &Expr) -> Expr {
    let args: Vec<Expr> = expr.args.iter().map(rebuilt).collect();
    Expr::new(expr.op, args)
}
