//! `xtask discover`: a search for proxies, steered by a controller that learns which kind of question pays off.

use crate::discover_args::{Args, ServerGrammar};
use crate::laboratory::with_judges;
use crate::live::Live;
use crate::progress::Bars;
use crate::{Verdict, files};
use std::path::{Path, PathBuf};
use tapq::discover::{
    Mutation, Outcome, Proposer, Recorded, Recorder, Replay, Scatter, Settings, Task, html, run as run_loop, text,
};
use tapq::llm::Spec;
use tapq::proxy::{ProxyFile, found, replay as replay_alone};
use tapq::{Code, Context, Error, Result};
use tapq_passes::pipeline::{NetworkJudge, NetworkJudges};

pub fn run(args: &Args) -> Result<Verdict> {
    args.settings().check()?;
    let spec: Spec = args.proposer.parse()?;
    if let (Spec::Replay(path), None) = (&spec, &args.replay) {
        let help = format!("--replay {}", path.display());
        return Err(Error::new(Code::Config, "a transcript is repeated with --replay").help(help));
    }
    let output = args.output.clone().map_or_else(|| args.beside("proxy.yaml"), Ok)?;
    let inputs = || args.models.iter().chain(&args.samples.calib).chain(&args.replay).map(PathBuf::as_path);
    files::refuse_overwrite(&output, inputs())?;
    args.transcript.as_deref().map_or(Ok(()), |path| files::refuse_overwrite(path, inputs()))?;
    let (outcome, proxy) = match &args.replay {
        Some(path) if args.models.is_empty() => alone(path)?,
        _ => judged(args, &spec)?,
    };
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

/// A run, or its repetition, on prepared networks.
fn judged(args: &Args, spec: &Spec) -> Result<(Outcome, Option<ProxyFile>)> {
    let recorded = args.replay.as_deref().map(Recording::read).transpose()?;
    let settings = recorded.as_ref().map_or_else(|| args.settings(), |r| r.task.settings.clone());
    let bars = Bars::new(args.how.quiet);
    let found = with_judges(&args.networks()?, &args.how, settings.correlation, &bars, |judges| {
        let judge = NetworkJudges::new(judges);
        let (mut outcome, transcript) = match recorded {
            Some(recorded) => recorded.again(&judge)?,
            None => {
                let path = args.transcript.clone().map_or_else(|| args.beside("discover.jsonl"), Ok)?;
                let task = task(settings, &judge, &args.given);
                search(&task, &path, args, spec, &judge)?
            }
        };
        let proxy = found(&outcome, &transcript)?;
        if let Some(proxy) = &proxy {
            outcome.scatters = judges.iter().map(|j| scatter(j, proxy)).collect::<Result<_>>()?;
        }
        Ok((outcome, proxy))
    });
    bars.finish();
    found
}

fn scatter(judge: &NetworkJudge, proxy: &ProxyFile) -> Result<Scatter> {
    let bench = judge.bench();
    let predicted = bench.predicted(&proxy.formula)?;
    let points = predicted.into_iter().zip(bench.rows.iter().map(|r| r.damage)).collect();
    Ok(Scatter { network: bench.header.network.clone(), points })
}

/// What a run on these networks is given.
pub fn task(settings: Settings, judge: &NetworkJudges, given: &[String]) -> Task {
    Task { settings, judge: judge.method(), networks: judge.networks(), given: given.to_vec() }
}

/// A new run, or the rest of one that was cut.
fn search(task: &Task, path: &Path, args: &Args, spec: &Spec, judge: &NetworkJudges) -> Result<(Outcome, Vec<u8>)> {
    let mut proposer = proposer(spec, judge, args.prompts.as_deref(), args.server_grammar)?;
    let mut live = Live::new(&task.settings, args.how.quiet);
    let found = run_on(task, path, judge, proposer.as_mut(), &mut live);
    live.finish();
    found
}

/// Runs with a transcript at `path`, gone on with where there is one.
pub fn run_on(
    task: &Task,
    path: &Path,
    judge: &NetworkJudges,
    proposer: &mut dyn Proposer,
    live: &mut Live,
) -> Result<(Outcome, Vec<u8>)> {
    let (mut recorder, notice) = Recorder::open(path)?;
    if let Some(notice) = notice {
        eprintln!("{}: {notice}", path.display());
    }
    let outcome = run_loop(task, judge, proposer, &mut recorder, live);
    let outcome = outcome.at(|| path.display().to_string())?;
    drop(recorder);
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read the transcript", &e))?;
    Ok((outcome, bytes))
}

/// A recorded run with what it was given.
struct Recording {
    place: String,
    bytes: Vec<u8>,
    recorded: Recorded,
    task: Task,
}

impl Recording {
    fn read(path: &Path) -> Result<Recording> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read the transcript", &e))?;
        let place = path.display().to_string();
        let recorded = Recorded::read(&bytes).at(|| place.clone())?;
        let empty = || Error::new(Code::Transcript, "the transcript is empty");
        let task = Task::of(recorded.header().ok_or_else(empty).at(|| place.clone())?);
        Ok(Recording { place, bytes, recorded, task })
    }

    /// The same run again, every formula judged anew.
    fn again(self, judge: &NetworkJudges) -> Result<(Outcome, Vec<u8>)> {
        let place = || self.place.clone();
        let task = task(self.task.settings, judge, &self.task.given);
        let mut proposer = Replay::new(&self.recorded).at(place)?;
        let events = self.recorded.events.len();
        // Every line is compared with the recorded one as it is made.
        let mut recorder = Recorder::resume(self.recorded, std::io::sink());
        let outcome = run_loop(&task, judge, &mut proposer, &mut recorder, &mut ()).at(place)?;
        eprintln!("{}: {events} events repeated, every one the same", self.place);
        Ok((outcome, self.bytes))
    }
}

/// The same run again by its transcript alone: no network judges, its recorded verdicts stand.
fn alone(path: &Path) -> Result<(Outcome, Option<ProxyFile>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read the transcript", &e))?;
    let (outcome, proxy) = replay_alone(&bytes).at(|| path.display().to_string())?;
    eprintln!(
        "{}: every event repeated, every one the same; what formulas are worth was taken from the transcript",
        path.display()
    );
    Ok((outcome, proxy))
}

/// Whoever answers, as the command line names them.
pub fn proposer<'j>(
    spec: &Spec,
    judge: &'j NetworkJudges<'j>,
    prompts: Option<&Path>,
    grammar: ServerGrammar,
) -> Result<Box<dyn Proposer + 'j>> {
    match spec {
        Spec::None | Spec::Replay(_) => Ok(Box::new(Mutation::new(judge))),
        Spec::Local(_) | Spec::OpenAi { .. } => crate::models::proposer(spec, judge, prompts, grammar),
    }
}
