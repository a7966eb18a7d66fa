//! Reading a model file.

use super::external::{each_tensor, map_file};
use super::tensor::check_payload;
use super::{ExternalData, ModelProto, guard};
use crate::{Code, Context, Error, Result};
use onnx_protobuf::Message;
use std::path::Path;

/// Reads a model file and finds the files that hold its external tensors.
///
/// Errors name the file: missing, a directory, empty, not ONNX, truncated, external data missing or too short, a tensor
/// whose data does not fit its shape.
pub fn read(path: &Path) -> Result<(ModelProto, ExternalData)> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, "read the model", &e))?;
    if metadata.is_dir() {
        return Err(Error::new(Code::Io, "cannot read the model: it is a folder")
            .at(path.display().to_string())
            .help("pass the .onnx file inside it"));
    }
    let place = || path.display().to_string();
    let model = parse(&map_file(path)?).at(place)?;
    let external = ExternalData::of(&model, path).at(place)?;
    each_tensor(&model, &mut check_payload).at(place)?;
    Ok((model, external))
}

/// Parses the bytes of a model, after a scan that refuses what could exhaust the parser's stack.
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::new(Code::MalformedModel, "the model is empty"));
    }
    guard::check(bytes)?;
    ModelProto::parse_from_bytes(bytes)
        .map_err(|e| Error::new(Code::MalformedModel, format!("not a valid ONNX model: {e}")))
}
