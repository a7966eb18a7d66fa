//! `xtask verify`: one model against another on samples.

use crate::Verdict;
use crate::inputs::{SampleArgs, read_graph, tell_of_tokens};
use crate::progress::Bars;
use crate::quantize::bar;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tapq::engine::{Engine, Options};
use tapq::graph::{Graph, caches};
use tapq::plan::fixed_in_file;
use tapq::report::{Fidelity, measure};
use tapq::samples::{FixedInput, fixed_texts, input_specs};
use tapq::{Code, Error, Result, clean};
use tapq_passes::pipeline::Progress;
use tapq_passes::{FixInputs, InlineFunctions, Pass};

#[derive(clap::Args)]
pub struct Args {
    /// The reference, usually the float model
    pub reference: PathBuf,
    /// The model to judge, usually the quantized one
    pub judged: PathBuf,
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Exit with 3 if the SQNR of the outputs is below this many dB
    #[arg(long, value_name = "DB", value_parser = bar, allow_negative_numbers = true)]
    pub min_sqnr: Option<f64>,
    /// Exit with 3 if top-1 agreement is below this share (0 to 1)
    #[arg(long, value_name = "P", value_parser = bar)]
    pub min_agreement: Option<f64>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
}

pub fn run(args: &Args) -> Result<Verdict> {
    let graph = read_graph(&args.reference)?;
    let mut judged = read_graph(&args.judged)?;
    let mut inputs = samples_for(args, &graph, &judged)?.load(&args.reference, graph, 0)?;
    tell_of_tokens(&inputs.calibration, args.quiet);
    fix(&mut inputs.graph, &inputs.fixed)?;
    fix(&mut judged, &inputs.fixed)?;
    check_inputs(args, &inputs.graph, &judged)?;
    if inputs.calibration.synthetic {
        eprintln!("warning: no samples were given; the figures come from made-up ones");
    }
    let values = common_values(&inputs.graph, &judged);
    let options = Options::with_dims(&inputs.dims);
    let place = |path: &PathBuf| path.display().to_string();
    let reference = Engine::new(&inputs.graph, &values, &options).map_err(|e| e.at(place(&args.reference)))?;
    let outputs = reference.outputs();
    let other = Engine::with_outputs(&judged, outputs, &values, &options).map_err(|e| e.at(place(&args.judged)))?;
    let bars = Bars::new(args.quiet);
    let samples = &inputs.calibration.samples;
    bars.stage("verify", samples.len());
    // Nothing says what the file was calibrated on.
    let found = measure(&reference, &other, &values, samples, None, &|| bars.tick());
    bars.finish();
    let mut found = found?;
    found.caches = caches(&inputs.graph);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found).map_err(|e| Error::new(Code::Io, e.to_string()))?),
        false => print(&found),
    }
    let bar = args.min_sqnr.or(args.min_agreement).is_some();
    if bar && found.says_nothing.is_some() {
        return Ok(Verdict::BelowBar);
    }
    let below = args.min_sqnr.is_some_and(|bar| found.sqnr_db < bar)
        || args.min_agreement.is_some_and(|bar| found.agreement < bar);
    Ok(if below { Verdict::BelowBar } else { Verdict::Done })
}

/// Samples as the command line and the sidecar say, with the inputs fixed that the judged file has as constants.
fn samples_for(args: &Args, reference: &Graph, judged: &Graph) -> Result<SampleArgs> {
    let (mut samples, stored) = (args.samples.clone(), fixed_in_file(judged));
    for (name, value) in &stored {
        let open = reference.index().is_input(name) && !judged.index().is_input(name);
        if open && samples.selection.fixed.iter().all(|(other, _)| other != name) {
            samples.selection.fixed.push((name.clone(), value.clone()));
        }
    }
    let asked = fixed_texts(&samples.fixed(&args.reference, reference)?);
    let differs = |(name, value): (String, String)| {
        let asked = asked.get(&name).filter(|asked| **asked != value)?;
        Some((name, value, asked))
    };
    match stored.into_iter().find_map(differs) {
        None => Ok(samples),
        Some((name, value, asked)) => {
            let what = format!("input '{name}' is {value} in this file, and {asked} was asked for");
            let error = Error::new(Code::Config, what).at(args.judged.display().to_string());
            Err(error.help(format!("leave --fix-input {name} out: the file says what it was made with")))
        }
    }
}

fn fix(graph: &mut Graph, fixed: &[FixedInput]) -> Result<()> {
    let passes: [&dyn Pass; 2] = [&InlineFunctions, &FixInputs(fixed)];
    for pass in passes {
        if let Some(patch) = pass.run(graph)? {
            graph.apply(patch);
        }
    }
    Ok(())
}

/// Refuses a file that takes fewer inputs than the reference: nothing says what it has in their place.
fn check_inputs(args: &Args, reference: &Graph, judged: &Graph) -> Result<()> {
    let fed = input_specs(reference, &BTreeMap::new());
    match fed.iter().find(|spec| !judged.index().is_input(&spec.name)) {
        None => Ok(()),
        Some(spec) => {
            let what = format!("has no input '{}', which {} takes", spec.name, args.reference.display());
            let error = Error::new(Code::Samples, what).at(args.judged.display().to_string());
            Err(error.help(format!("say what it always is with --fix-input {}=VALUE", spec.name)))
        }
    }
}

/// Outputs of layers that both models make: what the per-layer table compares.
fn common_values(reference: &Graph, judged: &Graph) -> Vec<String> {
    let made: BTreeSet<&String> = judged.nodes().iter().flat_map(|n| &n.output).collect();
    let layers = reference
        .nodes()
        .iter()
        .filter(|n| matches!(n.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Relu" | "Clip"));
    let outputs = layers.filter_map(|n| n.output.first());
    outputs.filter(|o| made.contains(o) && !reference.index().is_output(o)).cloned().collect()
}

fn print(found: &Fidelity) {
    if let Some(why) = &found.says_nothing {
        println!("{} samples say nothing: {why}", found.samples);
        return;
    }
    println!(
        "{} samples: SQNR {:.2} dB, cosine {:.6}, top-1 agreement {:.1} %",
        found.samples,
        found.sqnr_db,
        found.cosine,
        100.0 * found.agreement
    );
    for output in found.outputs.iter().filter(|_| found.outputs.len() > 1) {
        println!("{:>8.2} dB  output {}", output.sqnr_db, clean(&output.value));
    }
    found.uncounted().iter().for_each(|words| println!("  uncounted: {}", clean(words)));
    found.worst_channels().iter().for_each(|words| println!("  {}", clean(words)));
    let mut worst: Vec<_> = found.values.iter().collect();
    worst.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db).then(a.value.cmp(&b.value)));
    if !worst.is_empty() {
        println!("\nworst inner values (of {}):", worst.len());
    }
    for value in worst.iter().take(12) {
        println!("{:>8.2} dB  {}", value.sqnr_db, clean(&value.value));
    }
}
