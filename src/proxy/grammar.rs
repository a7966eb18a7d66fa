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
    let with = |reach: &dyn Fn(Reach) -> bool| {
        let fitting = Function::ALL.into_iter().filter(|f| f.spec().most == 1 && reach(f.spec().reach));
        fitting.map(Function::name).collect::<Vec<_>>()
    };
    let mut text = RULES.to_string();
    for (name, words) in [
        ("FEATURE", features.iter().map(|f| f.name).collect()),
        ("FUNCTION", with(&|_| true)),
        ("EACH", with(&|reach| reach == Reach::Each)),
        ("PAIR", vec!["min", "max"]),
        ("NUMBER", NUMBERS.to_vec()),
        ("EXPONENT", EXPONENTS.to_vec()),
    ] {
        let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        text.push_str(&format!("{name}: {}\n", words.join(" | ")));
    }
    text
}
