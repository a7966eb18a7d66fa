//! Aligned columns of text.

use super::format::shorten;

/// Where cells stand in their column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At the left.
    Left,
    /// At the right: numbers.
    Right,
    /// At the left, and the middle is left out when the line is too short.
    Name,
}

/// One column.
pub struct Column<'a> {
    /// Its head.
    pub head: &'a str,
    /// Where cells stand.
    pub align: Align,
    /// One cell a row.
    pub cells: Vec<String>,
}

const GAP: usize = 2;
/// A name is not cut below this, whatever the width.
const LEAST_NAME: usize = 12;

impl Column<'_> {
    fn natural(&self) -> usize {
        self.cells.iter().map(|c| c.chars().count()).chain([self.head.chars().count()]).max().unwrap_or(0)
    }

    fn cell(&self, text: &str, width: usize) -> String {
        let text = shorten(text, width);
        match self.align {
            Align::Right => format!("{text:>width$}"),
            Align::Left | Align::Name => format!("{text:<width$}"),
        }
    }
}

/// Head, rule and rows in lines of at most `width` characters where names can give way.
pub fn table(columns: &[Column], width: usize) -> Vec<String> {
    let is_name = |c: &Column| c.align == Align::Name;
    let fixed: usize = columns.iter().filter(|c| !is_name(c)).map(Column::natural).sum();
    let gaps = GAP * columns.len().saturating_sub(1);
    let names = columns.iter().filter(|c| is_name(c)).count().max(1);
    let room = (width.saturating_sub(fixed + gaps) / names).max(LEAST_NAME);
    let widths: Vec<usize> =
        columns.iter().map(|c| if is_name(c) { c.natural().min(room) } else { c.natural() }).collect();
    let join = |cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns.iter().zip(&widths).map(|(c, w)| c.cell(&cell(c), *w)).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let rows = columns.iter().map(|c| c.cells.len()).max().unwrap_or(0);
    let rule = "─".repeat(widths.iter().sum::<usize>() + gaps);
    let mut lines = vec![join(&|c| c.head.to_owned()), rule];
    lines.extend((0..rows).map(|r| join(&|c| c.cells.get(r).cloned().unwrap_or_default())));
    lines
}
