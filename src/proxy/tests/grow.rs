use crate::proxy::{FEATURES, Feature, Formula, crossover, mutate, random};
use crate::random::SplitMix64;

fn some() -> Vec<&'static Feature> {
    FEATURES.iter().filter(|f| !f.costs_runs).collect()
}

#[track_caller]
fn sound(formula: &Formula, features: &[&Feature]) {
    let again = Formula::parse(&formula.to_string());
    assert_eq!(again.as_ref(), Ok(formula));
    assert!(!formula.is_degenerate(), "{formula}");
    assert!(formula.features().iter().all(|f| features.contains(f)), "{formula}");
}

#[test]
fn random_formulas_are_formulas() {
    let mut source = SplitMix64(1);
    let features = some();
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..600 {
        let depth = 2 + i % 7;
        let formula = random(&mut source, depth, &features);
        sound(&formula, &features);
        assert!(formula.depth() <= depth, "{formula}");
        seen.insert(formula.canonical().to_string());
    }
    assert!(seen.len() > 500, "{}", seen.len());
}

#[test]
fn one_level_is_one_feature() {
    let mut source = SplitMix64(2);
    for depth in [0, 1] {
        assert!(random(&mut source, depth, &some()).nodes() == 1);
    }
    assert!(random(&mut source, 3, &[]).features().is_empty());
}

#[test]
fn changed_formulas_are_other_formulas() {
    let mut source = SplitMix64(3);
    let features = some();
    let mut parent = Formula::parse("w_err * params + a_rms").unwrap();
    let mut same = 0;
    for _ in 0..1500 {
        let child = mutate(&mut source, &parent, &features);
        sound(&child, &features);
        same += usize::from(child.canonical() == parent.canonical());
        parent = child;
    }
    assert_eq!(same, 0);
}

#[test]
fn every_kind_of_change_happens() {
    let mut source = SplitMix64(4);
    let features = some();
    let parent = Formula::parse("2 * w_err * log(params)").unwrap();
    let children: Vec<String> = (0..400).map(|_| mutate(&mut source, &parent, &features).to_string()).collect();
    let any = |what: &str, test: &dyn Fn(&str) -> bool| assert!(children.iter().any(|c| test(c)), "{what}");
    any("another operator", &|c| c == "2 + w_err + log(params)");
    any("another function", &|c| c.starts_with("2 * w_err * ") && c.ends_with("sqrt(params)"));
    any("another feature", &|c| {
        let name = c.strip_prefix("2 * w_err * log(").and_then(|rest| rest.strip_suffix(")"));
        name.is_some_and(|name| FEATURES.iter().any(|f| f.name == name && name != "params"))
    });
    any("another number", &|c| c == "20 * w_err * log(params)" || c == "0.2 * w_err * log(params)");
    any("a part alone", &|c| c == "log(params)" || c == "w_err");
    any("another subtree", &|c| c.len() > 40);
    any("more around a part", &|c| c.starts_with("2 * w_err * log(params) ** "));
}

#[test]
fn formulas_of_one_feature_can_be_joined() {
    let mut source = SplitMix64(6);
    let (a, b) = (Formula::parse("w_err").unwrap(), Formula::parse("params").unwrap());
    let children: Vec<String> = (0..200).map(|_| crossover(&mut source, &a, &b).to_string()).collect();
    for wanted in ["w_err * params", "sqrt(w_err * params)", "w_err + 0.1 * params", "max(w_err, params)"] {
        assert!(children.iter().any(|c| c == wanted), "{wanted}");
    }
}

#[test]
fn crossed_formulas_are_made_of_both() {
    let mut source = SplitMix64(5);
    let a = Formula::parse("w_err * params").unwrap();
    let b = Formula::parse("sqrt(a_rms + 3)").unwrap();
    let known = ["w_err", "params", "a_rms"];
    let mut mixed = 0;
    for _ in 0..200 {
        let child = crossover(&mut source, &a, &b);
        let names: Vec<&str> = child.features().iter().map(|f| f.name).collect();
        assert!(names.iter().all(|n| known.contains(n)), "{child}");
        mixed += usize::from(names.contains(&"a_rms") && names.len() == 2);
    }
    assert!(mixed > 50, "{mixed}");
}

#[test]
fn large_parents_stay_within_the_limits() {
    let mut source = SplitMix64(6);
    let features = some();
    let mut a = Formula::parse(&vec!["w_err * params"; 16].join(" + ")).unwrap();
    let mut b = Formula::parse(&format!("{}params{}", "log1p(".repeat(15), ")".repeat(15))).unwrap();
    for _ in 0..300 {
        (a, b) = (crossover(&mut source, &a, &b), mutate(&mut source, &b, &features));
        assert!(a.nodes() <= 64 && a.depth() <= 16 && b.nodes() <= 64 && b.depth() <= 16);
        assert_eq!(Formula::parse(&a.to_string()).as_ref(), Ok(&a));
    }
}

#[test]
fn the_same_seed_gives_the_same_formulas() {
    let run = || {
        let mut source = SplitMix64(7);
        let a = random(&mut source, 5, &some());
        let b = random(&mut source, 5, &some());
        let c = mutate(&mut source, &a, &some());
        [a.to_string(), b.to_string(), c.to_string(), crossover(&mut source, &b, &c).to_string()]
    };
    assert_eq!(run(), run());
}
