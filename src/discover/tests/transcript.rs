use super::toy::*;
use crate::discover::*;
use proptest::prelude::*;

fn refused(bytes: &[u8]) -> String {
    Recorded::read(bytes).unwrap_err().to_string()
}

#[test]
fn lines_read_back_as_they_were_written() {
    let (_, bytes) = play_moody(&task());
    let recorded = Recorded::read(&bytes).unwrap();
    assert_eq!(recorded.notice, None);
    for (event, line) in recorded.events.iter().zip(&recorded.lines) {
        assert_eq!(&event.to_line().unwrap(), line);
    }
    assert_eq!(recorded.bytes(), bytes.len() as u64);
    assert_eq!(recorded.header().unwrap().proposer, "script");
    assert_eq!(recorded.end().unwrap().stop, Stop::Complete);
}

#[test]
fn the_lines_keep_their_form() {
    let mut task = task();
    task.settings = Settings { population: 1, generations: 0, attempts: 1, ..task.settings };
    let (name, target, digest) = ("net".to_owned(), "fpga".to_owned(), "ab".to_owned());
    task.networks = vec![Network { name, target, digest, configurations: 12 }];
    let say = |_: &Ask, number: usize| says(if number == 1 { "no" } else { "Thought: t\nFormula: a*7+b*2" });
    let (_, bytes) = play(&task, &Toy::default(), &mut Script(say, 0));
    let want = r#"{"event":"header","schema":3,"judge":"toy","networks":[{"name":"net","target":"fpga","digest":"ab","configurations":12}],"proposer":"script","settings":{"population":1,"generations":0,"children":10,"alpha":0.1,"correlation":"all","seed":1,"controller":{"kind":"dpo","beta":1.0,"rate":0.5,"steps":4,"epsilon":0.1},"attempts":1,"patience":0},"given":[]}
{"event":"ask","step":{"generation":0,"child":1,"attempt":0},"ids":[],"template":"initialise","parents":[],"seed":SEED1,"complaint":null}
{"event":"reply","prompt":"prompt","text":"no","tokens":10}
{"event":"refused","kind":"parse","message":"no formula was found; write one line `Formula: ...`"}
{"event":"ask","step":{"generation":0,"child":1,"attempt":1},"ids":[],"template":"initialise","parents":[],"seed":SEED2,"complaint":"no formula was found; write one line `Formula: ...`"}
{"event":"reply","prompt":"prompt","text":"Thought: t\nFormula: a*7+b*2","tokens":10}
{"event":"accepted","id":1,"thought":"t","formula":"a*7+b*2+c*0","fingerprint":"[7, 2, 0]","origin":{"asked":"initialise"},"parents":[],"generation":0}
{"event":"fitness","id":1,"total":0.461090909091,"fidelity":0.454545454545,"correlation":0.52,"held_out":0.47}
{"event":"generation","generation":0,"best":0.461090909091,"mean":0.461090909091,"population":[1],"policy":{"initialise":0.333333,"mutate":0.333333,"crossover":0.333333},"lesson":{"pairs":0}}
{"event":"end","stop":"complete","message":"all 0 generations were run","winner":1,"warnings":[]}
"#;
    let text = String::from_utf8(bytes).unwrap();
    let seeds: Vec<&str> = text.split("\"seed\":").skip(2).filter_map(|r| r.split(',').next()).collect();
    assert_eq!(text, want.replace("SEED1", seeds[0]).replace("SEED2", seeds[1]));
}

#[test]
fn garbage_is_refused_by_line() {
    let (_, bytes) = play_moody(&task());
    let text = String::from_utf8(bytes.clone()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[6] = "{\"event\":\"reply\"";
    assert!(refused((lines.join("\n") + "\n").as_bytes()).starts_with("line 7: not a line of a transcript: "));
    lines[6] = lines[0];
    let message = refused((lines.join("\n") + "\n").as_bytes());
    assert!(message.starts_with("line 7: the header stands on the first line, and only there"), "{message}");
    assert!(refused(b"hello\n").starts_with("line 1: not the header of a transcript"));
    assert!(refused(&bytes[300..]).starts_with("line 1: not the header"));
    assert!(refused(text.replacen("\"schema\":3", "\"schema\":4", 1).as_bytes()).contains("schema 4, but 3 is read"));
    assert!(refused(b"{\"schema\":1}\xff\n").contains("not UTF-8"));
    assert!(
        refused("[".repeat(100_000).as_bytes().iter().chain(b"\n").copied().collect::<Vec<_>>().as_slice())
            .contains("line 1")
    );
}

#[test]
fn half_a_last_line_is_dropped_with_a_notice() {
    let (_, mut bytes) = play_moody(&task());
    let lines = Recorded::read(&bytes).unwrap().lines.len();
    bytes.extend(b"{\"event\":\"rep\xf0\x9f");
    let recorded = Recorded::read(&bytes).unwrap();
    assert_eq!(recorded.lines.len(), lines);
    let want = format!("line {} was cut off while it was written; it was dropped", lines + 1);
    assert_eq!(recorded.notice, Some(want));
    assert_eq!(Recorded::read(b"").unwrap(), Recorded::default());
    assert_eq!(Recorded::read(b"{\"ev").unwrap().lines.len(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Recorded::read(&bytes);
    }
}
