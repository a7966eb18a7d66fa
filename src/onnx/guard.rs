//! A bounded scan over the wire format, before protobuf parses untrusted bytes.
//!
//! protobuf 3.4 recurses without bound on nested groups in unknown fields, which ONNX never uses, so groups are
//! refused here. The scan keeps its own stack, allocates nothing else, and visits each message once.
//! It follows exactly the fields that the parser would descend into; bytes of strings, tensors and unknown
//! fields are skipped.

use crate::{Code, Error, Result};

/// Deepest nesting of messages, which is also where protobuf stops; If and Loop bodies take three each
/// (graph, node, attribute).
const MAX_DEPTH: usize = 100;

/// Messages that hold other messages, and `Leaf` for those that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Tensor,
    Sparse,
    ValueInfo,
    Annotation,
    Type,
    TypeTensor,
    TypeElement,
    TypeMap,
    Shape,
    Leaf,
}

impl Kind {
    /// The message that a length-delimited field of this message holds, `None` for bytes and unknown fields.
    fn field(self, number: u64) -> Option<Kind> {
        let kind = match (self, number) {
            (Kind::Model, 7) => Kind::Graph,
            (Kind::Model, 20) => Kind::Training,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Kind::Tensor,
            (Kind::Graph, 11..=13) | (Kind::Function, 12) => Kind::ValueInfo,
            (Kind::Graph, 14) => Kind::Annotation,
            (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::Sparse,
            (Kind::Training, 1 | 2) | (Kind::Attribute, 6 | 11) => Kind::Graph,
            (Kind::Function, 11) | (Kind::Node, 5) => Kind::Attribute,
            (Kind::Attribute, 14 | 15) | (Kind::ValueInfo, 2) | (Kind::TypeElement, 1) | (Kind::TypeMap, 2) => {
                Kind::Type
            }
            (Kind::Type, 1 | 8) => Kind::TypeTensor,
            (Kind::Type, 4 | 9) => Kind::TypeElement,
            (Kind::Type, 5) => Kind::TypeMap,
            (Kind::TypeTensor, 2) => Kind::Shape,
            (Kind::Model, 8 | 14)
            | (Kind::Training, 3 | 4)
            | (Kind::Function, 9 | 14)
            | (Kind::Graph, 16)
            | (Kind::Node, 9)
            | (Kind::Tensor, 3 | 13 | 16)
            | (Kind::ValueInfo, 4)
            | (Kind::Annotation, 2)
            | (Kind::Shape, 1) => Kind::Leaf,
            _ => return None,
        };
        Some(kind)
    }
}

/// Checks that parsing `bytes` as a model costs bounded stack.
///
/// An error names the byte offset: groups, lengths past the end, truncated numbers, nesting beyond the limit.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    scan(bytes).map_err(|error| foreign_format(bytes).unwrap_or(error))
}

fn scan(bytes: &[u8]) -> Result<()> {
    let mut cursor = Cursor { bytes, at: 0 };
    let mut open: Vec<(Kind, usize)> = vec![(Kind::Model, bytes.len())];
    while let Some(&(kind, end)) = open.last() {
        if cursor.at == end {
            open.pop();
            continue;
        }
        if let Some(inner) = cursor.field(kind, end)? {
            if open.len() == MAX_DEPTH {
                return Err(malformed(cursor.at, format!("messages are nested more than {MAX_DEPTH} deep")));
            }
            open.push(inner);
        }
    }
    Ok(())
}

/// A position in the bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// Reads one field of a message that ends at `end`; returns the message to descend into, where there is one.
    fn field(&mut self, kind: Kind, end: usize) -> Result<Option<(Kind, usize)>> {
        let start = self.at;
        let tag = self.varint(end)?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(malformed(start, format!("{tag} is no field tag")));
        }
        match tag & 7 {
            0 => self.varint(end).map(|_| None),
            1 => self.skip(8, end).map(|()| None),
            5 => self.skip(4, end).map(|()| None),
            2 => {
                let length = self.varint(end)?;
                match kind.field(number) {
                    Some(inner) => Ok(Some((inner, self.end_after(length, end)?))),
                    None => self.skip(length, end).map(|()| None),
                }
            }
            3 | 4 => Err(malformed(start, format!("field {number} is a group, which ONNX does not use"))),
            wire => Err(malformed(start, format!("field {number} has the wire type {wire}, which does not exist"))),
        }
    }

    fn skip(&mut self, length: u64, end: usize) -> Result<()> {
        self.at = self.end_after(length, end)?;
        Ok(())
    }

    fn end_after(&self, length: u64, end: usize) -> Result<usize> {
        let stop = usize::try_from(length).ok().and_then(|l| self.at.checked_add(l)).filter(|stop| *stop <= end);
        stop.ok_or_else(|| {
            let left = end - self.at;
            malformed(self.at, format!("a field claims {length} bytes, but {left} are left"))
                .help("the file is truncated or damaged; copy or export it again")
        })
    }

    fn varint(&mut self, end: usize) -> Result<u64> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = match self.bytes.get(self.at) {
                Some(byte) if self.at < end => *byte,
                _ => {
                    return Err(malformed(start, "a number is cut off".to_owned())
                        .help("the file is truncated or damaged; copy or export it again"));
                }
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed(start, "a number takes more than 10 bytes".to_owned()))
    }
}

fn malformed(offset: usize, message: String) -> Error {
    Error::new(Code::MalformedModel, format!("not a valid ONNX model: {message}")).at(format!("byte {offset}"))
}

/// Names well-known formats that users pass by mistake.
fn foreign_format(bytes: &[u8]) -> Option<Error> {
    let (format, help) = if bytes.starts_with(b"PK\x03\x04") {
        ("a zip archive, perhaps a PyTorch checkpoint", "export it with torch.onnx.export, or unpack it first")
    } else if bytes.get(4..8) == Some(b"TFL3") {
        ("a TensorFlow Lite model", "convert it with tf2onnx --tflite")
    } else if bytes.get(4..8) == Some(b"ORTM") {
        ("an ONNX Runtime (.ort) model", "pass the .onnx file that it was made from")
    } else if bytes.starts_with(b"\x89HDF") {
        ("an HDF5 file, perhaps a Keras model", "convert it with tf2onnx --keras")
    } else if bytes.starts_with(b"version https://git-lfs") {
        ("a Git LFS pointer, not the file itself", "fetch the file with git lfs pull")
    } else if is_text(bytes) {
        ("a text file", "pass a binary .onnx file")
    } else {
        return None;
    };
    Some(Error::new(Code::MalformedModel, format!("not an ONNX model, but {format}")).help(help))
}

/// Printable from the start: a serialized model has control bytes among its first ones.
fn is_text(bytes: &[u8]) -> bool {
    let head = bytes.get(..64).unwrap_or(bytes);
    head.len() >= 4
        && head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..))
        && std::str::from_utf8(head).map_or_else(|e| e.error_len().is_none(), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps `bytes` as length-delimited field `number`.
    fn nest(number: u64, bytes: &[u8]) -> Vec<u8> {
        let mut out = varint(number << 3 | 2);
        out.extend(varint(bytes.len() as u64));
        out.extend(bytes);
        out
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = vec![];
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    #[track_caller]
    fn refuse(bytes: &[u8], expected: &str) {
        let error = check(bytes).unwrap_err();
        assert_eq!(error.code(), Code::MalformedModel);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn groups_are_refused_wherever_they_would_be_parsed() {
        refuse(&vec![0x0b; 2 << 20], "byte 0: not a valid ONNX model: field 1 is a group");
        refuse(&[0x0c], "group");
        let deep = nest(7, &nest(1, &nest(5, &nest(6, &[0xfb, 0x07]))));
        refuse(&deep, "byte 8: not a valid ONNX model: field 127 is a group");
        refuse(&nest(7, &nest(11, &nest(2, &nest(4, &nest(1, &nest(1, &nest(2, &nest(1, &[0x0b])))))))), "group");
        for number in [8, 14, 20, 25] {
            refuse(&nest(number, &[0x0b]), "group");
        }
    }

    /// Follows protobuf from the root: it descends where a broken group makes it fail and a plain field does not.
    #[test]
    fn the_scan_descends_exactly_where_protobuf_does() {
        use onnx_protobuf::Message;
        let parses = |bytes: &[u8]| crate::onnx::ModelProto::parse_from_bytes(bytes).is_ok();
        let wrap = |path: &[u64], inner: &[u8]| path.iter().rev().fold(inner.to_vec(), |inner, n| nest(*n, &inner));
        let mut level: Vec<Vec<u64>> = vec![vec![]];
        for depth in 1..=6 {
            let candidates = level.iter().flat_map(|path| (1..=30).map(move |n| [path.as_slice(), &[n]].concat()));
            let (inside, outside): (Vec<_>, Vec<_>) = candidates
                .filter(|path| parses(&wrap(path, &[0x08; 8])))
                .partition(|path| !parses(&wrap(path, &[0x0b; 8])));
            for path in &inside {
                assert!(check(&wrap(path, &[0x0b; 8])).is_err(), "protobuf descends into {path:?}");
            }
            for path in &outside {
                check(&wrap(path, &[0x0b; 8])).unwrap();
            }
            assert!(inside.len() >= 5 * depth, "found {} messages {depth} deep", inside.len());
            level = inside;
        }
    }

    #[test]
    fn bytes_that_no_parser_reads_may_be_anything() {
        check(&nest(99, &[0x0b; 10])).unwrap();
        check(&nest(7, &nest(5, &nest(9, &[0x0b; 10])))).unwrap();
        check(&nest(2, &[0x0b; 10])).unwrap();
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| (0..levels).fold(vec![], |inner, _| nest(1, &nest(5, &nest(6, &inner))));
        check(&nest(7, &nested(32))).unwrap();
        refuse(&nest(7, &nested(33)), "nested more than 100 deep");
        refuse(&nest(7, &nested(5000)), "nested more than 100 deep");
        let types = (0..200).fold(vec![], |inner, _| nest(4, &nest(1, &inner)));
        refuse(&nest(7, &nest(11, &nest(2, &types))), "nested more than");
    }

    #[test]
    fn broken_wire_is_named_with_its_offset() {
        refuse(&[0x08, 0x80], "byte 1: not a valid ONNX model: a number is cut off");
        refuse(&[0x12, 0x05, 1], "byte 2: not a valid ONNX model: a field claims 5 bytes, but 1 are left");
        refuse(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], "more than 10 bytes");
        refuse(&[0x0f], "wire type 7");
        refuse(&[0x00, 0x00], "no field tag");
        refuse(&[0x09, 1, 2], "claims 8 bytes, but 2 are left");
        let mut outside = nest(7, &[0x0a, 0x04, 0, 0]);
        outside.extend([0x08, 1, 0x08, 1]);
        refuse(&outside, "claims 4 bytes, but 2 are left");
    }

    #[test]
    fn other_formats_are_recognised() {
        refuse(b"PK\x03\x04....", "zip archive");
        refuse(b"\x1c\0\0\0TFL3....", "TensorFlow Lite");
        refuse(b"\x89HDF\r\n\x1a\n", "HDF5");
        refuse(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
        refuse(b"<ir_version: 8>\nmain (float x) => (float y) {}", "a text file");
        refuse("größer als erwartet".as_bytes(), "a text file");
    }
}
