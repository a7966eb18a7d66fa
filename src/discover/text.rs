//! The run on a terminal.

use super::html::{figure, refusal};
use super::judge::OnNetwork;
use super::outcome::Outcome;
use super::per_template::TEMPLATES;
use super::population::Candidate;
use super::transcript::Network;
use crate::report::columns::{Align, Column, table};
use crate::report::format::{clean, count, percent, plural, together, wrap};

/// Columns that labels take.
const LABEL: usize = 12;
/// Refusals that are listed.
const REFUSALS: usize = 5;

/// Shows a run in lines of at most `columns` characters (at least 60).
///
/// Control characters in what a model said are replaced, so that it cannot steer the terminal.
pub fn text(outcome: &Outcome, columns: usize) -> String {
    let mut page = Page { out: String::new(), columns: columns.max(60) };
    page.head(outcome);
    page.population(&outcome.population());
    page.generations(outcome);
    page.counts(outcome);
    page.out
}

struct Page {
    out: String,
    columns: usize,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// A label and a text that continues under itself.
    fn item(&mut self, label: &str, text: &str) {
        for (i, line) in wrap(&clean(text), self.columns - LABEL).iter().enumerate() {
            self.line(&format!("{:LABEL$}{line}", if i == 0 { label } else { "" }));
        }
    }

    fn table(&mut self, columns: &[Column]) {
        self.line("");
        for line in table(columns, self.columns) {
            self.line(&line);
        }
    }

    fn head(&mut self, outcome: &Outcome) {
        self.item("proposer", &outcome.header.proposer);
        match &outcome.end {
            Some(end) => {
                self.item("ended", &end.message);
                end.warnings.iter().for_each(|warning| self.item("WARNING", warning));
            }
            None => self.item("ended", "not yet"),
        }
        let Some(winner) = outcome.winner() else { return };
        // A formula is copied from here: it is not shortened.
        self.line(&format!("{:LABEL$}{}", "winner", clean(&winner.formula)));
        if !winner.thought.is_empty() {
            self.item("thought", &winner.thought);
        }
        let fitness = &winner.fitness;
        let held_out = fitness.held_out.map_or(String::new(), |h| format!(", {h:.4} held out"));
        let parts = [
            format!("{:.4}", winner.total),
            format!("fidelity {:.4}", fitness.fidelity),
            format!("rank correlation {:.4}{held_out}", fitness.correlation),
        ];
        self.item("fitness", &parts.map(|p| together(&p)).join("\u{a0}· "));
        fitness.notes.iter().for_each(|note| self.item("note", note));
        if outcome.header.networks.len() > 1 {
            self.networks(outcome, &fitness.networks);
        }
    }

    /// The winner's figures on each network.
    fn networks(&mut self, outcome: &Outcome, on: &[OnNetwork]) {
        let rows: Vec<_> = outcome.header.networks.iter().zip(on).collect();
        let column = |head, align, cell: &dyn Fn(&(&Network, &OnNetwork)) -> String| Column {
            head,
            align,
            cells: rows.iter().map(|row| clean(&cell(row))).collect(),
        };
        self.table(&[
            column("network", Align::Name, &|(n, _)| n.label()),
            column("fidelity", Align::Right, &|(_, on)| figure(Some(on.fidelity))),
            column("rank", Align::Right, &|(_, on)| format!("{:.3}", on.spearman)),
            column("equal size", Align::Right, &|(_, on)| {
                on.equal_size.map_or("–".to_owned(), |x| format!("{x:.3}"))
            }),
            column("held out", Align::Right, &|(_, on)| on.held_out.map_or("–".to_owned(), |x| format!("{x:.3}"))),
        ]);
    }

    fn population(&mut self, members: &[&Candidate]) {
        if members.is_empty() {
            return;
        }
        let column = |head, align, cell: &dyn Fn(&Candidate) -> String| Column {
            head,
            align,
            cells: members.iter().map(|c| clean(&cell(c))).collect(),
        };
        self.table(&[
            column("#", Align::Right, &|c| c.id.to_string()),
            column("fitness", Align::Right, &|c| figure(Some(c.total))),
            column("fidelity", Align::Right, &|c| figure(Some(c.fitness.fidelity))),
            column("rank", Align::Right, &|c| format!("{:.3}", c.fitness.correlation)),
            column("from", Align::Left, &|c| c.origin.name().to_owned()),
            column("gen", Align::Right, &|c| c.generation.to_string()),
            column("formula", Align::Name, &|c| c.formula.clone()),
        ]);
    }

    fn generations(&mut self, outcome: &Outcome) {
        if outcome.history.is_empty() {
            return;
        }
        let column = |head, cell: &dyn Fn(&super::transcript::Generation) -> String| Column {
            head,
            align: Align::Right,
            cells: outcome.history.iter().map(cell).collect(),
        };
        self.table(&[
            column("gen", &|g| g.generation.to_string()),
            column("best", &|g| figure(g.best)),
            column("mean", &|g| figure(g.mean)),
            column("initialise", &|g| percent(g.policy.initialise)),
            column("mutate", &|g| percent(g.policy.mutate)),
            column("crossover", &|g| percent(g.policy.crossover)),
            column("pairs", &|g| g.lesson.pairs.to_string()),
        ]);
    }

    fn counts(&mut self, outcome: &Outcome) {
        let c = &outcome.counts;
        self.line("");
        let given = outcome.header.given.len();
        let given = if given > 0 { format!(" and {given} given") } else { String::new() };
        let asked = format!(
            "{} ({} asked again){given}: {}, {} refused by the parser, {} known already, {} that tell nothing apart, \
             {} without a fitness, {} not answered; {} tokens",
            plural(c.asked, "question"),
            c.repeated,
            plural(c.accepted, "new formula"),
            c.unparsed,
            c.duplicates,
            c.degenerate,
            c.unscored,
            c.failures,
            count(c.tokens),
        );
        self.item("asked", &asked);
        for template in TEMPLATES {
            let tally = outcome.by_template.get(template);
            let best = tally.best.map_or(String::new(), |b| format!(", best {b:.4}"));
            self.item(template.name(), &format!("{} new of {}{best}", tally.accepted, children(tally.children)));
        }
        for group in outcome.refusals.iter().take(REFUSALS) {
            self.item("refused", &format!("{} ×, {}: {}", group.count, refusal(group.kind), group.message));
        }
        let hidden = outcome.refusals.len().saturating_sub(REFUSALS);
        if hidden > 0 {
            self.item("", &format!("… and {} more", plural(hidden, "other reason")));
        }
    }
}

fn children(n: usize) -> String {
    if n == 1 { "1 child".to_owned() } else { format!("{n} children") }
}
