use super::strategy;
use crate::proxy::Formula;
use crate::proxy::canonical::canonical;
use crate::proxy::expr::Expr;
use proptest::prelude::*;

fn print(source: &str) -> String {
    Formula::parse(source).unwrap().fingerprint()
}

#[test]
fn fingerprints_never_change() {
    assert_eq!(print("gain * out_noise"), FIXED[0]);
    assert_eq!(print("rank(params) * exp(-bits)"), FIXED[1]);
}

const FIXED: [&str; 2] = ["bfea97624265911a", "c7e8c48ced284f35"];

#[test]
fn equal_up_to_algebra_and_a_positive_factor() {
    for (a, b) in [
        ("params", "3 * params"),
        ("params", "params + params"),
        ("params * quarter", "params"),
        ("w_err * (params + a_rms)", "w_err * params + w_err * a_rms"),
        ("log(params * a_rms)", "log(params) + log(a_rms)"),
        ("step", "step / 7"),
        ("square(step) * params", "params"),
        ("gain * out_noise", "net_err"),
        ("sqrt(params) ** 2", "params"),
        ("norm(w_err) * total(w_err)", "w_err"),
        ("exp(log(params))", "params"),
        ("0 * params", "params - params"),
        ("net_err + depth", "net_err"),
        ("log(a_rms) + w_err + 7", "3 * w_err"),
        ("w_err - depth + out_err", "out_err + w_err"),
    ] {
        assert_eq!(print(a), print(b), "{a} and {b}");
    }
}

#[test]
fn different_where_the_choice_may_be() {
    let all = [
        "params",
        "-params",
        "macs",
        "w_err",
        "params * w_err",
        "params + 1",
        "rank(params)",
        "rank(w_err)",
        "bits",
        "0",
        "params / bits",
        "log(params)",
        "params if depth < 0.5 else macs",
        "out_err",
        "one_err",
        "point_err",
        "net_err",
    ];
    for (i, a) in all.iter().enumerate() {
        all[..i].iter().for_each(|b| assert_ne!(print(a), print(b), "{a} and {b}"));
    }
}

#[test]
fn formulas_that_say_the_same_of_all_layers() {
    for text in [
        "3",
        "bits",
        "quarter * 2",
        "params / params",
        "total(w_err)",
        "n_layers",
        "params - params",
        "exp(60 + params)",
    ] {
        assert!(Formula::parse(text).unwrap().is_degenerate(), "{text}");
    }
    for text in ["params", "w_err", "is_first", "rank(depth)", "1 if params < mean(params) else 0"] {
        assert!(!Formula::parse(text).unwrap().is_degenerate(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn canonical_form_and_factors_leave_it_alone(tree in strategy::formula()) {
        let formula = Formula::new(tree);
        prop_assert_eq!(formula.fingerprint(), formula.canonical().fingerprint());
        prop_assert_eq!(formula.fingerprint().len(), 16);
    }

    #[test]
    fn order_leaves_it_alone(a in strategy::formula(), b in strategy::formula()) {
        let sum = |a: &Expr, b: &Expr| Formula::new(Expr::add(vec![a.clone(), b.clone()]));
        prop_assert_eq!(sum(&a, &b).fingerprint(), sum(&b, &a).fingerprint());
        prop_assert_eq!(canonical(&sum(&a, &b).written), canonical(&sum(&b, &a).written));
    }
}
