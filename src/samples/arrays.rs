//! Samples from NumPy files: rows of one `.npy`, or of the arrays in an `.npz`.

use super::element::Element;
use super::npy::Header;
use super::pixels::Pixels;
use super::preprocess::Kind;
use super::{FixedInput, InputSpec, Preprocess, Request, Sample, SampleSet, check};
use crate::array::{Array, Values};
use crate::{Code, Context, Error, Result};
use npyz::npz::NpzArchive;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

type Archive = NpzArchive<BufReader<File>>;

/// Rows of a `.npy` file.
pub(super) fn npy(request: &Request) -> Result<SampleSet> {
    let input = request.only_input("one array")?;
    let place = || request.path.display().to_string();
    let mut reader = open(request.path)?;
    let header = Header::read(&mut reader).at(place)?;
    let wanted = header.rows().and_then(|rows| request.selection.pick(rows)).at(place)?;
    let column = Column::read(input, &header, &mut reader, &wanted, request.preprocess).at(place)?;
    assembled(request, vec![column], &wanted, None).at(place)
}

/// Rows of the arrays of an `.npz` file: `x`, or one named like each input; `y` holds labels.
pub(super) fn npz(request: &Request) -> Result<SampleSet> {
    let place = || request.path.display().to_string();
    let mut archive = open_archive(request.path)?;
    let names = open_names(&archive, request.fixed);
    let sources: Result<Vec<_>> = request.inputs.iter().map(|input| source_of(input, request.inputs, &names)).collect();
    let sources = sources.at(place)?;
    let first = sources.first().ok_or_else(|| Error::new(Code::Samples, "the graph has no inputs").at(place()))?;
    let total = rows_of(&mut archive, first).at(place)?;
    let wanted = request.selection.pick(total).at(place)?;
    let mut columns = vec![];
    for (input, source) in request.inputs.iter().zip(&sources) {
        let column = with_member(&mut archive, source, |reader| {
            let header = Header::read(reader)?;
            same_rows(header.rows()?, total, first)?;
            Column::read(input, &header, reader, &wanted, request.preprocess)
        });
        columns.push(column.at(place)?);
    }
    for fixed in request.fixed {
        check_fixed(&mut archive, fixed, (total, first), &wanted).at(place)?;
    }
    let is_label = names.iter().any(|n| n == "y") && !sources.iter().any(|s| s == "y");
    let labels = if is_label { labels(&mut archive, total, first, &wanted).at(place)? } else { None };
    assembled(request, columns, &wanted, labels).at(place)
}

/// Names of the arrays of an `.npz` file.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    Ok(array_names(&open_archive(path)?))
}

/// Number of rows of a `.npy` file.
pub(super) fn npy_rows(path: &Path) -> Result<usize> {
    Header::read(&mut open(path)?).and_then(|header| header.rows()).at(|| path.display().to_string())
}

/// Number of rows of an `.npz` file: of `x`, else of the first array by name that is not `y`.
pub(super) fn npz_rows(path: &Path, fixed: &[FixedInput]) -> Result<usize> {
    let place = || path.display().to_string();
    let mut archive = open_archive(path)?;
    let names = open_names(&archive, fixed);
    let name = names.iter().find(|n| *n == "x").or_else(|| names.iter().find(|n| *n != "y")).or(names.first());
    let name = name.ok_or_else(|| Error::new(Code::Samples, "holds no arrays").at(place()))?;
    rows_of(&mut archive, name).at(place)
}

/// The selected rows of one input.
struct Column<'a> {
    input: &'a InputSpec,
    element: Element,
    dims: Vec<usize>,
    rows: Vec<Vec<u8>>,
    preprocess: Option<&'a Preprocess>,
}

impl<'a> Column<'a> {
    fn read(
        input: &'a InputSpec,
        header: &Header,
        reader: &mut dyn Read,
        wanted: &[usize],
        preprocess: &'a Preprocess,
    ) -> Result<Self> {
        let dims = header.dims.get(1..).unwrap_or_default().to_vec();
        let preprocess = picture_steps(header.element, &dims, input, preprocess)?;
        if preprocess.is_none() {
            check::fitted_dims(dims.clone(), input)?;
        }
        let rows = header.read_rows(reader, wanted)?;
        Ok(Column { input, element: header.element, dims, rows, preprocess })
    }

    /// The array of one row; its bytes are freed when it is done.
    fn array(&self, row: Vec<u8>) -> Result<Array> {
        let bytes = &row[..];
        if let Some(preprocess) = self.preprocess {
            let array = picture(&self.dims, bytes)?.prepare(preprocess)?;
            return check::fitted(array, self.input);
        }
        let values =
            if self.input.is_float() { Some(self.element.to_floats(bytes)) } else { self.element.to_integers(bytes) };
        let values = values.ok_or_else(|| {
            Error::new(Code::Samples, format!("input `{}` takes integers, the array holds floats", self.input.name))
        })?;
        check::fitted(Array { dims: self.dims.clone(), values }, self.input)
    }
}

/// The steps for rows that are pictures; `None` for rows that are taken as they are.
fn picture_steps<'a>(
    element: Element,
    dims: &[usize],
    input: &InputSpec,
    preprocess: &'a Preprocess,
) -> Result<Option<&'a Preprocess>> {
    let bytes = element == Element::U8 && input.is_float();
    match preprocess.kind {
        Kind::Image if bytes && (dims.len() == 2 || dims.len() == 3) => Ok(Some(preprocess)),
        Kind::Image if input.is_float() && input.dims.len() == 4 => {
            Err(Error::new(Code::Samples, format!("rows of {element:?} {dims:?} are no pictures")).help(
                "`kind: image` takes uint8 rows of [height, width, channels]; for ready arrays say `kind: tensor`",
            ))
        }
        Kind::None if bytes => {
            Err(Error::new(Code::Samples, format!("input `{}` takes floats, the array holds bytes", input.name))
                .help("say with --preprocess what the bytes are: `kind: image` with mean and std, or `kind: tensor`"))
        }
        _ => Ok(None),
    }
}

fn picture(dims: &[usize], bytes: &[u8]) -> Result<Pixels> {
    let (height, width, channels) = match *dims {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3 | 4)] => (height, width, channels),
        _ => {
            return Err(Error::new(
                Code::Samples,
                format!("rows of {dims:?} are no pictures: channels are 1, 3 or 4, and last"),
            ));
        }
    };
    if height == 0 || width == 0 {
        return Err(Error::new(Code::Samples, "a picture without pixels"));
    }
    let data = if channels == 4 {
        bytes.as_chunks().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
    } else {
        bytes.to_vec()
    };
    Ok(Pixels { height, width, channels: channels.min(3), data })
}

fn assembled(
    request: &Request,
    mut columns: Vec<Column>,
    wanted: &[usize],
    labels: Option<Vec<i64>>,
) -> Result<SampleSet> {
    let mut rows = vec![vec![]; wanted.len()];
    for column in &mut columns {
        rows.iter_mut().zip(std::mem::take(&mut column.rows)).for_each(|(sample, row)| sample.push(row));
    }
    let array = |(column, row): (&Column, Vec<u8>)| Ok((column.input.name.clone(), column.array(row)?));
    let sample = |(rows, row): (Vec<Vec<u8>>, &usize)| {
        let inputs: Result<_> = columns.iter().zip(rows).map(array).collect();
        inputs.map(|inputs| Sample { inputs }).at(|| format!("row {row}"))
    };
    let samples: Result<Vec<Sample>> = rows.into_par_iter().zip(wanted).map(sample).collect();
    Ok(request.sample_set(samples?, labels, wanted.iter().map(usize::to_string).collect()))
}

/// Refuses values of a fixed input that differ from it, where the archive holds any: one a row, or one for all.
fn check_fixed(
    archive: &mut Archive,
    fixed: &FixedInput,
    (total, first): (usize, &str),
    wanted: &[usize],
) -> Result<()> {
    let name = fixed.name();
    if !archive.array_names().any(|n| n == name) {
        return Ok(());
    }
    let array = |element: Element, dims: &[usize], bytes: &[u8]| {
        let is_float = fixed.spec.is_float();
        let values = if is_float { Some(element.to_floats(bytes)) } else { element.to_integers(bytes) };
        let values = values.ok_or_else(|| {
            Error::new(Code::Samples, format!("input `{name}` takes integers, the array holds floats"))
        })?;
        fixed.check(Array { dims: dims.to_vec(), values })
    };
    with_member(archive, name, |reader| {
        let header = Header::read(reader)?;
        let shape: Vec<Option<usize>> = header.dims.iter().copied().map(Some).collect();
        if header.dims.is_empty() || (shape == fixed.spec.dims && header.dims[0] != total) {
            let all: Vec<usize> = (0..header.dims.first().copied().unwrap_or(1)).collect();
            return array(header.element, &header.dims, &header.read_rows(reader, &all)?.concat());
        }
        same_rows(header.rows()?, total, first)
            .map_err(|e| e.help(format!("hold `{name}` once a row or once for all, or leave it out: it is fixed")))?;
        let dims = header.dims.get(1..).unwrap_or_default();
        let rows = header.read_rows(reader, wanted)?;
        wanted.iter().zip(&rows).try_for_each(|(at, row)| array(header.element, dims, row).at(|| format!("row {at}")))
    })
}

fn source_of(input: &InputSpec, inputs: &[InputSpec], names: &[String]) -> Result<String> {
    let features: Vec<_> = names.iter().filter(|n| *n != "y").collect();
    let named = names.iter().find(|n| **n == input.name);
    let only = (inputs.len() == 1).then(|| names.iter().find(|n| *n == "x").or(features.first().copied())).flatten();
    let is_clear = features.len() == 1 || names.iter().any(|n| n == "x");
    if let Some(name) = named.or(only.filter(|_| is_clear)) {
        return Ok(name.clone());
    }
    Err(Error::new(Code::Samples, format!("no array for input `{}`; there are: {}", input.name, names.join(", ")))
        .help(format!(
            "name the arrays like the graph's inputs; a single input may be called `x`, and one that is always the \
             same can be fixed: --fix-input {}=VALUE",
            input.name
        )))
}

/// Labels in `y`, where these are integers, one a row.
fn labels(archive: &mut Archive, total: usize, first: &str, wanted: &[usize]) -> Result<Option<Vec<i64>>> {
    with_member(archive, "y", |reader| {
        let header = Header::read(reader)?;
        let one_a_row = header.dims.iter().skip(1).all(|&n| n == 1);
        if !one_a_row || header.element.to_integers(&[]).is_none() {
            return Ok(None);
        }
        same_rows(header.rows()?, total, first)?;
        let bytes = header.read_rows(reader, wanted)?.concat();
        Ok(header.element.to_integers(&bytes).map(widened))
    })
}

fn widened(values: Values) -> Vec<i64> {
    match values {
        Values::I64(v) => v,
        Values::I32(v) => v.into_iter().map(i64::from).collect(),
        Values::U8(v) => v.into_iter().map(i64::from).collect(),
        Values::I8(v) => v.into_iter().map(i64::from).collect(),
        Values::Bool(v) => v.into_iter().map(i64::from).collect(),
        Values::F32(_) | Values::F64(_) => vec![],
    }
}

fn same_rows(rows: usize, total: usize, first: &str) -> Result<()> {
    if rows == total {
        return Ok(());
    }
    Err(Error::new(Code::Samples, format!("{rows} rows, but `{first}` has {total}")))
}

fn rows_of(archive: &mut Archive, name: &str) -> Result<usize> {
    with_member(archive, name, |reader| Header::read(reader)?.rows())
}

fn with_member<T>(archive: &mut Archive, name: &str, read: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    let place = || format!("array `{name}`");
    let member = archive.zip_archive().by_name(&npyz::npz::file_name_from_array_name(name));
    let mut member = member.map_err(|e| Error::new(Code::Samples, format!("cannot unpack: {e}")).at(place()))?;
    read(&mut BufReader::new(&mut member)).at(place)
}

fn array_names(archive: &Archive) -> Vec<String> {
    let mut names: Vec<_> = archive.array_names().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

fn open_archive(path: &Path) -> Result<Archive> {
    NpzArchive::new(open(path)?)
        .map_err(|e| Error::new(Code::Samples, format!("not an .npz archive: {e}")).at(path.display().to_string()))
}

/// Names of the arrays that may feed an open input.
fn open_names(archive: &Archive, fixed: &[FixedInput]) -> Vec<String> {
    let mut names = array_names(archive);
    names.retain(|name| fixed.iter().all(|f| f.name() != name));
    names
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|e| Error::io(path, "open", &e))
}
