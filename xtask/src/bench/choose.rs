//! `xtask bench choose`: what networks are like as each proxy's own allocation makes them.

use crate::inputs::ManySampleArgs;
use crate::laboratory::{BenchArgs, Network, with_judges};
use crate::progress::Bars;
use crate::{Verdict, files};
use std::path::PathBuf;
use tapq::Result;
use tapq::discover::Correlation;
use tapq::proxy::{BUDGETS, ProxyFile};
use tapq::report::{ChoiceRow, ChoiceTable, choice_text, decibels};
use tapq_passes::pipeline::NetworkJudge;

#[derive(clap::Args)]
pub struct Args {
    /// The float ONNX models
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// Device: a name (`xtask targets` lists them) or a YAML profile
    #[arg(long, value_name = "NAME|FILE")]
    target: String,
    #[command(flatten)]
    samples: ManySampleArgs,
    #[command(flatten)]
    how: BenchArgs,
    /// Another proxy beside the built-in ones: a YAML file or a formula (repeatable)
    #[arg(long, value_name = "FILE|FORMULA", allow_hyphen_values = true)]
    proxy: Vec<String>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<Verdict> {
    let networks = Network::many(&args.models, &args.target, &args.samples)?;
    let candidates = super::candidates(&args.proxy)?;
    let bars = Bars::new(args.how.quiet);
    let choices = with_judges(&networks, &args.how, Correlation::All, &bars, |judges| compare(judges, &candidates));
    bars.finish();
    let choices = choices?;
    match args.json {
        true => print!("{}", files::json(&choices)?),
        false => print!("{}", choice_text(&choices, 100)),
    }
    Ok(Verdict::Done)
}

fn compare(judges: &[&NetworkJudge], candidates: &[ProxyFile]) -> Result<ChoiceTable> {
    let mut choices = ChoiceTable {
        schema: 1,
        networks: judges.iter().map(|j| j.network().label()).collect(),
        average_bits: BUDGETS.to_vec(),
        uniform_db: judges.iter().map(|j| j.uniform_sizes().map(by_budget)).collect::<Result<_>>()?,
        ..Default::default()
    };
    for proxy in candidates {
        if !judges.iter().all(|j| j.bench().holds(&proxy.formula)) {
            choices.skipped.push(proxy.label());
            continue;
        }
        choices.proxies.push(ChoiceRow {
            name: proxy.label(),
            formula: proxy.formula.to_string(),
            needs_runs: proxy.formula.needs_runs(),
            sqnr_db: judges.iter().map(|j| j.sizes(&proxy.formula).map(by_budget)).collect::<Result<_>>()?,
            ..Default::default()
        });
    }
    choices.sort();
    Ok(choices)
}

/// SQNR in dB at each of [`BUDGETS`]; none where nothing fits.
fn by_budget(measured: Vec<(f64, f64, f64)>) -> Vec<Option<f64>> {
    let at = |budget: &f64| measured.iter().find(|(bits, ..)| bits == budget).map(|(_, error, _)| decibels(*error));
    BUDGETS.iter().map(at).collect()
}
