//! Samples: what the network is shown. Images, arrays, ONNX test data; preprocessing; sidecars.
//!
//! [`load`] looks at what a path holds and reads only the samples that a [`Selection`] names, in an order that
//! depends on the files alone. Files are not trusted: sizes are checked before memory is taken for them.

mod arrays;
mod check;
mod digest;
mod element;
mod fixed;
mod follow;
mod forms;
mod images;
mod npy;
mod outliers;
mod padding;
mod pixels;
mod preprocess;
mod resize;
mod select;
mod sidecar;
mod specs;
mod synthetic;
mod test_data;

use crate::array::Array;
use crate::onnx::DataType;
use crate::{Code, Error, Result};
use std::path::Path;

pub use digest::digest;
pub use fixed::{FixedInput, fixed_inputs, fixed_texts, open_inputs};
pub use outliers::LeftOut;
pub use padding::Padding;
pub use preprocess::{ChannelOrder, Crop, Filter, Kind, Layout, PRESETS, Preprocess, Resize, Shorter};
pub use select::Selection;
pub use sidecar::{Sidecar, read_sidecar, sidecar_path};
pub use specs::{input_specs, symbolic_dims};
pub use synthetic::synthetic;

/// One sample: an array for each named graph input, batch axis of extent 1 included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Input name and its array, in the order of the graph's inputs.
    pub inputs: Vec<(String, Array)>,
}

/// What the graph wants for one of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the graph input.
    pub name: String,
    /// Extent of each axis, batch axis included; `None` where it is symbolic.
    pub dims: Vec<Option<usize>>,
    /// What the file calls the extent of each axis that has no number; empty where it says nothing.
    pub symbols: Vec<String>,
    /// `TensorProto.DataType`.
    pub data_type: i32,
}

impl InputSpec {
    /// An input whose extents have no names.
    pub fn new(name: &str, dims: &[Option<usize>], data_type: DataType) -> Self {
        let symbols = vec![String::new(); dims.len()];
        InputSpec { name: name.to_owned(), dims: dims.to_vec(), symbols, data_type: data_type as i32 }
    }

    /// Whether elements are floating point; samples then become float32, else they keep their integer type.
    pub fn is_float(&self) -> bool {
        let floats = [DataType::FLOAT, DataType::DOUBLE, DataType::FLOAT16, DataType::BFLOAT16];
        floats.iter().any(|t| *t as i32 == self.data_type)
    }

    /// What the file calls the extent of an axis, if it calls it anything.
    pub fn symbol(&self, axis: usize) -> Option<&str> {
        self.symbols.get(axis).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// Samples that were read, and what reports say about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleSet {
    /// The samples, in the order of the selection.
    pub samples: Vec<Sample>,
    /// Class of each sample, where the source holds classes.
    pub labels: Option<Vec<i64>>,
    /// Name of the file or folder, without the folders above it.
    pub source: String,
    /// Whether the samples were made up.
    pub synthetic: bool,
    /// File name or row number of each sample.
    pub ids: Vec<String>,
    /// Samples that were selected and left out as outliers.
    pub left_out: Vec<LeftOut>,
    /// Inputs that no source holds, because they follow from the tokens of a language model.
    pub followed: Vec<String>,
    /// What was cut off sequences because a mask says that it does not count.
    pub padding: Option<Padding>,
}

/// Reads the selected samples at `path`: a folder of JPEG/PNG, one such file, `.npy`, `.npz`, or ONNX test data.
///
/// A folder's order is that of its `labels.txt` (`FILE CLASS` a line), else bytewise by name.
///
/// # Errors
/// [`Code::Samples`] where samples are missing, unreadable or of the wrong shape, [`Code::NonFinite`] where one holds
/// NaN or infinity; both name the file and the sample.
pub fn load(path: &Path, inputs: &[InputSpec], preprocess: &Preprocess, selection: &Selection) -> Result<SampleSet> {
    load_open(path, inputs, &[], preprocess, selection)
}

/// The same where other inputs are fixed: samples need not hold those, and what they hold must be the fixed value.
///
/// Nor need they hold what follows from a language model's tokens: its mask, its positions, and a cache with nothing in
/// it. Filling at the end of sequences, by the mask, is cut off where the graph takes sequences of any length.
///
/// # Errors
/// As [`load`].
pub fn load_open(
    path: &Path,
    inputs: &[InputSpec],
    fixed: &[FixedInput],
    preprocess: &Preprocess,
    selection: &Selection,
) -> Result<SampleSet> {
    let form = Form::of(path)?;
    let held = match form {
        Form::Npz => follow::held(inputs, &arrays::names(path)?),
        Form::Npy => follow::held_alone(inputs),
        Form::TestData if fixed.is_empty() && test_data::holds_one(path)? => follow::held_alone(inputs),
        _ => inputs.to_vec(),
    };
    let request = Request { path, inputs: &held, fixed, preprocess, selection };
    let mut set = match form {
        Form::Images => images::folder(&request),
        Form::Image => images::file(&request),
        Form::Npy => arrays::npy(&request),
        Form::Npz => arrays::npz(&request),
        Form::TestData => test_data::folder(&request),
    }?;
    follow::complete(&mut set, inputs)?;
    padding::cut(&mut set, inputs);
    Ok(set)
}

/// How many samples `path` holds, told without decoding any.
///
/// # Errors
/// [`Code::Samples`] where `path` holds no samples in a known form.
pub fn available(path: &Path) -> Result<usize> {
    available_open(path, &[])
}

/// The same where some inputs are fixed.
///
/// # Errors
/// As [`available`].
pub fn available_open(path: &Path, fixed: &[FixedInput]) -> Result<usize> {
    match Form::of(path)? {
        Form::Images => images::count(path),
        Form::Image => Ok(1),
        Form::Npy => arrays::npy_rows(path),
        Form::Npz => arrays::npz_rows(path, fixed),
        Form::TestData => Ok(test_data::sets(path)?.len()),
    }
}

struct Request<'a> {
    path: &'a Path,
    /// Those that every sample feeds.
    inputs: &'a [InputSpec],
    fixed: &'a [FixedInput],
    preprocess: &'a Preprocess,
    selection: &'a Selection,
}

impl Request<'_> {
    fn sample_set(&self, samples: Vec<Sample>, labels: Option<Vec<i64>>, ids: Vec<String>) -> SampleSet {
        SampleSet { samples, labels, source: file_name(self.path), ids, ..Default::default() }
    }

    fn only_input(&self, what: &str) -> Result<&InputSpec> {
        match self.inputs {
            [input] => Ok(input),
            inputs => {
                let names: Vec<_> = inputs.iter().map(|i| format!("`{}`", i.name)).collect();
                Err(Error::new(
                    Code::Samples,
                    format!("{what} can feed one input only, the graph has {}", names.join(", ")),
                )
                .at(self.path.display().to_string())
                .help(
                    "use an .npz whose arrays are named like the inputs, or an ONNX test_data_set folder; inputs that \
                     are always the same can be fixed: --fix-input NAME=VALUE",
                ))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Images,
    Image,
    Npy,
    Npz,
    TestData,
}

impl Form {
    fn of(path: &Path) -> Result<Form> {
        let kind = std::fs::metadata(path).map_err(|e| Error::io(path, "read samples", &e))?;
        if kind.is_dir() {
            return Ok(if test_data::sets(path)?.is_empty() { Form::Images } else { Form::TestData });
        }
        match extension(path).as_str() {
            "npy" => Ok(Form::Npy),
            "npz" => Ok(Form::Npz),
            "jpg" | "jpeg" | "png" => Ok(Form::Image),
            _ => Err(Error::new(Code::Samples, "not samples in a known form")
                .at(path.display().to_string())
                .help("samples are a folder of JPEG/PNG, one such file, .npy, .npz, or an ONNX test_data_set folder")),
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn file_name(path: &Path) -> String {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    name(path).or_else(|| name(&path.canonicalize().ok()?)).unwrap_or_else(|| "samples".to_owned())
}

#[cfg(test)]
mod tests;
