//! What commands read: the model, its sidecar, samples.

use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tapq::graph::Graph;
use tapq::samples::{self, Preprocess, SampleSet, Selection, Sidecar};
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
}

impl ManySampleArgs {
    /// Those of the `at`-th of `count` models.
    pub fn of(&self, at: usize, count: usize) -> Result<SampleArgs> {
        Ok(SampleArgs {
            calib: one_of(&self.calib, at, count, "--calib")?,
            preprocess: one_of(&self.preprocess, at, count, "--preprocess")?,
            selection: self.selection.clone(),
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

impl SampleArgs {
    /// Reads the model's sidecar and the samples; `held_out` more samples are taken after those for calibration.
    pub fn load(&self, model: &Path, graph: Graph, held_out: usize) -> Result<Inputs> {
        let sidecar = samples::read_sidecar(model)?.unwrap_or_default();
        let mut dims = sidecar.dims.clone();
        let SelectionArgs { samples, seed, dims: given } = &self.selection;
        dims.extend(given.iter().cloned());
        let preprocess = self.preprocess(&sidecar)?;
        let count = samples.or(sidecar.samples).unwrap_or(DEFAULT_SAMPLES);
        if count == 0 {
            return Err(Error::new(Code::Config, "--samples must be at least 1"));
        }
        let specs = samples::input_specs(&graph, &dims);
        let prepared = preprocess.clone().unwrap_or_default();
        let Some(path) = self.calib.as_ref().or(sidecar.calib.as_ref()) else {
            let calibration = samples::synthetic(&specs, &prepared, count, seed.unwrap_or(0))?;
            return Ok(Inputs { graph, calibration, held_out: None, input_range: None, dims });
        };
        let selection = Selection { skip: 0, count, seed: *seed };
        let calibration = samples::load(path, &specs, &prepared, &selection)?;
        let left = samples::available(path)?.saturating_sub(calibration.samples.len()).min(held_out);
        let rest = Selection { skip: calibration.samples.len(), count: left, seed: *seed };
        let held_out = if left > 0 { Some(samples::load(path, &specs, &prepared, &rest)?) } else { None };
        let input_range = if specs.len() == 1 { preprocess.and_then(|p| p.value_range()) } else { None };
        Ok(Inputs { graph, calibration, held_out, input_range, dims })
    }

    fn preprocess(&self, sidecar: &Sidecar) -> Result<Option<Preprocess>> {
        match &self.preprocess {
            Some(name) => Preprocess::find(name).map(Some),
            None => Ok(sidecar.preprocess.clone()),
        }
    }
}
