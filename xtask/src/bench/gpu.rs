//! `xtask bench gpu`: the kernels against the device, and calibration on it against the processor.

use super::shapes;
use crate::inputs::{SampleArgs, read_graph};
use crate::{Verdict, files};
use std::path::PathBuf;
use std::time::Instant;
use tapq::graph::Graph;
use tapq::samples::{SampleSet, input_specs, synthetic};
use tapq::stats::cuda::{self, Cuda};
use tapq::stats::{Backend, Cpu, Observation};
use tapq::target::Target;
use tapq::{Context, Result};
use tapq_passes::pipeline::{Options, Progress, calibrate};

#[derive(clap::Args)]
pub struct Args {
    /// Float ONNX models to calibrate beside the built-in shapes of ViT-B/16 and ResNet-50, on made-up samples
    models: Vec<PathBuf>,
    /// Number of the GPU
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpu: usize,
    /// Samples to calibrate on (repeatable) [default: 16, 512]
    #[arg(long, value_name = "N")]
    samples: Vec<usize>,
    /// Samples that the processor gets at most; its time for one sample is compared
    #[arg(long, value_name = "N", default_value_t = 16)]
    cpu_samples: usize,
    /// Time calibration alone
    #[arg(long)]
    no_kernels: bool,
    /// Time kernels alone
    #[arg(long, conflicts_with = "no_kernels")]
    no_calibration: bool,
}

/// Prints the tables.
pub fn run(args: &Args) -> Result<Verdict> {
    if !args.no_kernels {
        println!("{}", cuda::bench(args.gpu)?);
    }
    if args.no_calibration {
        return Ok(Verdict::Done);
    }
    let cuda = Cuda::open(args.gpu)?;
    println!("Calibration: {}, {} threads of the processor", cuda.device().name, rayon::current_num_threads());
    println!(
        "The network runs on {}\n",
        cuda.network_stays().map_or("the GPU".to_owned(), |why| format!("the processor: {why}"))
    );
    println!("| network | samples: CPU / GPU | CPU s | GPU s | ms a sample: CPU / GPU | ratio | difference |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for path in &args.models {
        rows(&files::stem(path), &read_graph(path)?, args, &cuda).at(|| path.display().to_string())?;
    }
    rows("ResNet-50 shapes", &shapes::resnet50()?, args, &cuda)?;
    rows("ViT-B/16 shapes", &shapes::vit_b16()?, args, &cuda)?;
    Ok(Verdict::Done)
}

fn rows(name: &str, graph: &Graph, args: &Args, cuda: &Cuda) -> Result<()> {
    let counts = if args.samples.is_empty() { &[16, 512][..] } else { &args.samples };
    let most = counts.iter().copied().max().unwrap_or(0).max(args.cpu_samples);
    let samples = SampleArgs::default();
    let dims = samples.selection.dims.iter().cloned().collect();
    let all = synthetic(&input_specs(graph, &dims), &Default::default(), most.min(64), 1)?;
    // Loads libraries and kernels; takes minutes where tract compiles its own for the first time.
    timed(graph, &all, 1, cuda)?;
    let cpu_samples = args.cpu_samples.min(most);
    let (cpu, wanted) = timed(graph, &all, cpu_samples, &Cpu)?;
    let each = |seconds: f64, samples: usize| 1e3 * seconds / samples as f64;
    for count in counts {
        let (gpu, found) = timed(graph, &all, *count, cuda)?;
        let difference = match *count == cpu_samples {
            true => format!("{:.0e}", difference(&found, &wanted)),
            false => String::new(),
        };
        let (theirs, ours) = (each(cpu, cpu_samples), each(gpu, *count));
        println!(
            "| {name} | {cpu_samples} / {count} | {cpu:.2} | {gpu:.2} | {theirs:.1} / {ours:.1} | {:.1} | {difference} |",
            theirs / ours
        );
    }
    Ok(())
}

/// Seconds of a calibration from the graph to all statistics; samples repeat where there are too few.
fn timed(graph: &Graph, all: &SampleSet, count: usize, backend: &dyn Backend) -> Result<(f64, Observation)> {
    let samples = all.samples.iter().cycle().take(count).cloned().collect();
    let calibration = SampleSet { samples, ..all.clone() };
    let target = Target::named("fpga")?;
    let options = Options { backend, ..Options::new(&target, &calibration)? };
    let graph = graph.clone();
    let start = Instant::now();
    let seen = calibrate(graph, &options, &Notes)?;
    Ok((start.elapsed().as_secs_f64(), seen))
}

/// Shows what must be known, on stderr.
struct Notes;

impl Progress for Notes {
    fn stage(&self, _: &str, _: usize) {}
    fn tick(&self) {}
    fn note(&self, what: &str) {
        eprintln!("{what}");
    }
}

/// The greatest relative difference of two observations in the root mean square of a value, or in X'X of a layer (as
/// the norm of the difference against the norm).
fn difference(found: &Observation, wanted: &Observation) -> f64 {
    let mut most = 0f64;
    for (found, wanted) in found.values.iter().zip(&wanted.values) {
        for (a, b) in found.samples.iter().zip(&wanted.samples).filter(|(_, b)| b.sum_squares > 0.0) {
            most = most.max(((a.sum_squares / b.sum_squares).sqrt() - 1.0).abs());
        }
    }
    for (a, b) in found.grams.iter().flatten().zip(wanted.grams.iter().flatten()).filter(|(_, b)| b.size > 0) {
        let square = |v: f32| f64::from(v).powi(2);
        let apart: f64 = a.data.iter().zip(&b.data).map(|(x, y)| square(x - y)).sum();
        let all: f64 = b.data.iter().map(|y| square(*y)).sum();
        if all > 0.0 {
            most = most.max((apart / all).sqrt());
        }
    }
    most
}
