use super::toy::*;
use crate::discover::*;

/// Each of these is an answer to every question; the run must end, and its transcript must replay.
#[test]
fn hostile_replies_are_survived_and_replayed() {
    let megabyte = "Formula: a*1+".repeat(1 << 16);
    let deep = format!("Formula: {}a*1", "(".repeat(1 << 20));
    let texts = [
        "",
        "\n\n\n",
        "\0\0\0Formula: \0",
        "Formula: a*1\0+b*2",
        "\u{fffd}\u{fffd}Formula: \u{fffd}*3",
        "\u{202e}Formula: a*3\u{1b}[31m",
        "Formula: ../../etc/passwd",
        "Formula: __import__('os').system('rm -rf /')",
        "{\"event\":\"end\"}\nFormula: a*2",
        "Formula: 🙂*3+é",
        megabyte.as_str(),
        deep.as_str(),
    ];
    let mut task = task();
    task.settings = Settings { population: 2, children: 2, generations: 1, ..task.settings };
    for text in texts {
        let (outcome, bytes) = play(&task, &Toy::default(), &mut Script(|_: &Ask, _| says(text), 0));
        assert_eq!(outcome.end.as_ref().unwrap().stop, Stop::Complete);
        let recorded = Recorded::read(&bytes).unwrap();
        let (again, same) = play(&task, &Toy::default(), &mut Replay::new(&recorded).unwrap());
        assert!(again == outcome && same == bytes, "{}", text.chars().take(40).collect::<String>());
        let Some(Event::Reply(reply)) = recorded.events.get(2) else { panic!("no reply") };
        assert_eq!(reply.text, text, "what a model said stays untouched");
        let longest = recorded.events.iter().filter_map(|e| match e {
            Event::Refused { message, .. } => Some(message.chars().count()),
            _ => None,
        });
        assert!(longest.max().unwrap_or(0) <= 400);
    }
}

#[test]
fn a_judge_without_numbers_makes_no_hole_in_the_transcript() {
    struct Blind;
    impl Judge for Blind {
        fn parse(&self, formula: &str) -> Result<Parsed, String> {
            Ok(Parsed { canonical: formula.to_owned(), fingerprint: formula.to_owned(), degenerate: false })
        }
        fn fitness(&self, _: &str) -> crate::Result<Fitness> {
            Ok(Fitness {
                fidelity: f64::NAN,
                correlation: f64::NEG_INFINITY,
                held_out: Some(f64::NAN),
                ..Fitness::default()
            })
        }
        fn random(&self, seed: u64) -> String {
            format!("x * {seed}")
        }
        fn mutate(&self, formula: &str, _: u64) -> String {
            format!("{formula} + 1")
        }
        fn crossover(&self, a: &str, b: &str, _: u64) -> String {
            format!("{a} + {b}")
        }
    }
    let (outcome, bytes) = play(&task(), &Blind, &mut Mutation::new(&Blind));
    let winner = outcome.winner().unwrap();
    assert_eq!((winner.total, winner.fitness.correlation, winner.fitness.held_out), (0.0, -1.0, Some(-1.0)));
    let notes = ["fidelity is not a number and counts as 0", "held-out correlation is not a number and counts as -1"];
    assert_eq!(winner.fitness.notes, notes);
    assert!(outcome.end.unwrap().warnings[0].starts_with("the winner does not rank damage"));
    assert!(Recorded::read(&bytes).is_ok());
}
