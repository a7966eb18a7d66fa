//! A grammar of the language, for decoders that only let a language model write what the grammar allows.
//!
//! It is a part of the language: every sentence is a formula within the limits, which is why its rules do not refer to
//! themselves. Only names are left open: which features may be used is the caller's choice.

use super::feature::Feature;
use super::function::{Function, Reach};

/// Numbers that sentences may hold.
const NUMBERS: [&str; 8] = ["2", "3", "4", "10", "0.5", "0.25", "0.1", "1e-6"];

/// Exponents that sentences may hold.
const EXPONENTS: [&str; 4] = ["2", "0.5", "1.5", "3"];

/// From the whole down to single names; a rule only refers to later ones.
const RULES: &str = r#"start: formula
formula: sum | product " if " condition " else " product
sum: product | product " + " product | product " - " product
product: factor | factor " * " factor | factor " / " factor | factor " * " factor " * " factor | factor " * " factor " / " factor
factor: atom | NUMBER | FUNCTION "(" inner ")" | PAIR "(" atom ", " atom ")" | "(" inner ")"
inner: atom | atom " + " atom | atom " - " atom | atom " * " atom | atom " / " atom | atom " + " NUMBER
condition: atom " < " NUMBER | atom " > " NUMBER | atom " < " atom | atom " > " atom
atom: FEATURE | FEATURE " ** " EXPONENT | EACH "(" FEATURE ")"
"#;

/// The grammar in Lark's notation, as llguidance and other constrained decoders read it.
///
/// Sentences name `features` and nothing else; with no feature there is no grammar, and the text is empty.
pub fn grammar(features: &[&Feature]) -> String {
    if features.is_empty() {
        return String::new();
    }
    let words = words(features).into_iter().map(|(name, words)| format!("{name}: {}\n", quoted(&words)));
    RULES.to_owned() + &words.collect::<String>()
}

/// The same sentences in GBNF, as servers built on llama.cpp and others read it; the start rule is `formula`.
///
/// The names `root` and `thought` are left to whoever puts lines around the formula.
pub fn gbnf(features: &[&Feature]) -> String {
    if features.is_empty() {
        return String::new();
    }
    let rules = RULES.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| *name != "start");
    // Lark tells rules from terminals by their case, GBNF has only rules.
    let lower = |body: &str| -> String {
        let parts = body.split('"').enumerate();
        parts.map(|(i, part)| if i % 2 == 1 { format!("\"{part}\"") } else { part.to_ascii_lowercase() }).collect()
    };
    let rules = rules.map(|(name, body)| format!("{name} ::= {}\n", lower(body)));
    let words = words(features).into_iter();
    let words = words.map(|(name, words)| format!("{} ::= {}\n", name.to_ascii_lowercase(), quoted(&words)));
    rules.chain(words).collect()
}

/// The words of each terminal.
fn words(features: &[&Feature]) -> [(&'static str, Vec<&'static str>); 6] {
    let with = |reach: &dyn Fn(Reach) -> bool| {
        let fitting = Function::ALL.into_iter().filter(|f| f.spec().most == 1 && reach(f.spec().reach));
        fitting.map(Function::name).collect::<Vec<_>>()
    };
    [
        ("FEATURE", features.iter().map(|f| f.name).collect()),
        ("FUNCTION", with(&|_| true)),
        ("EACH", with(&|reach| reach == Reach::Each)),
        ("PAIR", vec!["min", "max"]),
        ("NUMBER", NUMBERS.to_vec()),
        ("EXPONENT", EXPONENTS.to_vec()),
    ]
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" | ")
}
