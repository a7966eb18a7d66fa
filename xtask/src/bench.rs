//! `xtask bench`: the laboratory that judges proxies.

mod choose;
mod gpu;
mod shapes;

use crate::inputs::SampleArgs;
use crate::laboratory::{BenchArgs, Network, read};
use crate::progress::Bars;
use crate::{Verdict, files, proxies};
use std::path::PathBuf;
use tapq::proxy::{Bench, ProxyFile, Ranking, baselines};
use tapq::report::{RankRow, RankTable, rank_svg, rank_text};
use tapq::target::Target;
use tapq::{Code, Error, Result};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Measure the damage of many configurations of a model; goes on where an earlier run stopped
    Build(BuildArgs),
    /// Compare proxies by how well they rank measured damage, over several benches
    Rank(RankArgs),
    /// Compare proxies by the networks that their own allocations make, against one width for all
    Choose(choose::Args),
    /// Time the CUDA kernels against what the device can do, and calibration against the processor, as Markdown tables
    Gpu(gpu::Args),
}

#[derive(clap::Args)]
struct BuildArgs {
    /// The float ONNX model
    model: PathBuf,
    /// Device: a name (`xtask targets` lists them) or a YAML profile
    #[arg(long, value_name = "NAME|FILE")]
    target: String,
    #[command(flatten)]
    samples: SampleArgs,
    #[command(flatten)]
    how: BenchArgs,
}

#[derive(clap::Args)]
struct RankArgs {
    /// Bench files, or folders of them
    #[arg(default_value = "bench")]
    benches: Vec<PathBuf>,
    /// Another proxy beside the built-in ones: a YAML file or a formula (repeatable)
    #[arg(long, value_name = "FILE|FORMULA", allow_hyphen_values = true)]
    proxy: Vec<String>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
    /// Write ranking.json and ranking.svg into this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Verdict> {
    match &args.action {
        Action::Build(args) => build(args),
        Action::Rank(args) => rank(args),
        Action::Choose(args) => choose::run(args),
        Action::Gpu(args) => gpu::run(args),
    }
}

fn build(args: &BuildArgs) -> Result<Verdict> {
    let bars = Bars::new(args.how.quiet);
    let network = Network {
        model: args.model.clone(),
        target: Target::named_or_read(&args.target)?,
        samples: args.samples.clone(),
    };
    let built = network.with_workbench(&args.how, &bars, |workbench| args.how.complete(workbench, &bars));
    bars.finish();
    let (bench, path) = built?;
    println!("{}: {} configurations of {} layers", path.display(), bench.rows.len(), bench.header.params.len());
    Ok(Verdict::Done)
}

fn rank(args: &RankArgs) -> Result<Verdict> {
    let benches = find(&args.benches)?;
    let proxies = candidates(&args.proxy)?;
    let mut ranks = RankTable {
        schema: 2,
        networks: benches.iter().map(|b| format!("{} on {}", b.header.network, b.header.target)).collect(),
        configurations: benches.iter().map(|b| b.rows.len()).collect(),
        proxies: vec![],
        skipped: vec![],
    };
    for proxy in proxies {
        if !benches.iter().all(|b| b.holds(&proxy.formula)) {
            ranks.skipped.push(proxy.label());
            continue;
        }
        let rankings: Vec<Ranking> = benches.iter().map(|b| b.rank(&proxy.formula)).collect::<Result<_>>()?;
        ranks.proxies.push(RankRow {
            needs_runs: proxy.formula.needs_runs(),
            formula: proxy.formula.to_string(),
            name: proxy.label(),
            rankings,
        });
    }
    ranks.sort();
    let json = files::json(&ranks)?;
    if let Some(folder) = &args.report {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the report folder", &e))?;
        files::write_text(&folder.join("ranking.json"), &json)?;
        files::write_text(&folder.join("ranking.svg"), &rank_svg(&ranks))?;
    }
    match args.json {
        true => print!("{json}"),
        false => print!("{}", rank_text(&ranks, 100)),
    }
    Ok(Verdict::Done)
}

/// The built-in proxies and those that were asked for.
fn candidates(asked: &[String]) -> Result<Vec<ProxyFile>> {
    let mut all = baselines()?;
    for wanted in asked {
        all.push(proxies::find(wanted)?);
    }
    Ok(all)
}

/// Benches of files and folders, sorted by file name.
pub fn find(places: &[PathBuf]) -> Result<Vec<Bench>> {
    let mut paths = vec![];
    for place in places {
        if !place.is_dir() {
            paths.push(place.clone());
            continue;
        }
        let entries = std::fs::read_dir(place).map_err(|e| Error::io(place, "list the folder", &e))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().ends_with(".bench.jsonl")))
            .collect();
        found.sort();
        paths.extend(found);
    }
    if paths.is_empty() {
        let help = "`xtask bench build MODEL --target NAME` makes one";
        return Err(Error::new(Code::Config, "no bench was found").help(help));
    }
    paths.iter().map(|p| read(p).map(|(bench, _)| bench)).collect()
}
