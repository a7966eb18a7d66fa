//! The report on a terminal.

use super::columns::{Align, Column, table};
use super::format::{
    bytes, clean, cosine, count, db, in_db, percent, plural, ratio, shape, shorten, si, significant, together, width,
    wrap,
};
use super::goal::goal_text;
use super::tally::{Spending, Tally, in_blocks, refused_groups, spending, tallies};
use super::{ActivationReport, Fidelity, LayerReport, Report, ValueFidelity, decibels};
use crate::plan::{AllocationRecord, Compared};
use std::collections::BTreeSet;

/// Networks up to this many layers are listed whole.
const LIST_ALL: usize = 24;
/// Of a longer one, as many of the worst layers, and every width that at most `RARE` layers have.
const WORST: usize = 12;
const RARE: usize = 4;
/// Columns that labels take.
const LABEL: usize = 11;
/// From this many columns on, shapes and operations are shown too.
const WIDE: usize = 120;
/// From this many columns on, what rounding did to each layer is shown.
const ROOMY: usize = 96;
/// Values of fixed inputs are cut to this length.
const LONGEST_VALUE: usize = 40;
/// Below this SQNR a layer's figure is coloured.
const POOR_DB: f64 = 10.0;

/// Shows the report in lines of at most `columns` characters (at least 60), coloured by ANSI sequences on request.
///
/// Of long networks only the layers that deserve a look are listed, unless `all_layers`.
/// Control characters in names are replaced, so that a file cannot steer the terminal.
pub fn text(report: &Report, columns: usize, color: bool, all_layers: bool) -> String {
    let mut page = Page { out: String::new(), columns: columns.max(60), color };
    page.headline(report);
    page.warnings(&report.warnings);
    page.summary(report, all_layers);
    let reasons = page.layers(report, all_layers);
    page.refused(report, &reasons);
    page.out
}

struct Page {
    out: String,
    columns: usize,
    color: bool,
}

#[derive(Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Warning,
    Poor,
}

impl Page {
    fn paint(&self, text: &str, ink: Ink) -> String {
        let code = match ink {
            _ if !self.color => return text.to_owned(),
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Warning => "1;33",
            Ink::Poor => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn line(&mut self, text: &str, ink: Ink) {
        self.out.push_str(&self.paint(text.trim_end(), ink));
        self.out.push('\n');
    }

    /// A label and a text that continues under itself.
    fn item(&mut self, label: &str, text: &str, ink: Ink) {
        for (i, line) in wrap(&clean(text), self.columns - LABEL).iter().enumerate() {
            let label = format!("{:LABEL$}", if i == 0 { label } else { "" });
            let label_ink = if matches!(ink, Ink::Warning) { ink } else { Ink::Dim };
            let line = format!("{}{}", self.paint(&label, label_ink), self.paint(line, ink));
            self.line(&line, Ink::Plain);
        }
    }

    fn headline(&mut self, report: &Report) {
        let model = if report.model.is_empty() { "model" } else { report.model.as_str() };
        let title = match report.target_title.as_str() {
            "" => String::new(),
            title => format!(" ({title})"),
        };
        for line in wrap(&clean(&format!("{model} → {}{title}", report.target)), self.columns) {
            self.line(&line, Ink::Bold);
        }
        self.line(&"─".repeat(self.columns.min(100)), Ink::Dim);
    }

    fn warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.item("WARNING", warning, Ink::Warning);
        }
    }

    fn summary(&mut self, report: &Report, all: bool) {
        let size = &report.size;
        self.item("fidelity", &report.fidelity.as_ref().map_or("not measured".to_owned(), fidelity), Ink::Bold);
        if let Some(fidelity) = report.fidelity.as_ref().filter(|f| f.outputs.len() > 1) {
            let one = |o: &ValueFidelity| format!("{} {}", o.value, in_db(o.sqnr_db));
            self.item("outputs", &dotted(fidelity.outputs.iter().map(one)), Ink::Plain);
        }
        if let Some(uncounted) = report.fidelity.as_ref().and_then(Fidelity::uncounted) {
            self.item("uncounted", &uncounted, Ink::Plain);
        }
        if let Some(fidelity) = report.fidelity.as_ref().filter(|f| !f.channels.is_empty()) {
            self.item("channels", &fidelity.worst_channels().join(" · "), Ink::Plain);
        }
        if let Some(goal) = goal_text(report, all) {
            self.item("goal", &goal, Ink::Plain);
        }
        let file = format!(
            "{} → {} ({})",
            bytes(size.float_file),
            bytes(size.quantized_file),
            ratio(size.quantized_file, size.float_file)
        );
        self.item("file", &file, Ink::Plain);
        if let Some(widened) = &report.widened {
            self.item("floats", widened, Ink::Plain);
        }
        let weights = format!(
            "{}{} → {} stored ({} nominal), {:.2} bits on average",
            bytes(size.float_weights),
            if report.widened.is_some() { " as float32" } else { "" },
            bytes(size.stored_weights),
            bytes(size.nominal_weights),
            size.average_bits
        );
        self.item("weights", &weights, Ink::Plain);
        if size.elsewhere > 0 {
            let elsewhere = format!("{} of weights in other operators stay in float", bytes(size.elsewhere));
            self.item("elsewhere", &elsewhere, Ink::Plain);
        }
        self.item("widths", &widths(report), Ink::Plain);
        if let Some(blocks) = in_blocks(report) {
            self.item("in blocks", &blocks, Ink::Plain);
        }
        self.allocation(&report.allocation);
        if let Some(allocation) = &report.activation_allocation {
            self.item("activation", &activation_widths(&report.activations), Ink::Plain);
            self.allocation(allocation);
        }
        if !report.fixed_inputs.is_empty() {
            let one = |(name, value): (&String, &String)| format!("{name} = {}", shorten(value, LONGEST_VALUE));
            let what = if report.fixed_inputs.len() == 1 {
                "a constant, no longer an input"
            } else {
                "constants, no longer inputs"
            };
            let all = dotted(report.fixed_inputs.iter().map(one));
            self.item("fixed", &format!("{all} ({what})"), Ink::Plain);
        }
        let source = &report.calibration;
        self.item("calibrated", &format!("on {} from {}", plural(source.samples, "sample"), source.source), Ink::Plain);
    }

    fn allocation(&mut self, allocation: &AllocationRecord) {
        self.item("chosen by", &chosen(allocation), Ink::Plain);
        if !allocation.compared.is_empty() {
            self.item("compared", &compared(&allocation.compared), Ink::Plain);
        }
    }

    /// Returns the reasons it listed, in the order of their numbers.
    fn layers<'r>(&mut self, report: &'r Report, all: bool) -> Vec<&'r str> {
        let layers = &report.layers;
        if layers.is_empty() {
            return vec![];
        }
        let shown = selection(report, all);
        let rows: Vec<(usize, &LayerReport)> = shown.iter().filter_map(|i| Some((*i, layers.get(*i)?))).collect();
        let mut reasons: Vec<&str> = vec![];
        for (_, layer) in &rows {
            if !reasons.contains(&layer.because.as_str()) {
                reasons.push(&layer.because);
            }
        }
        self.out.push('\n');
        let lines = table(&layer_columns(&rows, &reasons, self.columns), self.columns);
        for (i, line) in lines.iter().enumerate() {
            // Two lines of head come before the rows.
            let poor = i.checked_sub(2).and_then(|r| rows.get(r)).is_some_and(|(_, l)| is_poor(l));
            let ink = if i < 2 {
                Ink::Dim
            } else if poor {
                Ink::Poor
            } else {
                Ink::Plain
            };
            self.line(line, ink);
        }
        let hidden = layers.len() - rows.len();
        if hidden > 0 {
            self.line(&format!("… {hidden} more: --all-layers, or the HTML report"), Ink::Dim);
        }
        self.notes(&reasons);
        reasons
    }

    fn notes(&mut self, reasons: &[&str]) {
        self.out.push('\n');
        match reasons {
            [only] => self.item("why", only, Ink::Plain),
            many => {
                for (i, reason) in many.iter().enumerate() {
                    self.item(&format!("why [{}]", i + 1), reason, Ink::Plain);
                }
            }
        }
    }

    fn refused(&mut self, report: &Report, reasons: &[&str]) {
        for group in refused_groups(&report.refused) {
            let names: Vec<String> = group.what.iter().take(4).map(|w| shorten(&clean(w), 40)).collect();
            let more = match group.what.len() - names.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let because = match reasons.iter().position(|r| *r == group.because) {
                Some(i) if reasons.len() > 1 => format!("see why [{}]", i + 1),
                _ => group.because,
            };
            self.item("refused", &format!("{}{more}: {because}", names.join(", ")), Ink::Plain);
        }
    }
}

fn fidelity(fidelity: &Fidelity) -> String {
    let apart = if fidelity.held_out == Some(true) { "held out" } else { "that also calibrated" };
    if let Some(why) = &fidelity.says_nothing {
        return format!("says nothing, on {} {apart}: {why}", plural(fidelity.samples, "sample"));
    }
    format!(
        "{}, on {} {apart}",
        dotted(
            [
                format!("SQNR {}", in_db(fidelity.sqnr_db)),
                format!("top-1 agreement {}", percent(fidelity.agreement)),
                format!("cosine {}", cosine(fidelity.cosine)),
            ]
            .into_iter()
        ),
        plural(fidelity.samples, "sample"),
    )
}

fn widths(report: &Report) -> String {
    let tallies = tallies(report);
    let one = |(i, t): (usize, &Tally)| {
        let of = if i == 0 { " of the weights" } else { "" };
        format!("{}: {} ({}{of})", width(t.bits), plural(t.layers, "layer"), percent(t.share))
    };
    match tallies.is_empty() {
        true => "no layers".to_owned(),
        false => dotted(tallies.iter().enumerate().map(one)),
    }
}

fn activation_widths(activations: &[ActivationReport]) -> String {
    let bits: BTreeSet<u32> = activations.iter().map(|a| a.bits).collect();
    let count = |bits: &u32| activations.iter().filter(|a| a.bits == *bits).count();
    dotted(bits.iter().map(|b| format!("{b} bits: {}", plural(count(b), "value"))))
}

fn chosen(allocation: &AllocationRecord) -> String {
    let budget = |s: Spending| {
        let used = s.used.map_or("–".to_owned(), significant);
        let of = s.limit.map_or(String::new(), |limit| format!(" of {}", significant(limit)));
        format!("{} {used}{of}", s.name)
    };
    let budgets = spending(allocation).into_iter().map(budget);
    let parts = [allocation.method.clone()].into_iter().chain(budgets).chain([allocation.proof.clone()]);
    dotted(parts.filter(|p| !p.is_empty()))
}

/// Whole configurations that were measured before one was taken.
fn compared(all: &[Compared]) -> String {
    let bits = |c: &Compared| match (c.average_bits, c.average_activation_bits) {
        (Some(weights), None) => format!("{weights:.2} bits"),
        (None, Some(activations)) => format!("{activations:.2} bits"),
        (Some(weights), Some(activations)) => format!("W{weights:.2} A{activations:.2}"),
        (None, None) => "full width".to_owned(),
    };
    let one = |c: &Compared| {
        let taken = if c.taken { ", taken" } else { "" };
        format!("{}: {} at {}{taken}", c.what, in_db(c.sqnr_db), bits(c))
    };
    let files = all.iter().filter(|c| c.what.ends_with("as a file")).count();
    let what = match all.iter().all(|c| c.average_bits.is_none()) {
        true => "activations alone, weights in float",
        false if files == all.len() => "activations quantized, on samples that the weights were not rounded with",
        false if all.iter().any(|c| c.average_activation_bits.is_some()) => {
            "weights on samples that they were not rounded with"
        }
        false if files > 0 => {
            "on samples that the weights were not rounded with; weights alone, but files with quantized activations"
        }
        false => "weights alone, on samples that they were not rounded with",
    };
    format!("{} ({what})", dotted(all.iter().map(one)))
}

/// Short parts with dots between them, each kept on one line.
fn dotted(parts: impl Iterator<Item = String>) -> String {
    parts.map(|p| together(&p)).collect::<Vec<_>>().join("\u{a0}· ")
}

/// How a weight stands in the file; behind the stroke the weights of a block.
fn stored(layer: &LayerReport) -> String {
    layer.block.map_or_else(|| layer.stored.clone(), |size| format!("{}/{size}", layer.stored))
}

fn is_poor(layer: &LayerReport) -> bool {
    layer.output_sqnr_db.is_some_and(|x| x < POOR_DB)
}

/// Indices of the layers that are listed, in file order.
fn selection(report: &Report, all: bool) -> Vec<usize> {
    let layers = &report.layers;
    if all || layers.len() <= LIST_ALL {
        return (0..layers.len()).collect();
    }
    let mut worst: Vec<usize> = (0..layers.len()).collect();
    let sqnr = |i: &usize| layers.get(*i).and_then(|l| l.output_sqnr_db).unwrap_or(f64::INFINITY);
    worst.sort_by(|a, b| sqnr(a).total_cmp(&sqnr(b)));
    let rare: Vec<Option<u32>> = tallies(report).iter().filter(|t| t.layers <= RARE).map(|t| t.bits).collect();
    let unusual = layers.iter().enumerate().filter(|(_, l)| rare.contains(&l.bits)).map(|(i, _)| i);
    let chosen: BTreeSet<usize> = worst.into_iter().take(WORST).chain(unusual).collect();
    chosen.into_iter().collect()
}

fn layer_columns(rows: &[(usize, &LayerReport)], reasons: &[&str], columns_wide: usize) -> Vec<Column<'static>> {
    let wide = columns_wide >= WIDE;
    let column = |head, align, cell: &dyn Fn(&LayerReport) -> String| Column {
        head,
        align,
        cells: rows.iter().map(|(_, l)| clean(&cell(l))).collect(),
    };
    let note = |l: &LayerReport| reasons.iter().position(|r| *r == l.because).map_or(0, |i| i + 1);
    let numbers = rows.iter().map(|(i, _)| (i + 1).to_string()).collect();
    let mut columns = vec![
        Column { head: "#", align: Align::Right, cells: numbers },
        column("layer", Align::Name, &|l| l.name.clone()),
        column("op", Align::Left, &|l| l.op.clone()),
        column("params", Align::Right, &|l| count(l.params as u64)),
        column("bits", Align::Right, &|l| l.bits.map_or("float".to_owned(), |b| b.to_string())),
        column("stored", Align::Left, &stored),
        column("SQNR dB", Align::Right, &|l| db(l.output_sqnr_db)),
    ];
    if columns_wide >= ROOMY && rows.iter().any(|(_, l)| l.rounding.is_some()) {
        columns.push(column("nearest", Align::Right, &|l| db(l.rounding.map(|r| decibels(r.nearest)))));
        columns.push(column("rounded", Align::Right, &|l| db(l.rounding.map(|r| decibels(r.rounded)))));
        columns.push(column("corrected", Align::Right, &|l| db(l.rounding.map(|r| decibels(r.corrected)))));
    }
    if wide {
        columns.insert(3, column("weight", Align::Left, &|l| shape(&l.shape)));
        columns.insert(5, column("MACs", Align::Right, &|l| si(l.macs)));
    }
    if reasons.len() > 1 {
        columns.push(column("why", Align::Right, &|l| format!("[{}]", note(l))));
    }
    columns
}
