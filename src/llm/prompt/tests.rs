use super::*;
use crate::discover::Parent;
use crate::llm::{Feature, Told};

fn task() -> Task {
    let feature = |(name, per_bits): &(&str, bool)| Feature {
        name: (*name).to_owned(),
        about: format!("the {name}\nof a layer"),
        per_bits: *per_bits,
    };
    let example = |n: usize| Example { thought: format!("idea {n}"), formula: format!("a_l2 * {n}") };
    let names = [("qerr", true), ("bits", true), ("a_l2", false), ("w_l2", false), ("macs", false), ("depth", false)];
    Task {
        features: names.iter().map(feature).collect(),
        functions: "+ - * / sqrt(x)".to_owned(),
        examples: (0..5).map(example).collect(),
        told: Told::Beforehand,
        focus: 3,
        grammar: None,
    }
}

fn ask(template: Template, parents: &[(&str, &str)], complaint: Option<&str>) -> Ask {
    let parent = |(thought, formula): &(&str, &str)| Parent {
        thought: (*thought).to_owned(),
        formula: (*formula).to_owned(),
        fitness: 0.8125,
    };
    Ask { template, parents: parents.iter().map(parent).collect(), seed: 7, complaint: complaint.map(str::to_owned) }
}

fn shown(ask: &Ask) -> String {
    let (task, templates) = (task(), Templates::load(None).unwrap());
    let draw = Draw::new(&task, ask.seed);
    chat(&templates, &task, ask, &draw).unwrap().format(&parameters(&task, ask, &draw)).unwrap().to_text()
}

#[test]
fn every_draw_holds_a_feature_that_differs_between_widths() {
    let task = task();
    for seed in 0..200 {
        let draw = Draw::new(&task, seed);
        assert_eq!((draw.focus.len(), draw.examples.len()), (3, 3));
        assert!(draw.focus.iter().any(|&at| task.features[at].per_bits), "{draw:?}");
        assert!(draw.focus.windows(2).all(|w| w[0] < w[1]) && draw.examples[0] != draw.examples[1]);
        assert_eq!(draw, Draw::new(&task, seed));
    }
}

#[test]
fn draws_spread_over_features_and_examples() {
    let task = task();
    let (mut features, mut examples) = ([0; 6], [0; 5]);
    for seed in 0..300 {
        let draw = Draw::new(&task, seed);
        draw.focus.iter().for_each(|&at| features[at] += 1);
        draw.examples.iter().for_each(|&at| examples[at] += 1);
    }
    assert!(features.iter().all(|&n| n > 60), "{features:?}");
    assert!(examples.iter().all(|&n| n > 120), "{examples:?}");
}

#[test]
fn an_empty_task_draws_nothing() {
    let empty = Task { features: vec![], examples: vec![], ..task() };
    assert_eq!(Draw::new(&empty, 1), Draw { focus: vec![], examples: vec![] });
}

#[test]
fn a_first_question_shows_the_language_and_no_parent() {
    let text = shown(&ask(Template::Initialise, &[], None));
    assert!(text.starts_with("System: You design"), "{text}");
    assert!(text.contains("\nqerr: the qerr of a layer\nbits: the bits of a layer\n"), "{text}");
    assert!(text.contains("Functions: + - * / sqrt(x)\n"), "{text}");
    let turn = "User: Propose a new proxy. Build it on some of: a_l2.\n\nAssistant: Thought: idea ";
    assert_eq!((text.matches(turn).count(), text.matches("\nFormula: a_l2 * ").count()), (3, 3), "{text}");
    assert!(!text.contains("refused") && !text.contains("Fitness"), "{text}");
}

#[test]
fn parents_and_a_complaint_are_shown_as_they_are() {
    let parents = [("weights {{ features }}", "w_l2 * qerr"), ("two\nlines <|im_end|>", "a_l2")];
    let text = shown(&ask(Template::Crossover, &parents, Some("column 3:\n unknown name")));
    assert!(text.contains("Thought: weights {{ features }}\nFormula: w_l2 * qerr\nFitness: 0.812\n"), "{text}");
    assert!(text.contains("Thought: two lines <|im_end|>\nFormula: a_l2\n"), "{text}");
    assert!(text.contains("refused: column 3: unknown name\n"), "{text}");
}

#[test]
fn the_system_text_is_the_same_for_every_question() {
    let system = |ask: &Ask| shown(ask).split("User: ").next().unwrap().to_owned();
    let first = system(&ask(Template::Initialise, &[], None));
    let other = Ask { seed: 99, ..ask(Template::Mutate, &[("t", "qerr")], Some("no")) };
    assert_eq!(first, system(&other));
}

#[test]
fn names_of_the_parents_are_allowed_beside_those_drawn() {
    let task = task();
    let ask = ask(Template::Mutate, &[("t", "sqrt(macs)*depth2 + qerr")], None);
    let draw = Draw { focus: vec![1, 2], examples: vec![] };
    assert_eq!(allowed(&task, &ask, &draw), ["qerr", "bits", "a_l2", "macs"]);
}

#[test]
fn features_are_described_beforehand_or_with_the_question() {
    let (task, templates) = (Task { told: Told::WithQuestion, ..task() }, Templates::load(None).unwrap());
    let ask = ask(Template::Mutate, &[("t", "sqrt(macs) + qerr")], None);
    let draw = Draw { focus: vec![1, 2], examples: vec![0] };
    let text = chat(&templates, &task, &ask, &draw).unwrap().format(&parameters(&task, &ask, &draw)).unwrap().to_text();
    let (before, question) = text.rsplit_once("User: ").unwrap();
    assert!(!before.contains("Features") && !before.contains(" of a layer"), "{before}");
    let meanings: Vec<_> = question.lines().filter_map(|l| l.strip_suffix(" of a layer")).collect();
    assert_eq!(meanings, ["qerr: the qerr", "bits: the bits", "a_l2: the a_l2", "macs: the macs"]);
}
