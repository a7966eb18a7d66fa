//! Element types: numbers, names in the textual syntax, and widths.

use super::DataType;

/// `TensorProto.DataType` of 2-bit unsigned integers (opset 25), which onnx-protobuf does not know yet.
pub const UINT2: i32 = 25;
/// `TensorProto.DataType` of 2-bit signed integers (opset 25), which onnx-protobuf does not know yet.
pub const INT2: i32 = 26;

/// Number, name and bits of every element type with a fixed width, and of strings (no width).
const TYPES: [(i32, &str, usize); 28] = [
    (1, "float", 32),
    (2, "uint8", 8),
    (3, "int8", 8),
    (4, "uint16", 16),
    (5, "int16", 16),
    (6, "int32", 32),
    (7, "int64", 64),
    (8, "string", 0),
    (9, "bool", 8),
    (10, "float16", 16),
    (11, "double", 64),
    (12, "uint32", 32),
    (13, "uint64", 64),
    (14, "complex64", 64),
    (15, "complex128", 128),
    (16, "bfloat16", 16),
    (17, "float8e4m3fn", 8),
    (18, "float8e4m3fnuz", 8),
    (19, "float8e5m2", 8),
    (20, "float8e5m2fnuz", 8),
    (21, "uint4", 4),
    (22, "int4", 4),
    (23, "float4e2m1", 4),
    (24, "float8e8m0", 8),
    (UINT2, "uint2", 2),
    (INT2, "int2", 2),
    (27, "float6e2m3", 6),
    (28, "float6e3m2", 6),
];

/// The element type that a number names, where this library knows it.
pub fn data_type(number: i32) -> Option<DataType> {
    use protobuf::Enum;
    DataType::from_i32(number)
}

/// The name of an element type in the textual syntax, `None` for a number that ONNX does not define.
pub fn type_name(number: i32) -> Option<&'static str> {
    TYPES.iter().find(|(n, ..)| *n == number).map(|(_, name, _)| *name)
}

/// The element type with this name in the textual syntax.
pub(super) fn type_number(name: &str) -> Option<i32> {
    TYPES.iter().find(|(_, n, _)| *n == name).map(|(number, ..)| *number)
}

/// Bits that one element takes in raw data; `None` for strings and unknown types.
pub(super) fn element_bits(number: i32) -> Option<usize> {
    TYPES.iter().find(|(n, ..)| *n == number).map(|(.., bits)| *bits).filter(|bits| *bits > 0)
}
