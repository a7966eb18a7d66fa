use super::toy::*;
use crate::discover::plots::ranks;
use crate::discover::*;

fn sample() -> Outcome {
    let mut task = task();
    task.given = vec!["a*3+b*1".to_owned()];
    let mut outcome = play_moody(&task).0;
    let points = (0..40).map(|i| (f64::from(i * i), f64::from((i * 7) % 11 + i) * 1e-3)).collect();
    outcome.scatters = vec![Scatter { network: "a <net>".to_owned(), points }];
    outcome
}

/// Every element is closed in order; void elements and the script are left out.
fn is_balanced(page: &str) -> bool {
    let page = page.split("<script>").next().unwrap();
    let mut open: Vec<&str> = vec!["html"];
    for tag in page.split('<').skip(3).filter_map(|t| t.split('>').next()) {
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            Some(_) => {}
            None if tag.ends_with('/') || ["meta", "br", "!DOCTYPE"].contains(&name) => {}
            None => open.push(name),
        }
    }
    open == ["html", "body"]
}

#[test]
fn a_page_shows_the_run_and_loads_nothing() {
    let outcome = sample();
    let page = html(&outcome).unwrap();
    if let Ok(path) = std::env::var("TAPQ_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    assert!(is_balanced(&page));
    assert_eq!(page.matches("<svg").count(), 4);
    for word in ["Fitness by generation", "Family of the winner", "Final population", "crossover", "script"] {
        assert!(page.contains(word), "{word}");
    }
    assert!(page.contains(&outcome.winner().unwrap().formula));
    let elsewhere = ["src=", "href=", "url(", "@import", "http://", "https://", "NaN", "inf\""];
    let body = page.split("<script>").next().unwrap();
    assert!(elsewhere.iter().all(|w| !body.contains(w)));
    assert_eq!(page, html(&sample()).unwrap());
}

#[test]
fn runs_without_a_formula_have_a_page_and_a_text_too() {
    let dead = |_: &Ask, _: usize| Err(crate::Error::new(crate::Code::Proposer, "connection refused"));
    let (outcome, bytes) = play(&task(), &Toy::default(), &mut Script(dead, 0));
    let page = html(&outcome).unwrap();
    assert!(page.contains("no formula was found") && is_balanced(&page));
    assert!(text(&outcome, 80).contains("WARNING     no formula was found: no answer could be used\n"));
    let header = bytes.split_inclusive(|b| *b == b'\n').next().unwrap();
    let outcome = Outcome::of(&Recorded::read(header).unwrap()).unwrap();
    assert!(html(&outcome).unwrap().contains("This run has not ended"));
    assert!(text(&outcome, 80).starts_with("proposer    script\nended       not yet\n"));
}

#[test]
fn what_a_model_says_stays_text() {
    struct Open;
    impl Judge for Open {
        fn parse(&self, formula: &str) -> Result<Parsed, String> {
            Ok(Parsed { canonical: formula.to_owned(), fingerprint: formula.to_owned(), degenerate: false })
        }
        fn fitness(&self, _: &str) -> crate::Result<Fitness> {
            Ok(Fitness { notes: vec!["<b>note</b>".to_owned()], ..Fitness::default() })
        }
        fn random(&self, _: u64) -> String {
            String::new()
        }
        fn mutate(&self, _: &str, _: u64) -> String {
            String::new()
        }
        fn crossover(&self, _: &str, _: &str, _: u64) -> String {
            String::new()
        }
    }
    let evil = |_: &Ask, n: usize| {
        says(format!("Thought: <script>alert({n})</script>\u{1b}[2J\u{202e}\nFormula: a<{n}</script><img src=x>"))
    };
    let (mut outcome, _) = play(&task(), &Open, &mut Script(evil, 0));
    outcome.header.proposer = "<img src=x onerror=alert(1)>".to_owned();
    let page = html(&outcome).unwrap();
    assert!(is_balanced(&page));
    assert!(!page.contains("<img") && !page.contains("<b>note") && !page.contains("<script>alert"));
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
    let text = text(&outcome, 80);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
}

#[test]
fn a_text_fits_its_columns() {
    let outcome = sample();
    for columns in [60, 80, 120] {
        let text = text(&outcome, columns);
        assert!(text.lines().all(|l| l.chars().count() <= columns), "{text}");
    }
    let text = text(&outcome, 100);
    if std::env::var("TAPQ_PAGE").is_ok() {
        println!("{text}");
    }
    assert!(text.starts_with("proposer    script\nended       all 8 generations were run\nwinner      a*"));
    assert!(text.contains("\ngen    best    mean  initialise  mutate  crossover  pairs\n"));
}

#[test]
fn each_network_has_its_figures() {
    let mut outcome = sample();
    let network = |name: &str| Network { name: name.to_owned(), target: "fpga".to_owned(), ..Network::default() };
    outcome.header.networks = vec![network("first <net>"), network("second")];
    let on = |spearman| OnNetwork { spearman, equal_size: Some(0.4321), ..OnNetwork::default() };
    let winner = outcome.winner().unwrap().id;
    for candidate in outcome.candidates.iter_mut().filter(|c| c.id == winner) {
        candidate.fitness.networks = vec![on(0.9876), on(0.5)];
    }
    let page = html(&outcome).unwrap();
    assert!(is_balanced(&page) && page.contains("The winner on each network"));
    assert!(page.contains("0.9876") && page.contains("first &lt;net&gt;"), "{page}");
    let text = text(&outcome, 80);
    assert!(text.contains("second on fpga") && text.contains("0.432"), "{text}");
}

#[test]
fn equal_values_share_their_rank() {
    assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    assert_eq!(ranks(&[]), Vec::<f64>::new());
}
