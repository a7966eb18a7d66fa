//! Reading a model file.
use super::{ExternalData, ModelProto};
use crate::{Code, Error, Result};
use onnx_protobuf::Message;
use std::path::Path;

/// Reads a model file.
pub fn read(path: &Path) -> Result<(ModelProto, ExternalData)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read the model", &e))?;
    Ok((parse(&bytes)?, ExternalData::none()))
}

/// Parses the bytes of a model.
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    ModelProto::parse_from_bytes(bytes).map_err(|e| Error::new(Code::MalformedModel, e.to_string()))
}
