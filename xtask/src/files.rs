//! Output files: written to a temporary name, then renamed.

use std::io::Write;
use std::path::{Path, PathBuf};
use tapq::{Code, Error, Result};

/// Writes a text file whole or not at all.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |e: std::io::Error| Error::io(path, "write", &e);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = std::fs::File::create(&temporary).and_then(|mut f| f.write_all(text.as_bytes()));
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed.map_err(io)
}

/// Refuses an output that would overwrite one of the inputs.
pub fn refuse_overwrite<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    match inputs.into_iter().find(|input| tapq::onnx::same_file(input, output)) {
        None => Ok(()),
        Some(input) => Err(Error::new(Code::Io, format!("the output would overwrite the input {}", input.display()))
            .at(output.display().to_string())
            .help("choose another --output")),
    }
}

/// Refuses a report folder that cannot be one, before any work is done.
pub fn check_folder(folder: &Path) -> Result<()> {
    match folder.ancestors().find(|above| above.exists()) {
        Some(there) if !there.is_dir() => Err(Error::new(Code::Io, format!("{} is no folder", there.display()))
            .at(folder.display().to_string())
            .help("choose another --report")),
        _ => Ok(()),
    }
}

/// `folder/stem.suffix` for `folder/stem.onnx`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!("{stem}.{suffix}"))
}

/// File name without the folders above it.
pub fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Bytes of all these files; one whose size cannot be told counts nothing.
pub fn size<'a>(paths: impl IntoIterator<Item = &'a Path>) -> u64 {
    paths.into_iter().map(|path| std::fs::metadata(path).map_or(0, |m| m.len())).sum()
}

/// File name without folder and extension.
pub fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Indented JSON with a line end.
pub fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|t| t + "\n").map_err(|e| Error::new(Code::Io, format!("cannot write JSON: {e}")))
}
