//! `xtask discover`: a search for proxies, steered by a controller that learns which kind of question pays off.

use crate::bench::BuildArgs;
use crate::progress::Bars;
use crate::{Verdict, files};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tapq::discover::{
    Ask, Controller, Dpo, End, Generation, Judged, Mutation, Observer, Outcome, Proposer, Recorded, Recorder, Replay,
    Reply, Settings, Step, Task, html, run as run_loop, text,
};
use tapq::llm::Spec;
use tapq::proxy::{Bench, Formula, Measured, Provenance, ProxyFile};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};
use tapq_passes::pipeline::NetworkJudge;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub network: BuildArgs,
    /// Who proposes formulas: none, local, local:FILE.gguf, openai:MODEL@http://HOST:PORT/v1
    #[arg(long, value_name = "SPEC", default_value = "none")]
    pub proposer: String,
    /// Repeat a recorded run with its settings, without any model, and check that every line comes out the same
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proposer", "transcript"])]
    pub replay: Option<PathBuf>,
    /// Formulas that are kept, and asked for at first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub population: usize,
    /// Generations after the first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub generations: usize,
    /// Formulas asked for in each generation
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub children: usize,
    /// Weight of the rank correlation in the fitness; the rest is fidelity
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    pub alpha: f64,
    /// Seed of the search
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub search_seed: u64,
    /// How templates are drawn: learned from what paid off, or equally often
    #[arg(long, value_enum, default_value_t = ControllerArg::Dpo)]
    pub controller: ControllerArg,
    /// A formula to start from (repeatable)
    #[arg(long, value_name = "FORMULA", allow_hyphen_values = true)]
    pub given: Vec<String>,
    /// Everything that was asked and answered; an unfinished one is gone on with
    /// [default: MODEL.TARGET.discover.jsonl]
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    /// The winner [default: MODEL.TARGET.proxy.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Folder of prompt templates in place of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub prompts: Option<PathBuf>,
    /// Write discover.html into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print what came of it as JSON
    #[arg(long)]
    pub json: bool,
}

/// How templates are drawn.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerArg {
    /// Learned by direct preference optimisation
    Dpo,
    /// Equally often, always
    Uniform,
}

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            population: self.population,
            generations: self.generations,
            children: self.children,
            alpha: self.alpha,
            seed: self.search_seed,
            controller: match self.controller {
                ControllerArg::Dpo => Controller::Dpo(Dpo::default()),
                ControllerArg::Uniform => Controller::Uniform,
            },
            ..Default::default()
        }
    }

    fn beside(&self, suffix: &str) -> Result<PathBuf> {
        let target = Target::named_or_read(&self.network.target)?;
        Ok(files::beside(&self.network.model, &format!("{}.{suffix}", target.name)))
    }
}

pub fn run(args: &Args) -> Result<Verdict> {
    args.settings().check()?;
    let spec: Spec = args.proposer.parse()?;
    if let (Spec::Replay(path), None) = (&spec, &args.replay) {
        let help = format!("--replay {}", path.display());
        return Err(Error::new(Code::Config, "a transcript is repeated with --replay").help(help));
    }
    let output = args.output.clone().map_or_else(|| args.beside("proxy.yaml"), Ok)?;
    let bars = Bars::new(args.network.quiet);
    let found = args.network.with_workbench(&bars, |workbench| {
        let (bench, _) = args.network.complete(workbench, &bars)?;
        bars.finish();
        let judge = NetworkJudge::new(workbench, &bench);
        let (mut outcome, transcript) = match &args.replay {
            Some(path) => replay(path, &judge, &bench)?,
            None => search(args, &spec, &judge, &bench)?,
        };
        let proxy = winner(&outcome, &bench, &transcript)?;
        if let Some(proxy) = &proxy {
            let predicted = bench.predicted(&proxy.formula)?;
            outcome.scatter = predicted.into_iter().zip(bench.rows.iter().map(|r| r.damage)).collect();
        }
        Ok((outcome, proxy))
    });
    bars.finish();
    let (outcome, proxy) = found?;
    if let Some(folder) = &args.report {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the report folder", &e))?;
        files::write_text(&folder.join("discover.html"), &html(&outcome)?)?;
    }
    if let Some(proxy) = &proxy {
        files::write_text(&output, &proxy.print()?)?;
    }
    if args.json {
        print!("{}", files::json(&outcome)?);
        return Ok(Verdict::Done);
    }
    print!("{}", text(&outcome, 100));
    match &proxy {
        Some(_) => println!("\nwrote {}", output.display()),
        None => println!("\nno formula was found"),
    }
    Ok(Verdict::Done)
}

fn task(settings: Settings, bench: &Bench, given: &[String]) -> Task {
    let judge = format!("{} {} configurations", bench.header.digest, bench.rows.len());
    Task { settings, judge, given: given.to_vec() }
}

/// A new run, or the rest of one that was cut.
fn search(args: &Args, spec: &Spec, judge: &NetworkJudge, bench: &Bench) -> Result<(Outcome, Vec<u8>)> {
    let path = args.transcript.clone().map_or_else(|| args.beside("discover.jsonl"), Ok)?;
    let mut proposer = proposer(args, spec, judge)?;
    let (mut recorder, notice) = Recorder::open(&path)?;
    if let Some(notice) = notice {
        eprintln!("{}: {notice}", path.display());
    }
    let settings = args.settings();
    let mut live = Live::new(&settings, args.network.quiet);
    let task = task(settings, bench, &args.given);
    let outcome = run_loop(&task, judge, proposer.as_mut(), &mut recorder, &mut live);
    live.bar.finish_and_clear();
    let outcome = outcome.at(|| path.display().to_string())?;
    drop(recorder);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read the transcript", &e))?;
    Ok((outcome, bytes))
}

/// The same run again, by its transcript alone.
fn replay(path: &Path, judge: &NetworkJudge, bench: &Bench) -> Result<(Outcome, Vec<u8>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read the transcript", &e))?;
    let place = || path.display().to_string();
    let recorded = Recorded::read(&bytes).at(place)?;
    let header = recorded.header().ok_or_else(|| Error::new(Code::Transcript, "the transcript is empty")).at(place)?;
    let task = task(header.settings.clone(), bench, &header.given);
    let mut proposer = Replay::new(&recorded).at(place)?;
    let mut again: Vec<u8> = vec![];
    let outcome = {
        // Every line is compared with the recorded one as it is made.
        let mut recorder = Recorder::resume(recorded.clone(), &mut again);
        run_loop(&task, judge, &mut proposer, &mut recorder, &mut ()).at(place)?
    };
    eprintln!("{}: {} events repeated, every one the same", path.display(), recorded.events.len());
    Ok((outcome, bytes))
}

fn proposer<'j>(args: &Args, spec: &Spec, judge: &'j NetworkJudge<'j>) -> Result<Box<dyn Proposer + 'j>> {
    match spec {
        Spec::None | Spec::Replay(_) => Ok(Box::new(Mutation::new(judge))),
        Spec::Local(_) | Spec::OpenAi { .. } => crate::models::proposer(spec, judge, args.prompts.as_deref()),
    }
}

/// The best formula as a proxy file.
fn winner(outcome: &Outcome, bench: &Bench, transcript: &[u8]) -> Result<Option<ProxyFile>> {
    let Some(best) = outcome.winner() else { return Ok(None) };
    let formula = Formula::parse(&best.formula).map_err(Error::from)?;
    let ranking = bench.rank(&formula)?;
    let mut proxy = ProxyFile::of_formula(formula);
    proxy.name = format!("found-{}", best.fingerprint);
    if !best.thought.trim().is_empty() {
        proxy.thought.clone_from(&best.thought);
    }
    proxy.source = format!("Found by tapq's discovery loop with the proposer {}.", outcome.header.proposer);
    proxy.provenance = Some(Provenance {
        model: outcome.header.proposer.clone(),
        seed: outcome.header.settings.seed,
        network: bench.header.network.clone(),
        transcript: Sha256::digest(transcript).iter().map(|b| format!("{b:02x}")).collect(),
        generation: best.generation as u32,
    });
    let round = |x: f64| (x * 1e4).round() / 1e4;
    proxy.measured = vec![Measured {
        network: format!("{} on {}", bench.header.network, bench.header.target),
        spearman: round(ranking.spearman),
        spearman_best_half: round(ranking.best_half),
        kendall: round(ranking.kendall),
    }];
    Ok(Some(proxy))
}

/// The view on a terminal.
struct Live {
    bar: ProgressBar,
    best: f64,
    tokens: u64,
    policy: String,
}

impl Live {
    fn new(settings: &Settings, quiet: bool) -> Live {
        let steps = settings.population + settings.generations * settings.children;
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(steps as u64) };
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {pos}/{len}, {eta} left") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Live { bar, best: 0.0, tokens: 0, policy: "initialise".to_owned() }
    }

    fn show(&self, generation: usize) {
        let message =
            format!("generation {generation}, best {:.4}, {}, {} tokens", self.best, self.policy, self.tokens);
        self.bar.set_message(message);
    }
}

impl Observer for Live {
    fn asked(&mut self, step: Step, _ask: &Ask, _replayed: bool) {
        if step.attempt == 0 {
            self.bar.inc(1);
        }
        self.show(step.generation);
    }

    fn judged(&mut self, step: Step, reply: &Reply, judged: Judged<'_>) {
        self.tokens += reply.tokens;
        if let Judged::Accepted(candidate) = judged {
            self.best = self.best.max(candidate.total);
        }
        self.show(step.generation);
    }

    fn generation_ended(&mut self, generation: &Generation) {
        let p = &generation.policy;
        self.policy = format!("draws {:.2}/{:.2}/{:.2}", p.initialise, p.mutate, p.crossover);
    }

    fn ended(&mut self, _end: &End) {
        self.bar.finish_and_clear();
    }
}
