use crate::discover::{Event, Outcome, Recorded};
use crate::proxy::{Formula, ProxyFile, baseline, default_proxy, replay};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proxy/discovered")
}

/// Every transcript that is shipped, with the proxy file beside it.
fn shipped() -> Vec<(PathBuf, Vec<u8>, String)> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    found.sort();
    let read = |p: PathBuf| {
        let (bytes, yaml) = (std::fs::read(&p).unwrap(), std::fs::read_to_string(p.with_extension("yaml")));
        (p.clone(), bytes, yaml.unwrap_or_else(|e| panic!("{} has no proxy beside it: {e}", p.display())))
    };
    found.into_iter().map(read).collect()
}

#[test]
fn shipped_transcripts_give_the_shipped_proxies() {
    let all = shipped();
    assert!(!all.is_empty());
    for (path, bytes, yaml) in all {
        let place = path.display();
        let (outcome, proxy) = replay(&bytes).unwrap_or_else(|e| panic!("{place}: {e}"));
        let recorded = Outcome::of(&Recorded::read(&bytes).unwrap()).unwrap();
        assert_eq!(outcome.winner(), recorded.winner(), "{place}");
        assert_eq!(proxy.unwrap().print().unwrap(), yaml, "{place}");
        assert_eq!(ProxyFile::parse(&yaml, "shipped").unwrap().print().unwrap(), yaml, "{place}");
    }
}

#[test]
fn the_default_proxy_is_the_winner_of_a_shipped_search() {
    let default = default_proxy().unwrap();
    let provenance = default.provenance.clone().expect("where the default comes from");
    let winner = |(_, _, yaml): &(PathBuf, Vec<u8>, String)| ProxyFile::parse(yaml, "shipped").unwrap();
    let found = shipped().iter().map(winner).find(|proxy| proxy.provenance.as_ref() == Some(&provenance)).unwrap();
    assert_eq!(found.formula.fingerprint(), default.formula.fingerprint());
    assert_eq!(found.measured, default.measured);
    let (_, bytes, _) = shipped().into_iter().find(|(_, _, yaml)| yaml.contains(&provenance.transcript)).unwrap();
    let told = |e: &Event| match e {
        Event::Given { formula } => Formula::parse(formula).unwrap().fingerprint() == default.formula.fingerprint(),
        _ => false,
    };
    assert!(!Recorded::read(&bytes).unwrap().events.iter().any(told), "the search was told its winner");
}

#[test]
fn a_language_model_found_the_gain_too() {
    let gain = baseline("gain").unwrap().unwrap().formula.fingerprint();
    let by_a_model = shipped().into_iter().filter(|(_, _, yaml)| {
        let proxy = ProxyFile::parse(yaml, "shipped").unwrap();
        let model = proxy.provenance.as_ref().map_or("none", |p| p.model.as_str());
        model != "none" && proxy.formula.fingerprint() == gain
    });
    assert_eq!(by_a_model.count(), 1);
}

/// A transcript with one line changed.
fn changed(bytes: &[u8], change: impl Fn(&mut Event) -> bool) -> Vec<u8> {
    let mut recorded = Recorded::read(bytes).unwrap();
    assert!(recorded.events.iter_mut().any(change), "nothing was changed");
    recorded.events.iter().map(|e| e.to_line().unwrap() + "\n").collect::<String>().into_bytes()
}

#[test]
fn what_does_not_follow_is_noticed() {
    let (_, bytes, _) = shipped().remove(0);
    let fails = |bytes: Vec<u8>| replay(&bytes).unwrap_err().to_string();
    let better = changed(&bytes, |e| match e {
        Event::Fitness { total, .. } => {
            *total += 0.25;
            true
        }
        _ => false,
    });
    assert!(fails(better).contains("departs from the transcript"));
    let other = changed(&bytes, |e| match e {
        Event::End(end) => {
            end.winner = end.winner.map(|w| w + 1);
            true
        }
        _ => false,
    });
    assert!(fails(other).contains("departs from the transcript"));
    let reply = changed(&bytes, |e| match e {
        Event::Reply(reply) => {
            reply.text = "Formula: params * quarter".to_owned();
            true
        }
        _ => false,
    });
    assert!(fails(reply).contains("transcript"));
    let cut = &bytes[..bytes.len() - 5];
    assert!(fails(cut.to_vec()).contains("ends before its run did"));
    assert!(fails(vec![]).contains("empty"));
}
