//! What commands read: the model, its sidecar, samples.

use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tapq::graph::Graph;
use tapq::samples::{self, FixedInput, InputSpec, Padding, Preprocess, Sample, SampleSet, Selection, Sidecar};
use tapq::{Code, Error, Result, onnx, report};

/// Samples to calibrate on when neither the command line nor the sidecar says how many.
const DEFAULT_SAMPLES: usize = 16;

/// Where samples come from.
#[derive(Args, Clone, Default)]
pub struct SampleArgs {
    /// Samples: a folder of JPEG/PNG, .npy, .npz (array `x`) or an ONNX test_data_set folder
    /// [default: the sidecar MODEL.tapq.yaml]
    #[arg(long, value_name = "PATH")]
    pub calib: Option<PathBuf>,
    /// How samples become inputs: a YAML file or a preset (imagenet, tf, lite, unit, raw, cifar10)
    #[arg(long, value_name = "FILE|PRESET")]
    pub preprocess: Option<String>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Whether the extents are those of other models too: one that this model lacks is then no mistake.
    #[arg(skip)]
    pub shared: bool,
}

/// Where the samples of one model or several come from.
#[derive(Args, Clone, Default)]
pub struct ManySampleArgs {
    /// Samples: a folder of JPEG/PNG, .npy, .npz (array `x`) or an ONNX test_data_set folder; once for all models, or
    /// once for each in their order [default: the sidecar MODEL.tapq.yaml of each]
    #[arg(long, value_name = "PATH")]
    pub calib: Vec<PathBuf>,
    /// How samples become inputs: a YAML file or a preset (imagenet, tf, lite, unit, raw, cifar10); once for all
    /// models, or once for each in their order
    #[arg(long, value_name = "FILE|PRESET")]
    pub preprocess: Vec<String>,
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// Which of the samples are taken, and at what extents.
#[derive(Args, Clone, Default)]
pub struct SelectionArgs {
    /// How many samples to calibrate on [default: 16]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// Take samples in a shuffled order instead of file order
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Extent of a symbolic dimension (repeatable)
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dimension)]
    pub dims: Vec<(String, usize)>,
    /// Fix an input at one value for good, which makes it a constant of the file: sr=16000, training=false, size=224,224
    /// (repeatable)
    #[arg(long = "fix-input", value_name = "NAME=VALUE", value_parser = fixed_input)]
    pub fixed: Vec<(String, String)>,
}

impl ManySampleArgs {
    /// Those of the `at`-th of `count` models.
    pub fn of(&self, at: usize, count: usize) -> Result<SampleArgs> {
        Ok(SampleArgs {
            calib: one_of(&self.calib, at, count, "--calib")?,
            preprocess: one_of(&self.preprocess, at, count, "--preprocess")?,
            selection: self.selection.clone(),
            shared: count > 1,
        })
    }
}

fn one_of<T: Clone>(given: &[T], at: usize, count: usize, option: &str) -> Result<Option<T>> {
    match given {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        many if many.len() == count => Ok(many.get(at).cloned()),
        many => {
            let what = format!("{option} is given {} times for {count} models", many.len());
            Err(Error::new(Code::Config, what).help("give it once for all models, or once for each in their order"))
        }
    }
}

fn dimension(text: &str) -> Result<(String, usize), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=N")?;
    let value = value.parse().map_err(|_| format!("'{value}' is not a number"))?;
    Ok((name.to_owned(), value))
}

/// Names may hold an equals sign, values do not.
fn fixed_input(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A model and what is known about its samples.
pub struct Inputs {
    /// The model.
    pub graph: Graph,
    /// Samples for statistics.
    pub calibration: SampleSet,
    /// Samples that were not used for statistics.
    pub held_out: Option<SampleSet>,
    /// Bounds of the input that preprocessing implies.
    pub input_range: Option<(f32, f32)>,
    /// Extents of symbolic dimensions.
    pub dims: BTreeMap<String, usize>,
    /// Inputs that have one value for good.
    pub fixed: Vec<FixedInput>,
}

/// Says on standard error which inputs no sample holds, and how much of the samples is filling.
pub fn tell_of_tokens(calibration: &SampleSet, quiet: bool) {
    if let ([first, rest @ ..], false) = (calibration.followed.as_slice(), quiet) {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        eprintln!("note: not in the samples, and made to follow from the tokens: {first}{more}");
    }
    if let (Some(Padding { given, kept }), false) = (calibration.padding, quiet) {
        eprintln!(
            "note: sequences end where attention_mask says that padding begins: {kept} of {given} tokens are left"
        );
    }
}

/// Says on standard error which samples do not count.
pub fn warn_of_outliers(calibration: &SampleSet, quiet: bool) {
    if let Some(words) = report::left_out(calibration).filter(|_| !quiet) {
        eprintln!("warning: {words}");
    }
}

/// Reads a model.
pub fn read_graph(path: &Path) -> Result<Graph> {
    let (model, external) = onnx::read(path)?;
    Ok(Graph::new(model, external))
}

/// Where the samples of one model are, and what they must be.
struct Source {
    /// `None` where there are none.
    path: Option<PathBuf>,
    preprocess: Option<Preprocess>,
    /// Inputs that samples feed.
    specs: Vec<InputSpec>,
    fixed: Vec<FixedInput>,
    dims: BTreeMap<String, usize>,
    count: usize,
    seed: Option<u64>,
}

impl Source {
    fn calibration(&self) -> Result<SampleSet> {
        let prepared = self.preprocess.clone().unwrap_or_default();
        match &self.path {
            Some(path) => {
                let selection = Selection { skip: 0, count: self.count, seed: self.seed };
                samples::load_open(path, &self.specs, &self.fixed, &prepared, &selection)
            }
            None => samples::synthetic(&self.specs, &prepared, self.count, self.seed.unwrap_or(0)),
        }
    }

    /// At most `most` samples after those for calibration.
    fn held_out(&self, calibration: usize, most: usize) -> Result<Option<SampleSet>> {
        let Some(path) = &self.path else { return Ok(None) };
        let left = samples::available_open(path, &self.fixed)?.saturating_sub(calibration).min(most);
        let rest = Selection { skip: calibration, count: left, seed: self.seed };
        let prepared = self.preprocess.clone().unwrap_or_default();
        (left > 0).then(|| samples::load_open(path, &self.specs, &self.fixed, &prepared, &rest)).transpose()
    }

    /// What preprocessing implies for the one input that it makes.
    fn input_range(&self) -> Option<(f32, f32)> {
        self.preprocess.as_ref().filter(|_| self.path.is_some() && self.specs.len() == 1)?.value_range()
    }
}

impl SampleArgs {
    /// Reads the model's sidecar and the samples; `held_out` more samples are taken after those for calibration.
    pub fn load(&self, model: &Path, graph: Graph, held_out: usize) -> Result<Inputs> {
        let source = self.source(model, &graph)?;
        let calibration = source.calibration()?;
        let held_out = source.held_out(calibration.samples.len(), held_out)?;
        let input_range = source.input_range();
        Ok(Inputs { graph, calibration, held_out, input_range, dims: source.dims, fixed: source.fixed })
    }

    /// The first of the samples, and the extents of symbolic dimensions.
    pub fn first(&self, model: &Path, graph: &Graph) -> Result<(Sample, BTreeMap<String, usize>)> {
        let source = Source { count: 1, ..self.source(model, graph)? };
        let sample = source.calibration()?.samples.into_iter().next();
        Ok((sample.unwrap_or_default(), source.dims))
    }

    /// The files and folders that are read beside the model.
    pub fn sources(&self, model: &Path) -> Result<Vec<PathBuf>> {
        let sidecar = samples::read_sidecar(model)?.unwrap_or_default();
        let preprocess = self.preprocess.as_ref().map(PathBuf::from);
        let named = [Some(samples::sidecar_path(model)), preprocess, self.calib.clone(), sidecar.calib, sidecar.eval];
        Ok(named.into_iter().flatten().collect())
    }

    /// Whether anything about samples was asked for.
    pub fn is_given(&self) -> bool {
        let SelectionArgs { dims, fixed, .. } = &self.selection;
        self.calib.is_some() || self.preprocess.is_some() || !dims.is_empty() || !fixed.is_empty()
    }

    /// The inputs of the model that are fixed, as the command line and the sidecar say.
    pub fn fixed(&self, model: &Path, graph: &Graph) -> Result<Vec<FixedInput>> {
        self.fixed_of(graph, &samples::read_sidecar(model)?.unwrap_or_default())
    }

    fn fixed_of(&self, graph: &Graph, sidecar: &Sidecar) -> Result<Vec<FixedInput>> {
        let mut given = sidecar.fixed_inputs.clone();
        let mut said: BTreeMap<&String, &String> = BTreeMap::new();
        for (name, value) in &self.selection.fixed {
            if let Some(other) = said.insert(name, value).filter(|other| *other != value) {
                let what = format!("--fix-input: '{name}' is to be {other} and {value}");
                return Err(Error::new(Code::Config, what).help("say one value"));
            }
            if !self.shared || graph.index().is_input(name) {
                given.insert(name.clone(), value.clone());
            }
        }
        samples::fixed_inputs(graph, &given, &self.dims(sidecar))
    }

    /// Extents of symbolic dimensions, as the sidecar and the command line say.
    fn dims(&self, sidecar: &Sidecar) -> BTreeMap<String, usize> {
        let mut dims = sidecar.dims.clone();
        dims.extend(self.selection.dims.iter().cloned());
        dims
    }

    fn source(&self, model: &Path, graph: &Graph) -> Result<Source> {
        let sidecar = samples::read_sidecar(model)?.unwrap_or_default();
        let SelectionArgs { samples, seed, dims: given, .. } = &self.selection;
        if !self.shared {
            given.iter().try_for_each(|(name, _)| check_dimension(name, graph))?;
        }
        let preprocess = self.preprocess(&sidecar)?;
        let count = samples.or(sidecar.samples).unwrap_or(DEFAULT_SAMPLES);
        if count == 0 {
            return Err(Error::new(Code::Config, "--samples must be at least 1"));
        }
        let dims = self.dims(&sidecar);
        let fixed = self.fixed_of(graph, &sidecar)?;
        let specs = samples::open_inputs(samples::input_specs(graph, &dims), &fixed);
        let path = self.calib.clone().or(sidecar.calib);
        Ok(Source { path, preprocess, specs, fixed, dims, count, seed: *seed })
    }

    fn preprocess(&self, sidecar: &Sidecar) -> Result<Option<Preprocess>> {
        match &self.preprocess {
            Some(name) => Preprocess::find(name).map(Some),
            None => Ok(sidecar.preprocess.clone()),
        }
    }
}

/// Refuses the extent of a dimension that no input has: it would change nothing.
fn check_dimension(name: &str, graph: &Graph) -> Result<()> {
    let known = samples::symbolic_dims(graph);
    if known.contains(name) {
        return Ok(());
    }
    let help = match known.is_empty() {
        true => "its inputs have none: leave --dim out".to_owned(),
        false => format!("its inputs have: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Err(Error::new(Code::Config, format!("--dim: the model has no symbolic dimension '{name}'")).help(help))
}
