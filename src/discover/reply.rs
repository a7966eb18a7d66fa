//! Thought and formula out of what a model said.
//!
//! Asked for is `Thought: ...` and `Formula: ...` on lines of their own. Read are also fenced code, Python functions
//! with local variables, assignments, JSON objects, bullets and bold labels, and formulas with prose behind them.
//! Of several formulas the last counts; a labelled one before a returned one before other code before a bare line.

mod label;
mod lines;
mod locals;
mod scan;
#[cfg(test)]
mod tests;

use self::lines::{Find, finds};
use serde::Deserialize;

/// Bytes of a reply that are read; the rest is cut.
pub const MAX_REPLY: usize = 64 * 1024;
/// Characters of a thought that are kept.
const MAX_THOUGHT: usize = 300;

/// What a reply proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The idea, one line; may be empty.
    pub thought: String,
    /// The formula, as it was written.
    pub formula: String,
}

/// Reads a reply; the error is meant for whoever wrote it.
pub fn read(reply: &str) -> Result<Answer, String> {
    let text = plain(answer_part(cut(reply, MAX_REPLY)));
    if let Some(answer) = object(&text) {
        return Ok(answer);
    }
    let found = finds(&text).into_iter().max_by_key(|f| (!f.broken, f.rank, f.line));
    match found {
        Some(Find { formula, line, .. }) => Ok(Answer { thought: thought(&text, line), formula: tidy(&formula) }),
        None if text.trim().is_empty() => Err("the reply is empty; write one line `Formula: ...`".to_owned()),
        None => Err("no formula was found; write one line `Formula: ...`".to_owned()),
    }
}

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// What follows the reasoning of a model that marks it.
fn answer_part(text: &str) -> &str {
    text.rsplit_once("</think>").map_or(text, |(_, answer)| answer)
}

/// Typographic signs as Python writes them, and line ends as `\n`.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '×' | '·' | '∗' | '⋅' => out.push('*'),
            '÷' | '∕' => out.push('/'),
            '−' => out.push('-'),
            '²' => out.push_str("**2"),
            '³' => out.push_str("**3"),
            '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{a0}' | '\r' => out.push(' '),
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A JSON object with a formula, fenced or not.
fn object(text: &str) -> Option<Answer> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default, alias = "Thought")]
        thought: String,
        #[serde(alias = "Formula")]
        formula: String,
    }
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    let Object { thought, formula } = serde_json::from_str(text.get(start..=end)?).ok()?;
    (!formula.trim().is_empty()).then(|| Answer { thought: one_line(&thought), formula: tidy(&formula) })
}

/// The text behind the last label `Thought:` before the formula, else the first line of prose.
fn thought(text: &str, formula_line: usize) -> String {
    let before: Vec<&str> = text.lines().take(formula_line).collect();
    let labelled = before.iter().enumerate().rev().find_map(|(i, line)| Some((i, label::thought(line)?)));
    if let Some((i, first)) = labelled {
        let more = before.iter().skip(i + 1).take_while(|l| !l.trim().is_empty() && !label::opens_code(l));
        return one_line(&std::iter::once(&first).chain(more).copied().collect::<Vec<_>>().join(" "));
    }
    let is_prose = |l: &&&str| l.split_whitespace().count() > 2 && !label::is_code(l);
    one_line(before.iter().find(is_prose).copied().unwrap_or(""))
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_matches(['*', '`', '"', ' ']);
    match line.chars().count() > MAX_THOUGHT {
        true => line.chars().take(MAX_THOUGHT - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

/// One line, without the module that Python's functions come from.
fn tidy(formula: &str) -> String {
    let mut out = formula.split_whitespace().collect::<Vec<_>>().join(" ");
    for module in ["np.", "numpy.", "math.", "torch."] {
        out = without(&out, module);
    }
    cut(out.trim_end_matches([';', ' ']), scan::MAX_FORMULA).to_owned()
}

/// `text` without `module` where a name begins with it.
fn without(text: &str, module: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, part) in text.split(module).enumerate() {
        let inside = out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if i > 0 && inside {
            out.push_str(module);
        }
        out.push_str(part);
    }
    out
}
