//! Every place of a reply where a formula may stand.

use super::label;
use super::locals::Locals;
use super::scan::{Scan, scan};

/// Lines that are looked at, from the end.
const MAX_LINES: usize = 400;

/// How sure it is that a formula was meant, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A line that reads as an expression.
    Bare,
    /// Fenced, between backticks, or assigned to a name.
    Code,
    /// Returned from a function.
    Returned,
    /// Behind a label.
    Labelled,
}

/// A formula that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// Its text.
    pub formula: String,
    /// Whether it does not read as an expression to its end.
    pub broken: bool,
    /// How sure it is that it was meant.
    pub rank: Rank,
    /// Number of its line, from 0.
    pub line: usize,
}

/// All finds, in order of their lines.
pub fn finds(text: &str) -> Vec<Find> {
    let mut finds = vec![];
    let mut locals = Locals::default();
    let mut fenced = false;
    let skip = text.lines().count().saturating_sub(MAX_LINES);
    let mut start = 0;
    for (number, line) in text.split('\n').enumerate() {
        let rest = text.get(start..).unwrap_or_default();
        start += line.len() + 1;
        if label::is_fence(line) {
            fenced = !fenced;
            continue;
        }
        if number < skip || line.trim().is_empty() {
            continue;
        }
        if label::is_function(line) {
            locals.clear();
            continue;
        }
        finds.extend(find(rest, line, fenced, &mut locals).map(|(formula, broken, rank)| Find {
            formula,
            broken,
            rank,
            line: number,
        }));
    }
    finds
}

/// The formula of one line; `rest` is the text from the line's start on, since a formula may go on below.
fn find(rest: &str, line: &str, fenced: bool, locals: &mut Locals) -> Option<(String, bool, Rank)> {
    if let Some(value) = label::formula(line) {
        let text = from(rest, line, value);
        // The label may stand alone, above the formula or above a fence.
        let text = if value.trim_matches(['`', ' ', '$']).is_empty() { below(rest) } else { text };
        return labelled(label::expression(text))
            .map(|(formula, broken)| (locals.inline(&formula), broken, Rank::Labelled));
    }
    let bare = label::without_bullet(line);
    let text = from(rest, line, bare);
    if label::thought(line).is_some() {
        return None;
    }
    if bare.starts_with("return ") || bare.starts_with("return(") {
        return labelled(label::expression(text))
            .map(|(formula, broken)| (locals.inline(&formula), broken, Rank::Returned));
    }
    if let Some((name, value)) = label::assignment(bare) {
        let value = label::expression(from(rest, line, value));
        let Scan::Expression { end, prose: false, .. } = scan(value) else { return None };
        let formula = value.get(..end)?;
        let whole = locals.inline(formula);
        locals.assign(name, formula);
        return Some((whole, false, Rank::Code));
    }
    let whole = |text: &str| match scan(text) {
        Scan::Expression { end, composite: true, prose: false } => text.get(..end).map(str::to_owned),
        _ => None,
    };
    if let Some(formula) = whole(label::expression(text)) {
        let rank = if fenced || bare.starts_with('`') { Rank::Code } else { Rank::Bare };
        return Some((locals.inline(&formula), false, rank));
    }
    let quoted = bare.split('`').skip(1).step_by(2).filter_map(|code| whole(label::expression(code))).last()?;
    Some((quoted, false, Rank::Code))
}

/// The expression behind a label, whole or broken.
fn labelled(text: &str) -> Option<(String, bool)> {
    match scan(text) {
        // One word with words behind it is a sentence, unless the word is a feature's name.
        Scan::Expression { end, composite, prose } => {
            let formula = text.get(..end)?;
            (composite || !prose || formula.contains('_')).then(|| (formula.to_owned(), false))
        }
        Scan::Broken => {
            let line = text.lines().next()?.trim_end_matches(['`', ' ', '*']);
            (!line.is_empty()).then(|| (line.to_owned(), true))
        }
        Scan::Nothing => None,
    }
}

/// `rest` from where `part`, an end of its first line `line`, begins.
fn from<'t>(rest: &'t str, line: &str, part: &str) -> &'t str {
    rest.get(line.len() - part.len().min(line.len())..).unwrap_or_default()
}

/// The text from the first line on that says something, fences passed over.
fn below(rest: &str) -> &str {
    let mut text = rest;
    for _ in 0..4 {
        text = text.split_once('\n').map_or("", |(_, below)| below);
        let line = text.lines().next().unwrap_or_default();
        if !line.trim().is_empty() && !label::is_fence(line) && !label::is_function(line) {
            return text;
        }
    }
    ""
}
