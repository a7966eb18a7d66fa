//! What a choice costs beside the measurements: scoring 200 layers at 7 widths, and allocating their widths to proven
//! optimality. `cargo bench --bench scoring`; the bars are 1 ms and 10 ms.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tapq::allocate::{Budget, Choice, Problem, solve};
use tapq::proxy::{FEATURES, Formula, Shape, Table, default_proxy, sensitivities};
use tapq::random::SplitMix64;

const LAYERS: usize = 200;

/// A network with every feature, of sizes over three decades and errors that fall fourfold a bit.
fn table() -> Table {
    let mut random = SplitMix64(7);
    let widths: Vec<u32> = (2..=8).collect();
    let names = (0..LAYERS).map(|i| format!("layer{i}")).collect();
    let mut table = Table::new(names, widths.clone()).expect("a table");
    for feature in FEATURES.iter().filter(|f| !table.has(f.name)).collect::<Vec<_>>() {
        let sizes: Vec<f64> = (0..LAYERS).map(|_| 10f64.powf(2.0 + 3.5 * random.unit())).collect();
        match feature.shape {
            Shape::Width => {
                let mut error = |size: f64, bits: u32| size * 0.25f64.powi(bits as i32) * (0.7 + 0.6 * random.unit());
                let rows = sizes.iter().map(|s| widths.iter().map(|b| error(*s, *b)).collect()).collect();
                table.set_width(feature.name, rows).expect("a feature by width");
            }
            _ => table.set_layer(feature.name, sizes).expect("a feature by layer"),
        }
    }
    table
}

/// Formulas near the limits of the language, each dear in its own way.
fn heavy() -> Vec<(&'static str, String)> {
    let nested = |names: &[&str], inner: &str, levels: usize| {
        (0..levels).fold(inner.to_owned(), |x, i| format!("{}({x})", names[i % names.len()]))
    };
    let sum = |parts: Vec<String>| parts.join(" + ");
    let wide = ["w_err", "out_err", "out_noise", "net_err"];
    let others = ["a_rms", "w_std", "params", "macs", "a_std", "w_l2", "gain", "flow", "o_power", "a_crest"];
    let product = |i: usize| format!("{} * {}", wide[i % 4], others[i % 10]);
    vec![
        (
            "fifteen ranks",
            format!("max({})", (0..15).map(|i| format!("rank({})", product(i))).collect::<Vec<_>>().join(", ")),
        ),
        ("nested ranks", sum((0..4).map(|i| nested(&["rank", "zscore"], wide[i], 14)).collect())),
        ("nested tanh", sum((0..4).map(|i| nested(&["tanh", "sigmoid"], wide[i], 14)).collect())),
        (
            "powers",
            format!(
                "max({})",
                (0..10).map(|i| format!("({}) ** {}", product(i), others[(i + 3) % 10])).collect::<Vec<_>>().join(", ")
            ),
        ),
    ]
}

fn scoring(c: &mut Criterion) {
    let table = table();
    let mut group = c.benchmark_group("score 200 layers x 7 widths");
    let default = default_proxy().expect("the default proxy").formula;
    group.bench_function("default", |b| b.iter(|| sensitivities(black_box(&default), &table)));
    for (name, text) in heavy() {
        let formula = Formula::parse(&text).unwrap_or_else(|e| panic!("{text}: {e:#}"));
        group.bench_function(name, |b| b.iter(|| sensitivities(black_box(&formula), &table)));
    }
}

fn allocation(c: &mut Criterion) {
    let table = table();
    let costs = sensitivities(&Formula::parse("net_err * (1 + a_rms)").expect("a formula"), &table).expect("costs");
    let size = |layer: usize| table.get("params", layer, 0).unwrap_or(1.0).round();
    let total: f64 = (0..LAYERS).map(size).sum();
    let mut group = c.benchmark_group("allocate 200 layers x 7 widths");
    for average in [3.5, 4.0, 5.0] {
        let choice = |layer: usize, (w, cost): (usize, &f64)| Choice {
            cost: *cost,
            weights: vec![size(layer) * (w + 2) as f64],
        };
        let layers = costs.iter().enumerate().map(|(l, row)| row.iter().enumerate().map(|x| choice(l, x)).collect());
        let budget = Budget { name: "weight bits".to_owned(), limit: average * total, over: total };
        let problem = Problem { layers: layers.collect(), budgets: vec![budget] };
        assert!(solve(&problem).expect("an allocation").proof.is_optimal());
        group.bench_function(format!("{average} average bits"), |b| b.iter(|| solve(black_box(&problem))));
    }
}

criterion_group!(benches, scoring, allocation);
criterion_main!(benches);
