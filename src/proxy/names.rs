//! What a name in a formula stands for.

use super::feature::{FEATURES, Feature, feature};
use super::function::Function;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    Feature(&'static Feature),
    Function(Function),
    /// `pow(a, b)`, which is `a ** b`.
    Power,
    Unknown,
}

/// Modules that Python's functions come from; they may stand before a function.
const MODULES: [&str; 4] = ["math.", "np.", "numpy.", "torch."];

/// Other spellings of functions.
pub(super) const ALIASES: [(&str, Function); 8] = [
    ("absolute", Function::Abs),
    ("fabs", Function::Abs),
    ("ln", Function::Log),
    ("maximum", Function::Max),
    ("minimum", Function::Min),
    ("clamp", Function::Clip),
    ("sum", Function::Total),
    ("average", Function::Mean),
];

/// Python's words that cannot be names.
const RESERVED: [&str; 18] = [
    "None", "True", "False", "lambda", "for", "in", "is", "def", "return", "import", "from", "while", "class", "del",
    "yield", "with", "try", "pass",
];

pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

pub(super) fn meaning(name: &str) -> Meaning {
    if let Some(feature) = feature(name) {
        return Meaning::Feature(feature);
    }
    let bare = MODULES.iter().find_map(|module| name.strip_prefix(module)).unwrap_or(name);
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == bare).map(|(_, function)| *function);
    match Function::named(bare).or_else(alias) {
        Some(function) => Meaning::Function(function),
        None if matches!(bare, "pow" | "power") => Meaning::Power,
        None => Meaning::Unknown,
    }
}

/// The feature or function whose name is nearest to `name`, where one is near enough to be meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let limit = (name.len() / 3).max(1);
    let functions = Function::ALL.into_iter().map(Function::name);
    let known = FEATURES.iter().map(|f| f.name).chain(functions);
    // The distance is at least the difference in length.
    let near = known.filter(|k| k.len().abs_diff(name.len()) <= limit);
    near.map(|k| (edits(&name, k), k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Levenshtein distance in bytes, where two swapped neighbours count once.
fn edits(a: &str, b: &str) -> usize {
    let mut before: Vec<usize> = vec![];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last = 0;
    for (i, x) in a.bytes().enumerate() {
        let mut next = vec![i + 1];
        let mut left = (i + 1, 0);
        for (j, y) in b.bytes().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut best = (cell(&row, j) + usize::from(x != y)).min(left.0 + 1).min(cell(&row, j + 1) + 1);
            if i > 0 && j > 0 && x == left.1 && last == y {
                best = best.min(cell(&before, j - 1) + 1);
            }
            next.push(best);
            left = (best, y);
        }
        last = x;
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}
