use super::toy::*;
use crate::discover::controller::{gradient, loss, softmax};
use crate::discover::*;
use proptest::prelude::*;

fn logits(x: [f64; 3]) -> PerTemplate<f64> {
    PerTemplate { initialise: x[0], mutate: x[1], crossover: x[2] }
}

fn pairs() -> impl Strategy<Value = Vec<Preference>> {
    let pair = prop::sample::select(vec![(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]);
    prop::collection::vec(pair.prop_map(|(w, l)| Preference { winner: TEMPLATES[w], loser: TEMPLATES[l] }), 1..20)
}

proptest! {
    #[test]
    fn the_closed_gradient_is_the_numeric_one(
        pairs in pairs(),
        at in prop::array::uniform3(-3.0..3.0f64),
        from in prop::array::uniform3(-3.0..3.0f64),
        beta in 0.05..3.0f64,
    ) {
        let closed = gradient(&pairs, &logits(at), &logits(from), beta);
        for (i, template) in TEMPLATES.iter().enumerate() {
            let step = 1e-5;
            let shifted = |by: f64| {
                let mut x = at;
                x[i] += by;
                loss(&pairs, &logits(x), &logits(from), beta)
            };
            let numeric = (shifted(step) - shifted(-step)) / (2.0 * step);
            prop_assert!((numeric - closed.get(*template)).abs() < 1e-7, "{numeric} and {closed:?}");
        }
    }

    #[test]
    fn policies_are_probabilities_and_no_template_dies(
        scores in prop::collection::vec((0usize..3, 0.0..1.0f64), 0..400),
        epsilon in 0.03..1.0f64,
    ) {
        let mut learner = Learner::new(Controller::Dpo(Dpo { epsilon, rate: 5.0, ..Dpo::default() }));
        for generation in scores.chunks(8) {
            let children: Vec<_> = generation.iter().map(|(t, s)| (TEMPLATES[*t], Yield::Scored(*s))).collect();
            learner.learn(&children);
            let policy = learner.policy();
            let sum: f64 = TEMPLATES.iter().map(|t| policy.get(*t)).sum();
            prop_assert!((sum - 1.0).abs() < 2e-6);
            prop_assert!(TEMPLATES.iter().all(|t| *policy.get(*t) >= epsilon / 3.0 - 1e-6));
        }
    }
}

#[test]
fn the_loss_starts_at_log_two_and_falls() {
    let children = [
        (Template::Mutate, Yield::Scored(0.9)),
        (Template::Initialise, Yield::Scored(0.2)),
        (Template::Crossover, Yield::Unparsed),
    ];
    let pairs = preferences(&children);
    assert_eq!(pairs.len(), 3);
    let even = PerTemplate::default();
    assert!((loss(&pairs, &even, &even, 1.0) - 2f64.ln()).abs() < 1e-12);
    let mut learner = Learner::new(Controller::default());
    let lesson = learner.learn(&children);
    assert!(lesson.loss.unwrap() < 0.6, "{lesson:?}");
    let policy = learner.policy();
    assert!(policy.mutate > policy.initialise && policy.initialise > policy.crossover, "{policy:?}");
}

#[test]
fn nothing_to_compare_changes_nothing() {
    let mut learner = Learner::new(Controller::default());
    let before = learner.policy();
    assert_eq!(learner.learn(&[]), Lesson::default());
    learner.learn(&[(Template::Mutate, Yield::Scored(0.9)), (Template::Mutate, Yield::Scored(0.1))]);
    learner.learn(&[(Template::Mutate, Yield::Spent), (Template::Crossover, Yield::Spent)]);
    assert_eq!(learner.policy(), before);
}

#[test]
fn unparsed_loses_to_spent_and_spent_to_any_score() {
    let pair = |a, b| preferences(&[(Template::Mutate, a), (Template::Crossover, b)]);
    let crossover_wins = vec![Preference { winner: Template::Crossover, loser: Template::Mutate }];
    assert_eq!(pair(Yield::Unparsed, Yield::Spent), crossover_wins);
    assert_eq!(pair(Yield::Spent, Yield::Scored(0.0)), crossover_wins);
    assert_eq!(pair(Yield::Scored(0.1), Yield::Scored(0.2)), crossover_wins);
    assert_eq!(pair(Yield::Scored(0.2), Yield::Scored(0.2)), vec![]);
}

#[test]
fn uniform_never_learns() {
    let mut learner = Learner::new(Controller::Uniform);
    let lesson = learner.learn(&[(Template::Mutate, Yield::Scored(0.9)), (Template::Crossover, Yield::Unparsed)]);
    assert_eq!((lesson.pairs, lesson.loss), (1, None));
    assert_eq!(learner.policy(), PerTemplate::from_fn(|_| 0.333333));
}

#[test]
fn draws_follow_the_policy() {
    let mut learner = Learner::new(Controller::default());
    learner.learn(&[(Template::Mutate, Yield::Scored(0.9)), (Template::Initialise, Yield::Scored(0.1))]);
    let policy = learner.policy();
    let mut counts = PerTemplate::<usize>::default();
    (0..10_000).for_each(|i| *counts.get_mut(learner.draw(f64::from(i) / 10_000.0)) += 1);
    for t in TEMPLATES {
        assert!((*counts.get(t) as f64 / 10_000.0 - policy.get(t)).abs() < 1e-3, "{counts:?} {policy:?}");
    }
}

#[test]
fn softmax_does_not_overflow() {
    let p = softmax(&logits([1000.0, 0.0, -1000.0]));
    assert_eq!((p.initialise, p.crossover), (1.0, 0.0));
}

/// The template that is planted to be good gives the optimum's neighbours, the others give noise.
#[test]
fn a_planted_template_is_preferred() {
    for planted in [Template::Initialise, Template::Mutate, Template::Crossover] {
        let toy = Toy::default();
        let mut propose = |ask: &Ask, number: usize| {
            let seed = ask.seed ^ number as u64;
            let good = sum([7 + (seed % 3) as i64, 2 + (seed / 3 % 3) as i64, 12 + (seed / 9 % 8) as i64]);
            let bad = sum([(seed % 3) as i64, 20 - (seed / 3 % 8) as i64, (seed / 24 % 5) as i64]);
            says(format!("Formula: {}", if ask.template == planted { good } else { bad }))
        };
        let mut task = task();
        task.settings.attempts = 6;
        let (outcome, _) = play(&task, &toy, &mut Script(&mut propose, 0));
        let policy = outcome.history.last().unwrap().policy;
        let others = TEMPLATES.into_iter().filter(|t| *t != planted).map(|t| *policy.get(t)).fold(0.0, f64::max);
        assert!(*policy.get(planted) > 0.5 && *policy.get(planted) > 2.0 * others, "{planted:?}: {policy:?}");

        task.settings.controller = Controller::Uniform;
        let (outcome, _) = play(&task, &toy, &mut Script(&mut propose, 0));
        assert_eq!(outcome.history.last().unwrap().policy.mutate, 0.333333);
    }
}

/// The ablation on the toy, 60 seeds: learning which template pays off finds better formulas for as many questions.
#[test]
fn the_learned_policy_beats_the_uniform_one_on_average() {
    let toy = Toy::default();
    let mean_best = |controller: Controller| {
        let best = |seed| {
            let task = Task { settings: Settings { seed, controller, patience: 0, ..Settings::default() }, ..task() };
            play(&task, &toy, &mut Mutation::new(&toy)).0.winner().unwrap().total
        };
        (0..60).map(best).sum::<f64>() / 60.0
    };
    let (learned, uniform) = (mean_best(Controller::default()), mean_best(Controller::Uniform));
    assert!(learned > uniform + 0.01, "{learned} and {uniform}");
}

/// Each generation starts from the policy that drew it: equal evidence moves the logits equally far again.
#[test]
fn the_reference_slides() {
    let children = [(Template::Mutate, Yield::Scored(0.9)), (Template::Initialise, Yield::Scored(0.2))];
    let mut learner = Learner::new(Controller::Dpo(Dpo { epsilon: 0.0, ..Dpo::default() }));
    let odds = |learner: &Learner| (learner.policy().mutate / learner.policy().initialise).ln();
    let first = learner.learn(&children);
    let step = odds(&learner);
    assert_eq!(learner.learn(&children), first);
    assert!((odds(&learner) - 2.0 * step).abs() < 1e-4 && step > 0.5, "{step}");
}
