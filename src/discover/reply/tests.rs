use super::*;
use proptest::prelude::*;

fn check(reply: &str, formula: &str) {
    assert_eq!(read(reply).map(|a| a.formula), Ok(formula.to_owned()), "{reply}");
}

#[test]
fn the_asked_form() {
    let answer = read("Thought: big ranges\nhurt more.\nFormula: log1p(w_range) * a_l2").unwrap();
    assert_eq!(answer.thought, "big ranges hurt more.");
    assert_eq!(answer.formula, "log1p(w_range) * a_l2");
}

#[test]
fn labels_in_many_dresses() {
    check("**Formula:** `a*b + c`", "a*b + c");
    check("**Formula**: a*b", "a*b");
    check("- New formula: a*b", "a*b");
    check("2. Final Formula: a*b", "a*b");
    check("> formula : a*b", "a*b");
    check("### Formula:\n\n```python\nmax(a, b) / c\n```\nThis is better.", "max(a, b) / c");
    check("Formula:\n a * b", "a * b");
    check("Formula: f = a*b", "a*b");
    check("Formula: f(a, b) = a*b", "a*b");
    check("Formula: score = return a*b", "a*b");
    check("Formula: lambda a, b: a*b", "a*b");
    check("Formula: $a*b$", "a*b");
    check("Proxy score: a*b", "a*b");
    check("FORMULA: a*b", "a*b");
    check("Formula: w_l2", "w_l2");
    check("Formula: \"a*b\"", "a*b");
    check("Formula:a*b;", "a*b");
}

#[test]
fn prose_behind_a_formula_is_cut() {
    check("Formula: a*b which weighs a by b", "a*b");
    check("Formula: a*b, where a is the range.", "a*b");
    check("Formula: a*b. It is good.", "a*b");
    check("Formula: a*2. It is good.", "a*2");
    check("Formula: `a*b` because a matters", "a*b");
    check("Formula: a*b  # product", "a*b");
    check("Formula: a*b (because it is the product)", "a*b");
    check("Formula: a*b — the product", "a*b");
    check("Formula: w_l2 is enough", "w_l2");
}

#[test]
fn python() {
    check("def score(a, b):\n    return a * b\n", "a * b");
    check(
        "```python\ndef f(a: float, b) -> float:\n    x = np.log1p(a)\n    y = x + 1\n    return x * y\n```",
        "(log1p(a)) * ((log1p(a)) + 1)",
    );
    check("f = a*b", "a*b");
    check("x = a + 1\nx = x * 2\nreturn x", "((a + 1) * 2)");
    check("score = (\n    a\n    + b\n)", "( a + b )");
    check("return (a +\n  b)", "(a + b)");
    check("import numpy as np\nscore = np.sqrt(a) * math.exp(b)", "sqrt(a) * exp(b)");
    check("Formula: a if b > c else d", "a if b > c else d");
    check("Formula: a ** 2 // b", "a ** 2 // b");
}

#[test]
fn the_last_formula_counts_and_labels_before_code_before_bare_lines() {
    check("Formula: a*b\nNo, better:\nFormula: a*c", "a*c");
    check("Formula: a*b\n```\na*c\n```\na*d", "a*b");
    check("a*b\n```\na*c\n```\na*d\nthanks", "a*c");
    check("a*b\n\na*c\nHope this helps!", "a*c");
    check("I suggest `a*b` here.", "a*b");
    check("Formula: none so far\nfinal = a*c", "a*c");
}

#[test]
fn other_wrappings() {
    check("{\"thought\": \"t\", \"formula\": \"a*b\"}", "a*b");
    check("Sure!\n```json\n{\"Thought\": \"t\", \"Formula\": \"a*b\"}\n```", "a*b");
    check("<think>Formula: a*x</think>\nFormula: a*b", "a*b");
    check("Formula: a × b − c²", "a * b - c**2");
    check("Formula: a*b\r\nThanks\r\n", "a*b");
}

/// What goes wrong inside a labelled formula is left to the parser, whose message says how.
#[test]
fn a_broken_formula_reaches_the_parser() {
    check("Formula: max(a, b", "max(a, b");
    check("Formula: w['x'] * 2", "w['x'] * 2");
    check("Formula: a * * b", "a * * b");
    check("Formula: __import__('os')", "__import__('os')");
    check("Formula: max(a, b\nFormula: a*b\nFormula: (c", "a*b");
}

#[test]
fn no_formula() {
    for reply in ["I cannot help with that.", "Formula:", "Formula: none", "Thought: a*b", "```\n```", "42"] {
        let want = matches!(reply, "Formula: none").then(|| "none".to_owned());
        assert_eq!(read(reply).ok().map(|a| a.formula), want, "{reply}");
    }
    assert_eq!(read(" \n").unwrap_err(), "the reply is empty; write one line `Formula: ...`");
}

#[test]
fn thoughts() {
    let thought = |reply: &str| read(reply).unwrap().thought;
    assert_eq!(thought("**Thought:** *ranges*\n\nFormula: a*b"), "ranges");
    assert_eq!(thought("The range of weights matters.\nFormula: a*b"), "The range of weights matters.");
    assert_eq!(thought("Formula: a*b\nThought: too late"), "");
    let long = format!("Thought: {}\nFormula: a*b", "very ".repeat(1000));
    assert_eq!(thought(&long).chars().count(), 300);
    assert_eq!(thought("Thought: x\nFormula: a\nThought: y\nFormula: a*b"), "y");
}

#[test]
fn long_replies_are_cut_and_stay_fast() {
    let late = format!("{}\nFormula: a*b", "é".repeat(MAX_REPLY));
    assert!(read(&late).is_err());
    let early = format!("Formula: a*b\n{}", "é".repeat(MAX_REPLY));
    check(&early, "a*b");
    for unit in ["(\n", "Formula: (\n", "f = a\n", "a+\n", "`", "x = x*x\n", "return (", "Formula:\n", "```\n"] {
        let _ = read(&unit.repeat(1 << 16));
    }
    // Not cut where it happens to end, but handed on as it is, so that the parser refuses its length.
    assert_eq!(read(&format!("Formula: {}a", "a+".repeat(4000))).map(|a| a.formula.len()), Ok(4096));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(?s).{0,400}") {
        let _ = read(&text);
    }

    #[test]
    fn formula_like_text_is_survived(
        parts in prop::collection::vec(prop::sample::select(vec![
            "Formula:", "Thought:", "\n", " ", "`", "```", "a", "b_1", "(", ")", "*", "=", "-", "f = ", "return ", "def f(x):", ",",
            "2.", "1e", "é", "\u{0}", "{", "}", "\"formula\":", "lambda x:", "not ", " if ", "#", "np.", "**", "</think>",
        ]), 0..60)
    ) {
        if let Ok(answer) = read(&parts.concat()) {
            prop_assert!(!answer.formula.is_empty());
            prop_assert!(!answer.formula.contains('\n') && !answer.thought.contains('\n'));
            prop_assert!(answer.thought.chars().count() <= 300);
        }
    }

    #[test]
    fn a_plain_formula_comes_back(terms in prop::collection::vec("[a-z]{1,4}_[a-z]", 1..6), prose in "([A-Z][a-z]{2,6} ){0,4}") {
        let formula = terms.join(" * ");
        let answer = read(&format!("Thought: {prose}\nFormula: {formula}\n{prose}")).unwrap();
        prop_assert_eq!(answer.formula, formula);
    }
}
