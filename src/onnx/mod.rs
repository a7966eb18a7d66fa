//! ONNX files: the only room that names `onnx_protobuf`.

mod external;
mod guard;
mod read;
mod tensor;
mod text;
mod write;

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
pub use tensor::{INT2, UINT2, element_count, floats, from_floats, from_ints, from_i64s, ints};
pub use text::{parse_text, print_text};
pub use write::{to_bytes, write};

/// A graph without nodes, what a model without a graph reads as.
pub fn empty_graph() -> &'static GraphProto {
    use onnx_protobuf::Message;
    GraphProto::default_instance()
}

/// The element type that a number names, where this library knows it.
pub fn data_type(number: i32) -> Option<DataType> {
    use protobuf::Enum;
    DataType::from_i32(number)
}
