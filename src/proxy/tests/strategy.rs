//! Random trees, with every operation of the language.

use crate::proxy::expr::{Expr, Op};
use crate::proxy::feature::FEATURES;
use crate::proxy::function::Function;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = Expr> {
    let easy = prop::sample::select(vec![0.0, 1.0, -1.0, 2.0, 0.5, -2.0, 3.0, 1e-6, 10.0, 1e12, -1e-12]);
    prop_oneof![4 => easy, 1 => -1e3..1e3f64].prop_map(Expr::number)
}

fn leaf() -> impl Strategy<Value = Expr> {
    // Few names, so that equal subtrees come up.
    let few = ["params", "w_err", "a_rms", "w_mean", "bits", "depth", "n_layers", "out_noise"];
    let few: Vec<Expr> = FEATURES.iter().filter(|f| few.contains(&f.name)).map(Expr::feature).collect();
    let all: Vec<Expr> = FEATURES.iter().map(Expr::feature).collect();
    prop_oneof![3 => prop::sample::select(few), 1 => prop::sample::select(all), 2 => number()]
}

/// A condition over `of`.
fn condition(of: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    let order = prop_oneof![Just(Op::Less), Just(Op::LessEqual)];
    let single = (order, of.clone(), of).prop_map(|(op, a, b)| Expr::new(op, vec![a, b]));
    single.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|args| Expr::new(Op::And, args)),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|args| Expr::new(Op::Or, args)),
            inner.prop_map(|x| Expr::new(Op::Not, vec![x])),
        ]
    })
}

/// A number, within the limits of the language.
pub(super) fn formula() -> impl Strategy<Value = Expr> {
    let any = leaf().prop_recursive(5, 40, 3, |inner| {
        let pair = prop::collection::vec(inner.clone(), 2..4);
        let call = (prop::sample::select(Function::ALL.to_vec()), prop::collection::vec(inner.clone(), 3));
        prop_oneof![
            3 => pair.clone().prop_map(Expr::add),
            3 => pair.prop_map(Expr::multiply),
            2 => inner.clone().prop_map(Expr::negate),
            // What the parser makes of `1 / x`, and of a quotient.
            1 => inner.clone().prop_map(Expr::invert),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Expr::multiply(vec![a, b.invert()])),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Expr::new(Op::Power, vec![a, b])),
            4 => call.prop_map(|(f, mut args)| {
                args.truncate(f.spec().least);
                Expr::call(f, args)
            }),
            1 => (inner.clone(), condition(inner.clone().boxed()), inner)
                .prop_map(|(a, c, b)| Expr::new(Op::Choose, vec![a, c, b])),
        ]
    });
    any.prop_filter("past a limit", Expr::fits)
}
