use super::{naive, strategy};
use crate::proxy::canonical::canonical;
use crate::proxy::eval;
use crate::proxy::made_up::made_up;
use crate::proxy::{Formula, evaluate};
use proptest::prelude::*;

#[track_caller]
fn becomes(source: &str, want: &str) {
    assert_eq!(Formula::parse(source).unwrap().canonical().to_string(), want, "{source}");
}

#[test]
fn constants_fold() {
    for (text, want) in [
        ("2 + 3 * 4", "14"),
        ("2 ** 3 ** 0", "2"),
        ("params + 2 - 5 + 3", "params"),
        ("2 * params * 3 / 4", "1.5 * params"),
        ("params / 4", "0.25 * params"),
        ("log(1) + sqrt(-4)", "2"),
        ("clip(5, 0, 3)", "3"),
        ("0 ** -1 + 1 / 0", "0"),
        ("-2 ** 2", "-4"),
        ("(-2) ** 3", "-8"),
        ("(-2) ** 2", "4"),
        ("1 ** params", "1"),
        // What cannot be written stays as it is.
        ("1e12 * 1e12", "1e12 * 1e12"),
        ("1e12 * 1e12 * 1e-12", "1e12"),
        ("square(1e12)", "square(1e12)"),
        ("mean(3)", "mean(3)"),
    ] {
        becomes(text, want);
    }
}

#[test]
fn sums_and_products_are_flat_and_sorted() {
    for (text, want) in [
        ("w_err + a_rms", "a_rms + w_err"),
        ("(w_err + a_rms) + (params + 1)", "a_rms + params + w_err + 1"),
        ("w_err * (a_rms * params)", "a_rms * params * w_err"),
        ("w_err / a_rms / params", "w_err / a_rms / params"),
        ("w_err / (a_rms * params)", "w_err / a_rms / params"),
        ("w_err / (a_rms / params)", "params * w_err / a_rms"),
        ("1 / (1 / params)", "params"),
        ("log(params) + params * 2 + params ** 3", "log(params) + params ** 3 + 2 * params"),
        ("max(params, max(3, a_rms), params, 2)", "max(3, a_rms, params)"),
        ("min(params, params)", "params"),
    ] {
        becomes(text, want);
    }
}

#[test]
fn what_changes_nothing_goes() {
    for (text, want) in [
        ("params * 1 + 0", "params"),
        ("params - 0", "params"),
        ("params * 0", "0"),
        ("0 / params", "0"),
        ("params / 0", "0"),
        ("params ** 1", "params"),
        ("params ** 0", "1"),
        ("params ** -1", "1 / params"),
        ("params ** 2", "square(params)"),
        ("params ** 0.5", "sqrt(params)"),
        ("params - params", "0"),
        ("a_rms + params - a_rms", "params"),
        ("abs(abs(w_mean))", "abs(w_mean)"),
        ("abs(sqrt(w_mean))", "sqrt(w_mean)"),
        ("square(abs(-w_mean))", "square(w_mean)"),
        ("abs(w_mean) ** 4", "w_mean ** 4"),
        ("(-w_mean) ** 3", "(-w_mean) ** 3"),
        // Zero is the one number for which this is not 1.
        ("params / params", "params / params"),
    ] {
        becomes(text, want);
    }
}

#[test]
fn signs_move_out() {
    for (text, want) in [
        ("-(params - a_rms)", "a_rms - params"),
        ("-2 * params", "-(2 * params)"),
        ("-params * -a_rms", "a_rms * params"),
        ("a_rms - -2 * params", "a_rms + 2 * params"),
        ("a_rms + params / -2", "a_rms - 0.5 * params"),
        ("abs(a_rms - params) - abs(params - a_rms)", "0"),
        ("(params - a_rms) * (params - a_rms)", "(a_rms - params) * (a_rms - params)"),
        ("1 / (params - a_rms)", "-(1 / (a_rms - params))"),
        ("tanh(-w_mean)", "-tanh(w_mean)"),
        ("sqrt(-w_mean)", "sqrt(w_mean)"),
    ] {
        becomes(text, want);
    }
}

#[test]
fn conditions() {
    for (text, want) in [
        ("1 if 2 < 3 else a_rms", "1"),
        ("1 if a_rms < a_rms else 2", "2"),
        ("1 if a_rms <= a_rms else 2", "1"),
        ("params if a_rms < 1 else params", "params"),
        ("1 if not a_rms < bits else 2", "1 if bits <= a_rms else 2"),
        ("1 if not (a_rms < 1 or bits < 2) else 2", "1 if 1 <= a_rms and 2 <= bits else 2"),
        ("1 if a_rms < 1 and 2 < 3 else 2", "1 if a_rms < 1 else 2"),
        ("1 if a_rms < 1 and 3 < 2 else 2", "2"),
        ("1 if a_rms < 1 or 2 < 3 else 2", "1"),
        ("1 if bits < 2 and (a_rms < 1 and bits < 2) else 2", "1 if a_rms < 1 and bits < 2 else 2"),
    ] {
        becomes(text, want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_second_time_changes_nothing(tree in strategy::formula()) {
        let once = canonical(&tree);
        prop_assert_eq!(canonical(&once).to_string(), once.to_string());
        prop_assert_eq!(canonical(&once), once);
    }

    #[test]
    fn it_is_a_formula_no_larger_than_before(tree in strategy::formula()) {
        let canonical = canonical(&tree);
        prop_assert!(canonical.nodes() <= tree.nodes() && canonical.depth() <= tree.depth(), "{} / {}", tree, canonical);
        prop_assert!(canonical.fits());
        prop_assert_eq!(Formula::parse(&canonical.to_string()).unwrap().written, canonical);
    }

    #[test]
    fn the_value_stays(tree in strategy::formula(), seed in 0u64..4) {
        let table = made_up(seed, 5).unwrap();
        let Some(want) = naive::value(&tree, &table) else { return Ok(()) };
        let got = evaluate(&Formula::new(tree.clone()), &table).unwrap();
        for (want, got) in want.iter().flatten().zip(got.iter().flatten()) {
            prop_assert!((want - got).abs() <= 1e-9 * want.abs().max(got.abs()), "{}: {} is not {}", tree, got, want);
        }
    }

    #[test]
    fn evaluation_of_the_tree_as_written_is_the_plain_one(tree in strategy::formula(), seed in 0u64..4) {
        let table = made_up(seed, 5).unwrap();
        let Some(want) = naive::value(&tree, &table) else { return Ok(()) };
        let got = eval::column(&tree, &table).unwrap();
        for (l, layer) in want.iter().enumerate() {
            for (w, want) in layer.iter().enumerate() {
                let got = got.get(l, w).unwrap();
                prop_assert!((want - got).abs() <= 1e-9 * want.abs().max(got.abs()), "{}: {} is not {}", tree, got, want);
            }
        }
    }
}
