//! Figures that were computed already.

use crate::files::{json, write_text};
use serde::{Deserialize, Serialize};
use std::cell::Cell as Flag;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tapq::{Code, Error, Result};

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cell {
    /// Figures by name.
    pub figures: BTreeMap<String, f64>,
    /// The formula that a search found.
    pub formula: Option<String>,
    /// Best fitness after each new formula of a search.
    pub trace: Vec<f64>,
    /// Of each formula of a search: correlation over all, at equal size, fidelity.
    pub candidates: Vec<[f64; 3]>,
}

impl Cell {
    /// A figure; NaN where there is none, which tables show as a dash.
    pub fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(f64::NAN)
    }

    /// Adds a figure.
    pub fn set(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
    }
}

/// Cells in a folder.
pub struct Cells {
    folder: PathBuf,
    compute: Flag<bool>,
}

impl Cells {
    /// Those of a work folder.
    pub fn open(work: &Path) -> Result<Cells> {
        let folder = work.join("cells");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the work folder", &e))?;
        Ok(Cells { folder, compute: Flag::new(true) })
    }

    /// Whether cells that are missing are computed from now on.
    pub fn compute(&self, yes: bool) {
        self.compute.set(yes);
    }

    /// Whether missing cells are to be computed.
    pub fn computes(&self) -> bool {
        self.compute.get()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    /// The cell, where it is there.
    pub fn known(&self, key: &str) -> Result<Option<Cell>> {
        let path = self.path(key);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, "read what was computed", &e))?;
        let cell = serde_json::from_str(&text).map_err(|e| {
            let what = format!("not what was computed once: {e}");
            Error::new(Code::Config, what).at(path.display().to_string()).help("delete the file to compute it again")
        })?;
        Ok(Some(cell))
    }

    /// The cell, computed and kept where it is missing; none where it is missing and is not asked for.
    pub fn get(&self, key: &str, make: impl FnOnce() -> Result<Cell>) -> Result<Option<Cell>> {
        if let Some(cell) = self.known(key)? {
            return Ok(Some(cell));
        }
        if !self.computes() {
            return Ok(None);
        }
        let start = Instant::now();
        let cell = make()?;
        write_text(&self.path(key), &json(&cell)?)?;
        eprintln!("{key}: {:.1} s", start.elapsed().as_secs_f64());
        Ok(Some(cell))
    }
}
