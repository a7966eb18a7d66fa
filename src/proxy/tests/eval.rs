use super::strategy;
use crate::proxy::made_up::made_up;
use crate::proxy::{Formula, Table, evaluate, sensitivities};
use proptest::prelude::*;

/// Four layers at 2 and 4 bits.
fn table() -> Table {
    let mut table = Table::new(["a", "b", "c", "d"].map(String::from).to_vec(), vec![2, 4]).unwrap();
    table.set_layer("params", vec![10.0, 20.0, 20.0, 50.0]).unwrap();
    table.set_layer("w_mean", vec![-1.0, 0.0, 2.0, 3.0]).unwrap();
    table.set_layer("a_zeros", vec![0.0; 4]).unwrap();
    table.set_width("w_err", vec![vec![0.4, 0.1], vec![0.3, 0.1], vec![0.2, 0.1], vec![0.1, 0.1]]).unwrap();
    table
}

fn values(source: &str) -> Vec<Vec<f64>> {
    evaluate(&Formula::parse(source).unwrap(), &table()).unwrap()
}

/// The values of a formula at 2 bits.
#[track_caller]
fn is(source: &str, want: [f64; 4]) {
    let got: Vec<f64> = values(source).iter().map(|row| row[0]).collect();
    let close = got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs());
    assert!(close, "{source}: {got:?} is not {want:?}");
}

#[track_caller]
fn is_everywhere(source: &str, want: f64) {
    is(source, [want; 4]);
}

#[test]
fn arithmetic() {
    is("params * 2 + 1", [21.0, 41.0, 41.0, 101.0]);
    is("params - w_mean", [11.0, 20.0, 18.0, 47.0]);
    is("1 / params", [0.1, 0.05, 0.05, 0.02]);
    is("-params / 10", [-1.0, -2.0, -2.0, -5.0]);
    is("min(params, 20, 15) + max(w_mean, 0)", [10.0, 15.0, 17.0, 18.0]);
    is("clip(params, 15, 40)", [15.0, 20.0, 20.0, 40.0]);
    is("params if 0 < w_mean else -w_mean", [1.0, 0.0, 20.0, 50.0]);
    is("1 if w_mean < 0 or (params <= 20 and not w_mean < 1) else 0", [1.0, 0.0, 1.0, 0.0]);
    is("square(w_mean) + sqrt(params * params)", [11.0, 20.0, 24.0, 59.0]);
}

#[test]
fn results_that_python_does_not_define() {
    is("1 / w_mean", [-1.0, 0.0, 0.5, 1.0 / 3.0]);
    is("w_mean / w_mean", [1.0, 0.0, 1.0, 1.0]);
    is("w_mean ** -1", [-1.0, 0.0, 0.5, 1.0 / 3.0]);
    is("a_zeros ** w_mean", [0.0, 1.0, 0.0, 0.0]);
    is("w_mean ** 3", [-1.0, 0.0, 8.0, 27.0]);
    is("w_mean ** 2.5", [1.0, 0.0, 2f64.powf(2.5), 3f64.powf(2.5)]);
    is("(-3) ** (w_mean + 21)", [3f64.powi(20), -3f64.powi(21), -3f64.powi(23), 3f64.powi(24)]);
    is("sqrt(w_mean * 4)", [2.0, 0.0, 8f64.sqrt(), 12f64.sqrt()]);
    is("log(-params)", [10f64.ln(), 20f64.ln(), 20f64.ln(), 50f64.ln()]);
    is_everywhere("log(a_zeros)", 1e-30f64.ln());
    is_everywhere("log2(a_zeros)", 1e-30f64.log2());
    is("log1p(w_mean)", [-2f64.ln(), 0.0, 3f64.ln(), 4f64.ln()]);
    is_everywhere("exp(params * 100)", 60f64.exp());
    is_everywhere("exp(-params * 100)", (-60f64).exp());
    is("tanh(w_mean * 1000)", [-1.0, 0.0, 1.0, 1.0]);
    is("sigmoid(w_mean * 0)", [0.5; 4]);
    is_everywhere("clip(params, 3, 2)", 2.0);
}

#[test]
fn magnitudes_are_limited() {
    is_everywhere("square(params * 1e12) * 1e12", 1e30);
    is_everywhere("-(params * 1e12 * params * 1e12 * 1e12)", -1e30);
    is_everywhere("(params * 1e-12) ** 7", 0.0);
    // Partial results of a product and of a sum are not limited.
    is("params * 1e12 * 1e12 * 1e12 / 1e12 / 1e12 / 1e12", [10.0, 20.0, 20.0, 50.0]);
    is("params * (1e12 * 1e12) * (1e12 / square(1e12)) / square(1e6)", [10.0, 20.0, 20.0, 50.0]);
    is("w_mean + exp(60) - 1 - exp(60)", [-2.0, -1.0, 1.0, 2.0]);
    let product = format!("params{}", " * params * 1e12".repeat(15));
    is_everywhere(&product, 1e30);
    is_everywhere(&format!("1 / ({product})"), 0.0);
    is_everywhere(&format!("1 / max({product}, 0)"), 1e-30);
    let quotient = format!("params{}", " / params / 1e12".repeat(15));
    is_everywhere(&quotient, 0.0);
    is_everywhere(&format!("-1 / ({quotient})"), -1e30);
    is(&format!("params{}{}", " * 1e12".repeat(15), " / 1e12".repeat(15)), [10.0, 20.0, 20.0, 50.0]);
    let there_and_back =
        format!("{} {}", "params * exp(60) ".to_string() + &"* exp(60) ".repeat(9), "/ exp(60) ".repeat(10));
    is(&there_and_back, [10.0, 20.0, 20.0, 50.0]);
}

#[test]
fn layers_together() {
    is("rank(params)", [0.0, 0.5, 0.5, 1.0]);
    is("rank(-params)", [1.0, 0.5, 0.5, 0.0]);
    is_everywhere("rank(a_zeros)", 0.5);
    is("norm(params)", [0.1, 0.2, 0.2, 0.5]);
    is("norm(w_mean)", [-1.0 / 6.0, 0.0, 2.0 / 6.0, 3.0 / 6.0]);
    is_everywhere("norm(a_zeros)", 0.0);
    is("minmax(params)", [0.0, 0.25, 0.25, 1.0]);
    is_everywhere("minmax(a_zeros + 3)", 0.0);
    is("zscore(w_mean) * sqrt(2.5)", [-2.0, -1.0, 1.0, 2.0]);
    is_everywhere("zscore(a_zeros + 0.1)", 0.0);
    is_everywhere("mean(params)", 25.0);
    is_everywhere("total(params)", 100.0);
    is_everywhere("largest(w_mean)", 3.0);
    is("before(params)", [0.0, 10.0, 30.0, 50.0]);
    is("after(params)", [90.0, 70.0, 50.0, 0.0]);
}

#[test]
fn layers_together_of_one_number() {
    is_everywhere("rank(3)", 0.5);
    is_everywhere("norm(-3)", -0.25);
    is_everywhere("zscore(3) + minmax(3)", 0.0);
    is_everywhere("mean(3) + largest(-3)", 0.0);
    is_everywhere("total(3)", 12.0);
    is("before(3)", [0.0, 3.0, 6.0, 9.0]);
    is("after(n_layers)", [12.0, 8.0, 4.0, 0.0]);
    is_everywhere("total(bits)", 8.0);
}

#[test]
fn widths() {
    assert_eq!(
        values("rank(w_err)").iter().map(|r| r.as_slice()).collect::<Vec<_>>(),
        [[1.0, 0.5], [2.0 / 3.0, 0.5], [1.0 / 3.0, 0.5], [0.0, 0.5]]
    );
    assert_eq!(values("bits")[3], [2.0, 4.0]);
    assert_eq!(values("step")[0], [0.25, 0.0625]);
    assert_eq!(values("quarter")[0], [0.0625, 0.003_906_25]);
    assert_eq!(
        values("depth * 3 + index * 0 + is_first + 2 * is_last").iter().map(|r| r[0]).collect::<Vec<_>>(),
        [1.0, 1.0, 2.0, 5.0]
    );
    assert_eq!(values("total(w_err) * params")[1], [20.0, 8.0]);
}

#[test]
fn what_says_nothing_of_widths_falls_by_four_with_each_bit() {
    let of = |source: &str| sensitivities(&Formula::parse(source).unwrap(), &table()).unwrap();
    assert_eq!(of("params"), of("params * quarter"));
    assert_eq!(of("3"), of("3 * quarter"));
    assert_eq!(of("params")[3], [50.0 / 16.0, 50.0 / 256.0]);
    assert_eq!(of("w_err"), values("w_err"));
    assert_eq!(of("params + bits - bits"), of("params"));
}

#[test]
fn a_single_layer() {
    let mut table = Table::new(vec!["only".into()], vec![4]).unwrap();
    table.set_layer("params", vec![5.0]).unwrap();
    let of = |source: &str| evaluate(&Formula::parse(source).unwrap(), &table).unwrap()[0][0];
    for (source, want) in [
        ("rank(params)", 0.5),
        ("zscore(params)", 0.0),
        ("minmax(params)", 0.0),
        ("norm(params)", 1.0),
        ("before(params)", 0.0),
        ("depth", 0.0),
        ("is_first + is_last", 2.0),
    ] {
        assert_eq!(of(source), want, "{source}");
    }
}

#[test]
fn features_that_are_missing_are_named() {
    let error = |source: &str| evaluate(&Formula::parse(source).unwrap(), &table()).unwrap_err().to_string();
    assert_eq!(error("params * a_rms"), "feature `a_rms` has no values for this network [TQ601]");
    assert_eq!(
        error("net_err"),
        "feature `net_err` has no values for this network [TQ601]\n  help: it is known only where the network was run for it"
    );
    // What drops out is not asked for.
    assert_eq!(values("params + a_rms - a_rms"), values("params"));
}

/// A table whose values are at and past every limit.
fn hostile(seed: u64) -> Table {
    let mut table = made_up(seed, 5).unwrap();
    let odd = [0.0, -0.0, 1e300, -1e300, 1e-300, f64::MIN_POSITIVE, 1.0, -1.0, 1e30, 1e-60, f64::MAX];
    let mut at = seed as usize;
    let mut next = || {
        at = at.wrapping_mul(31).wrapping_add(7);
        odd[at % odd.len()]
    };
    for name in ["params", "a_rms", "w_mean", "fan_in"] {
        table.set_layer(name, (0..5).map(|_| next()).collect()).unwrap();
    }
    for name in ["w_err", "out_noise"] {
        table.set_width(name, (0..5).map(|_| (0..7).map(|_| next()).collect()).collect()).unwrap();
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_formula_has_a_finite_value(tree in strategy::formula(), seed in 0u64..64) {
        let formula = Formula::new(tree);
        for values in [evaluate(&formula, &hostile(seed)), sensitivities(&formula, &hostile(seed))] {
            for x in values.unwrap().iter().flatten() {
                let limited = x.abs() <= 1e30 && (*x == 0.0 || x.abs() >= 1e-60);
                prop_assert!(limited && (*x != 0.0 || x.is_sign_positive()), "{}: {}", formula, x);
            }
        }
    }
}
