//! `xtask bench`: the laboratory that judges proxies.

use crate::inputs::{SampleArgs, read_graph};
use crate::progress::Bars;
use crate::quantize::{ChoiceArgs, EffortArg, Job};
use crate::{Verdict, files, proxies};
use std::io::Write;
use std::path::{Path, PathBuf};
use tapq::proxy::{Bench, BenchHeader, ProxyFile, Ranking, baselines};
use tapq::report::{RankRow, RankTable, rank_svg, rank_text};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};
use tapq_passes::pipeline::{Progress, Workbench, with_workbench};

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
}

/// A network, and how its bench is made.
#[derive(clap::Args, Clone)]
pub struct BuildArgs {
    /// The float ONNX model
    pub model: PathBuf,
    /// Device: a name (`xtask targets` lists them) or a YAML profile
    #[arg(long, value_name = "NAME|FILE")]
    pub target: String,
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Configurations to measure
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub configurations: usize,
    /// Samples beyond those of the features that damage is measured on, too
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub held_out: usize,
    /// Measure every layer at every width, too: the reference that proxies are held against (slow)
    #[arg(long)]
    pub reference: bool,
    /// Seed of the configurations
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub bench_seed: u64,
    /// Width of activations [default: the target's]
    #[arg(long, value_name = "B")]
    pub act_bits: Option<u32>,
    /// Folder of the bench files, which are named by network, target and the digest of what decides them
    #[arg(long, value_name = "DIR", default_value = "bench")]
    pub bench: PathBuf,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
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
    }
}

impl BuildArgs {
    /// Prepares the network and hands its workbench to `then`.
    pub fn with_workbench<T>(&self, progress: &dyn Progress, then: impl FnOnce(&Workbench) -> Result<T>) -> Result<T> {
        let target = Target::named_or_read(&self.target)?;
        let graph = read_graph(&self.model)?;
        let choice = ChoiceArgs { act_bits: self.act_bits, effort: EffortArg::Balanced, ..Default::default() };
        let job = Job {
            model: &self.model,
            target: &target,
            samples: &self.samples,
            choice: &choice,
            plan: None,
            verify_samples: self.held_out,
            quiet: self.quiet,
            fuel: None,
        };
        let network = files::stem(&self.model);
        job.with_options(graph, |graph, options| with_workbench(graph, &network, options, progress, then))
            .at(|| self.model.display().to_string())
    }

    /// Completes the bench of a network, and returns it with its file.
    pub fn complete(&self, workbench: &Workbench, progress: &dyn Progress) -> Result<(Bench, PathBuf)> {
        std::fs::create_dir_all(&self.bench).map_err(|e| Error::io(&self.bench, "create the bench folder", &e))?;
        let kind = if self.reference { ".reference" } else { "" };
        let name = format!("{}{kind}.bench.jsonl", workbench.name());
        let path = self.bench.join(name);
        if !path.exists() {
            let header = workbench.header(self.bench_seed, self.reference, progress)?;
            files::write_text(&path, &line(&header)?)?;
        }
        let (found, cut) = read(&path)?;
        if cut {
            let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, "read the bench", &e))?;
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            files::write_text(&path, &text[..whole])?;
        }
        self.extend(&path, &found.header, found.rows.len(), workbench, progress)?;
        let (mut bench, _) = read(&path)?;
        bench.rows.truncate(self.configurations);
        Ok((bench, path))
    }

    fn extend(
        &self,
        path: &Path,
        header: &BenchHeader,
        first: usize,
        workbench: &Workbench,
        progress: &dyn Progress,
    ) -> Result<()> {
        if first >= self.configurations {
            return Ok(());
        }
        if header.seed != self.bench_seed {
            let what = format!("this bench was begun with --bench-seed {}", header.seed);
            return Err(Error::new(Code::Config, what).at(path.display().to_string()));
        }
        let failed = |e: std::io::Error| Error::io(path, "write the bench", &e);
        let mut file = std::fs::OpenOptions::new().append(true).open(path).map_err(failed)?;
        workbench.measure(header, (first, self.configurations), progress, |row| {
            file.write_all(line(&row)?.as_bytes()).map_err(failed)
        })
    }
}

fn line(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string(value);
    text.map(|t| t + "\n").map_err(|e| Error::new(Code::Io, format!("cannot write JSON: {e}")))
}

fn read(path: &Path) -> Result<(Bench, bool)> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the bench", &e))?;
    Bench::parse(&text).at(|| path.display().to_string())
}

fn build(args: &BuildArgs) -> Result<Verdict> {
    let bars = Bars::new(args.quiet);
    let built = args.with_workbench(&bars, |workbench| args.complete(workbench, &bars));
    bars.finish();
    let (bench, path) = built?;
    println!("{}: {} configurations of {} layers", path.display(), bench.rows.len(), bench.header.params.len());
    Ok(Verdict::Done)
}

fn rank(args: &RankArgs) -> Result<Verdict> {
    let benches = find(&args.benches)?;
    let mut proxies: Vec<ProxyFile> = baselines()?;
    for wanted in &args.proxy {
        proxies.push(proxies::find(wanted)?);
    }
    let mut ranks = RankTable {
        schema: 2,
        networks: benches.iter().map(|b| format!("{} on {}", b.header.network, b.header.target)).collect(),
        configurations: benches.iter().map(|b| b.rows.len()).collect(),
        proxies: vec![],
        skipped: vec![],
    };
    for proxy in proxies {
        let known = |b: &Bench| proxy.formula.features().iter().all(|f| b.header.table.has(f.name));
        if !benches.iter().all(known) {
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

/// Benches of files and folders, sorted by file name.
fn find(places: &[PathBuf]) -> Result<Vec<Bench>> {
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
