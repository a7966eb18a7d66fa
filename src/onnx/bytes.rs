//! Serialized forms of parts of a model, for digests.

use super::{AttributeProto, Tensor};
use onnx_protobuf::Message;

/// The serialized attribute; the same for equal attributes.
pub fn attribute_bytes(attribute: &AttributeProto) -> Vec<u8> {
    attribute.write_to_bytes().unwrap_or_default()
}

/// The serialized tensor, name and documentation left out.
pub fn tensor_bytes(tensor: &Tensor) -> Vec<u8> {
    let unnamed = Tensor { name: String::new(), doc_string: String::new(), ..tensor.clone() };
    unnamed.write_to_bytes().unwrap_or_default()
}
