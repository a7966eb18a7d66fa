use super::toy::*;
use crate::discover::*;

#[test]
fn an_outcome_is_folded_from_its_transcript() {
    let (outcome, bytes) = play_moody(&task());
    let recorded = Recorded::read(&bytes).unwrap();
    let read = Outcome::of(&recorded).unwrap();
    assert_eq!(read, outcome);
    assert!(Outcome::of(&Recorded::default()).is_err());
}

#[test]
fn an_unfinished_transcript_has_an_outcome_so_far() {
    let (_, bytes) = play_moody(&task());
    let text = String::from_utf8(bytes).unwrap();
    let half: String = text.lines().take(80).map(|l| format!("{l}\n")).collect();
    let outcome = Outcome::of(&Recorded::read(half.as_bytes()).unwrap()).unwrap();
    assert!(outcome.end.is_none() && outcome.winner().is_some());
}

#[test]
fn counts_add_up() {
    let (outcome, _) = play_moody(&task());
    let c = outcome.counts;
    assert_eq!(c.asked, c.failures + c.parsed() + c.unparsed);
    assert_eq!(c.accepted, outcome.candidates.len());
    let grouped: usize = outcome.refusals.iter().map(|g| g.count).sum();
    assert_eq!(grouped, c.unparsed + c.degenerate + c.duplicates + c.unscored);
    let children: usize = TEMPLATES.iter().map(|t| outcome.by_template.get(*t).children).sum();
    assert_eq!(children, 10 + 8 * 10);
    assert!(outcome.refusals.windows(2).all(|w| w[0].count >= w[1].count));
}

#[test]
fn messages_that_differ_in_names_and_numbers_are_one_group() {
    let mut task = task();
    task.settings = Settings { population: 3, generations: 0, attempts: 0, ..task.settings };
    let answers = ["Formula: x*1", "Formula: yy*2", "Formula: a*99"];
    let (outcome, _) = play(&task, &Toy::default(), &mut Script(|_: &Ask, n: usize| says(answers[n - 1]), 0));
    let groups: Vec<(usize, &str)> = outcome.refusals.iter().map(|g| (g.count, g.message.as_str())).collect();
    assert_eq!(groups, [(2, "unknown feature `x`"), (1, "99 is not in 0..20")]);
}

#[test]
fn the_family_holds_all_ancestors_of_the_winner() {
    let (outcome, _) = play_moody(&task());
    let family = outcome.family();
    assert_eq!(family[0].id, outcome.winner().unwrap().id);
    assert!(family.len() > 2);
    for member in &family {
        assert!(member.parents.iter().all(|p| family.iter().any(|f| f.id == *p)));
        assert!(member.parents.iter().all(|p| *p < member.id));
        let known = member.id == family[0].id || family.iter().any(|f| f.parents.contains(&member.id));
        assert!(known, "{} is no ancestor", member.id);
    }
}
