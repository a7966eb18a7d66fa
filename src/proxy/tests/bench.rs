use crate::Code;
use crate::proxy::made_up::made_up;
use crate::proxy::{BENCH_SCHEMA, BUDGETS, Bench, BenchHeader, BenchRow, Formula, TOLERANCE};

fn header(count: usize) -> BenchHeader {
    let table = made_up(5, count).unwrap();
    BenchHeader {
        schema: BENCH_SCHEMA,
        network: "made-up".to_owned(),
        target: "fpga".to_owned(),
        digest: "0".to_owned(),
        seed: 3,
        budgets: BUDGETS.to_vec(),
        samples: (16, 4),
        params: (0..count).map(|l| 1000.0 + 370.0 * l as f64).collect(),
        offered: vec![(0..7).collect(); count],
        table,
    }
}

/// Damage as the formula says, but for configurations of 4.0 bits, where it is the other way round.
fn bench(formula: &str) -> Bench {
    let header = header(12);
    let row = |i| {
        let drawn = header.configuration(i);
        BenchRow { widths: drawn.widths, budget: drawn.budget, damage: 0.0, held_out: None }
    };
    let mut bench = Bench { rows: (0..60).map(row).collect(), header };
    let predicted = bench.predicted(&Formula::parse(formula).unwrap()).unwrap();
    for (row, p) in bench.rows.iter_mut().zip(predicted) {
        row.damage = if row.budget == Some(4.0) { 1.0 / (1.0 + p) } else { p };
    }
    bench
}

#[test]
fn every_second_configuration_has_the_size_of_a_budget() {
    let header = header(20);
    for i in 0..60 {
        let drawn = header.configuration(i);
        assert_eq!(drawn, header.configuration(i));
        let average = header.average(&drawn.widths);
        match drawn.budget {
            Some(budget) => assert!((average - budget).abs() <= TOLERANCE, "{i}: {average} for {budget}"),
            None => assert!((2.0..=8.0).contains(&average)),
        }
        assert_eq!(drawn.budget, (i % 2 == 1).then(|| BUDGETS[(i / 2) % 3]), "{i}");
    }
    let different = |budget| {
        let of_it = (0..60).map(|i| header.configuration(i)).filter(|d| d.budget == Some(budget));
        of_it.map(|d| d.widths).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(BUDGETS.iter().all(|b| different(*b) > 8));
}

#[test]
fn a_budget_that_cannot_be_met_is_left_for_any_size() {
    let mut header = header(6);
    header.offered = vec![vec![6]; 6];
    assert_eq!(header.configuration(1).budget, None);
}

#[test]
fn equal_size_is_the_mean_over_the_sizes() {
    let bench = bench("net_err");
    let ranking = bench.rank(&Formula::parse("net_err").unwrap()).unwrap();
    assert!((ranking.equal_size.unwrap() - 1.0 / 3.0).abs() < 1e-12, "{ranking:?}");
    assert_eq!(ranking.equal_size_held_out, None);
    let mut few = bench.clone();
    few.rows.truncate(8);
    assert_eq!(few.rank(&Formula::parse("net_err").unwrap()).unwrap().equal_size, None);
}

#[test]
fn another_version_says_what_to_do() {
    let error = Bench::parse("{\"schema\":1,\"network\":\"a\",\"old\":true}\n").unwrap_err();
    assert_eq!(error.code(), Code::Config);
    assert_eq!(error.message(), "this fitness bench has version 1, and version 2 is read here");
    assert!(error.advice().unwrap().contains("bench build"));
}

#[test]
fn lines_are_read_back_and_a_foreign_budget_is_refused() {
    let bench = bench("net_err");
    let row_line = |row: &BenchRow| serde_json::to_string(row).unwrap() + "\n";
    let header = serde_json::to_string(&bench.header).unwrap() + "\n";
    let text = header.clone() + &bench.rows.iter().map(row_line).collect::<String>();
    let (read, cut) = Bench::parse(&text).unwrap();
    // The last bit of a figure may differ from the one that was written.
    let same = |(a, b): (&BenchRow, &BenchRow)| {
        (&a.widths, a.budget) == (&b.widths, b.budget) && (a.damage - b.damage).abs() < 1e-12
    };
    assert!(!cut && read.rows.len() == bench.rows.len() && read.rows.iter().zip(&bench.rows).all(same));
    let foreign = BenchRow { budget: Some(6.0), ..bench.rows[1].clone() };
    let error = Bench::parse(&(header + &row_line(&foreign))).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("budget"), "{error}");
}
