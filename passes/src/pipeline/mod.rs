//! The pipeline: a float graph, samples and a target in; a quantized graph, a plan and a report out.

mod activations;
mod analyze;
mod bench;
mod budget;
mod candidates;
mod choose;
mod chooser;
mod declared;
mod elsewhere;
mod equalize;
mod features;
mod field;
mod joint;
mod judge;
mod judges;
mod observed;
mod pareto;
mod probe;
mod ranges;
mod rewrite;
mod scene;
mod search;
mod sequential;
mod settle;
mod summarize;
mod verdict;
mod versions;

pub use bench::{Workbench, with_workbench};
pub use budget::Widths;
pub use judge::NetworkJudge;
pub use judges::NetworkJudges;
pub use pareto::pareto;
pub use rewrite::rewrite;

use crate::driver::Driver;
use crate::float_passes;
use std::collections::{BTreeMap, BTreeSet};
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::plan::{Plan, check_matches, check_target};
use tapq::proxy::{ProxyFile, default_proxy};
use tapq::report::{Fidelity, Report, measure};
use tapq::samples::{Sample, SampleSet};
use tapq::stats::{Backend, Cpu, Observation};
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// What the caller wants.
pub struct Options<'a> {
    /// The device.
    pub target: &'a Target,
    /// Samples that the statistics come from.
    pub calibration: &'a SampleSet,
    /// What measures the tensors.
    pub backend: &'a dyn Backend,
    /// Samples that fidelity is measured on; the calibration samples if empty.
    pub held_out: &'a [Sample],
    /// What weight widths are asked for.
    pub widths: Widths,
    /// Width of activations; the target's default if absent.
    pub activation_bits: Option<u32>,
    /// Layers that stay in float.
    pub keep_float: BTreeSet<String>,
    /// What predicts the damage of each width to each layer.
    pub proxy: ProxyFile,
    /// How much time a better file may take.
    pub effort: Effort,
    /// Whether channel factors may move between layers.
    pub equalize: Equalize,
    /// Values of symbolic dimensions.
    pub dims: BTreeMap<String, usize>,
    /// Bounds of the network input that preprocessing implies.
    pub input_range: Option<(f32, f32)>,
    /// A plan to replay instead of making one.
    pub plan: Option<Plan>,
    /// Whether to compare the result with the float model.
    pub verify: bool,
    /// Stop after this many patches, to find the one that breaks something.
    pub fuel: Option<usize>,
}

impl<'a> Options<'a> {
    /// The defaults: the target's widths, the default proxy, no comparison with the float model.
    ///
    /// # Errors
    /// Where the built-in default proxy does not parse, which its tests exclude.
    pub fn new(target: &'a Target, calibration: &'a SampleSet) -> Result<Self> {
        Ok(Options {
            target,
            calibration,
            backend: &Cpu,
            held_out: &[],
            widths: Widths::default(),
            activation_bits: None,
            keep_float: BTreeSet::new(),
            proxy: default_proxy()?,
            effort: Effort::default(),
            equalize: Equalize::default(),
            dims: BTreeMap::new(),
            input_range: None,
            plan: None,
            verify: false,
            fuel: None,
        })
    }
}

/// How much time a better file may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Seconds: widths from one measurement of each layer on two samples; more only where the file is poor.
    #[default]
    Fast,
    /// Tens of seconds: more scales are tried, the choice is measured on all samples and compared as a file.
    Balanced,
    /// Minutes: the choice is searched further, by exchanges of bits between layers.
    Best,
}

/// Whether channel factors may move between layers before anything is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Equalize {
    /// Where weights have 8 bits, and the output then measures better.
    #[default]
    Auto,
    /// Wherever a pair of layers is predicted to gain.
    On,
    /// Never.
    Off,
}

/// What a caller hears while the pipeline runs; ticks come from several threads.
pub trait Progress: Sync {
    /// A stage begins that will tick `steps` times.
    fn stage(&self, name: &str, steps: usize);
    /// One step is done.
    fn tick(&self);
    /// Something that a person at the terminal should know.
    fn note(&self, _what: &str) {}
}

/// Hears nothing.
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _name: &str, _steps: usize) {}
    fn tick(&self) {}
}

/// What comes out.
pub struct Outcome {
    /// The quantized model.
    pub graph: Graph,
    /// Every decision.
    pub plan: Plan,
    /// What to show; file sizes are the caller's to fill in.
    pub report: Report,
}

/// Quantizes a float model.
pub fn quantize(mut graph: Graph, options: &Options, progress: &dyn Progress) -> Result<Outcome> {
    refuse_quantized(&graph)?;
    let opset = graph.opset();
    let mut driver = Driver::new(options.fuel);
    driver.run(&mut graph, &float_passes())?;
    let mut analysis = match &options.plan {
        Some(plan) => {
            equalize::apply(&mut graph, &plan.equalized, &mut driver)?;
            check_matches(plan, &graph)?;
            check_target(plan, &graph, options.target)?;
            versions::check_versions(plan, &graph, options.target)?;
            analyze::Analysis::of_plan(plan.clone())
        }
        None => {
            let equalized = equalize::equalize_channels(&mut graph, options, &mut driver, progress)?;
            let mut analysis = analyze::analyze(&graph, options, progress)?;
            analysis.plan.equalized = equalized;
            analysis
        }
    };
    let facts = summarize::Facts::of(&graph);
    let rounding = analyze::round(&graph, &mut analysis.plan, options, progress)?;
    // Compiled once more rather than kept from the observation: rounding has two engines in memory beside it.
    let compile = || Engine::new(&graph, &analysis.compared, &EngineOptions::with_dims(&options.dims));
    // A shape that was declared wrongly is noticed only by the shape inference of newer opsets.
    let raised = analysis.plan.opset > opset;
    let float = (options.verify || raised).then(compile).transpose()?;
    if let (Some(float), Some(sample), true) = (&float, options.calibration.samples.first(), raised) {
        let ranks = float.output_ranks(sample)?;
        declared::correct_ranks(&graph, &ranks).map_or(Ok(()), |p| driver.apply(&mut graph, "correct-ranks", p))?;
    }
    // The float graph ends here: its weights need not be in memory beside those of two engines.
    let quantized = rewrite(graph, &analysis.plan, &rounding, options.target, &mut driver)?;
    let fidelity = match float.filter(|_| options.verify) {
        Some(float) => Some(verify(&float, &analysis.compared, &quantized, options, progress)?),
        None => None,
    };
    let report = summarize::report(&facts, &analysis, &rounding, options, fidelity, driver.applied);
    Ok(Outcome { graph: quantized, plan: analysis.plan, report })
}

/// Runs the samples through the float network and takes all the statistics that a choice of widths needs: the part of
/// [`quantize`] that a GPU does.
pub fn calibrate(mut graph: Graph, options: &Options, progress: &dyn Progress) -> Result<Observation> {
    refuse_quantized(&graph)?;
    Driver::new(options.fuel).run(&mut graph, &float_passes())?;
    Ok(observed::observe_network(&graph, options, true, progress)?.seen)
}

/// Index of a value among the taps, added if it is not there yet.
fn tap(taps: &mut Vec<String>, value: &str) -> usize {
    taps.iter().position(|t| t == value).unwrap_or_else(|| {
        taps.push(value.to_owned());
        taps.len() - 1
    })
}

/// A model that already holds Q/DQ is not quantized again: its float values are gone.
fn refuse_quantized(graph: &Graph) -> Result<()> {
    let quantized = |op: &str| {
        matches!(op, "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "QLinearConv" | "QLinearMatMul")
            || matches!(op, "ConvInteger" | "MatMulInteger")
    };
    match graph.nodes().iter().find(|n| quantized(&n.op_type)) {
        None => Ok(()),
        Some(node) => Err(Error::new(
            Code::AlreadyQuantized,
            format!("the model is already quantized: it holds {}", node.op_type),
        )
        .at(format!("node '{}'", node.name))
        .help("quantize the float model that it was made from")),
    }
}

fn verify(
    float: &Engine,
    values: &[String],
    quantized: &Graph,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Fidelity> {
    let held_out = !options.held_out.is_empty();
    let samples = if held_out { options.held_out } else { &options.calibration.samples };
    let simulated = Engine::new(quantized, values, &EngineOptions::with_dims(&options.dims))?;
    progress.stage("verify", samples.len());
    let mut fidelity = measure(float, &simulated, values, samples, held_out, &|| progress.tick())?;
    fidelity.values.retain(|v| !quantized.index().is_input(&v.value));
    Ok(fidelity)
}
