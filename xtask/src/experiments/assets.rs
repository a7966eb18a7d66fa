//! The networks of a manifest.

use crate::files::write_text;
use crate::inputs::{SampleArgs, SelectionArgs};
use crate::laboratory::Network;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tapq::target::Target;
use tapq::{Error, Result, yaml};

/// The manifest's text.
#[derive(Deserialize)]
struct Manifest {
    models: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: PathBuf,
    preprocess: serde_json::Value,
    calib: Option<PathBuf>,
    eval: Option<PathBuf>,
}

/// A network with its samples.
pub struct Subject {
    /// As the manifest calls it.
    pub name: String,
    /// The float model.
    pub model: PathBuf,
    /// Samples to calibrate on.
    pub calib: PathBuf,
    /// Samples to judge on.
    pub eval: PathBuf,
    preprocess: PathBuf,
}

/// All networks that are there, by name; what is missing of the others, in words.
pub struct Assets {
    subjects: BTreeMap<String, Result<Subject, String>>,
}

impl Assets {
    /// Reads `manifest.yaml` of a folder; preprocessing is put where the command line can read it.
    pub fn read(folder: &Path, work: &Path) -> Result<Assets> {
        let path = folder.join("manifest.yaml");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, "read the manifest", &e))?;
        let manifest: Manifest = yaml::parse(&text, &path.display().to_string())?;
        let place = work.join("preprocess");
        std::fs::create_dir_all(&place).map_err(|e| Error::io(&place, "create the work folder", &e))?;
        let mut subjects = BTreeMap::new();
        for (name, entry) in manifest.models {
            let preprocess = place.join(format!("{name}.yaml"));
            // JSON is YAML.
            write_text(&preprocess, &entry.preprocess.to_string())?;
            let subject = subject(folder, &name, &entry, preprocess);
            subjects.insert(name, subject);
        }
        Ok(Assets { subjects })
    }

    /// A network, or why there is none.
    pub fn get(&self, name: &str) -> Result<&Subject, String> {
        match self.subjects.get(name) {
            Some(Ok(subject)) => Ok(subject),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the manifest does not name it".to_owned()),
        }
    }
}

fn subject(folder: &Path, name: &str, entry: &Entry, preprocess: PathBuf) -> Result<Subject, String> {
    let there = |path: &Path, what: &str| match path.exists() {
        true => Ok(path.to_owned()),
        false => Err(format!("{what} {} is not there", path.display())),
    };
    let samples = |path: &Option<PathBuf>, what: &str| match path {
        Some(path) => there(&folder.join(path), what),
        None => Err(format!("the manifest names no {what} for it")),
    };
    let (calib, eval) = (samples(&entry.calib, "calibration samples"), samples(&entry.eval, "evaluation samples"));
    let model = there(&folder.join(&entry.file), "the model")?;
    Ok(Subject { name: name.to_owned(), model, calib: calib?, eval: eval?, preprocess })
}

impl Subject {
    /// Samples of one of its sources.
    pub fn samples(&self, source: &Path, count: usize) -> SampleArgs {
        SampleArgs {
            calib: Some(source.to_owned()),
            preprocess: Some(self.preprocess.display().to_string()),
            selection: SelectionArgs { samples: Some(count), ..Default::default() },
            shared: false,
        }
    }

    /// As the laboratory takes it.
    pub fn network(&self, target: &Target, count: usize) -> Network {
        Network { model: self.model.clone(), target: target.clone(), samples: self.samples(&self.calib, count) }
    }
}
