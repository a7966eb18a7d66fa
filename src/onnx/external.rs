//! Tensor bytes stored outside the model file, mapped into memory on first use.

use super::tensor::{byte_size, expect, fault};
use super::{GraphProto, ModelProto, NodeProto, Tensor};
use crate::{Code, Context, Error, Result};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// Resolves tensors whose `data_location` is EXTERNAL.
///
/// The files are those that the model named when it was read; each is mapped when its first tensor is asked for.
/// They must not be changed by others while this value lives.
#[derive(Debug, Default)]
pub struct ExternalData {
    model: Option<PathBuf>,
    files: BTreeMap<String, Stored>,
}

#[derive(Debug)]
struct Stored {
    path: PathBuf,
    length: u64,
    map: OnceLock<Mmap>,
}

/// Where in which file a tensor's bytes are.
struct Place<'a> {
    location: &'a str,
    offset: u64,
    length: u64,
}

impl ExternalData {
    /// For models that hold all their data.
    pub fn none() -> Self {
        Self::default()
    }

    /// The external data of `model`, which was read from `path`: names are relative to the file's folder.
    ///
    /// An error where a file is missing or too short, or where a name leads out of the folder.
    pub fn of(model: &ModelProto, path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut external = ExternalData { model: Some(path.to_owned()), files: BTreeMap::new() };
        each_tensor(model, &mut |tensor| {
            if is_external(tensor) { external.admit(tensor, folder) } else { Ok(()) }
        })?;
        Ok(external)
    }

    /// Whether any tensor of the model it was made for is stored outside.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files that hold the model and its data, which no output may overwrite.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.model.iter().map(PathBuf::as_path).chain(self.files.values().map(|f| f.path.as_path()))
    }

    /// The bytes of an external tensor.
    ///
    /// An error where the tensor's file was not named by the model as read, cannot be mapped, or is too short.
    pub fn bytes(&self, tensor: &Tensor) -> Result<&[u8]> {
        let place = place(tensor)?;
        let unknown =
            || fault(tensor, format!("its data file \"{}\" is not part of the model as read", place.location));
        let stored = self.files.get(place.location).ok_or_else(unknown)?;
        let map = stored.map().at(|| format!("tensor \"{}\"", tensor.name))?;
        let end = place.offset.saturating_add(place.length);
        let range = usize::try_from(place.offset).ok().zip(usize::try_from(end).ok());
        range.and_then(|(start, end)| map.get(start..end)).ok_or_else(|| stored.too_short(tensor, end))
    }

    /// Checks a tensor's place and remembers its file.
    fn admit(&mut self, tensor: &Tensor, folder: &Path) -> Result<()> {
        let place = place(tensor)?;
        if !self.files.contains_key(place.location) {
            let stored = Stored::find(tensor, folder, place.location)?;
            self.files.insert(place.location.to_owned(), stored);
        }
        let end = place.offset.saturating_add(place.length);
        match self.files.get(place.location) {
            Some(stored) if end > stored.length => Err(stored.too_short(tensor, end)),
            _ => expect(tensor, place.length as usize, byte_size(tensor)?, "bytes"),
        }
    }
}

impl Stored {
    fn find(tensor: &Tensor, folder: &Path, location: &str) -> Result<Self> {
        let path = folder.join(location);
        let metadata = std::fs::metadata(&path).map_err(|e| missing(tensor, &path, &e))?;
        if !metadata.is_file() {
            let message = format!("its data file {} is not a regular file", path.display());
            return Err(fault(tensor, message));
        }
        Ok(Stored { path, length: metadata.len(), map: OnceLock::new() })
    }

    fn map(&self) -> Result<&Mmap> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let map = map_file(&self.path)?;
        Ok(self.map.get_or_init(|| map))
    }

    fn too_short(&self, tensor: &Tensor, end: u64) -> Error {
        let (path, length) = (self.path.display(), self.length);
        fault(tensor, format!("its data ends at byte {end} of {path}, which has {length} bytes"))
            .help("the data file is truncated or belongs to another model; export the model again")
    }
}

/// Maps a file for reading.
#[allow(unsafe_code)]
pub(super) fn map_file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io(path, "open the file", &e))?;
    // SAFETY: the map is read-only and private to this process. Another process that truncates the file while it is
    // mapped could make a later read fail; inputs are documented to stay unchanged while they are in use.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map the file", &e))
}

/// Whether the tensor's bytes are in another file.
pub(super) fn is_external(tensor: &Tensor) -> bool {
    tensor.data_location.value() == super::DataLocation::EXTERNAL as i32
}

fn missing(tensor: &Tensor, path: &Path, source: &std::io::Error) -> Error {
    Error::new(Code::Io, format!("cannot read its data file {}: {source}", path.display()))
        .at(format!("tensor \"{}\"", tensor.name))
        .help("the model keeps its weights in a second file; copy that file beside the model")
}

/// Reads and checks the keys of an external tensor.
fn place(tensor: &Tensor) -> Result<Place<'_>> {
    let value = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        let parse = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| fault(tensor, format!("external data has {key} \"{text}\", which is no size")))
        };
        value(key).map(parse).transpose()
    };
    let location = value("location").filter(|l| !l.is_empty());
    let location = location.ok_or_else(|| fault(tensor, "external data names no location".to_owned()))?;
    if !Path::new(location).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        let message = format!("external data location \"{location}\" leads out of the model's folder");
        return Err(fault(tensor, message));
    }
    let length = match number("length")? {
        Some(length) => length,
        None => byte_size(tensor)? as u64,
    };
    Ok(Place { location, offset: number("offset")?.unwrap_or(0), length })
}

/// Visits every dense tensor of a model: initializers and attributes, in subgraphs and functions too.
pub(super) fn each_tensor<'a>(model: &'a ModelProto, visit: &mut dyn FnMut(&'a Tensor) -> Result<()>) -> Result<()> {
    let mut graphs: Vec<&GraphProto> = model.graph.iter().collect();
    graphs.extend(model.training_info.iter().flat_map(|t| t.initialization.iter().chain(t.algorithm.iter())));
    for function in &model.functions {
        visit_nodes(&function.node, &mut graphs, visit)?;
    }
    while let Some(graph) = graphs.pop() {
        graph.initializer.iter().try_for_each(&mut *visit)?;
        let parts = graph.sparse_initializer.iter().flat_map(|s| s.values.iter().chain(s.indices.iter()));
        parts.into_iter().try_for_each(&mut *visit)?;
        visit_nodes(&graph.node, &mut graphs, visit)?;
    }
    Ok(())
}

fn visit_nodes<'a>(
    nodes: &'a [NodeProto],
    graphs: &mut Vec<&'a GraphProto>,
    visit: &mut dyn FnMut(&'a Tensor) -> Result<()>,
) -> Result<()> {
    for (node, attribute) in nodes.iter().flat_map(|n| n.attribute.iter().map(move |a| (n, a))) {
        let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
        let sparse = sparse.flat_map(|s| s.values.iter().chain(s.indices.iter()));
        let mut tensors = attribute.t.iter().chain(&attribute.tensors).chain(sparse);
        tensors.try_for_each(&mut *visit).at(|| {
            let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
            format!("attribute '{}' of {} '{}'", attribute.name, node.op_type, name.map_or("", String::as_str))
        })?;
        graphs.extend(attribute.g.iter().chain(&attribute.graphs));
    }
    Ok(())
}
