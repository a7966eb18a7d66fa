//! The family of the winner as a drawing: one row an ancestor, generations from left to right.

use super::outcome::Outcome;
use super::plots::{class, title};
use super::population::Candidate;
use crate::report::format::{clean, shorten};
use crate::report::svg::Svg;

/// Ancestors that are drawn; older ones are only counted.
const MOST: usize = 30;
const WIDTH: f64 = 1000.0;
const ROW: f64 = 26.0;
const TOP: f64 = 30.0;
/// Where the generations end and the words begin.
const WORDS: f64 = 250.0;

/// The winner above its ancestors, the latest first; none where the winner has no parents.
pub fn family(outcome: &Outcome) -> Option<String> {
    let family = outcome.family();
    if family.len() < 2 {
        return None;
    }
    let hidden = family.len().saturating_sub(MOST);
    let shown: Vec<&Candidate> = family.into_iter().take(MOST).collect();
    let rows = shown.len() + usize::from(hidden > 0);
    let mut svg = Svg::new(WIDTH, TOP + ROW * rows as f64 + 8.0, "Family of the winner");
    let last = shown.iter().map(|c| c.generation).max().unwrap_or(0).max(1);
    let at = |row: usize, c: &Candidate| {
        let x = 16.0 + (WORDS - 46.0) * c.generation as f64 / last as f64;
        (x, TOP + ROW * (row as f64 + 0.5))
    };
    for (i, generation) in [0, last].into_iter().enumerate() {
        let x = 16.0 + (WORDS - 46.0) * i as f64;
        svg.text((x, 14.0), if i == 0 { "start" } else { "end" }, "tick", &format!("generation {generation}"));
        svg.line((x, TOP - 8.0), (x, TOP + ROW * shown.len() as f64), "grid");
    }
    for (row, child) in shown.iter().enumerate() {
        for (other, parent) in shown.iter().enumerate().filter(|(_, p)| child.parents.contains(&p.id)) {
            // Of one generation, they stand above each other with others between them.
            let between = other.abs_diff(row).saturating_sub(1) as f64;
            let bow = if child.generation == parent.generation { (between * 14.0).min(60.0) } else { 0.0 };
            svg.curve(at(row, child), at(other, parent), bow, "kin");
        }
    }
    for (row, c) in shown.iter().enumerate() {
        let (x, y) = at(row, c);
        svg.dot((x, y), if row == 0 { 7.0 } else { 5.0 }, &class(c.origin), &title(c));
        svg.text((WORDS, y + 4.0), "start", "tick", &format!("#{}", c.id));
        svg.text((WORDS + 44.0, y + 4.0), "start", "tick", c.origin.name());
        svg.text((WORDS + 160.0, y + 4.0), "end", "axis", &format!("{:.4}", c.total));
        svg.text((WORDS + 176.0, y + 4.0), "start", "formula", &shorten(&clean(&c.formula), 78));
    }
    if hidden > 0 {
        let text = format!("… and {hidden} older ones");
        svg.text((WORDS, TOP + ROW * (rows as f64 - 0.5) + 4.0), "start", "tick", &text);
    }
    Some(svg.finish())
}
