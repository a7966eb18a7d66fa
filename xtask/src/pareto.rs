//! `xtask pareto`: the whole size/fidelity front of a model on a target.

use crate::inputs::{SampleArgs, read_graph, warn_of_outliers};
use crate::progress::Bars;
use crate::quantize::{ChoiceArgs, Job};
use crate::{Verdict, files};
use std::path::PathBuf;
use tapq::report::{front_svg, front_text};
use tapq::target::Target;
use tapq::{Code, Error, Result};
use tapq_passes::pipeline;

#[derive(clap::Args)]
pub struct Args {
    /// The float ONNX model
    pub model: PathBuf,
    /// Device: a name (`xtask targets` lists them) or a YAML profile
    #[arg(long, value_name = "NAME|FILE")]
    pub target: String,
    #[command(flatten)]
    pub samples: SampleArgs,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Write pareto.svg and pareto.json into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print the front as JSON
    #[arg(long)]
    pub json: bool,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
}

pub fn run(args: &Args) -> Result<Verdict> {
    if args.choice.asks_for_widths() || args.choice.avg_act_bits.is_some() {
        let what = "the front holds every size: it takes no --weight-bits, no --avg-act-bits and no budget";
        return Err(Error::new(Code::Config, what));
    }
    let target = Target::named_or_read(&args.target)?.narrowed(args.choice.variant())?;
    let graph = read_graph(&args.model)?;
    let bars = Bars::new(args.quiet);
    let job = Job {
        model: &args.model,
        target: &target,
        samples: &args.samples,
        choice: &args.choice,
        plan: None,
        verify_samples: 0,
        quiet: args.quiet,
        fuel: None,
    };
    let front = job.with_options(graph, |graph, options| {
        warn_of_outliers(options.calibration, args.quiet);
        pipeline::pareto(graph, options, &bars)
    });
    bars.finish();
    let mut front = front.map_err(|e| e.at(args.model.display().to_string()))?;
    front.model = files::name(&args.model);
    let json = files::json(&front)?;
    if let Some(folder) = &args.report {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the report folder", &e))?;
        files::write_text(&folder.join("pareto.json"), &json)?;
        files::write_text(&folder.join("pareto.svg"), &front_svg(&front))?;
    }
    if args.json {
        print!("{json}");
        return Ok(Verdict::Done);
    }
    print!("{}", front_text(&front, 100));
    if let Some(folder) = &args.report {
        println!("\nwrote {} and pareto.json", folder.join("pareto.svg").display());
    }
    Ok(Verdict::Done)
}
