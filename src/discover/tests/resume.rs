use super::toy::*;
use crate::discover::*;
use crate::{Code, Error};
use std::cell::RefCell;

/// Runs on from `bytes` with a proposer that knows how many questions went before it.
fn resume(task: &Task, bytes: &[u8]) -> (Outcome, Vec<u8>, usize) {
    let recorded = Recorded::read(bytes).unwrap();
    let before = recorded.events.iter().filter(|e| matches!(e, Event::Reply(_) | Event::Failure { .. })).count();
    let mut whole = bytes[..recorded.bytes() as usize].to_vec();
    let asked = RefCell::new(0);
    let mut script = Script(
        |ask: &Ask, number: usize| {
            *asked.borrow_mut() += 1;
            moody(ask, number)
        },
        before,
    );
    let mut recorder = Recorder::resume(recorded, &mut whole);
    let outcome = run(task, &Toy::default(), &mut script, &mut recorder, &mut ()).unwrap();
    drop(recorder);
    let asked = *asked.borrow();
    (outcome, whole, asked)
}

#[test]
fn a_run_cut_at_any_line_goes_on_as_if_it_had_not_been() {
    let mut task = task();
    task.settings.generations = 3;
    task.given = vec!["a*1+b*1".to_owned()];
    let (outcome, bytes) = play_moody(&task);
    let ends: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').map(|i| i + 1).collect();
    assert!(ends.len() > 100);
    for end in [0].into_iter().chain(ends) {
        let (again, whole, asked) = resume(&task, &bytes[..end]);
        assert!(whole == bytes, "cut at byte {end}");
        assert_eq!(again, outcome);
        assert!(end < bytes.len() || asked == 0, "a finished run asks nothing");
    }
}

#[test]
fn a_run_cut_inside_a_line_goes_on_too() {
    let mut task = task();
    task.settings.generations = 1;
    let (_, bytes) = play_moody(&task);
    for end in (1..bytes.len()).step_by(37) {
        assert!(resume(&task, &bytes[..end]).1 == bytes, "cut at byte {end}");
    }
}

#[test]
fn a_run_that_a_dead_server_ended_goes_on_where_it_answered_last() {
    let (outcome, bytes) = play_moody(&task());
    let dies = |ask: &Ask, number: usize| match number {
        ..=30 => moody(ask, number),
        _ => Err(Error::new(Code::Proposer, "connection refused")),
    };
    let (_, cut) = play(&task(), &Toy::default(), &mut Script(dies, 0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    std::fs::write(&path, &cut).unwrap();
    let (mut recorder, notice) = Recorder::open(&path).unwrap();
    assert_eq!(notice, None);
    let second = Recorder::open(&path).err().unwrap();
    assert_eq!(second.message(), "another run is writing this transcript");
    let again = run(&task(), &Toy::default(), &mut Script(moody, 30), &mut recorder, &mut ()).unwrap();
    assert_eq!(again, outcome);
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_file_with_half_a_line_is_cut_and_gone_on_with() {
    let (_, bytes) = play_moody(&task());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let lines = bytes.iter().take(5000).filter(|b| **b == b'\n').count();
    std::fs::write(&path, &bytes[..5000]).unwrap();
    let answers = Recorded::read(&bytes[..5000]).unwrap();
    let answers = answers.events.iter().filter(|e| matches!(e, Event::Reply(_) | Event::Failure { .. })).count();
    let (mut recorder, notice) = Recorder::open(&path).unwrap();
    let want = format!("line {} was cut off while it was written; it was dropped", lines + 1);
    assert_eq!(notice, Some(want));
    assert!(recorder.is_replaying());
    run(&task(), &Toy::default(), &mut Script(moody, answers), &mut recorder, &mut ()).unwrap();
    assert!(!recorder.is_replaying());
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_run_with_other_settings_or_another_judge_is_refused_by_name() {
    let (_, bytes) = play_moody(&task());
    let fails = |task: &Task, toy: &Toy| {
        let mut sink = vec![];
        let mut recorder = Recorder::resume(Recorded::read(&bytes).unwrap(), &mut sink);
        let e = run(task, toy, &mut Script(moody, 0), &mut recorder, &mut ()).unwrap_err();
        drop(recorder);
        assert!(sink.is_empty());
        e.to_string()
    };
    let mut other = task();
    other.settings.alpha = 0.2;
    other.judge = "another".to_owned();
    let message = fails(&other, &Toy::default());
    let want =
        "line 1: this run departs from the transcript: judge was \"toy\" and is \"another\", alpha was 0.1 and is 0.2";
    assert!(message.starts_with(want), "{message}");
    // The digest lies: the fitness tells.
    let message = fails(&task(), &Toy { overfit: 0.2, ..Toy::default() });
    assert!(message.starts_with("line 5: this run departs from the transcript: recorded is …"), "{message}");
}

#[test]
fn lines_after_the_end_are_refused() {
    let (_, mut bytes) = play_moody(&task());
    let lines = Recorded::read(&bytes).unwrap().lines.len();
    bytes.extend(b"{\"event\":\"failure\",\"message\":\"late\"}\n");
    let mut recorder = Recorder::resume(Recorded::read(&bytes).unwrap(), vec![]);
    let e = run(&task(), &Toy::default(), &mut Script(moody, 0), &mut recorder, &mut ()).unwrap_err();
    assert_eq!(e.to_string(), format!("line {}: this run is over, but the transcript goes on [TQ603]", lines + 1));
}
