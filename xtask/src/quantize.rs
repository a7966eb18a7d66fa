//! `xtask quantize`: the main job.

use crate::device::Device;
use crate::inputs::{Inputs, SampleArgs, read_graph, tell_of_tokens};
use crate::progress::Bars;
use crate::{Verdict, files, proxies};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tapq::graph::Graph;
use tapq::onnx::{self, DataType};
use tapq::plan::{Plan, check_fixed};
use tapq::proxy::DEFAULT_PROXY;
use tapq::report::{self, Report};
use tapq::samples::fixed_texts;
use tapq::target::{Target, Variant};
use tapq::{Code, Error, Result};
use tapq_passes::pipeline::{self, Effort, Equalize, Options, Outcome, Widths};

/// Held-out samples that fidelity is measured on, where the source has more than calibration takes.
const VERIFY_SAMPLES: usize = 4;

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
    /// Replay this plan instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weight_bits", "avg_weight_bits", "max_bytes", "max_bops", "act_bits", "avg_act_bits", "goal_sqnr", "keep_float", "weight_only", "block_size"])]
    pub plan: Option<PathBuf>,
    /// Output model [default: MODEL.TARGET.onnx]; the plan is written beside it as .plan.yaml
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write report.html and report.json into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Show every layer in the table
    #[arg(long)]
    pub all_layers: bool,
    /// Held-out samples to compare float and quantized on; 0 skips the comparison
    #[arg(long, value_name = "N", default_value_t = VERIFY_SAMPLES)]
    pub verify_samples: usize,
    /// Exit with 3 if the SQNR of the outputs is below this many dB
    #[arg(long, value_name = "DB", value_parser = bar, allow_negative_numbers = true)]
    pub min_sqnr: Option<f64>,
    /// Exit with 3 if top-1 agreement is below this share (0 to 1)
    #[arg(long, value_name = "P", value_parser = bar)]
    pub min_agreement: Option<f64>,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Stop after this many patches, to find the one that breaks something
    #[arg(long, value_name = "N", hide = true)]
    pub fuel: Option<usize>,
}

/// How much time a better file may take.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EffortArg {
    /// Seconds: widths from one measurement of each layer on two samples
    #[default]
    Fast,
    /// Tens of seconds: more scales tried, the choice measured on all samples and compared as a file
    Balanced,
    /// Minutes: the choice searched further, by exchanges of bits between layers
    Best,
}

impl EffortArg {
    /// As the pipeline calls it.
    pub fn effort(self) -> Effort {
        match self {
            EffortArg::Fast => Effort::Fast,
            EffortArg::Balanced => Effort::Balanced,
            EffortArg::Best => Effort::Best,
        }
    }
}

/// Whether channel factors may move between layers.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EqualizeArg {
    /// Where weights have 8 bits, and the output then measures better
    #[default]
    Auto,
    /// Wherever a pair of layers is predicted to gain
    On,
    /// Never
    Off,
}

impl EqualizeArg {
    fn equalize(self) -> Equalize {
        match self {
            EqualizeArg::Auto => Equalize::Auto,
            EqualizeArg::On => Equalize::On,
            EqualizeArg::Off => Equalize::Off,
        }
    }
}

/// What becomes of calibration samples that are unlike the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Outliers {
    /// They are left out of every statistic.
    #[default]
    LeaveOut,
    /// They count like the others.
    Keep,
}

/// What widths are asked for.
#[derive(clap::Args, Clone)]
pub struct ChoiceArgs {
    /// Every layer at this weight width
    #[arg(long, value_name = "B")]
    pub weight_bits: Option<u32>,
    /// Choose widths: at most this many nominal bits on average over the weights
    #[arg(long, value_name = "X")]
    pub avg_weight_bits: Option<f64>,
    /// Choose widths: at most this many bytes of stored weights and scales
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
    /// Choose widths: at most this many bit operations (MACs x weight bits x activation bits) a sample
    #[arg(long, value_name = "N")]
    pub max_bops: Option<f64>,
    /// Quantize no activations: weights alone are stored as integers, in blocks that share a scale [default: 4 bits],
    /// and multiplied in float, as language models are deployed
    #[arg(long, conflicts_with_all = ["act_bits", "avg_act_bits"])]
    pub weight_only: bool,
    /// Weights that share a scale where they are stored in blocks [default: the target's; `xtask targets` says which]
    #[arg(long, value_name = "N")]
    pub block_size: Option<usize>,
    /// Width of activations [default: the target's; where it offers several, --max-bops chooses]
    #[arg(long, value_name = "B")]
    pub act_bits: Option<u32>,
    /// Choose widths of activations: at most this many nominal bits on average over their elements
    #[arg(long, value_name = "X")]
    pub avg_act_bits: Option<f64>,
    /// Reach this SQNR of the outputs in dB with as little as it takes of wider activations or, where the device has
    /// none, of operators in float; measured on calibration samples, and files aim 1 dB higher
    #[arg(long, value_name = "DB", value_parser = bar, allow_negative_numbers = true, conflicts_with_all = ["avg_weight_bits", "max_bytes", "max_bops", "avg_act_bits"])]
    pub goal_sqnr: Option<f64>,
    /// What scores a layer's widths when they are chosen: a name (`xtask proxies` lists them), a YAML file, or a formula
    #[arg(long, value_name = "NAME|FILE|FORMULA", allow_hyphen_values = true, default_value = DEFAULT_PROXY)]
    pub proxy: String,
    /// How much time a better file may take
    #[arg(long, value_enum, default_value_t = EffortArg::Fast)]
    pub effort: EffortArg,
    /// Who measures the tensors: cpu, cuda, cuda:N, or auto for a GPU if there is one
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Move channel factors between layers before rounding: where the output then measures better, always, or never
    #[arg(long, value_enum, default_value_t = EqualizeArg::Auto)]
    pub equalize: EqualizeArg,
    /// Calibration samples with values far from those of all the others: leave them out, and say so, or keep them
    #[arg(long, value_enum, default_value_t)]
    pub outliers: Outliers,
    /// Leave this layer in float (repeatable)
    #[arg(long, value_name = "NODE")]
    pub keep_float: Vec<String>,
}

impl Default for ChoiceArgs {
    fn default() -> Self {
        ChoiceArgs {
            weight_bits: None,
            avg_weight_bits: None,
            max_bytes: None,
            max_bops: None,
            weight_only: false,
            block_size: None,
            act_bits: None,
            avg_act_bits: None,
            goal_sqnr: None,
            proxy: DEFAULT_PROXY.to_owned(),
            effort: EffortArg::default(),
            device: Device::default(),
            equalize: EqualizeArg::default(),
            outliers: Outliers::default(),
            keep_float: vec![],
        }
    }
}

impl ChoiceArgs {
    /// Whether a width or a budget is asked for.
    pub fn asks_for_widths(&self) -> bool {
        self.weight_bits.is_some() || self.widths().is_choice()
    }

    /// What the profile is narrowed to.
    pub fn variant(&self) -> Variant {
        Variant { weight_only: self.weight_only, activation_bits: self.act_bits, block_size: self.block_size }
    }

    fn widths(&self) -> Widths {
        Widths {
            uniform: self.weight_bits,
            average: self.avg_weight_bits,
            max_bytes: self.max_bytes,
            max_bops: self.max_bops,
            average_activation: self.avg_act_bits,
        }
    }
}

/// A bar that something can be below: any number but NaN.
pub fn bar(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|bar: &f64| !bar.is_nan()).ok_or_else(|| "expected a number".to_owned())
}

/// Everything that `quantize` and `check` do before they write anything.
pub struct Job<'a> {
    /// The float model.
    pub model: &'a Path,
    /// The device.
    pub target: &'a Target,
    /// Where samples come from.
    pub samples: &'a SampleArgs,
    /// What widths are asked for.
    pub choice: &'a ChoiceArgs,
    /// A plan to replay.
    pub plan: Option<Plan>,
    /// Held-out samples for the comparison; 0 skips it.
    pub verify_samples: usize,
    /// Print no progress.
    pub quiet: bool,
    /// Stop after this many patches.
    pub fuel: Option<usize>,
}

impl Job<'_> {
    /// Quantizes; the report lacks only the size of the file that is not written yet.
    pub fn run(self) -> Result<Outcome> {
        let graph = read_graph(self.model)?;
        let float_file = files::size(graph.external().sources());
        let bars = Bars::new(self.quiet);
        let (model, place) = (self.model, self.model.display().to_string());
        let outcome = self.with_options(graph, |graph, options| pipeline::quantize(graph, options, &bars));
        bars.finish();
        let mut outcome = outcome.map_err(|e| e.at(place))?;
        outcome.report.model = files::name(model);
        outcome.report.size.float_file = float_file;
        Ok(outcome)
    }

    /// Loads the samples and hands what the caller asked for to `then`.
    pub fn with_options<T>(self, graph: Graph, then: impl FnOnce(Graph, &Options) -> Result<T>) -> Result<T> {
        if let Some(plan) = &self.plan {
            // Before samples are read, which hold an input that the plan fixes or do not.
            check_fixed(plan, &fixed_texts(&self.samples.fixed(self.model, &graph)?))?;
        }
        let Inputs { graph, mut calibration, held_out, input_range, dims, fixed } =
            self.samples.load(self.model, graph, self.verify_samples)?;
        tell_of_tokens(&calibration, self.quiet);
        if self.choice.outliers == Outliers::LeaveOut {
            calibration.leave_out_outliers(input_range);
        }
        let backend = self.choice.device.open(self.quiet)?;
        let options = Options {
            target: self.target,
            calibration: &calibration,
            backend: backend.as_ref(),
            held_out: held_out.as_ref().map_or(&[], |s| &s.samples),
            widths: self.choice.widths(),
            activation_bits: self.choice.act_bits,
            proxy: proxies::find(&self.choice.proxy)?,
            effort: self.choice.effort.effort(),
            equalize: self.choice.equalize.equalize(),
            goal_db: self.choice.goal_sqnr,
            keep_float: self.choice.keep_float.iter().cloned().collect::<BTreeSet<String>>(),
            dims,
            fixed: &fixed,
            input_range,
            plan: self.plan,
            verify: self.verify_samples > 0,
            fuel: self.fuel,
        };
        then(graph, &options)
    }
}

pub fn run(args: &Args) -> Result<Verdict> {
    let target = Target::named_or_read(&args.target)?;
    let plan = args.plan.as_ref().map(|path| read_plan(path, &target)).transpose()?;
    // A plan says itself what it was made for.
    let target = target.narrowed(plan.as_ref().map_or(args.choice.variant(), |plan| plan.variant))?;
    let output = args.output.clone().unwrap_or_else(|| files::beside(&args.model, &format!("{}.onnx", target.name)));
    check_output(args, &output)?;
    if args.verify_samples == 0 && (args.min_sqnr.is_some() || args.min_agreement.is_some()) {
        let what = "a fidelity bar needs a comparison, and --verify-samples 0 skips it";
        return Err(Error::new(Code::Config, what));
    }
    let job = Job {
        model: &args.model,
        target: &target,
        samples: &args.samples,
        choice: &args.choice,
        plan,
        verify_samples: args.verify_samples,
        quiet: args.quiet,
        fuel: args.fuel,
    };
    let mut outcome = job.run()?;
    let data = onnx::write(outcome.graph.model(), outcome.graph.external(), &output)?;
    let written: Vec<&Path> = [Some(output.as_path()), data.as_deref()].into_iter().flatten().collect();
    outcome.report.size.quantized_file = files::size(written.iter().copied());
    outcome.report.warnings.extend(grown(&outcome));
    let plan_path = files::beside(&output, "plan.yaml");
    files::write_text(&plan_path, &outcome.plan.to_yaml()?)?;
    if let Some(folder) = &args.report {
        write_report(folder, &outcome.report)?;
    }
    print(args, &outcome.report, &written, &plan_path)?;
    Ok(verdict(args, &outcome.report))
}

/// Why a file of a model in 16 bits is larger than the model, where it is because of what stays in float.
fn grown(outcome: &Outcome) -> Option<String> {
    let size = &outcome.report.size;
    outcome.report.widened.as_ref()?;
    let grown = size.quantized_file.checked_sub(size.float_file).filter(|grown| *grown > 0)?;
    let floats = outcome.graph.proto().initializer.iter().filter(|t| t.data_type == DataType::FLOAT as i32);
    let in_float: u64 = floats.filter_map(|t| onnx::byte_size(t).ok()).map(|bytes| bytes as u64).sum();
    let what = "the file is larger than the model: what stays in float had 16 bits and is stored in 32";
    (in_float / 2 >= grown).then(|| what.to_owned())
}

fn read_plan(path: &Path, target: &Target) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the plan", &e))?;
    let plan = Plan::from_yaml(&text, &path.display().to_string())?;
    match plan.target == target.name {
        true => Ok(plan),
        false => {
            Err(Error::new(Code::PlanMismatch, format!("the plan is for '{}', not '{}'", plan.target, target.name))
                .at(path.display().to_string()))
        }
    }
}

/// Refuses an output that would overwrite the input or cannot be written, before any work is done.
fn check_output(args: &Args, output: &Path) -> Result<()> {
    let plan = files::beside(output, "plan.yaml");
    let named = [&args.target, &args.choice.proxy].map(PathBuf::from);
    let inputs: Vec<PathBuf> = args.samples.sources(&args.model)?.into_iter().chain(named).collect();
    let inputs = || std::iter::once(args.model.as_path()).chain(inputs.iter().map(PathBuf::as_path));
    // The plan that is replayed may be written again: it says the same.
    files::refuse_overwrite(&plan, inputs())?;
    files::refuse_overwrite(output, inputs().chain(args.plan.as_deref()))?;
    args.report.as_deref().map_or(Ok(()), files::check_folder)?;
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = std::fs::metadata(folder).map_err(|e| Error::io(folder, "write into the output folder", &e))?;
    match metadata.is_dir() && !output.is_dir() && !plan.is_dir() {
        true => Ok(()),
        false => {
            Err(Error::new(Code::Io, "the output or its plan is not a file in a folder")
                .at(output.display().to_string()))
        }
    }
}

fn write_report(folder: &Path, report: &Report) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the report folder", &e))?;
    files::write_text(&folder.join("report.html"), &report::html(report)?)?;
    files::write_text(&folder.join("report.json"), &files::json(report)?)
}

fn print(args: &Args, report: &Report, written: &[&Path], plan: &Path) -> Result<()> {
    if args.json {
        print!("{}", files::json(report)?);
        return Ok(());
    }
    let terminal = console::Term::stdout();
    let width = if terminal.is_term() { usize::from(terminal.size().1) } else { 100 };
    let color = terminal.is_term() && console::colors_enabled();
    print!("{}", report::text(report, width, color, args.all_layers));
    let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    println!("\nwrote {} and {}", written.join(", "), plan.display());
    if let Some(folder) = &args.report {
        println!("wrote {} and report.json", folder.join("report.html").display());
    }
    Ok(())
}

fn verdict(args: &Args, report: &Report) -> Verdict {
    // What was missed on calibration samples may be there in the file that all of them made.
    let missed = report.goal.as_ref().filter(|goal| !goal.is_reached()).map(|goal| goal.sqnr_db);
    let Some(fidelity) = &report.fidelity else {
        return if missed.is_some() { Verdict::BelowBar } else { Verdict::Done };
    };
    let asked = args.min_sqnr.or(args.min_agreement).or(report.goal.as_ref().map(|goal| goal.sqnr_db));
    if let Some(why) = fidelity.says_nothing.as_ref().filter(|_| asked.is_some()) {
        eprintln!("no bar is met: the comparison says nothing: {why}");
        return Verdict::BelowBar;
    }
    let below = |what: &str, found: f64, bar: Option<f64>| {
        let missed = bar.is_some_and(|bar| found < bar);
        if missed {
            eprintln!("below the bar: {what} is {found:.3}, asked for at least {}", bar.unwrap_or_default());
        }
        missed
    };
    let sqnr = below("output SQNR in dB", fidelity.sqnr_db, args.min_sqnr.into_iter().chain(missed).reduce(f64::max));
    let agreement = below("top-1 agreement", fidelity.agreement, args.min_agreement);
    if sqnr || agreement { Verdict::BelowBar } else { Verdict::Done }
}
