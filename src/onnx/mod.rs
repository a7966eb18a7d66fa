//! ONNX files: the only room that names `onnx_protobuf`.

mod bytes;
mod external;
mod guard;
mod layout;
mod read;
mod tensor;
mod text;
mod types;
mod write;

pub use bytes::{attribute_bytes, tensor_bytes};
pub use external::ExternalData;
pub use onnx_protobuf::attribute_proto::AttributeType;
pub use onnx_protobuf::tensor_proto::{DataLocation, DataType};
pub use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
pub use onnx_protobuf::type_proto;
pub use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto as Tensor, TensorShapeProto, TypeProto, ValueInfoProto,
};
pub use read::{parse, read};
pub use tensor::{array, byte_size, element_count, floats, from_floats, from_i64s, from_ints, ints};
pub use text::{parse_text, print_text};
pub use types::{INT2, UINT2, data_type, type_name};
pub use write::{same_file, to_bytes, write};

/// A graph without nodes, what a model without a graph reads as.
pub fn empty_graph() -> &'static GraphProto {
    use onnx_protobuf::Message;
    GraphProto::default_instance()
}
