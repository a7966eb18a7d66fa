use super::strategy;
use crate::proxy::expr::Expr;
use crate::proxy::parse::parse;
use crate::proxy::{Formula, SyntaxError};
use proptest::prelude::*;

#[track_caller]
pub(super) fn reads(source: &str, want: &str) {
    assert_eq!(Formula::parse(source).map(|f| f.to_string()).map_err(|e| e.to_string()), Ok(want.to_string()));
}

#[track_caller]
pub(super) fn fails(source: &str, want: &str) {
    assert_eq!(Formula::parse(source).map(|f| f.to_string()).map_err(|e| e.to_string()), Err(want.to_string()));
}

#[test]
fn prints_as_written() {
    for text in [
        "params",
        "-w_mean",
        "1e-6",
        "w_err * params ** 2",
        "gain * out_noise + 0.1 * mean(w_err) * sqrt(params)",
        "w_err / (a_rms * params) - (a_rms - 1)",
        "1 / w_err",
        "1 / w_err * 1 / a_rms",
        "1 / (1 / w_err)",
        "-(a_rms * w_err) + 2",
        "-a_rms * w_err - -w_mean * 2",
        "(-2) ** a_rms ** -bits",
        "-2 ** bits",
        "max(params, macs, 3)",
        "clip(w_err, 0, 1)",
        "w_err if is_first < 1 and not (depth < 0.5 or is_last <= 0) else 2 * w_err",
        "(1 if depth < 1 else 2) if depth < 2 else 3 if depth < 3 else 4",
        "w_err if (1 if depth < 1 else 2) < bits else 0",
        "(w_err if depth < 1 else 2) * 3",
    ] {
        reads(text, text);
    }
}

#[test]
fn other_spellings() {
    for (text, want) in [
        ("( params )", "params"),
        ("a_rms*w_err**2", "a_rms * w_err ** 2"),
        ("(a_rms * w_err) * params", "a_rms * w_err * params"),
        ("a_rms * (w_err * params)", "a_rms * w_err * params"),
        ("a_rms - (w_err + params)", "a_rms - (w_err + params)"),
        ("a_rms + (w_err + params)", "a_rms + w_err + params"),
        ("--a_rms", "a_rms"),
        ("-+-+-a_rms", "-a_rms"),
        ("+1.50", "1.5"),
        (".5 + 5.", "0.5 + 5"),
        ("1E+3", "1e3"),
        ("0.000001", "1e-6"),
        ("math.log(np.abs(a_rms))", "log(abs(a_rms))"),
        ("pow(a_rms, 2) + np.power(a_rms, 3)", "a_rms ** 2 + a_rms ** 3"),
        ("np.maximum(a_rms, 2)", "max(a_rms, 2)"),
        ("torch.clamp(a_rms, 0, 1)", "clip(a_rms, 0, 1)"),
        ("sum(a_rms)", "total(a_rms)"),
        ("1 if a_rms > 2 else 0", "1 if 2 < a_rms else 0"),
        ("1 if a_rms >= 2 else 0", "1 if 2 <= a_rms else 0"),
        ("1 if not not (a_rms < 2) else 0", "1 if a_rms < 2 else 0"),
        ("max(a_rms, 1,)", "max(a_rms, 1)"),
        ("params\n  * w_err\t", "params * w_err"),
    ] {
        reads(text, want);
    }
}

#[test]
fn precedence_is_pythons() {
    for (text, same) in [
        ("-a_rms ** 2", "-(a_rms ** 2)"),
        ("2 ** 3 ** bits", "2 ** (3 ** bits)"),
        ("a_rms / bits * step", "(a_rms / bits) * step"),
        ("a_rms - bits - step", "(a_rms - bits) - step"),
        ("1 if a_rms < 1 or bits < 2 and step < 3 else 0", "1 if a_rms < 1 or (bits < 2 and step < 3) else 0"),
        ("1 if not a_rms < 1 and bits < 2 else 0", "1 if (not a_rms < 1) and bits < 2 else 0"),
        ("a_rms + 1 if bits < 2 else 3 + step", "(a_rms + 1) if bits < 2 else (3 + step)"),
        ("bits ** -a_rms * 2", "(bits ** (-a_rms)) * 2"),
        ("1 if a_rms + 1 < bits * 2 else 0", "1 if (a_rms + 1) < (bits * 2) else 0"),
    ] {
        assert_eq!(parse(text), parse(same), "{text}");
    }
}

#[test]
fn names_that_are_not_known() {
    fails("w_er * 2", "column 1: unknown feature `w_er`; did you mean `w_err`?");
    fails("2 * PARAMS", "column 5: unknown feature `PARAMS`; did you mean `params`?");
    fails("lgo(params)", "column 1: unknown function `lgo`; did you mean `log`?");
    fails("params * chanels", "column 10: unknown feature `chanels`; did you mean `channels`?");
    fails("np.sqr(params)", "column 1: unknown function `np.sqr`; did you mean `sqrt`?");
    fails("perplexity", "column 1: unknown feature `perplexity`");
    fails("w_err.mean()", "column 1: unknown function `w_err.mean`; did you mean `mean`?");
    fails("__import__('os')", "column 1: unknown function `__import__`");
    fails("params(2)", "column 1: `params` is a feature, not a function; write `*` between factors");
    fails("params * log", "column 10: `log` is a function; write `log(...)`");
    fails("pow + 1", "column 1: `pow` is a function; write `pow(...)`");
    let long = "x".repeat(1000);
    fails(&long, &format!("column 1: unknown feature `{}...`", &long[..40]));
}

#[test]
fn the_first_mistake_is_reported() {
    fails("log(\"os\")", "column 5: `\"` is not in the language");
    fails("nothing * \"os\"", "column 1: unknown feature `nothing`");
    fails("(params * 2 é", "column 13: `é` is not in the language");
    fails("params é", "column 8: `é` is not in the language");
}

#[test]
fn words_of_python() {
    let hint = "a formula is one expression of numbers, features and functions";
    fails("lambda x: 2", &format!("column 1: `lambda` is not in the language; {hint}"));
    fails("1 if True else 0", &format!("column 6: `True` is not in the language; {hint}"));
    fails("a_rms = 2", "column 7: `=` is not in the language; a formula is one expression, nothing is assigned");
    fails("w_err ^ 2", "column 7: `^` is not in the language; write `**` for powers");
    fails("a_rms == 2", "column 7: `==` is not in the language; compare with < <= > >=");
    fails("a_rms // 2", "column 7: `//` is not in the language; division gives a fraction: write `/`");
    fails("a_rms[0]", "column 6: `[` is not in the language; there are no lists; a name stands for all layers at once");
    fails("1 if a_rms < 1 && 2 < 3 else 0", "column 16: `&&` is not in the language; write `and`");
    fails("a_rms ? 1 : 2", "column 7: `?` is not in the language; write `a if condition else b`");
    fails("a_rms; 2", "column 6: `;` is not in the language; a formula is one expression");
    fails("a_rms % 2", "column 7: `%` is not in the language; there is no remainder");
}

#[test]
fn parts_that_are_missing() {
    let operand = "a number, a feature or a function";
    fails("", "column 1: the formula is empty");
    fails("  \n ", "column 5: the formula is empty");
    fails("a_rms *", &format!("column 8: the formula ends where {operand} is needed"));
    fails("a_rms * / 2", &format!("column 9: expected {operand}, found `/`"));
    fails("()", &format!("column 2: expected {operand}, found `)`"));
    fails("a_rms)", "column 6: expected an operator or the end, found `)`");
    fails("2 a_rms", "column 3: expected an operator or the end, found `a_rms`");
    fails("2e", "column 2: expected an operator or the end, found `e`");
    fails("1 2", "column 3: expected an operator or the end, found 2");
    fails("(a_rms * 2", "column 11: the formula ends where `)` is needed; the `(` at column 1 is not closed");
    fails("log(a_rms * 2", "column 14: the formula ends where `)` is needed; the `(` at column 4 is not closed");
    fails("log(a_rms 2)", "column 11: expected `)`, found 2; the `(` at column 4 is not closed");
    fails("a_rms if bits < 2", "column 18: the formula ends where `else` is needed; write `a if condition else b`");
    fails("if a_rms < 2: 3", &format!("column 1: expected {operand}, found `if`"));
    fails("else", &format!("column 1: expected {operand}, found `else`"));
    fails("max(, 2)", &format!("column 5: expected {operand}, found `,`"));
}

#[test]
fn numbers_and_conditions_are_told_apart() {
    let number = "a condition stands where a number is needed; write `a if condition else b`";
    let condition = "a number stands where a condition is needed; compare it: `x > 0`";
    fails("a_rms < 2", &format!("column 1: {number}"));
    fails("2 * (a_rms < 2)", &format!("column 5: {number}"));
    fails("(a_rms < 2) * 2", &format!("column 1: {number}"));
    fails("-(a_rms < 2)", &format!("column 2: {number}"));
    fails("log(a_rms < 2)", &format!("column 5: {number}"));
    fails("(a_rms < 2) ** 2", &format!("column 1: {number}"));
    fails("2 ** (a_rms < 2)", &format!("column 6: {number}"));
    fails("(a_rms < 2) < 3", &format!("column 1: {number}"));
    fails("(1 < 2) if 1 < 2 else 3", &format!("column 1: {number}"));
    fails("1 if 1 < 2 else 2 < 3", &format!("column 17: {number}"));
    fails("1 if is_first else 2", &format!("column 6: {condition}"));
    fails("1 if is_first and bits < 2 else 2", &format!("column 6: {condition}"));
    fails("1 if bits < 2 or 3 else 2", &format!("column 18: {condition}"));
    fails("1 if not is_first else 2", &format!("column 10: {condition}"));
    fails("not not 2", &format!("column 9: {condition}"));
    fails("1 if 1 < bits < 8 else 0", "column 15: comparisons cannot be chained; write `a < b and b < c`");
}

#[test]
fn counts_of_arguments() {
    fails("log()", "column 1: `log` takes 1 argument, not 0");
    fails("2 * log(1, 2)", "column 5: `log` takes 1 argument, not 2");
    fails("max(a_rms)", "column 1: `max` takes 2 or more arguments, not 1");
    fails("clip(a_rms, 2)", "column 1: `clip` takes 3 arguments, not 2");
    fails("pow(a_rms)", "column 1: `pow` takes 2 arguments, not 1");
}

#[test]
fn the_place_is_shown_with_a_caret() {
    let show = |source: &str| Formula::parse(source).unwrap_err();
    assert_eq!(
        format!("{:#}", show("2 * w_er + 1")),
        "column 5: unknown feature `w_er`; did you mean `w_err`?\n  2 * w_er + 1\n      ^"
    );
    let long = format!("{}+ é", "params ".repeat(20));
    assert_eq!(
        format!("{:#}", show(&long)),
        "column 8: expected an operator or the end, found `params`".to_string()
            + &format!("\n  {}\n         ^", &long[..80])
    );
    let late = format!("{} * é", vec!["params"; 20].join(" + "));
    let text = format!("{:#}", show(&late));
    let mut lines = text.lines().skip(1);
    let (line, caret) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(line.chars().nth(caret.chars().count() - 1), Some('é'), "{text}");
}

#[test]
fn errors_become_the_projects() {
    let error: crate::Error = Formula::parse("2 * w_er").unwrap_err().into();
    assert_eq!(error.to_string(), "column 5: unknown feature `w_er` [TQ601]\n  help: did you mean `w_err`?");
    let plain: crate::Error = Formula::parse("").unwrap_err().into();
    assert_eq!(plain.to_string(), "column 1: the formula is empty [TQ601]");
}

fn read(source: &str) -> Result<Expr, SyntaxError> {
    parse(source)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_printed_reads_back(tree in strategy::formula()) {
        prop_assert_eq!(read(&tree.to_string()), Ok(tree));
    }

    #[test]
    fn parentheses_are_minimal(tree in strategy::formula()) {
        let text = tree.to_string();
        let opens: Vec<usize> = text.char_indices().filter(|(_, c)| *c == '(').map(|(i, _)| i).collect();
        for open in opens {
            // The parentheses of calls cannot go.
            if text[..open].ends_with(|c: char| c.is_alphanumeric()) {
                continue;
            }
            let mut level = 0;
            let close = text[open..].char_indices().find(|(_, c)| {
                level += i32::from(*c == '(') - i32::from(*c == ')');
                level == 0
            });
            let close = open + close.unwrap().0;
            let without = format!("{} {} {}", &text[..open], &text[open + 1..close], &text[close + 1..]);
            prop_assert_ne!(read(&without).ok(), Some(tree.clone()), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_the_parser_fail(text in "\\PC{0,80}") {
        if let Err(error) = read(&text) {
            prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
        }
    }

    #[test]
    fn no_tokens_make_the_parser_fail(words in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "+", "-", "*", "/", "**", "<", "<=", ">", ">=", ",", "if", "else", "and", "or", "not",
        "params", "log", "max", "clip", "2", "0", "1e3",
    ]), 0..24)) {
        let text = words.join(" ");
        if let Ok(tree) = read(&text) {
            prop_assert_eq!(read(&tree.to_string()), Ok(tree));
        }
    }
}
