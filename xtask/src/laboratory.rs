//! Networks that are ready to have proxies judged on them, and their benches on disk.

use crate::files;
use crate::inputs::{ManySampleArgs, SampleArgs, read_graph, warn_of_outliers};
use crate::progress::Bars;
use crate::quantize::{ChoiceArgs, EffortArg, Job};
use std::io::Write;
use std::path::{Path, PathBuf};
use tapq::discover::Correlation;
use tapq::proxy::{Bench, BenchHeader};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};
use tapq_passes::pipeline::{NetworkJudge, Progress, Workbench, with_workbench};

/// How benches are made.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
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

/// A network with its device and its samples.
pub struct Network {
    /// The float ONNX model.
    pub model: PathBuf,
    /// Its device.
    pub target: Target,
    /// Where its samples come from.
    pub samples: SampleArgs,
}

impl Network {
    /// One a model, with its samples.
    pub fn many(models: &[PathBuf], target: &str, samples: &ManySampleArgs) -> Result<Vec<Network>> {
        let one = |(at, model): (usize, &PathBuf)| {
            let samples = samples.of(at, models.len())?;
            Ok(Network { model: model.clone(), target: Target::named_or_read(target)?, samples })
        };
        models.iter().enumerate().map(one).collect()
    }

    /// Prepares the network and hands its workbench to `then`.
    pub fn with_workbench<T>(
        &self,
        how: &BenchArgs,
        progress: &dyn Progress,
        then: impl FnOnce(&Workbench) -> Result<T>,
    ) -> Result<T> {
        let graph = read_graph(&self.model)?;
        let choice = ChoiceArgs { act_bits: how.act_bits, effort: EffortArg::Balanced, ..Default::default() };
        let job = Job {
            model: &self.model,
            target: &self.target,
            samples: &self.samples,
            choice: &choice,
            plan: None,
            verify_samples: how.held_out,
            quiet: how.quiet,
            fuel: None,
        };
        let network = files::stem(&self.model);
        job.with_options(graph, |graph, options| {
            warn_of_outliers(options.calibration, how.quiet);
            with_workbench(graph, &network, options, progress, then)
        })
        .at(|| self.model.display().to_string())
    }
}

/// Prepares the networks, completes their benches, and hands a judge of each to `then`.
///
/// They are prepared one inside the other, since each judge borrows what its network was read to.
pub fn with_judges<T>(
    networks: &[Network],
    how: &BenchArgs,
    correlation: Correlation,
    bars: &Bars,
    then: impl FnOnce(&[&NetworkJudge]) -> Result<T>,
) -> Result<T> {
    let (mut then, mut result) = (Some(then), None);
    nested(networks, how, correlation, bars, &[], &mut |judges| {
        if let Some(then) = then.take() {
            result = Some(then(judges)?);
        }
        Ok(())
    })?;
    result.ok_or_else(|| Error::new(Code::Config, "there is no network to judge on"))
}

fn nested(
    networks: &[Network],
    how: &BenchArgs,
    correlation: Correlation,
    bars: &Bars,
    ready: &[&NetworkJudge],
    then: &mut dyn FnMut(&[&NetworkJudge]) -> Result<()>,
) -> Result<()> {
    let Some((first, rest)) = networks.split_first() else { return then(ready) };
    first.with_workbench(how, bars, |workbench| {
        let (bench, _) = how.complete(workbench, bars)?;
        bars.finish();
        let judge = NetworkJudge::new(workbench, &bench, correlation);
        let ready: Vec<&NetworkJudge> = ready.iter().copied().chain([&judge]).collect();
        nested(rest, how, correlation, bars, &ready, then)
    })
}

impl BenchArgs {
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

/// Reads a bench file; whether its last line was cut off.
pub fn read(path: &Path) -> Result<(Bench, bool)> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the bench", &e))?;
    Bench::parse(&text).at(|| path.display().to_string())
}
