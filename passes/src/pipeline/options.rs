//! What the caller wants.

use super::widths::Widths;
use std::collections::{BTreeMap, BTreeSet};
use tapq::Result;
use tapq::plan::Plan;
use tapq::proxy::{ProxyFile, default_proxy};
use tapq::samples::{FixedInput, Sample, SampleSet};
use tapq::stats::{Backend, Cpu};
use tapq::target::Target;

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
    /// SQNR in dB that the outputs are to reach, whatever that takes of wider activations or operators in float.
    pub goal_db: Option<f64>,
    /// What predicts the damage of each width to each layer.
    pub proxy: ProxyFile,
    /// How much time a better file may take.
    pub effort: Effort,
    /// Whether channel factors may move between layers.
    pub equalize: Equalize,
    /// Values of symbolic dimensions.
    pub dims: BTreeMap<String, usize>,
    /// Inputs that the file is to have as constants.
    pub fixed: &'a [FixedInput],
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
            goal_db: None,
            proxy: default_proxy()?,
            effort: Effort::default(),
            equalize: Equalize::default(),
            dims: BTreeMap::new(),
            fixed: &[],
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
