use super::parse::{fails, reads};
use crate::proxy::Formula;

#[test]
fn numbers_out_of_range() {
    let range = "numbers are 0 or 1e-12 to 1e12 in magnitude";
    fails("1e999", &format!("column 1: the number 1e999 is out of range; {range}"));
    fails("a_rms + 1e-13", &format!("column 9: the number 1e-13 is out of range; {range}"));
    fails(&"9".repeat(1999), &format!("column 1: the number 999999999999999999999999... is out of range; {range}"));
    reads("1e12 + 1e-12 + 0 + 0.0", "1e12 + 1e-12 + 0 + 0");
}

#[test]
fn foreign_characters() {
    fails("a_rms × 2", "column 7: `×` is not in the language");
    fails("π", "column 1: `π` is not in the language");
    fails("a_rms\0", "column 6: `\\0` is not in the language");
    fails("a_rms \u{202e}", "column 7: `\\u{202e}` is not in the language");
    fails("# params", "column 1: `#` is not in the language");
    fails("`params`", "column 1: ``` is not in the language");
    fails("$params$", "column 1: `$` is not in the language");
    fails("[params]", "column 1: `[` is not in the language; there are no lists; a name stands for all layers at once");
}

#[test]
fn sizes() {
    let long = format!("params{}", " + 1".repeat(500));
    fails(&long, "column 1: the formula is 2006 bytes long, more than 2000");
    let wide = |n| vec!["params"; n].join(" + ");
    assert!(Formula::parse(&wide(32)).is_ok());
    fails(&wide(33), "column 1: the formula has 65 numbers, names and operators, more than 64; make it simpler");
    let deep = |n| format!("{}params{}", "log(".repeat(n), ")".repeat(n));
    assert!(Formula::parse(&deep(15)).is_ok());
    fails(&deep(16), "column 1: the formula has 17 levels, more than 16; make it simpler");
}

#[test]
fn hostile_texts_end_in_an_error() {
    let inside = "more than 32 brackets, powers and conditionals inside each other; make it simpler";
    fails(&"(".repeat(1_000_000), "column 1: the formula is 1000000 bytes long, more than 2000");
    fails(&"(".repeat(2000), &format!("column 33: {inside}"));
    fails(&"log(".repeat(500), &format!("column 129: {inside}"));
    fails(&"2**".repeat(600), &format!("column 97: {inside}"));
    fails(&"1 if 1<2 else ".repeat(140), &format!("column 449: {inside}"));
    fails(&format!("{}2", "2 ** -".repeat(300)), &format!("column 192: {inside}"));
    let signs = format!("{}params", "-".repeat(1990));
    reads(&signs, "params");
    let opposites = format!("1 if {}2 < 3 else 4", "not ".repeat(490));
    reads(&opposites, "1 if 2 < 3 else 4");
    assert!(Formula::parse(&"\0".repeat(2000)).is_err());
}
