//! Writing a model file: to a temporary name beside it, then renamed, so that nothing half-written is ever seen.

use super::external::{each_tensor, is_external};
use super::layout::Layout;
use super::{ExternalData, ModelProto, Tensor};
use crate::{Code, Context, Error, Result};
use onnx_protobuf::Message;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest message that protobuf readers accept, in bytes.
const MAX_MESSAGE: u64 = i32::MAX as u64;

/// The bytes of a model; an error where they would exceed what protobuf readers accept (2 GB).
pub fn to_bytes(model: &ModelProto) -> Result<Vec<u8>> {
    check_size(model)?;
    model.write_to_bytes().map_err(|e| Error::new(Code::MalformedModel, e.to_string()))
}

/// Writes the model, replacing what is at `path` in one step.
///
/// Where the model has external tensors, or would reach 2 GB, all raw tensors of 1024 bytes or more go to
/// `<path>.data` beside it, copied straight from the mapped input; smaller ones go into the model.
/// Returns the path of the data file, if one was written. An error where an output would overwrite a file that `external` was read from, or cannot be written; then
/// neither output exists in part.
pub fn write(model: &ModelProto, external: &ExternalData, path: &Path) -> Result<Option<PathBuf>> {
    write_within(model, external, path, MAX_MESSAGE)
}

/// Whether both paths lead to the same existing file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// [`write`] with the largest size of the model file as a parameter, for tests.
pub(super) fn write_within(
    model: &ModelProto,
    external: &ExternalData,
    path: &Path,
    limit: u64,
) -> Result<Option<PathBuf>> {
    refuse_source(external, path)?;
    if !has_external(model)? && model.compute_size() <= limit {
        return write_message(model, path)?.commit(path).map(|()| None);
    }
    let data_path = beside(path, ".data")?;
    refuse_source(external, &data_path)?;
    let layout = Layout::of(model, external, &file_name(&data_path)?)?;
    if layout.tensors.is_empty() {
        return write_message(&layout.model, path)?.commit(path).map(|()| None);
    }
    let data = write_tensors(&layout.tensors, external, &data_path)?;
    let message = write_message(&layout.model, path)?;
    data.commit(&data_path)?;
    message.commit(path)?;
    Ok(Some(data_path))
}

fn has_external(model: &ModelProto) -> Result<bool> {
    let mut found = false;
    each_tensor(model, &mut |tensor| {
        found |= is_external(tensor);
        Ok(())
    })?;
    Ok(found)
}

fn check_size(model: &ModelProto) -> Result<()> {
    match model.compute_size() {
        size if size <= MAX_MESSAGE => Ok(()),
        size => Err(Error::new(Code::MalformedModel, format!("the model takes {size} bytes, protobuf allows 2 GB"))
            .help("keep its weights in external data")),
    }
}

fn write_message(model: &ModelProto, path: &Path) -> Result<Pending> {
    check_size(model).at(|| path.display().to_string())?;
    let mut pending = Pending::create(path)?;
    let io_error = |e: protobuf::Error| io_fault(path, &io::Error::from(e));
    model.write_to_writer(&mut pending.file).map_err(io_error)?;
    pending.file.flush().map_err(|e| io_fault(path, &e))?;
    Ok(pending)
}

fn write_tensors(tensors: &[(&Tensor, u64)], external: &ExternalData, path: &Path) -> Result<Pending> {
    let mut pending = Pending::create(path)?;
    let mut at = 0;
    for (tensor, offset) in tensors {
        let bytes = if is_external(tensor) { external.bytes(tensor)? } else { &tensor.raw_data };
        io::copy(&mut io::Read::take(io::repeat(0), offset - at), &mut pending.file)
            .and_then(|_| pending.file.write_all(bytes))
            .map_err(|e| io_fault(path, &e))?;
        at = offset + bytes.len() as u64;
    }
    pending.file.flush().map_err(|e| io_fault(path, &e))?;
    Ok(pending)
}

fn refuse_source(external: &ExternalData, path: &Path) -> Result<()> {
    match external.sources().find(|source| same_file(source, path)) {
        None => Ok(()),
        Some(_) => Err(Error::new(Code::Io, "the output would overwrite the input")
            .at(path.display().to_string())
            .help("choose another output path")),
    }
}

fn io_fault(path: &Path, source: &io::Error) -> Error {
    Error::io(path, "write the file", source)
}

/// The path with `suffix` after its whole file name.
fn beside(path: &Path, suffix: &str) -> Result<PathBuf> {
    let mut name = OsString::from(file_name(path)?);
    name.push(suffix);
    Ok(path.with_file_name(name))
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    name.ok_or_else(|| {
        Error::new(Code::Io, "cannot write the model: the path has no file name in UTF-8")
            .at(path.display().to_string())
    })
}

/// A file under a temporary name (or, for a device or pipe, the thing itself), removed unless committed.
struct Pending {
    file: BufWriter<File>,
    temporary: Option<PathBuf>,
}

impl Pending {
    fn create(path: &Path) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let (open, temporary) = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(
                    Error::new(Code::Io, "cannot write the file: it is a folder").at(path.display().to_string())
                );
            }
            Ok(metadata) if !metadata.is_file() => (OpenOptions::new().write(true).open(path), None),
            _ => {
                let unique = format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
                let temporary = beside(path, &unique)?;
                // `create_new` gives the file the permissions that any new file of this user has.
                (OpenOptions::new().write(true).create_new(true).open(&temporary), Some(temporary))
            }
        };
        let file = open.map_err(|e| io_fault(path, &e))?;
        Ok(Pending { file: BufWriter::with_capacity(1 << 16, file), temporary })
    }

    /// Gives the file its name.
    fn commit(mut self, path: &Path) -> Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        fs::rename(temporary, path).map_err(|e| io_fault(path, &e))?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing sensible is left to do where this fails: the first error is already on its way.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataLocation, GraphProto, ModelProto, from_floats, read};
    use super::*;

    fn model(sizes: &[usize]) -> ModelProto {
        let weight = |(i, n): (usize, &usize)| from_floats(&format!("W{i}"), &[*n], &vec![i as f32 + 0.5; *n]);
        let initializer = sizes.iter().enumerate().map(weight).collect();
        let graph = GraphProto { name: "main".to_owned(), initializer, ..Default::default() };
        ModelProto { ir_version: 10, graph: Some(graph).into(), ..Default::default() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read_floats(path: &Path) -> Vec<Vec<f32>> {
        let (model, external) = read(path).unwrap();
        model.graph.initializer.iter().map(|t| super::super::floats(t, &external).unwrap()).collect()
    }

    #[test]
    fn large_models_put_their_tensors_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.onnx");
        let model = model(&[3, 300, 20_000, 300]);
        write_within(&model, &ExternalData::none(), &path, 1000).unwrap();
        assert_eq!(names(folder.path()), ["big.onnx", "big.onnx.data"]);
        assert!(fs::metadata(&path).unwrap().len() < 1000);
        assert_eq!(fs::metadata(folder.path().join("big.onnx.data")).unwrap().len(), 4096 + 80_000 + 1200);
        let expected: Vec<Vec<f32>> =
            [3usize, 300, 20_000, 300].iter().enumerate().map(|(i, n)| vec![i as f32 + 0.5; *n]).collect();
        assert_eq!(read_floats(&path), expected);

        let (again, external) = read(&path).unwrap();
        assert_eq!(again.graph.initializer[0].data_location.value(), DataLocation::DEFAULT as i32);
        let copy = folder.path().join("copy.onnx");
        write(&again, &external, &copy).unwrap();
        assert_eq!(read_floats(&copy), expected);
        assert_eq!(
            fs::read(folder.path().join("copy.onnx.data")).unwrap(),
            fs::read(folder.path().join("big.onnx.data")).unwrap()
        );
    }

    #[test]
    fn inputs_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        write_within(&model(&[300]), &ExternalData::none(), &path, 100).unwrap();
        let before = fs::read(&path).unwrap();
        let (model, external) = read(&path).unwrap();
        let error = write(&model, &external, &folder.path().join("./m.onnx")).unwrap_err();
        assert!(error.to_string().contains("would overwrite the input"), "{error}");
        fs::rename(&path, folder.path().join("n.onnx")).unwrap();
        let error = write(&model, &external, &path).unwrap_err();
        assert!(error.to_string().contains("m.onnx.data: the output would overwrite the input"), "{error}");
        assert_eq!(fs::read(folder.path().join("n.onnx")).unwrap(), before);
        assert_eq!(names(folder.path()), ["m.onnx.data", "n.onnx"]);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (path, expected) in [("missing/m.onnx", "missing/m.onnx: cannot write"), (".", "is a folder")] {
            let error = write(&model(&[3]), &ExternalData::none(), &folder.path().join(path)).unwrap_err();
            assert_eq!(error.code(), Code::Io);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let blocked = folder.path().join("b.onnx");
        fs::create_dir(folder.path().join("b.onnx.data")).unwrap();
        write_within(&model(&[300]), &ExternalData::none(), &blocked, 100).unwrap_err();
        assert_eq!(names(folder.path()), ["b.onnx.data"]);
    }

    #[test]
    #[cfg(unix)]
    fn permissions_are_those_of_any_new_file_and_devices_stay_devices() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("m.onnx"), folder.path().join("plain"));
        write(&model(&[3]), &ExternalData::none(), &ours).unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
        write(&model(&[3]), &ExternalData::none(), Path::new("/dev/null")).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
