//! The page: a section a question.

use super::Args;
use super::table::Table;
use tapq::proxy::DEFAULT_PROXY;

/// One question with its table.
pub struct Section {
    title: String,
    about: String,
    table: Table,
    notes: Vec<String>,
}

impl Section {
    /// A section; none where the table is empty.
    pub fn of(title: &str, about: &str, table: Table, notes: Vec<String>) -> Option<Section> {
        (!table.is_empty()).then(|| Section { title: title.to_owned(), about: about.to_owned(), table, notes })
    }
}

/// The whole page, the same bytes for the same cells.
pub fn page(args: &Args, sections: &[Section], skipped: &[String]) -> String {
    let mut text = format!(
        "# Experiments\n\nWritten by `xtask experiments`; do not edit. Target {}, {} calibration samples, benches of {} \
         configurations with {} samples held apart, searches of {} + {} x {} formulas with {} seeds, files compared on {} \
         evaluation samples. The default proxy was `{DEFAULT_PROXY}`.\n",
        args.target,
        args.samples,
        args.configurations,
        args.held_out,
        args.size.population,
        args.size.generations,
        args.size.children,
        args.seeds,
        args.eval,
    );
    for section in sections {
        text += &format!("\n## {}\n\n{}\n\n{}", section.title, section.about, section.table.markdown());
        for note in &section.notes {
            text += &format!("\n{note}\n");
        }
    }
    if !skipped.is_empty() {
        text += "\n## Left out\n\n";
        text += &skipped.iter().map(|line| format!("- {line}\n")).collect::<String>();
    }
    text
}
