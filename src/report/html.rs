//! The report as one self-contained page: no script, font or image from elsewhere.

use super::tally::{Spending, refused_groups, spending};
use super::{Report, format, plots};
use crate::plan::AllocationRecord;
use crate::{Code, Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

const PAGE: &str = include_str!("page.html");

/// Renders the page, the same bytes for the same report. Every name is escaped.
///
/// Fails only if the template and the record disagree, which the tests exclude.
pub fn html(report: &Report) -> Result<String> {
    let failed = |e: minijinja::Error| Error::new(Code::Io, format!("cannot render the report: {e:#}"));
    let mut environment = page_environment().map_err(failed)?;
    add_filters(&mut environment);
    environment.add_template("page.html", PAGE).map_err(failed)?;
    let template = environment.get_template("page.html").map_err(failed)?;
    let data = context! {
        report => Value::from(Serde(report)),
        legend => Value::from(Serde(plots::legend(report))),
        bits_plot => plots::bits(report),
        error_plot => plots::error(report),
        sensitivity_plot => plots::sensitivity(report),
        refused => Value::from(Serde(refused_groups(&report.refused))),
        allocations => Value::from(Serde(allocations(report))),
        goal => super::goal::goal_text(report, true),
        blocks => super::tally::in_blocks(report),
        measured => report.layers.iter().any(|l| l.output_sqnr_db.is_some()),
    };
    template.render(data).map_err(failed)
}

/// One choice of widths, with its budgets as they are shown.
#[derive(serde::Serialize)]
struct Part<'r> {
    of: &'static str,
    record: &'r AllocationRecord,
    spending: Vec<Spending>,
}

fn allocations(report: &Report) -> Vec<Part<'_>> {
    let part = |of, record| Part { of, record, spending: spending(record) };
    let activations = report.activation_allocation.as_ref().map(|record| part("Activations", record));
    [part("Weights", &report.allocation)].into_iter().chain(activations).collect()
}

/// What the pages of this crate have in common: what is not there is an error, block tags stand on lines of their own
/// and leave none behind.
pub(crate) fn page_environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("count", format::count);
    environment.add_filter("plural", |n: usize, noun: &str| format::plural(n, noun));
    environment.add_filter("clean", |text: &str| format::clean(text));
    Ok(environment)
}

fn add_filters(environment: &mut Environment) {
    environment.add_filter("si", format::si);
    environment.add_filter("bytes", format::bytes);
    environment.add_filter("db", format::db);
    environment.add_filter("percent", format::percent);
    environment.add_filter("cosine", format::cosine);
    environment.add_filter("ratio", format::ratio);
    environment.add_filter("significant", |x: Option<f64>| x.map_or("–".to_owned(), format::significant));
    environment.add_filter("width", format::width);
    environment.add_filter("class", plots::class);
    environment.add_filter("shape", |dims: Vec<usize>| format::shape(&dims));
    environment
        .add_filter("sortable", |x: Option<f64>| x.filter(|x| x.is_finite()).map_or(String::new(), |x| x.to_string()));
    environment.add_filter("share", share);
    environment.add_filter("breakable", breakable);
}

/// Percent of `whole`, for the length of a bar.
fn share(part: u64, whole: u64) -> String {
    format!("{:.1}", 100.0 * part as f64 / whole.max(1) as f64)
}

/// A name that may be broken after its separators: `/layer1/conv1/Conv`.
fn breakable(name: &str) -> Value {
    let name = super::svg::escape(&format::clean(name));
    Value::from_safe_string(name.replace('/', "/<wbr>").replace('.', ".<wbr>").replace('_', "_<wbr>"))
}
