use crate::discover::*;
use crate::random::SplitMix64;
use proptest::prelude::*;

fn candidate(id: usize, formula: &str, total: f64) -> Candidate {
    Candidate {
        id,
        thought: String::new(),
        formula: formula.to_owned(),
        fingerprint: formula.trim().to_owned(),
        origin: Origin::Given,
        parents: vec![],
        generation: 0,
        fitness: Fitness::default(),
        total,
    }
}

fn formulas(population: &Population) -> Vec<&str> {
    population.members().iter().map(|c| c.formula.as_str()).collect()
}

#[test]
fn order_is_fitness_then_length_then_text() {
    let mut population = Population::new(4);
    for (formula, total) in [("ccc", 0.5), ("b", 0.5), ("a", 0.5), ("long", 0.9), ("worst", 0.1)] {
        population.insert(candidate(0, formula, total));
    }
    assert_eq!(formulas(&population), ["long", "a", "b", "ccc"]);
    assert_eq!(population.mean(), Some(0.6));
}

#[test]
fn of_two_that_score_alike_the_better_spelling_stays() {
    let mut population = Population::new(4);
    population.insert(candidate(1, " x", 0.5));
    population.insert(candidate(2, "x", 0.5));
    population.insert(candidate(3, "  x", 0.5));
    assert_eq!(formulas(&population), ["x"]);
}

proptest! {
    #[test]
    fn the_best_is_never_lost_and_order_of_arrival_does_not_matter(
        scores in prop::collection::vec(0u8..20, 1..40),
        capacity in 1usize..8,
    ) {
        let all: Vec<Candidate> =
            scores.iter().enumerate().map(|(i, s)| candidate(i, &format!("f{i}"), f64::from(*s))).collect();
        let mut forward = Population::new(capacity);
        let mut backward = Population::new(capacity);
        let mut best = 0;
        for (c, s) in all.iter().zip(&scores) {
            forward.insert(c.clone());
            best = best.max(*s);
            prop_assert_eq!(forward.best().unwrap().total, f64::from(best));
        }
        all.iter().rev().for_each(|c| backward.insert(c.clone()));
        prop_assert_eq!(forward.members(), backward.members());
        prop_assert_eq!(forward.members().len(), capacity.min(scores.len()));
    }
}

#[test]
fn better_parents_are_drawn_more_often_and_never_twice() {
    let mut population = Population::new(4);
    (1..=4).for_each(|i| population.insert(candidate(i, &format!("f{i}"), i as f64)));
    let mut random = SplitMix64(5);
    let mut first = [0; 5];
    for _ in 0..10_000 {
        let pair = population.draw(2, &mut random).unwrap();
        assert_ne!(pair[0].id, pair[1].id);
        first[pair[0].id] += 1;
    }
    // Weights 4, 3, 2, 1 of 10.
    for (id, share) in [(4, 0.4), (3, 0.3), (2, 0.2), (1, 0.1)] {
        assert!((f64::from(first[id]) / 10_000.0 - share).abs() < 0.02, "{first:?}");
    }
    assert!(population.draw(5, &mut random).is_none());
    assert_eq!(population.draw(0, &mut random), Some(vec![]));
}
