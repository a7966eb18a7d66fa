//! The run as one self-contained page: no script, font or image from elsewhere.

use super::outcome::Outcome;
use super::per_template::TEMPLATES;
use super::transcript::Refusal;
use super::{plots, tree};
use crate::report::html::page_environment;
use crate::{Code, Error, Result};
use minijinja::value::Serde;
use minijinja::{Value, context};

const PAGE: &str = include_str!("page.html");

/// Renders the page, the same bytes for the same outcome. Whatever a model said is escaped.
///
/// Fails only if the template and the outcome disagree, which the tests exclude.
pub fn html(outcome: &Outcome) -> Result<String> {
    let failed = |e: minijinja::Error| Error::new(Code::Io, format!("cannot render the page of the run: {e:#}"));
    let mut environment = page_environment().map_err(failed)?;
    environment.add_filter("figure", |x: Option<f64>| figure(x));
    environment.add_template("page.html", PAGE).map_err(failed)?;
    let origin = |c: &super::population::Candidate| (c.origin.name(), plots::class(c.origin));
    let population = outcome.population();
    let templates: Vec<_> = TEMPLATES.iter().map(|t| (t.name(), outcome.by_template.get(*t))).collect();
    let scatters: Vec<_> = outcome.scatters.iter().filter_map(|s| Some((&s.network, plots::scatter(s)?))).collect();
    let on = outcome.winner().map_or(&[][..], |w| &w.fitness.networks);
    let by_network: Vec<_> = outcome.header.networks.iter().zip(on).collect();
    let data = context! {
        o => Value::from(Serde(outcome)),
        winner => Value::from(Serde(&outcome.winner())),
        winner_origin => Value::from(Serde(&outcome.winner().map(origin))),
        population => Value::from(Serde(&population.iter().map(|c| (c, origin(c))).collect::<Vec<_>>())),
        templates => Value::from(Serde(&templates)),
        controller => outcome.header.settings.controller.name(),
        refusals => Value::from(Serde(&outcome.refusals.iter().map(|g| (refusal(g.kind), g)).collect::<Vec<_>>())),
        fitness_plot => plots::fitness(outcome),
        policy_plot => plots::policy(outcome),
        scatter_plots => Value::from(Serde(&scatters)),
        by_network => Value::from(Serde(&by_network)),
        family_plot => tree::family(outcome),
    };
    environment.get_template("page.html").and_then(|t| t.render(data)).map_err(failed)
}

/// Four decimals, a dash where there is none.
pub(super) fn figure(x: Option<f64>) -> String {
    x.map_or("–".to_owned(), |x| format!("{x:.4}"))
}

/// Why an answer was refused, in words.
pub(super) fn refusal(kind: Refusal) -> &'static str {
    match kind {
        Refusal::Parse => "not a formula",
        Refusal::Degenerate => "tells nothing apart",
        Refusal::Duplicate => "known already",
        Refusal::Unscored => "no fitness",
    }
}
