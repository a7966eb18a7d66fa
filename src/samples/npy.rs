//! NumPy's `.npy`: the header, and single rows of the data.
//!
//! The header is read here: npyz multiplies the extents unchecked and parses nested tuples by recursion, so that a
//! hostile header ends the process.

use super::element::Element;
use crate::{Code, Error, Result};
use std::io::{self, Read};

/// Shape and element type of an array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub element: Element,
    pub dims: Vec<usize>,
    row_bytes: usize,
}

const MAGIC: &[u8] = b"\x93NUMPY";
const LONGEST_HEADER: usize = 1 << 16;
const LARGEST_ROW: usize = 1 << 30;

impl Header {
    /// Reads the header, and leaves `reader` at the first row.
    pub(super) fn read(reader: &mut dyn Read) -> Result<Header> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| malformed("is too short"))?;
        if !start.starts_with(MAGIC) {
            return Err(malformed("does not begin as one"));
        }
        let mut length = [0; 4];
        let width = if start[6] == 1 { 2 } else { 4 };
        reader.read_exact(&mut length[..width]).map_err(|_| malformed("ends in its header"))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST_HEADER {
            return Err(malformed("has a header of absurd length"));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(|_| malformed("ends in its header"))?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// Reads the dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
    fn parse(text: &str) -> Result<Header> {
        let element = match value_of(text, "descr")?.strip_prefix(['\'', '"']) {
            Some(rest) => Element::parse(rest.split(['\'', '"']).next().unwrap_or_default())?,
            None => return Err(malformed("holds records, not numbers")),
        };
        let dims = extents(value_of(text, "shape")?)?;
        if value_of(text, "fortran_order")?.starts_with("True") && dims.len() > 1 {
            return Err(Error::new(Code::Samples, "array is in Fortran order, so its rows are not contiguous")
                .help("save it with `numpy.ascontiguousarray`"));
        }
        let row = dims.iter().skip(1).try_fold(element.size(), |bytes, &n| bytes.checked_mul(n));
        match row.filter(|&bytes| bytes <= LARGEST_ROW) {
            Some(row_bytes) => Ok(Header { element, dims, row_bytes }),
            None => Err(Error::new(Code::Samples, format!("one sample of an array {dims:?} exceeds 1 GiB"))),
        }
    }

    /// Number of rows: samples.
    pub(super) fn rows(&self) -> Result<usize> {
        self.dims.first().copied().ok_or_else(|| malformed("is a single number; samples are rows"))
    }

    /// Bytes of the `wanted` rows, in that order; reads no further than the last of them.
    pub(super) fn read_rows(&self, reader: &mut dyn Read, wanted: &[usize]) -> Result<Vec<Vec<u8>>> {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|&i| wanted[i]);
        let mut rows = vec![vec![]; wanted.len()];
        let mut next = 0;
        for i in order {
            self.skip(reader, wanted[i] - next).and_then(|()| self.read_row(reader, &mut rows[i])).map_err(|e| {
                let message = format!("cannot read the array's rows: {e}");
                Error::new(Code::Samples, message).at(format!("row {}", wanted[i]))
            })?;
            next = wanted[i] + 1;
        }
        Ok(rows)
    }

    fn skip(&self, reader: &mut dyn Read, rows: usize) -> io::Result<()> {
        let bytes = rows as u64 * self.row_bytes as u64;
        ended_unless(io::copy(&mut reader.take(bytes), &mut io::sink())? == bytes)
    }

    fn read_row(&self, reader: &mut dyn Read, row: &mut Vec<u8>) -> io::Result<()> {
        reader.take(self.row_bytes as u64).read_to_end(row)?;
        ended_unless(row.len() == self.row_bytes)
    }
}

fn ended_unless(complete: bool) -> io::Result<()> {
    if complete { Ok(()) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the data ends before it")) }
}

fn value_of<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    let keys = [format!("'{key}':"), format!("\"{key}\":")];
    let start = keys.iter().find_map(|key| text.find(key.as_str()).map(|at| at + key.len()));
    start.and_then(|at| text.get(at..)).map(str::trim_start).ok_or_else(|| malformed(&format!("lacks `{key}`")))
}

fn extents(text: &str) -> Result<Vec<usize>> {
    let inner = text.strip_prefix('(').and_then(|t| t.split_once(')')).map(|(inner, _)| inner);
    let numbers = inner.into_iter().flat_map(|inner| inner.split(',')).map(str::trim).filter(|n| !n.is_empty());
    let dims: Result<Vec<usize>, _> = numbers.map(|n| n.trim_end_matches('L').parse()).collect();
    match (inner, dims) {
        (Some(_), Ok(dims)) if dims.len() <= 16 => Ok(dims),
        _ => Err(malformed("has no readable shape")),
    }
}

fn malformed(why: &str) -> Error {
    Error::new(Code::Samples, format!("not a NumPy array: the file {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use proptest::prelude::*;

    fn written(shape: &[u64], values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![];
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn refused(text: &str) -> String {
        Header::parse(text).unwrap_err().message().to_owned()
    }

    #[test]
    fn rows_come_in_the_wanted_order() {
        let bytes = written(&[4, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let mut reader = &bytes[..];
        let header = Header::read(&mut reader).unwrap();
        assert_eq!((header.rows().unwrap(), &header.dims[..]), (4, &[4, 2][..]));
        let rows = header.read_rows(&mut reader, &[2, 0]).unwrap();
        let floats: Vec<_> = rows.iter().map(|r| header.element.to_floats(r)).collect();
        assert_eq!(floats, [Element::F32.to_floats(&rows[0]), crate::array::Values::F32(vec![0.0, 1.0])]);
        assert_eq!(rows[0], [4.0f32.to_le_bytes(), 5.0f32.to_le_bytes()].concat());
    }

    #[test]
    fn a_lying_header_costs_no_memory() {
        let mut bytes = written(&[1, 2], &[0.0, 1.0]);
        let at = bytes.windows(4).position(|w| w == b"(1, ").unwrap();
        bytes[at + 1] = b'9';
        let mut reader = &bytes[..];
        let header = Header::read(&mut reader).unwrap();
        let error = header.read_rows(&mut reader, &[0, 1]).unwrap_err();
        assert_eq!(error.to_string(), "row 1: cannot read the array's rows: the data ends before it [TQ301]");
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 9223372036854775807, 9)}";
        assert_eq!(refused(huge), "one sample of an array [2, 9223372036854775807, 9] exceeds 1 GiB");
    }

    #[test]
    fn headers_that_are_refused() {
        let with = |rest: &str| refused(&format!("{{'descr': '<f4', {rest}}}"));
        assert_eq!(
            with("'fortran_order': True, 'shape': (2, 3)"),
            "array is in Fortran order, so its rows are not contiguous"
        );
        assert_eq!(with("'shape': (2, 3)"), "not a NumPy array: the file lacks `fortran_order`");
        assert_eq!(with("'fortran_order': False, 'shape': (-1,)"), "not a NumPy array: the file has no readable shape");
        assert_eq!(with("'shape': ((((((((((("), "not a NumPy array: the file has no readable shape");
        assert_eq!(refused("{'descr': [('a', '<f4')]}"), "not a NumPy array: the file holds records, not numbers");
        let scalar = Header::parse("{'descr': '<f4', 'fortran_order': False, 'shape': ()}").unwrap();
        assert!(scalar.rows().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), as_npy: bool) {
            if as_npy && bytes.len() > 8 {
                bytes[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
            }
            let mut reader = &bytes[..];
            if let Ok(header) = Header::read(&mut reader) {
                let _ = header.read_rows(&mut reader, &[3, 0]);
            }
        }

        #[test]
        fn no_header_text_panics(text in "\\{('descr'|'shape'|: |'<f4'|\\(|\\)|[0-9]{1,20}|, |'fortran_order'|True|é){0,20}") {
            let _ = Header::parse(&text);
        }
    }
}
