use super::super::types::{INT2, UINT2};
use super::super::{DataType, ExternalData, Tensor};
use super::*;
use crate::array::Values;
use proptest::prelude::*;

fn tensor(data_type: DataType, dims: &[i64]) -> Tensor {
    Tensor { name: "W".to_owned(), data_type: data_type as i32, dims: dims.to_vec(), ..Default::default() }
}

#[track_caller]
fn check_ints(tensor: Tensor, expected: &[i64]) {
    assert_eq!(ints(&tensor, &ExternalData::none()).unwrap(), expected);
}

#[track_caller]
fn check_floats(tensor: Tensor, expected: &[f32]) {
    assert_eq!(floats(&tensor, &ExternalData::none()).unwrap(), expected);
}

#[track_caller]
fn check_error(tensor: Tensor, expected: &str) {
    let error = array(&tensor, &ExternalData::none()).unwrap_err().to_string();
    assert!(error.contains("tensor \"W\"") && error.contains(expected), "{error}");
}

#[test]
fn floats_from_raw_data() {
    check_floats(from_floats("W", &[2], &[1.5, -0.0]), &[1.5, -0.0]);
    let raw_data = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    check_floats(Tensor { raw_data, ..tensor(DataType::DOUBLE, &[2]) }, &[1.5, -2.0]);
    check_floats(Tensor { raw_data: vec![0x00, 0x3c, 0x00, 0xc0], ..tensor(DataType::FLOAT16, &[2]) }, &[1.0, -2.0]);
    check_floats(Tensor { raw_data: vec![0x80, 0x3f], ..tensor(DataType::BFLOAT16, &[]) }, &[1.0]);
}

#[test]
fn floats_from_typed_fields() {
    check_floats(Tensor { float_data: vec![3.0], ..tensor(DataType::FLOAT, &[]) }, &[3.0]);
    check_floats(Tensor { double_data: vec![3.0, 4.0], ..tensor(DataType::DOUBLE, &[2, 1]) }, &[3.0, 4.0]);
    check_floats(Tensor { int32_data: vec![0x3c00], ..tensor(DataType::FLOAT16, &[1]) }, &[1.0]);
    check_floats(Tensor { int32_data: vec![0xbf80], ..tensor(DataType::BFLOAT16, &[1]) }, &[-1.0]);
}

#[test]
fn ints_from_typed_fields() {
    check_ints(Tensor { int32_data: vec![-8, 7], ..tensor(DataType::INT8, &[2]) }, &[-8, 7]);
    check_ints(Tensor { int32_data: vec![255], ..tensor(DataType::UINT8, &[1]) }, &[255]);
    check_ints(Tensor { int32_data: vec![0, 2], ..tensor(DataType::BOOL, &[2]) }, &[0, 1]);
    check_ints(Tensor { int64_data: vec![i64::MIN], ..tensor(DataType::INT64, &[1]) }, &[i64::MIN]);
    check_ints(Tensor { uint64_data: vec![u64::from(u32::MAX)], ..tensor(DataType::UINT32, &[1]) }, &[4294967295]);
    check_ints(Tensor { int32_data: vec![0xf1, 0x07], ..tensor(DataType::INT4, &[3]) }, &[1, -1, 7]);
    check_ints(Tensor { int32_data: vec![0xf1, 0x07], ..tensor(DataType::UINT4, &[3]) }, &[1, 15, 7]);
}

#[test]
fn narrow_integers_are_packed_from_the_lowest_bits() {
    let four = from_ints("W", DataType::INT4 as i32, &[3], &[1, -8, 7]);
    assert_eq!((four.data_type, four.raw_data.as_slice()), (22, [0x81, 0x07].as_slice()));
    let two = from_ints("W", INT2, &[5], &[-2, -1, 0, 1, -1]);
    assert_eq!((two.data_type, two.raw_data.as_slice()), (26, [0b01_00_11_10, 0b11].as_slice()));
    assert_eq!(from_ints("W", DataType::UINT4 as i32, &[1], &[9]).data_type, 21);
    assert_eq!(from_ints("W", UINT2, &[1], &[3]).data_type, 25);
}

#[test]
fn element_counts() {
    let count = |dims: &[i64]| element_count(&tensor(DataType::FLOAT, dims)).ok();
    assert_eq!(count(&[]), Some(1));
    assert_eq!(count(&[2, 3]), Some(6));
    assert_eq!(count(&[i64::MAX, i64::MAX, 0]), Some(0));
    assert_eq!(count(&[i64::MAX, 3]), None);
    assert_eq!(count(&[-1, 0]), None);
    assert_eq!(byte_size(&tensor(DataType::INT4, &[3])).unwrap(), 2);
    assert_eq!(byte_size(&tensor(DataType::FLOAT, &[i64::MAX / 4])).ok(), None);
}

#[test]
fn malformed_tensors_are_refused() {
    check_error(tensor(DataType::FLOAT, &[2]), "0 elements, but shape [2] takes 2");
    check_error(Tensor { raw_data: vec![0; 7], ..tensor(DataType::FLOAT, &[2]) }, "7 bytes, but shape [2] takes 8");
    check_error(Tensor { int32_data: vec![300], ..tensor(DataType::INT8, &[1]) }, "300 does not fit");
    check_error(Tensor { raw_data: vec![255; 8], ..tensor(DataType::UINT64, &[1]) }, "exceeds int64");
    check_error(tensor(DataType::STRING, &[1]), "elements of string cannot be read");
    check_error(tensor(DataType::UNDEFINED, &[1]), "elements of type 0 cannot be read");
    check_error(Tensor { raw_data: vec![0], ..tensor(DataType::FLOAT8E5M2, &[1]) }, "float8e5m2 cannot be read");
    check_error(Tensor { raw_data: vec![0], ..tensor(DataType::FLOAT, &[1 << 40, 1 << 20]) }, "takes");
    check_error(tensor(DataType::FLOAT, &[-3]), "-3 is negative");
}

#[test]
fn arrays_keep_the_type_where_they_can() {
    let values = |t: &Tensor| array(t, &ExternalData::none()).unwrap().values;
    let ints = |t: DataType| from_ints("W", t as i32, &[2], &[1, 0]);
    assert_eq!(values(&ints(DataType::INT8)), Values::I8(vec![1, 0]));
    assert_eq!(values(&ints(DataType::UINT8)), Values::U8(vec![1, 0]));
    assert_eq!(values(&ints(DataType::INT32)), Values::I32(vec![1, 0]));
    assert_eq!(values(&ints(DataType::UINT16)), Values::I32(vec![1, 0]));
    assert_eq!(values(&ints(DataType::BOOL)), Values::Bool(vec![true, false]));
    assert_eq!(values(&ints(DataType::INT4)), Values::I32(vec![1, 0]));
    assert_eq!(values(&from_i64s("W", &[1], &[-5])), Values::I64(vec![-5]));
    assert_eq!(array(&from_i64s("W", &[0, 4], &[]), &ExternalData::none()).unwrap().dims, [0, 4]);
}

proptest! {
    #[test]
    fn integers_survive(index in 0..9usize, seed in prop::collection::vec(any::<i32>(), 0..33)) {
        let (kind, low, high) = [
            (UINT2, 0, 3), (INT2, -2, 1), (21, 0, 15), (22, -8, 7), (2, 0, 255),
            (3, -128, 127), (4, 0, 65535), (5, -32768, 32767), (6, i32::MIN, i32::MAX),
        ][index];
        let span = i64::from(high) - i64::from(low) + 1;
        let values: Vec<i32> = seed.iter().map(|v| (i64::from(*v).rem_euclid(span) + i64::from(low)) as i32).collect();
        let tensor = from_ints("W", kind, &[values.len()], &values);
        prop_assert_eq!(tensor.raw_data.len(), byte_size(&tensor).unwrap());
        let wide: Vec<i64> = values.iter().map(|v| i64::from(*v)).collect();
        prop_assert_eq!(ints(&tensor, &ExternalData::none()).unwrap(), wide);
    }
}
