//! `model.tapq.yaml` beside `model.onnx`: where its samples are and how they are prepared.

use super::forms;
use super::preprocess::{Preprocess, read_text};
use crate::{Context, Result, yaml};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a model's sidecar says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Samples to calibrate on; in the file, relative to it.
    #[serde(default)]
    pub calib: Option<PathBuf>,
    /// Labelled samples to judge on; in the file, relative to it.
    #[serde(default)]
    pub eval: Option<PathBuf>,
    /// How samples are prepared: in the file, the steps or the name of a preset.
    #[serde(default, deserialize_with = "forms::steps_or_preset")]
    pub preprocess: Option<Preprocess>,
    /// How many samples to calibrate on.
    #[serde(default)]
    pub samples: Option<usize>,
    /// Extents of symbolic dimensions by name.
    #[serde(default)]
    pub dims: BTreeMap<String, usize>,
    /// Inputs that have one value for good: a number, true or false, or a list of numbers by name.
    #[serde(default, deserialize_with = "forms::values")]
    pub fixed_inputs: BTreeMap<String, String>,
    /// What people want to know about the model: origin, training, accuracy. Not read by the tool.
    #[serde(default)]
    pub about: BTreeMap<String, serde_json::Value>,
}

/// The sidecar's path: `model.tapq.yaml` for `model.onnx`.
pub fn sidecar_path(model: &Path) -> PathBuf {
    model.with_extension("tapq.yaml")
}

/// Reads a model's sidecar, its paths made relative to where the model's are; `None` where there is no sidecar.
///
/// # Errors
/// [`crate::Code::Config`] where it does not say what it should, [`crate::Code::Io`] where it cannot be read.
pub fn read_sidecar(model: &Path) -> Result<Option<Sidecar>> {
    let path = sidecar_path(model);
    if !path.is_file() {
        return Ok(None);
    }
    let place = path.display().to_string();
    let mut sidecar: Sidecar = yaml::parse(&read_text(&path)?, &place)?;
    if let Some(preprocess) = &sidecar.preprocess {
        preprocess.validate().at(|| format!("{place}: preprocess"))?;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    for path in [&mut sidecar.calib, &mut sidecar.eval].into_iter().flatten() {
        *path = folder.join(&path);
    }
    Ok(Some(sidecar))
}

#[cfg(test)]
mod tests {
    use super::super::preprocess::Kind;
    use super::*;

    fn read(text: &str) -> Result<Option<Sidecar>> {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("net.v2.onnx");
        std::fs::write(folder.path().join("net.v2.tapq.yaml"), text).unwrap();
        let strip = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().to_owned();
        read_sidecar(&model).map(|found| found.map(|s| Sidecar { calib: s.calib.map(strip), ..s }))
    }

    fn check(text: &str, want: &str) {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn all_keys_are_read() {
        let text =
            "calib: data/c.npz\npreprocess: {kind: tensor}\nsamples: 8\ndims: {width: 320}\nabout: {accuracy: 98.1}\n";
        let sidecar = read(text).unwrap().unwrap();
        assert_eq!(sidecar.calib, Some(PathBuf::from("data/c.npz")));
        assert_eq!(sidecar.preprocess.unwrap().kind, Kind::Tensor);
        assert_eq!((sidecar.samples, sidecar.dims["width"]), (Some(8), 320));
        assert_eq!(read("preprocess: tf\n").unwrap().unwrap().preprocess, Preprocess::preset("tf").ok());
        assert_eq!(read("preprocess: tf\n").unwrap().unwrap().calib, None);
    }

    #[test]
    fn fixed_inputs_are_kept_as_text() {
        let text = "fixed_inputs: {sr: 16000, on: true, t: -0.5, size: [224, 320], eps: 1e-6, s: '[7]', e: [7]}\n";
        let found: Vec<(String, String)> = read(text).unwrap().unwrap().fixed_inputs.into_iter().collect();
        let wanted = [
            ("e", "[7]"),
            ("eps", "0.000001"),
            ("on", "true"),
            ("s", "[7]"),
            ("size", "[224,320]"),
            ("sr", "16000"),
            ("t", "-0.5"),
        ];
        assert_eq!(found, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
        check("fixed_inputs: {sr: {rate: 16000}}\n", "a number, true or false, or a list of them");
        check("fixed_inputs:\n  size: [[1, 2], [3, 4]]\n", ":2:10: fixed_inputs.size[0]: invalid type: sequence");
    }

    #[test]
    fn mistakes_name_the_line() {
        check("samples: 1\ncalibration: x\n", "net.v2.tapq.yaml:2:1: unknown field `calibration`");
        check("samples: 1\npreprocess:\n  kind: image\n  croop: 3\n", ":4:3: preprocess: unknown field `croop`");
        check("preprocess: tff\n", "preprocess: no preprocess preset `tff`; presets are imagenet, ");
        check("preprocess: {kind: tensor, crop: 3}\n", "preprocess: `resize`, `crop`, `mean` and `std` need");
    }

    #[test]
    fn no_sidecar_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_sidecar(&folder.path().join("net.onnx")).unwrap(), None);
    }
}
