//! Samples in the form of ONNX's own tests: folders `test_data_set_0`, ... with `input_0.pb`, `input_1.pb`, ...

use super::{FixedInput, InputSpec, Request, Sample, SampleSet, check, file_name};
use crate::array::{Array, Values};
use crate::onnx::{self, ExternalData};
use crate::{Code, Context, Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

const LARGEST_FILE: u64 = 1 << 30;

/// The test data sets at `path` by their numbers: the folder itself, or those in it; empty where there are none.
pub(super) fn sets(path: &Path) -> Result<Vec<PathBuf>> {
    if path.join("input_0.pb").is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |e: std::io::Error| Error::io(path, "list", &e);
    let mut sets = vec![];
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = file_name(&path).strip_prefix("test_data_set_").and_then(|n| n.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.is_dir()) {
            sets.push((number, path));
        }
    }
    sets.sort();
    Ok(sets.into_iter().map(|(_, path)| path).collect())
}

/// Whether each set, by the first of them, is one tensor.
pub(super) fn holds_one(path: &Path) -> Result<bool> {
    Ok(sets(path)?.first().is_some_and(|set| !set.join("input_1.pb").is_file()))
}

/// The selected test data sets.
pub(super) fn folder(request: &Request) -> Result<SampleSet> {
    let sets = sets(request.path)?;
    let picked = request.selection.pick(sets.len()).at(|| request.path.display().to_string())?;
    let sets: Vec<&PathBuf> = picked.into_iter().filter_map(|i| sets.get(i)).collect();
    let samples: Result<Vec<Sample>> = sets.par_iter().map(|set| sample(set, request)).collect();
    Ok(request.sample_set(samples?, None, sets.iter().map(|set| file_name(set)).collect()))
}

fn sample(set: &Path, request: &Request) -> Result<Sample> {
    let mut inputs = vec![];
    for (number, input) in numbered(set, request) {
        let path = set.join(format!("input_{number}.pb"));
        let place = || path.display().to_string();
        match input {
            Which::Open(input) => {
                let array = array(&path).and_then(|array| check::fitted(typed(array, input)?, input));
                inputs.push((input.name.clone(), array.at(place)?));
            }
            Which::Fixed(fixed) if path.is_file() => {
                array(&path).and_then(|array| fixed.check(typed(array, &fixed.spec)?)).at(place)?;
            }
            Which::Fixed(_) => {}
        }
    }
    Ok(Sample { inputs })
}

/// An input that a file may be for.
enum Which<'a> {
    Open(&'a InputSpec),
    Fixed(&'a FixedInput),
}

/// The inputs with the numbers of their files. Those of a set for the whole model count the fixed inputs, those of a set
/// without them do not; the greatest number tells which.
fn numbered<'a>(set: &Path, request: &'a Request) -> Vec<(usize, Which<'a>)> {
    let fixed: Vec<(usize, &FixedInput)> = request.fixed.iter().filter_map(|f| Some((f.place?, f))).collect();
    let total = request.inputs.len() + fixed.len();
    if !fixed.is_empty() && !set.join(format!("input_{}.pb", total - 1)).is_file() {
        return request.inputs.iter().map(Which::Open).enumerate().collect();
    }
    let mut open = request.inputs.iter();
    let which = |number| match fixed.iter().find(|(place, _)| *place == number) {
        Some((_, fixed)) => Some((number, Which::Fixed(fixed))),
        None => Some((number, Which::Open(open.next()?))),
    };
    (0..total).filter_map(which).collect()
}

fn array(path: &Path) -> Result<Array> {
    let unreadable = |e: std::io::Error| Error::new(Code::Samples, format!("cannot read the tensor: {e}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > LARGEST_FILE {
        return Err(Error::new(Code::Samples, "one tensor of a sample exceeds 1 GiB"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    // As the one initializer of a model, so that it passes the scan that guards the parser.
    let model = onnx::parse(&field(7, &field(5, &bytes)))?;
    match &model.graph.initializer[..] {
        [tensor] => onnx::array(tensor, &ExternalData::none()),
        _ => Err(Error::new(Code::Samples, "the file holds no tensor")),
    }
}

/// A length-delimited field of the protobuf wire format.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut wire = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        wire.push(length as u8 | 0x80);
        length >>= 7;
    }
    wire.push(length as u8);
    wire.extend_from_slice(bytes);
    wire
}

fn typed(array: Array, input: &InputSpec) -> Result<Array> {
    let values = match array.values {
        Values::F64(values) if input.is_float() => Values::F32(values.into_iter().map(|x| x as f32).collect()),
        values => values,
    };
    if matches!(values, Values::F32(_) | Values::F64(_)) == input.is_float() {
        return Ok(Array { values, ..array });
    }
    let wanted = if input.is_float() { "floats" } else { "integers" };
    let message = format!("input `{}` takes {wanted}, the tensor holds {}", input.name, values.type_name());
    Err(Error::new(Code::Samples, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Preprocess, Selection, available, load};
    use onnx::{DataType, Tensor};

    fn write(folder: &Path, index: usize, tensor: Tensor) {
        std::fs::create_dir_all(folder).unwrap();
        // A graph's bytes are those of its initializer with tag and length before.
        let mut model = onnx::ModelProto::default();
        model.graph.mut_or_insert_default().initializer.push(tensor);
        let bytes = onnx::to_bytes(&model).unwrap();
        let unwrap = |bytes: &[u8]| {
            let length = bytes[1..].iter().position(|b| b & 0x80 == 0).unwrap() + 2;
            bytes[length..].to_vec()
        };
        std::fs::write(folder.join(format!("input_{index}.pb")), unwrap(&unwrap(&bytes))).unwrap();
    }

    fn all() -> Selection {
        Selection { skip: 0, count: 99, seed: None }
    }

    #[test]
    fn several_sets_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for set in [10, 9] {
            let path = folder.path().join(format!("test_data_set_{set}"));
            write(&path, 0, onnx::from_floats("a", &[1, 2], &[set as f32, 0.0]));
            write(&path, 1, onnx::from_i64s("b", &[1, 200], &[3; 200]));
        }
        let inputs = [
            InputSpec::new("x", &[None, Some(2)], DataType::FLOAT),
            InputSpec::new("ids", &[None, None], DataType::INT64),
        ];
        let set = load(folder.path(), &inputs, &Preprocess::default(), &all()).unwrap();
        assert_eq!(set.ids, ["test_data_set_9", "test_data_set_10"]);
        assert_eq!(set.samples[1].inputs[0], ("x".to_owned(), Array::from_f32(vec![1, 2], vec![10.0, 0.0])));
        assert_eq!(set.samples[0].inputs[1].1.values, Values::I64(vec![3; 200]));
        assert_eq!(available(folder.path()).unwrap(), 2);
        let one = folder.path().join("test_data_set_9");
        assert_eq!(available(&one).unwrap(), 1);
        let error = load(&one, &[inputs[0].clone(), inputs[0].clone()], &Preprocess::default(), &all()).unwrap_err();
        assert!(error.to_string().contains("input_1.pb: input `x` takes floats, the tensor holds int64"), "{error}");
    }

    /// Files count the fixed input where the last of the whole model is there, and do not where it is not.
    #[test]
    fn sets_of_the_whole_model_and_of_what_is_left_open() {
        let text = "g (float[1,2] a, int64 rate, float[1,2] b) => (y) { y = Add (a, b) }";
        let graph = crate::graph::Graph::new(onnx::parse_text(text).unwrap(), ExternalData::none());
        let given = [("rate".to_owned(), "8".to_owned())].into();
        let fixed = crate::samples::fixed_inputs(&graph, &given, &Default::default()).unwrap();
        let inputs = ["a", "b"].map(|name| InputSpec::new(name, &[Some(1), Some(2)], DataType::FLOAT));
        let folder = tempfile::tempdir().unwrap();
        let read = || {
            let set = crate::samples::load_open(folder.path(), &inputs, &fixed, &Preprocess::default(), &all());
            set.map(|set| set.samples[0].inputs.iter().map(|(_, array)| array.as_f32().unwrap()[0]).collect::<Vec<_>>())
        };
        let float = |x: f32| onnx::from_floats("t", &[1, 2], &[x, 0.0]);
        write(folder.path(), 0, float(1.0));
        write(folder.path(), 1, float(2.0));
        assert_eq!(read().unwrap(), [1.0, 2.0]);
        write(folder.path(), 2, float(3.0));
        let error = read().unwrap_err().to_string();
        assert!(error.contains("input_1.pb: input `rate` takes integers, the tensor holds float32"), "{error}");
        write(folder.path(), 1, onnx::from_i64s("t", &[], &[8]));
        assert_eq!(read().unwrap(), [1.0, 3.0]);
        write(folder.path(), 1, onnx::from_i64s("t", &[], &[16]));
        assert!(read().unwrap_err().to_string().contains("holds 16, and it is fixed at 8"));
        std::fs::remove_file(folder.path().join("input_1.pb")).unwrap();
        assert_eq!(read().unwrap(), [1.0, 3.0]);
    }

    #[test]
    fn hostile_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let groups = vec![0x0b; 1 << 20];
        for bytes in [&b""[..], b"\x08", b"not a tensor", &groups[..]] {
            std::fs::write(folder.path().join("input_0.pb"), bytes).unwrap();
            let inputs = [InputSpec::new("x", &[None, Some(2)], DataType::FLOAT)];
            let error = load(folder.path(), &inputs, &Preprocess::default(), &all()).unwrap_err();
            assert!(error.to_string().contains("input_0.pb"), "{error}");
        }
    }
}
