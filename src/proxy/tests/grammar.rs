use crate::proxy::{FEATURES, Feature, Formula, Shape, gbnf, grammar};
use crate::random::SplitMix64;
use std::collections::BTreeMap;

/// The alternatives of each rule, each a list of quoted strings and names.
type Rules = BTreeMap<String, Vec<Vec<String>>>;

fn rules(text: &str) -> Rules {
    rules_with(text, ": ")
}

fn rules_with(text: &str, sign: &str) -> Rules {
    let mut rules = Rules::new();
    for line in text.lines() {
        let (name, body) = line.split_once(sign).unwrap();
        let mut alternatives = vec![vec![]];
        let mut rest = body;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => 2 + rest[1..].find('"').unwrap(),
                _ => rest.find(' ').unwrap_or(rest.len()),
            };
            match &rest[..length] {
                "|" => alternatives.push(vec![]),
                symbol => alternatives.last_mut().unwrap().push(symbol.to_string()),
            }
            rest = rest[length..].trim_start_matches(' ');
        }
        assert!(rules.insert(name.to_string(), alternatives).is_none(), "{name} is there twice");
    }
    rules
}

/// A sentence of `symbol`, of the alternatives that `pick` names.
fn sentence(rules: &Rules, symbol: &str, pick: &mut impl FnMut(&[Vec<String>]) -> usize) -> String {
    if let Some(text) = symbol.strip_prefix('"') {
        return text.trim_end_matches('"').to_string();
    }
    let alternatives = &rules[symbol];
    let chosen = &alternatives[pick(alternatives)];
    chosen.iter().map(|s| sentence(rules, s, pick)).collect()
}

fn few() -> Vec<&'static Feature> {
    FEATURES.iter().filter(|f| ["params", "w_err", "a_rms"].contains(&f.name)).collect()
}

#[test]
fn the_text_is_what_constrained_decoders_read() {
    let text = grammar(&few());
    assert!(text.starts_with("start: formula\n") && text.ends_with('\n'), "{text}");
    assert!(text.contains("\nFEATURE: \"params\" | \"a_rms\" | \"w_err\"\n"), "{text}");
    let rules = rules(&text);
    for (name, alternatives) in &rules {
        // Terminals are upper case and hold strings only.
        let terminal = name.chars().all(|c| c.is_ascii_uppercase());
        assert!(terminal || name.chars().all(|c| c.is_ascii_lowercase()), "{name}");
        for symbol in alternatives.iter().flatten() {
            assert!(symbol.starts_with('"') || (!terminal && rules.contains_key(symbol)), "{symbol} in {name}");
        }
    }
    assert_eq!(grammar(&[]), "");
}

#[test]
fn gbnf_has_the_same_sentences() {
    let text = gbnf(&few());
    assert!(text.starts_with("formula ::= sum | product \" if \" condition \" else \" product\n"), "{text}");
    let (lark, other) = (rules(&grammar(&few())), rules_with(&text, " ::= "));
    assert_eq!(lark.len(), other.len() + 1, "all but the start rule");
    for name in other.keys() {
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase()) && !["root", "thought"].contains(&name.as_str()),
            "{name}"
        );
    }
    for seed in 0..300 {
        let draw = |rules: &Rules| {
            let mut random = SplitMix64(seed);
            sentence(rules, "formula", &mut |alternatives| random.below(alternatives.len()))
        };
        assert_eq!(draw(&lark), draw(&other));
    }
    assert_eq!(gbnf(&[]), "");
}

#[test]
fn rules_do_not_refer_to_themselves() {
    let text = grammar(&few());
    let rules = rules(&text);
    let order: Vec<&str> = text.lines().map(|l| l.split_once(':').unwrap().0).collect();
    for (at, name) in order.iter().enumerate() {
        for symbol in rules[*name].iter().flatten().filter(|s| !s.starts_with('"')) {
            assert!(order[at + 1..].contains(&symbol.as_str()), "{symbol} in {name}");
        }
    }
}

#[test]
fn every_sentence_is_a_formula() {
    for features in [few(), FEATURES.iter().collect(), vec![&FEATURES[0]]] {
        let rules = rules(&grammar(&features));
        let mut random = SplitMix64(11);
        let (mut wide, mut choices) = (0, 0);
        for _ in 0..1000 {
            let text = sentence(&rules, "start", &mut |alternatives| random.below(alternatives.len()));
            let formula = Formula::parse(&text).unwrap_or_else(|e| panic!("{text}: {e:#}"));
            assert!(formula.features().iter().all(|f| features.contains(f)), "{text}");
            wide += usize::from(formula.shape() == Shape::Width);
            choices += usize::from(text.contains(" if "));
        }
        assert!(choices > 100 && (features.len() == 1 || wide > 100), "{choices} {wide}");
    }
}

#[test]
fn the_longest_sentences_are_within_the_limits() {
    let rules = rules(&grammar(&FEATURES.iter().collect::<Vec<_>>()));
    let mut largest = (0, 0);
    // Of each rule, every alternative in turn, and the longest of all others.
    for (name, alternatives) in &rules {
        for at in 0..alternatives.len() {
            let mut pick = |of: &[Vec<String>]| {
                let longest = of.iter().enumerate().max_by_key(|(_, a)| (nodes(&rules, a), a.len())).unwrap().0;
                if std::ptr::eq(of, alternatives.as_slice()) { at } else { longest }
            };
            let text = sentence(&rules, "start", &mut pick);
            let formula = Formula::parse(&text).unwrap_or_else(|e| panic!("{name} {at}: {text}: {e:#}"));
            largest = (largest.0.max(formula.nodes()), largest.1.max(formula.depth()));
        }
    }
    assert!(largest.0 > 40 && largest.0 <= 64 && largest.1 <= 16, "{largest:?}");
}

/// Most words that an alternative can become.
fn nodes(rules: &Rules, alternative: &[String]) -> usize {
    let most = |s: &String| match s.strip_prefix('"') {
        Some(text) => usize::from(text.trim_end_matches('"').trim().len() > 1) + usize::from(text.starts_with(' ')),
        None => rules[s].iter().map(|a| nodes(rules, a)).max().unwrap(),
    };
    alternative.iter().map(most).sum()
}
