//! GGUF files: read, checked, and requantized once where the processor has no fast product for their type.

use super::cache::{self, cached_name, copy_hashed};
use crate::{Code, Context as _, Error, Result};
use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// `general.file_type` of a file that is mostly Q8_0 (llama.cpp, llama_ftype).
const FILE_TYPE_Q8_0: u32 = 7;

/// An open model file with its directory.
pub(super) struct Gguf {
    pub reader: BufReader<File>,
    pub content: Content,
}

impl Gguf {
    pub fn open(path: &Path) -> Result<Gguf> {
        let file = File::open(path).map_err(|e| Error::io(path, "open the model", &e))?;
        let mut reader = BufReader::new(file);
        let content = Content::read(&mut reader).map_err(|e| unreadable(&e)).at(|| path.display().to_string())?;
        Ok(Gguf { reader, content })
    }

    /// A number among the metadata.
    pub fn number(&self, key: &str) -> Option<u32> {
        self.content.metadata.get(key).and_then(|v| v.to_u32().ok())
    }

    /// A text among the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key).and_then(|v| v.to_string().ok()).map(String::as_str)
    }

    /// Refuses what the engine would stumble over.
    pub fn check(&self) -> Result<()> {
        let architecture = self.text("general.architecture").unwrap_or("nothing");
        if architecture != "llama" {
            let message = format!("the model's architecture is `{architecture}`, and only `llama` runs here");
            return Err(Error::new(Code::Proposer, message)
                .help("serve it with llama.cpp or Ollama, and name it as openai:MODEL@http://HOST:PORT/v1"));
        }
        for key in ["attention.head_count", "attention.head_count_kv", "block_count", "embedding_length"] {
            if self.number(&format!("llama.{key}")).unwrap_or(0) == 0 {
                return Err(Error::new(Code::Proposer, format!("the model does not say its `llama.{key}`")));
            }
        }
        Ok(())
    }

    /// The type of most weights, as llama.cpp writes it.
    pub fn weight_type(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let weights = self.content.tensor_infos.iter().filter(|(_, info)| info.shape.rank() > 1);
        weights.for_each(|(_, info)| *counts.entry(format!("{:?}", info.ggml_dtype)).or_default() += 1);
        counts.into_iter().max_by_key(|(_, n)| *n).map_or_else(|| "F32".to_owned(), |(name, _)| named(&name))
    }
}

/// `Q4K` as `Q4_K`; the others are written alike.
fn named(kind: &str) -> String {
    match kind.strip_suffix('K') {
        Some(head) => format!("{head}_K"),
        None => kind.to_owned(),
    }
}

/// Whether x86 has no fast product for the type: it would run four times slower than Q8_0.
fn is_slow(kind: GgmlDType) -> bool {
    matches!(kind, GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1 | GgmlDType::Q8_1)
}

/// The file itself, or a copy in `folder` whose slow weights were rounded anew to Q8_0: that loses next to nothing,
/// since 8 bits are finer than what they came from. The copy is made once.
///
/// # Errors
/// [`Code::Io`] where the copy cannot be written, [`Code::Proposer`] where the file is not a model.
pub fn fast_copy(path: &Path, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let mut gguf = Gguf::open(path)?;
    if !gguf.content.tensor_infos.iter().any(|(_, info)| is_slow(info.ggml_dtype)) {
        return Ok(path.to_owned());
    }
    let mut file = File::open(path).map_err(|e| Error::io(path, "open the model", &e))?;
    let digest = copy_hashed(&mut file, &mut std::io::sink()).map_err(|e| Error::io(path, "read the model", &e))?;
    let stem = if digest == cache::DEFAULT_SHA256 { cache::DEFAULT_STEM.to_owned() } else { stem(path) };
    let target = folder.join(cached_name(&stem, &digest));
    if target.is_file() {
        return Ok(target);
    }
    progress(&format!("rounding {} anew to Q8_0, once", path.display()));
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder of models", &e))?;
    // A name of its own until it is whole: whoever looks meanwhile finds nothing or everything.
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(|e| Error::io(folder, "create a file", &e))?;
    requantize(&mut gguf, &mut part).at(|| path.display().to_string())?;
    readable(part.path())?;
    part.persist(&target).map_err(|e| Error::io(&target, "rename the model to", &e.error))?;
    Ok(target)
}

/// The part of a file's name that says what it holds.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let kind = ["-Q4_1", "-Q5_0", "-Q5_1", "-Q8_1"].iter().find_map(|k| stem.strip_suffix(k));
    kind.unwrap_or(&stem).to_owned()
}

fn requantize(gguf: &mut Gguf, out: &mut tempfile::NamedTempFile) -> Result<()> {
    let failed = |e: candle_core::Error| unreadable(&e);
    let names: Vec<String> =
        gguf.content.tensor_infos.keys().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let mut tensors: Vec<(String, QTensor)> = vec![];
    for name in names {
        let tensor = gguf.content.tensor(&mut gguf.reader, &name, &Device::Cpu).map_err(failed)?;
        let tensor = if is_slow(tensor.dtype()) { to_q8_0(&tensor).map_err(failed)? } else { tensor };
        tensors.push((name, tensor));
    }
    let mut metadata: BTreeMap<&str, &Value> = gguf.content.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let file_type = Value::U32(FILE_TYPE_Q8_0);
    metadata.insert("general.file_type", &file_type);
    let metadata: Vec<_> = metadata.into_iter().collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut writer = BufWriter::new(out.as_file_mut());
    gguf_file::write(&mut writer, &metadata, &tensors).map_err(failed)?;
    writer.flush().map_err(|e| Error::new(Code::Io, format!("cannot write the model: {e}")))
}

fn to_q8_0(tensor: &QTensor) -> candle_core::Result<QTensor> {
    let exact: Tensor = tensor.dequantize(&Device::Cpu)?;
    QTensor::quantize(&exact, GgmlDType::Q8_0)
}

/// A temporary file is its owner's alone; a model may be read by all, as other downloads.
#[cfg(unix)]
fn readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, mode).map_err(|e| Error::io(path, "set the mode of", &e))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> Result<()> {
    Ok(())
}

fn unreadable(error: &candle_core::Error) -> Error {
    // The engine's errors carry a backtrace below their first line.
    let text = error.to_string();
    Error::new(Code::Proposer, format!("not a usable GGUF model: {}", text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, kind: GgmlDType, architecture: &str) -> PathBuf {
        let values: Vec<f32> = (0..64 * 4).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let tensor = Tensor::from_vec(values, (4, 64), &Device::Cpu).unwrap();
        let (weight, norm) =
            (QTensor::quantize(&tensor, kind).unwrap(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap());
        let path = folder.join(format!("tiny-{}.gguf", named(&format!("{kind:?}"))));
        let architecture = Value::String(architecture.to_owned());
        let mut file = File::create(&path).unwrap();
        let metadata = [("general.architecture", &architecture)];
        gguf_file::write(&mut file, &metadata, &[("w", &weight), ("n", &norm)]).unwrap();
        path
    }

    #[test]
    fn slow_weights_are_rounded_anew_once_and_stay_near() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), GgmlDType::Q4_1, "llama");
        let mut said = vec![];
        let copy = fast_copy(&path, folder.path(), &mut |s| said.push(s.to_owned())).unwrap();
        let name = copy.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("tiny-Q8_0-") && said.len() == 1, "{name} {said:?}");
        assert_eq!(fast_copy(&path, folder.path(), &mut |_| panic!("made twice")).unwrap(), copy);
        assert_eq!(fast_copy(&copy, folder.path(), &mut |_| panic!("made again")).unwrap(), copy);
        let values = |path: &Path, name: &str| {
            let mut gguf = Gguf::open(path).unwrap();
            let tensor = gguf.content.tensor(&mut gguf.reader, name, &Device::Cpu).unwrap();
            (tensor.dtype(), tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let ((before, a), (after, b)) = (values(&path, "w"), values(&copy, "w"));
        assert_eq!((before, after), (GgmlDType::Q4_1, GgmlDType::Q8_0));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.01) && a != b);
        assert_eq!(values(&path, "n"), values(&copy, "n"));
        let gguf = Gguf::open(&copy).unwrap();
        assert_eq!((gguf.number("general.file_type"), gguf.weight_type().as_str()), (Some(7), "Q8_0"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file was left");
    }

    #[test]
    fn fast_weights_are_used_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), GgmlDType::Q4_0, "llama");
        assert_eq!(fast_copy(&path, Path::new("/no/such"), &mut |_| {}).unwrap(), path);
    }

    #[test]
    fn what_is_no_model_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gguf");
        std::fs::write(&path, b"not a model").unwrap();
        let error = Gguf::open(&path).err().unwrap().to_string();
        assert!(error.contains("x.gguf: not a usable GGUF model") && error.lines().count() == 1, "{error}");
        let other = Gguf::open(&write(folder.path(), GgmlDType::Q8_0, "gemma3")).unwrap();
        assert!(other.check().unwrap_err().message().contains("`gemma3`"));
        let bare = Gguf::open(&write(folder.path(), GgmlDType::Q8_0, "llama")).unwrap();
        assert!(bare.check().unwrap_err().message().contains("`llama.attention.head_count`"));
    }

    #[test]
    fn types_are_written_as_elsewhere() {
        assert_eq!(["Q8_0", "Q4_K", "F16"].map(str::to_owned), ["Q8_0", "Q4K", "F16"].map(named));
    }
}
