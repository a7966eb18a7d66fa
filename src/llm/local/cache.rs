//! Where models are kept, and which file is meant.

use crate::{Code, Error, Result};
use sha2::{Digest as _, Sha256};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The model that `fetch` gets, as its file is called after requantization.
pub(crate) const DEFAULT_STEM: &str = "SmolLM2-135M-Instruct";
/// SHA-256 of the default model's GGUF file as it is published.
pub(crate) const DEFAULT_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The folder of models: `$TAPQ_CACHE/models`, else `$XDG_CACHE_HOME/tapq/models`, else `~/.cache/tapq/models`.
///
/// # Errors
/// [`Code::Config`] where none of these variables nor `HOME` is set.
pub fn folder() -> Result<PathBuf> {
    folder_from(|name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from))
}

fn folder_from(look: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let own = look("TAPQ_CACHE").map(|f| f.join("models"));
    let shared = || look("XDG_CACHE_HOME").map(|f| f.join("tapq/models"));
    let home = || look("HOME").or_else(|| look("USERPROFILE")).map(|f| f.join(".cache/tapq/models"));
    own.or_else(shared).or_else(home).ok_or_else(|| {
        Error::new(Code::Config, "there is no folder for models: neither TAPQ_CACHE nor HOME is set")
            .help("set TAPQ_CACHE to a folder, or name a file: local:FILE.gguf")
    })
}

/// The model's file: `explicit`, else the default model in `folder`.
///
/// # Errors
/// [`Code::Proposer`] where it is not there; the advice says how to get one.
pub fn find(explicit: Option<&Path>, folder: &Path) -> Result<PathBuf> {
    if let Some(path) = explicit {
        return match path.is_file() {
            true => Ok(path.to_owned()),
            false => Err(Error::new(Code::Proposer, "no such model file").at(path.display().to_string())),
        };
    }
    let path = folder.join(cached_name(DEFAULT_STEM, DEFAULT_SHA256));
    match path.is_file() {
        true => Ok(path),
        false => Err(Error::new(Code::Proposer, format!("no local model: {} is not there", path.display())).help(
            "fetch it once (93 MB, Apache-2.0), name a file with local:FILE.gguf, or a server with \
             openai:MODEL@http://HOST:PORT/v1",
        )),
    }
}

/// Name of a requantized model: it holds the digest of the file it was made from.
pub(super) fn cached_name(stem: &str, sha256: &str) -> String {
    let short: String = sha256.chars().take(16).collect();
    format!("{stem}-Q8_0-{short}.gguf")
}

/// SHA-256 of everything that `reader` gives, copied to `writer` on the way, in hexadecimal.
pub(crate) fn copy_hashed(reader: &mut dyn Read, writer: &mut dyn Write) -> std::io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let count = reader.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|p| !p.is_empty()) else { break };
        hash.update(part);
        writer.write_all(part)?;
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_first_that_is_named() {
        let of = |set: &[(&str, &str)]| {
            folder_from(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v)))
        };
        assert_eq!(of(&[("HOME", "/h"), ("TAPQ_CACHE", "/t")]).unwrap(), Path::new("/t/models"));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).unwrap(), Path::new("/x/tapq/models"));
        assert_eq!(of(&[("HOME", "/h")]).unwrap(), Path::new("/h/.cache/tapq/models"));
        assert!(of(&[]).unwrap_err().advice().unwrap().contains("TAPQ_CACHE"));
    }

    #[test]
    fn a_missing_model_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(None, folder.path()).unwrap_err();
        assert!(error.message().contains("SmolLM2-135M-Instruct-Q8_0-b179c9523d0e6a0f.gguf"), "{error}");
        assert!(error.advice().unwrap().contains("openai:MODEL@"), "{error}");
        let error = find(Some(Path::new("/no/x.gguf")), folder.path()).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Proposer, "no such model file"));
        assert!(error.to_string().starts_with("/no/x.gguf: "), "{error}");
    }

    #[test]
    fn a_copy_is_whole_and_its_digest_known() {
        let mut copy = vec![];
        let digest = copy_hashed(&mut &b"abc"[..], &mut copy).unwrap();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(copy, b"abc");
    }
}
