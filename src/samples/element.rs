//! Element types of NumPy arrays, and their conversion to what a graph input takes.

use crate::array::Values;
use crate::{Code, Error, Result};
use half::f16;

/// An element type of a NumPy array in little-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    I64,
    F16,
    F32,
    F64,
}

impl Element {
    /// The type that NumPy writes as `descr`, for example `<f4`.
    pub(super) fn parse(descr: &str) -> Result<Element> {
        let (order, name) = descr.split_at_checked(1).unwrap_or(("", descr));
        if order == ">" {
            return Err(refused(descr, "is big-endian"));
        }
        match name {
            "b1" => Ok(Element::Bool),
            "u1" => Ok(Element::U8),
            "i1" => Ok(Element::I8),
            "u2" => Ok(Element::U16),
            "i2" => Ok(Element::I16),
            "u4" => Ok(Element::U32),
            "i4" => Ok(Element::I32),
            "i8" => Ok(Element::I64),
            "f2" => Ok(Element::F16),
            "f4" => Ok(Element::F32),
            "f8" => Ok(Element::F64),
            _ => Err(refused(descr, "is not supported")),
        }
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> usize {
        match self {
            Element::Bool | Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 | Element::F16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::I64 | Element::F64 => 8,
        }
    }

    /// Elements for an input that takes floats: float32, rounded to nearest.
    pub(super) fn to_floats(self, bytes: &[u8]) -> Values {
        Values::F32(match self {
            Element::Bool | Element::U8 => bytes.iter().map(|&x| f32::from(x)).collect(),
            Element::I8 => bytes.iter().map(|&x| f32::from(x as i8)).collect(),
            Element::U16 => decoded(bytes, |b| f32::from(u16::from_le_bytes(b))),
            Element::I16 => decoded(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Element::F16 => decoded(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Element::U32 => decoded(bytes, |b| u32::from_le_bytes(b) as f32),
            Element::I32 => decoded(bytes, |b| i32::from_le_bytes(b) as f32),
            Element::F32 => decoded(bytes, f32::from_le_bytes),
            Element::I64 => decoded(bytes, |b| i64::from_le_bytes(b) as f32),
            Element::F64 => decoded(bytes, |b| f64::from_le_bytes(b) as f32),
        })
    }

    /// Elements for an input that takes integers: their own type, or the next wider one; `None` for floats.
    pub(super) fn to_integers(self, bytes: &[u8]) -> Option<Values> {
        Some(match self {
            Element::Bool => Values::Bool(bytes.iter().map(|&x| x != 0).collect()),
            Element::U8 => Values::U8(bytes.to_vec()),
            Element::I8 => Values::I8(bytes.iter().map(|&x| x as i8).collect()),
            Element::U16 => Values::I32(decoded(bytes, |b| i32::from(u16::from_le_bytes(b)))),
            Element::I16 => Values::I32(decoded(bytes, |b| i32::from(i16::from_le_bytes(b)))),
            Element::U32 => Values::I64(decoded(bytes, |b| i64::from(u32::from_le_bytes(b)))),
            Element::I32 => Values::I32(decoded(bytes, i32::from_le_bytes)),
            Element::I64 => Values::I64(decoded(bytes, i64::from_le_bytes)),
            Element::F16 | Element::F32 | Element::F64 => return None,
        })
    }
}

fn decoded<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&chunk| decode(chunk)).collect()
}

fn refused(descr: &str, why: &str) -> Error {
    Error::new(Code::Samples, format!("element type `{descr}` {why}"))
        .help("save the array as float32 or uint8: `x.astype(\"<f4\")`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_becomes_floats() {
        let check = |descr: &str, bytes: &[u8], want: &[f32]| {
            let element = Element::parse(descr).unwrap();
            assert_eq!(bytes.len(), element.size() * want.len(), "{descr}");
            assert_eq!(element.to_floats(bytes), Values::F32(want.to_vec()), "{descr}");
        };
        check("|b1", &[0, 1], &[0.0, 1.0]);
        check("|u1", &[0, 255], &[0.0, 255.0]);
        check("|i1", &[0x80, 127], &[-128.0, 127.0]);
        check("<u2", &[0xFF, 0xFF], &[65_535.0]);
        check("<i2", &[0xFF, 0xFF], &[-1.0]);
        check("<u4", &[0, 0, 0, 0x80], &[2_147_483_648.0]);
        check("<i4", &[0xFE, 0xFF, 0xFF, 0xFF], &[-2.0]);
        check("<i8", &[3, 0, 0, 0, 0, 0, 0, 0], &[3.0]);
        check("<f2", &[0x00, 0x3E], &[1.5]);
        check("<f4", &1.25f32.to_le_bytes(), &[1.25]);
        check("<f8", &0.1f64.to_le_bytes(), &[0.1]);
    }

    #[test]
    fn integers_keep_their_type_and_floats_are_none() {
        assert_eq!(Element::I32.to_integers(&[1, 0, 0, 0]), Some(Values::I32(vec![1])));
        assert_eq!(Element::U32.to_integers(&[255; 4]), Some(Values::I64(vec![u32::MAX.into()])));
        assert_eq!(Element::Bool.to_integers(&[0, 1]), Some(Values::Bool(vec![false, true])));
        assert_eq!(Element::F16.to_integers(&[0, 0]), None);
    }

    #[test]
    fn other_types_are_refused_by_name() {
        let message = |descr| Element::parse(descr).unwrap_err().message().to_owned();
        assert_eq!(message(">f4"), "element type `>f4` is big-endian");
        for descr in ["|O", "<c8", "<U3", "", "é"] {
            assert_eq!(message(descr), format!("element type `{descr}` is not supported"));
        }
    }
}
