use super::toy::*;
use crate::discover::*;
use crate::{Code, Error};

#[test]
fn the_search_without_a_model_improves() {
    for seed in 0..5 {
        let mut task = task();
        task.settings.seed = seed;
        let toy = Toy::default();
        let (outcome, _) = play(&task, &toy, &mut Mutation::new(&toy));
        let best: Vec<f64> = outcome.history.iter().map(|g| g.best.unwrap()).collect();
        assert!(best.windows(2).all(|w| w[0] <= w[1]), "{best:?}");
        assert!(best[8] > best[0] + 0.1, "{best:?}");
        assert_eq!(outcome.end.as_ref().unwrap().stop, Stop::Complete);
        assert_eq!(outcome.winner().unwrap().total, best[8]);
    }
}

#[test]
fn equal_runs_are_equal_to_the_byte_and_seeds_matter() {
    let (a, bytes) = play_moody(&task());
    let (b, again) = play_moody(&task());
    assert_eq!((&a, &bytes), (&b, &again));
    let mut other = task();
    other.settings.seed = 2;
    assert_ne!(play_moody(&other).1, bytes);
}

#[test]
fn a_replay_has_the_same_winner_and_the_same_bytes() {
    let (outcome, bytes) = play_moody(&task());
    let recorded = Recorded::read(&bytes).unwrap();
    let mut replay = Replay::new(&recorded).unwrap();
    let (again, same) = play(&task(), &Toy::default(), &mut replay);
    assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(same).unwrap());
    assert_eq!(again, outcome);
    assert!(outcome.counts.failures > 0 && outcome.counts.unparsed > 0, "{:?}", outcome.counts);
}

#[test]
fn a_replay_says_where_it_departs() {
    let (_, bytes) = play_moody(&task());
    let recorded = Recorded::read(&bytes).unwrap();
    let fails = |task: &Task, toy: &Toy| {
        let mut replay = Replay::new(&recorded).unwrap();
        run(task, toy, &mut replay, &mut Recorder::new(vec![]), &mut ()).unwrap_err()
    };
    let mut other = task();
    other.settings.seed = 9;
    let e = fails(&other, &Toy::default());
    assert_eq!(e.code(), Code::Transcript);
    assert!(e.message().starts_with("question 1 departs from the transcript: the seed is "), "{e}");
    let mut longer = task();
    longer.settings.generations = 9;
    assert!(fails(&longer, &Toy::default()).message().ends_with("the transcript ends before it"));
    let mut steeper = task();
    steeper.settings.alpha = 0.9;
    let message = fails(&steeper, &Toy::default()).to_string();
    assert!(message.contains("departs") && message.contains("with fitness"), "{message}");
}

#[test]
fn given_formulas_come_first_and_bad_ones_are_an_error() {
    let mut task = task();
    task.given = vec!["c*12+a*7+b*2".to_owned(), "a*7+b*2+c*12".to_owned()];
    let (outcome, _) = play_moody(&task);
    let winner = outcome.winner().unwrap();
    assert_eq!((winner.id, winner.total, winner.origin), (1, 1.0, Origin::Given));
    task.given = vec!["a**2".to_owned()];
    let e = run(&task, &Toy::default(), &mut Script(moody, 0), &mut Recorder::new(vec![]), &mut ()).unwrap_err();
    assert_eq!(e.message(), "the given formula `a**2`: `*2` is no number");
}

#[test]
fn stagnation_stops_early_and_says_so() {
    let mut task = task();
    task.given = vec!["a*7+b*2+c*12".to_owned()];
    task.settings.patience = 2;
    let (outcome, _) = play_moody(&task);
    let end = outcome.end.unwrap();
    assert_eq!(end.stop, Stop::Stagnation);
    assert_eq!(end.message, "stopped after generation 2: no better formula in the last 2 generations");
    assert_eq!(outcome.history.len(), 3);
}

#[test]
fn an_overfitted_winner_is_reported() {
    let toy = Toy { overfit: 0.3, ..Toy::default() };
    let (outcome, _) = play(&task(), &toy, &mut Mutation::new(&toy));
    let warnings = outcome.end.unwrap().warnings;
    assert!(warnings[0].starts_with("the winner is overfitted: its rank correlation is "), "{warnings:?}");
    let (outcome, _) = play_moody(&task());
    assert_eq!(outcome.end.unwrap().warnings, Vec::<String>::new());
}

#[test]
fn an_answer_that_does_not_parse_is_asked_again_with_the_reason() {
    let mut complaints = vec![];
    let mut task = task();
    task.settings = Settings { population: 1, generations: 0, ..task.settings };
    let answers = ["", "Formula: d*3", "Formula: a*0", "Formula: a*5"];
    task.settings.attempts = 3;
    let mut script = Script(
        |ask: &Ask, number: usize| {
            complaints.push((ask.seed, ask.complaint.clone()));
            says(answers[number - 1])
        },
        0,
    );
    let (outcome, _) = play(&task, &Toy::default(), &mut script);
    let words: Vec<Option<&str>> = complaints.iter().map(|(_, c)| c.as_deref()).collect();
    assert_eq!(
        words,
        [
            None,
            Some("the reply is empty; write one line `Formula: ...`"),
            Some("unknown feature `d`"),
            Some("it scores every layer and bit-width alike; use features that differ between them"),
        ]
    );
    assert!(complaints.windows(2).all(|w| w[0].0 != w[1].0), "a fixed model must not repeat itself");
    assert_eq!(outcome.winner().unwrap().formula, "a*5+b*0+c*0");
    let c = outcome.counts;
    assert_eq!((c.asked, c.repeated, c.unparsed, c.degenerate, c.accepted, c.tokens), (4, 3, 2, 1, 1, 40));
}

#[test]
fn attempts_are_bounded_and_duplicates_counted() {
    let mut task = task();
    task.settings.generations = 1;
    let (outcome, _) = play(&task, &Toy::default(), &mut Script(|_: &Ask, _| says("a*1+b*1"), 0));
    let c = outcome.counts;
    assert_eq!((c.asked, c.accepted, c.duplicates), (1 + 19 * 3, 1, 19 * 3));
    assert_eq!(outcome.candidates.len(), 1);
}

#[test]
fn crossover_without_two_parents_falls_back_to_initialise() {
    let mut task = task();
    task.settings.population = 1;
    task.settings.generations = 20;
    let toy = Toy::default();
    let (outcome, _) = play(&task, &toy, &mut Mutation::new(&toy));
    assert_eq!(outcome.by_template.crossover.children, 0);
    assert!(outcome.by_template.mutate.children > 20);
}

#[test]
fn a_judge_that_fails_once_loses_one_formula_and_often_ends_the_run() {
    let toy = Toy { breaks_at: Some(7), ..Toy::default() };
    let (outcome, _) = play(&task(), &toy, &mut Mutation::new(&toy));
    assert!(outcome.counts.unscored > 0);
    assert_eq!(outcome.end.as_ref().unwrap().stop, Stop::Complete);
    assert!(outcome.candidates.iter().all(|c| !c.formula.starts_with("a*7+")));

    let mut number = 0;
    let mut always = Script(
        |_: &Ask, _| {
            number += 1;
            says(format!("a*7+b*{number}"))
        },
        0,
    );
    let (outcome, _) = play(&task(), &toy, &mut always);
    let end = outcome.end.unwrap();
    assert_eq!(end.message, "no fitness could be computed 5 times in a row, last: bench: no allocation fits");
    assert_eq!((end.stop, end.winner), (Stop::JudgeFailed, None));
}

#[test]
fn a_dead_proposer_ends_the_run_with_the_best_so_far() {
    let alive = |ask: &Ask, number: usize| match number {
        ..=23 => moody(ask, number),
        _ => Err(Error::new(Code::Proposer, "connection refused").at("http://localhost:1")),
    };
    let (outcome, _) = play(&task(), &Toy::default(), &mut Script(alive, 0));
    let end = outcome.end.as_ref().unwrap();
    assert_eq!(end.stop, Stop::ProposerFailed);
    assert_eq!(
        end.message,
        "the proposer did not answer 5 times in a row, last: http://localhost:1: connection refused"
    );
    assert!(outcome.winner().is_some() && outcome.counts.asked == 28);

    let dead = |_: &Ask, _: usize| Err(Error::new(Code::Proposer, "connection refused"));
    let (outcome, _) = play(&task(), &Toy::default(), &mut Script(dead, 0));
    assert_eq!(outcome.counts.failures, 5);
    assert!(outcome.winner().is_none());
    assert_eq!(outcome.end.unwrap().warnings, ["no formula was found: no answer could be used"]);
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |change: &dyn Fn(&mut Settings), want: &str| {
        let mut settings = Settings::default();
        change(&mut settings);
        let message = settings.check().unwrap_err().to_string();
        assert!(message.starts_with(want), "{message}");
    };
    check(&|s| s.population = 0, "population is 0 [TQ401]");
    check(&|s| s.children = 1_000_000, "children is 1000000 [TQ401]");
    check(&|s| s.alpha = f64::NAN, "alpha is NaN [TQ401]");
    check(&|s| s.controller = Controller::Dpo(Dpo { beta: 0.0, ..Dpo::default() }), "controller: beta 0");
    assert_eq!(Settings::default().check(), Ok(()));
}

#[derive(Default)]
struct Watcher(Vec<String>);

impl Observer for Watcher {
    fn asked(&mut self, step: Step, _: &Ask, replayed: bool) {
        self.0.push(format!("asked {}.{}.{} {replayed}", step.generation, step.child, step.attempt));
    }
    fn judged(&mut self, _: Step, _: &Reply, judged: Judged<'_>) {
        self.0.push(match judged {
            Judged::Accepted(c) => format!("accepted {}", c.id),
            Judged::Refused { kind, .. } => format!("refused {kind:?}"),
        });
    }
    fn failed(&mut self, _: Step, message: &str) {
        self.0.push(message.to_owned());
    }
    fn generation_ended(&mut self, g: &Generation) {
        self.0.push(format!("generation {}", g.generation));
    }
    fn ended(&mut self, end: &End) {
        self.0.push(format!("{:?}", end.stop));
    }
}

#[test]
fn an_observer_sees_everything_in_order() {
    let mut task = task();
    task.settings = Settings { population: 4, generations: 0, ..task.settings };
    let mut watcher = Watcher::default();
    run(&task, &Toy::default(), &mut Script(moody, 0), &mut Recorder::new(vec![]), &mut watcher).unwrap();
    let want = [
        "asked 0.1.0 false",
        "accepted 1",
        "asked 0.2.0 false",
        "accepted 2",
        "asked 0.3.0 false",
        "http: the server is busy",
        "asked 0.4.0 false",
        "accepted 3",
        "generation 0",
        "Complete",
    ];
    assert_eq!(watcher.0, want);
}
