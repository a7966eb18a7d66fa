use super::*;
use proptest::prelude::*;

fn choice(cost: f64, weights: &[f64]) -> Choice {
    Choice { cost, weights: weights.to_vec() }
}

fn problem(layers: Vec<Vec<Choice>>, limits: &[f64]) -> Problem {
    let names = ["average bits", "bytes", "bit operations"];
    let budgets =
        limits.iter().zip(names).map(|(&limit, name)| Budget { name: name.to_string(), limit, over: 1.0 }).collect();
    Problem { layers, budgets }
}

/// Least cost by looking at every allocation.
fn brute_force(problem: &Problem) -> Option<f64> {
    let mut best: Option<f64> = None;
    let all: usize = problem.layers.iter().map(Vec::len).product();
    for code in 0..all {
        let (mut rest, mut picks) = (code, vec![]);
        for layer in &problem.layers {
            picks.push(&layer[rest % layer.len()]);
            rest /= layer.len();
        }
        let fits = problem
            .budgets
            .iter()
            .enumerate()
            .all(|(k, b)| sum(picks.iter().map(|c| c.weights[k])) <= forgiving(b.limit));
        let cost = sum(picks.iter().map(|c| c.cost));
        if fits && best.is_none_or(|b| cost < b) {
            best = Some(cost);
        }
    }
    best
}

/// The solution is feasible, proven, and as cheap as the cheapest of all.
#[track_caller]
fn check(problem: &Problem) {
    match (solve(problem), brute_force(problem)) {
        (Ok(found), Some(best)) => {
            assert!(found.proof.is_optimal(), "{}", found.proof);
            let largest = problem.layers.iter().flatten().map(|c| c.cost.abs()).fold(1e-300, f64::max);
            assert!((found.cost - best).abs() <= 1e-12 * largest, "{} against {best}: {problem:?}", found.cost);
            for (used, budget) in found.used.iter().zip(&problem.budgets) {
                assert!(*used <= forgiving(budget.limit));
            }
        }
        (Err(error), None) => assert_eq!(error.code(), Code::Infeasible),
        (found, best) => panic!("{found:?} against {best:?}: {problem:?}"),
    }
}

/// Small problems; whole numbers make ties and exact fits, which is where mistakes are.
fn small(budgets: usize) -> impl Strategy<Value = Problem> {
    let number = prop_oneof![(0..12i32).prop_map(f64::from), (0.0..12.0f64), Just(0.0)];
    let weights = prop::collection::vec(number.clone(), budgets);
    let one = (number, weights).prop_map(|(cost, weights)| Choice { cost, weights });
    let layers = prop::collection::vec(prop::collection::vec(one, 1..5), 0..6);
    (layers, prop::collection::vec(0.0..40.0f64, budgets), any::<bool>()).prop_map(|(layers, mut limits, whole)| {
        limits.iter_mut().for_each(|l| *l = if whole { l.round() } else { *l });
        problem(layers, &limits)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn one_budget_is_exact(problem in small(1)) {
        check(&problem);
    }

    #[test]
    fn two_budgets_are_exact(problem in small(2)) {
        check(&problem);
    }

    #[test]
    fn three_budgets_are_exact(problem in small(3)) {
        check(&problem);
    }

    #[test]
    fn corners_of_the_front_are_optimal(problem in small(1)) {
        for point in front(&problem.layers).unwrap() {
            let mut at = problem.clone();
            at.budgets[0].limit = point.used;
            let exact = solve(&at).unwrap();
            prop_assert!((exact.cost - point.cost).abs() < 1e-9, "{} against {}", exact.cost, point.cost);
        }
    }
}

/// A repeatable random number in 0..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Layers as real networks have them: sizes over three decades, damage that falls fourfold a bit, with noise.
fn network(layers: usize, seed: u64, budgets: usize) -> Problem {
    let mut random = Random(seed);
    let mut rows = vec![];
    let mut total = [0.0; 2];
    for _ in 0..layers {
        let size = (10f64.powf(2.0 + 3.5 * random.next())).round();
        let uses = (size * 10f64.powf(3.0 * random.next())).round();
        let damage = size * 10f64.powf(4.0 * random.next() - 6.0);
        total[0] += size;
        total[1] += uses;
        let row = |bits: u32, noise: f64| {
            let weights = [size * f64::from(bits), uses * f64::from(bits)];
            choice(damage * 0.25f64.powi(bits as i32) * (0.7 + 0.6 * noise), &weights[..budgets])
        };
        rows.push((2..=8).map(|bits| row(bits, random.next())).collect());
    }
    let limits: Vec<f64> = total.iter().map(|t| (t * 4.0).round()).take(budgets).collect();
    problem(rows, &limits)
}

/// The growing core against branch and bound of the solver crate, on problems too large for looking at everything.
#[test]
fn one_budget_agrees_with_the_solver() {
    for seed in 1..30 {
        let mut random = Random(seed);
        let mut problem = network(8 + (seed as usize * 7) % 30, seed, 1);
        if seed % 3 == 0 {
            // Whole numbers make ties.
            for choice in problem.layers.iter_mut().flatten() {
                choice.cost = (choice.cost * 20.0).ceil();
                choice.weights[0] = (choice.weights[0] / 1000.0).ceil();
            }
            problem.budgets[0].limit = problem.layers.iter().map(|l| l[2].weights[0]).sum::<f64>() + 3.0;
        }
        problem.budgets[0].limit *= 0.7 + 0.8 * random.next();
        let found = solve(&problem).unwrap();
        assert_eq!(found.proof, solve(&problem).unwrap().proof);
        let Some(other) = by_solver(&problem) else { continue };
        let largest = problem.layers.iter().flatten().map(|c| c.cost).fold(0.0, f64::max);
        assert!(found.proof.is_optimal(), "{}", found.proof);
        assert!(found.cost <= other + 1e-6 * largest, "seed {seed}: {} against {other}", found.cost);
        assert!(found.cost >= other - 1e-6 * largest, "seed {seed}: {} against {other}", found.cost);
    }
}

/// Least cost by microlp.
fn by_solver(problem: &Problem) -> Option<f64> {
    use microlp::{ComparisonOp, OptimizationDirection};
    let mut stated = microlp::Problem::new(OptimizationDirection::Minimize);
    let unit = problem.layers.iter().flatten().map(|c| c.cost).fold(1e-300, f64::max);
    let mut load = vec![];
    for layer in &problem.layers {
        let places: Vec<_> = layer.iter().map(|c| stated.add_binary_var(c.cost / unit)).collect();
        stated.add_constraint(places.iter().map(|v| (*v, 1.0)).collect::<Vec<_>>(), ComparisonOp::Eq, 1.0);
        let limit = problem.budgets[0].limit;
        load.extend(places.into_iter().zip(layer).map(|(v, c)| (v, c.weights[0] / limit)));
    }
    stated.add_constraint(load, ComparisonOp::Le, 1.0);
    Some(stated.solve().ok()?.into_solution().ok()?.objective() * unit)
}

/// Budget in time with a wide margin for a busy machine: the figures are printed with `--nocapture`.
#[test]
fn large_problems_are_proven_and_fast() {
    for (layers, budgets) in [(20, 1), (60, 1), (200, 1), (20, 2), (60, 2), (200, 2)] {
        for seed in 1..4 {
            let problem = network(layers, seed, budgets);
            let start = std::time::Instant::now();
            let found = solve(&problem).unwrap();
            let took = start.elapsed();
            println!("{layers} layers, {budgets} budgets, seed {seed}: {took:?}, {}", found.proof);
            assert!(found.proof.is_optimal());
            assert!(took.as_secs() < 30);
            assert_eq!(solve(&problem).unwrap(), found, "the same answer twice");
        }
    }
}

/// Every allocation has the same cost a unit of weight: the bound tells nothing apart.
#[test]
fn subset_sums_end() {
    for seed in 1..4 {
        let mut random = Random(seed);
        let layers: Vec<Vec<Choice>> = (0..60)
            .map(|_| {
                let size = (1e6 * (0.5 + random.next())).round();
                (2..=8).map(|b| choice(-size * f64::from(b), &[size * f64::from(b)])).collect()
            })
            .collect();
        let limit = layers.iter().map(|l| l[2].weights[0]).sum::<f64>() + 17.0;
        let start = std::time::Instant::now();
        let found = solve(&problem(layers, &[limit])).unwrap();
        println!("subset sum, seed {seed}: {:?}, cost {:e}, {}", start.elapsed(), found.cost, found.proof);
        let gap = if let Proof::Gap { gap, .. } = found.proof { gap } else { 0.0 };
        assert!(gap <= 1e-4 * found.cost.abs());
        assert!(found.used[0] <= limit);
        assert!(start.elapsed().as_secs() < 60);
    }
}

#[test]
fn infeasible_budgets_name_the_least() {
    let layers = || vec![vec![choice(1.0, &[3.0, 1.0]), choice(0.0, &[4.0, 0.0])]];
    let message = |limits: &[f64]| solve(&problem(layers(), limits)).unwrap_err().to_string();
    assert_eq!(message(&[2.5, 9.0]), "cannot be met: least is 3.00 average bits, asked 2.50 [TQ501]");
    assert_eq!(
        message(&[2.0, -1.0]),
        "cannot be met: least is 3 average bits, asked 2; least is 0 bytes, asked -1 [TQ501]"
    );
    assert_eq!(message(&[2.999_999, 9.0]), "cannot be met: least is 3.000000 average bits, asked 2.999999 [TQ501]");
    assert_eq!(
        message(&[3.0, 0.5]),
        "cannot be met together: least is 3 average bits, asked 3; least is 0.00 bytes, asked 0.50 [TQ501]"
    );
}

#[test]
fn an_average_is_said_as_one() {
    let layers = vec![vec![choice(1.0, &[400.0]), choice(0.0, &[800.0])]];
    let budgets = vec![Budget { name: "weight bits".into(), limit: 250.0, over: 100.0 }];
    let message = solve(&Problem { layers, budgets }).unwrap_err().to_string();
    assert_eq!(message, "cannot be met: least is 4.00 weight bits on average, asked 2.50 [TQ501]");
}

#[test]
fn odd_costs_have_defined_results() {
    let picks = |costs: &[f64], limit: f64| {
        let layer: Vec<Choice> = costs.iter().enumerate().map(|(at, &c)| choice(c, &[at as f64])).collect();
        let other = vec![choice(1e-30, &[0.0]), choice(0.0, &[1.0])];
        let found = solve(&problem(vec![layer, other], &[limit])).unwrap();
        assert!(found.proof.is_optimal());
        (found.picks, found.cost)
    };
    // Not a number and infinities lose against everything finite, and only where nothing else fits are they taken.
    assert_eq!(picks(&[f64::NAN, 5.0, f64::NEG_INFINITY], 9.0), (vec![1, 1], 5.0));
    assert_eq!(picks(&[f64::NAN, 5.0], 0.0), (vec![0, 0], f64::INFINITY));
    assert_eq!(picks(&[f64::INFINITY, f64::NAN], 9.0), (vec![0, 1], f64::INFINITY));
    // Huge and tiny side by side: the tiny decision is still made right.
    assert_eq!(picks(&[1e300], 9.0), (vec![0, 1], 1e300));
    // Beyond the resolution of the total, the lighter choice is taken.
    assert_eq!(picks(&[-f64::MAX, f64::MAX], 9.0), (vec![0, 0], -f64::MAX));
    assert_eq!(picks(&[0.0, 0.0, 0.0], 9.0), (vec![0, 1], 0.0));
    assert_eq!(picks(&[3e-308, 1e-308, 2e-308], 1.0).0, vec![0, 1], "one budget unit saves 1e-30 there, 2e-308 here");
}

#[test]
fn senseless_problems_are_refused() {
    let code = |problem: Problem| solve(&problem).unwrap_err().code();
    let one = || vec![vec![choice(1.0, &[1.0])]];
    assert_eq!(code(problem(vec![vec![]], &[1.0])), Code::Config);
    assert_eq!(code(problem(one(), &[1.0, 2.0])), Code::Config);
    assert_eq!(code(problem(one(), &[f64::NAN])), Code::Config);
    assert_eq!(code(problem(vec![vec![choice(1.0, &[f64::NAN])]], &[1.0])), Code::Infeasible);
    assert_eq!(solve(&problem(vec![], &[0.0])).unwrap().picks, [] as [usize; 0]);
    assert_eq!(solve(&problem(one(), &[f64::INFINITY])).unwrap().picks, [0]);
}

#[test]
fn equal_widths_meet_their_own_average() {
    // 4 bits everywhere is an average of 4 bits, however the sum of fractions rounds.
    let sizes: Vec<f64> = (1..=173).map(|n| f64::from(n * n + 7)).collect();
    let total: f64 = sizes.iter().sum();
    let layers = sizes.iter().map(|s| vec![choice(1.0, &[4.0 * s / total])]).collect();
    assert_eq!(solve(&problem(layers, &[4.0])).unwrap().picks.len(), 173);
}
