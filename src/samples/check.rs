//! Whether an array is what the graph's input wants.

use super::InputSpec;
use crate::array::{Array, Values};
use crate::graph::{is_half, round_to};
use crate::onnx::DataType;
use crate::{Code, Error, Result};

/// Adds the batch axis where only that is missing, and checks rank, extents and finiteness.
pub(super) fn fitted(mut array: Array, input: &InputSpec) -> Result<Array> {
    array.dims = fitted_dims(array.dims, input)?;
    array.values = widened(array.values, input);
    refuse_non_finite(&array.values, input, "remove this sample, or repair it")?;
    array.values = rounded(array.values, input);
    refuse_non_finite(&array.values, input, "the input takes floats of 16 bits, and the number is beyond their range")?;
    Ok(array)
}

fn refuse_non_finite(values: &Values, input: &InputSpec, help: &str) -> Result<()> {
    match first_non_finite(values) {
        None => Ok(()),
        Some((at, value)) => {
            let message = format!("input `{}` holds {value} at element {at}", input.name);
            Err(Error::new(Code::NonFinite, message).help(help))
        }
    }
}

/// Whole numbers of 32 bits as the 64 that the input takes, and the reverse where all of them fit: tokens are tokens.
fn widened(values: Values, input: &InputSpec) -> Values {
    match values {
        Values::I32(v) if input.data_type == DataType::INT64 as i32 => {
            Values::I64(v.into_iter().map(i64::from).collect())
        }
        Values::I64(v) if input.data_type == DataType::INT32 as i32 => {
            match v.iter().map(|v| i32::try_from(*v)).collect() {
                Ok(narrow) => Values::I32(narrow),
                Err(_) => Values::I64(v),
            }
        }
        other => other,
    }
}

/// Floats as the input's 16 bits hold them, where it has so few.
fn rounded(values: Values, input: &InputSpec) -> Values {
    match values {
        Values::F32(v) if is_half(input.data_type) => {
            Values::F32(v.into_iter().map(|x| round_to(input.data_type, x)).collect())
        }
        other => other,
    }
}

/// The shape of a sample with its batch axis; an error where the graph's input cannot take it.
pub(super) fn fitted_dims(dims: Vec<usize>, input: &InputSpec) -> Result<Vec<usize>> {
    let full = if dims.len() + 1 == input.dims.len() { [vec![1], dims].concat() } else { dims };
    let fits =
        full.len() == input.dims.len() && full.iter().zip(&input.dims).all(|(n, want)| want.is_none_or(|w| w == *n));
    if fits { Ok(full) } else { Err(wrong_shape(&full, input)) }
}

fn wrong_shape(found: &[usize], input: &InputSpec) -> Error {
    let want: Vec<_> = input.dims.iter().map(|d| d.map_or("?".to_owned(), |n| n.to_string())).collect();
    let want = want.join(", ");
    let error = Error::new(
        Code::Samples,
        format!("wrong sample shape: input `{}` wants [{want}], found {found:?}", input.name),
    );
    match batch_advice(found, input).or_else(|| advice(found, &input.dims).map(str::to_owned)) {
        Some(advice) => error.help(advice),
        None => error,
    }
}

/// What helps where only the first axis has another extent.
fn batch_advice(found: &[usize], input: &InputSpec) -> Option<String> {
    let (&first, &want) = (found.first()?, input.dims.first()?);
    let want = want.filter(|want| *want != first)?;
    let mut rest = found.iter().zip(&input.dims).skip(1);
    if found.len() != input.dims.len() || !rest.all(|(found, want)| want.is_none_or(|want| want == *found)) {
        return None;
    }
    let apart = format!("store what lies along it as {first} rows, each a sample of its own");
    Some(match input.symbol(0) {
        Some(name) => format!("the first axis is taken for a batch of {want}: {apart}, or say --dim {name}={first}"),
        None if want == 1 => format!("the first axis is the batch, of which the model takes 1: {apart}"),
        None => format!(
            "the model takes batches of {want}: store rows of {want} samples each, or export it with a batch of 1 or a \
             symbolic one"
        ),
    })
}

fn advice(found: &[usize], want: &[Option<usize>]) -> Option<&'static str> {
    let (&[_, a, b, c], &[batch, x, y, z]) = (found, want) else { return None };
    let fits = |dims: [usize; 3]| [x, y, z].iter().zip(dims).all(|(want, n)| want.is_none_or(|w| w == n));
    if batch.is_some_and(|n| n != 1) {
        Some("samples are fed one at a time: export the model with a batch of 1 or a symbolic one")
    } else if fits([b, c, a]) {
        Some("the channels are last in the graph: `layout: nhwc` in the preprocessing")
    } else if fits([c, a, b]) {
        Some("the channels are first in the graph: `layout: nchw` in the preprocessing")
    } else if fits([1, b, c]) || fits([a, b, 1]) {
        Some("the graph takes one channel: `channels: gray` in the preprocessing")
    } else {
        Some("`resize` and `crop` in the preprocessing bring pictures to the wanted size")
    }
}

fn first_non_finite(values: &Values) -> Option<(usize, f64)> {
    match values {
        Values::F32(v) => v.iter().position(|x| !x.is_finite()).map(|at| (at, f64::from(v[at]))),
        Values::F64(v) => v.iter().position(|x| !x.is_finite()).map(|at| (at, v[at])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(dims: &[Option<usize>]) -> InputSpec {
        InputSpec::new("x", dims, DataType::FLOAT)
    }

    const IMAGE: [Option<usize>; 4] = [None, Some(3), Some(8), Some(9)];

    #[test]
    fn tokens_of_another_width_are_taken_where_they_fit() {
        let array = |values| Array { dims: vec![1, 2], values };
        let fit = |values, kind| fitted(array(values), &InputSpec::new("ids", &[Some(1), None], kind)).unwrap().values;
        assert_eq!(fit(Values::I32(vec![1, -2]), DataType::INT64), Values::I64(vec![1, -2]));
        assert_eq!(fit(Values::I64(vec![1, -2]), DataType::INT32), Values::I32(vec![1, -2]));
        assert_eq!(fit(Values::I64(vec![1, 1 << 40]), DataType::INT32), Values::I64(vec![1, 1 << 40]));
    }

    #[test]
    fn the_batch_axis_is_added_where_it_is_missing() {
        assert_eq!(fitted_dims(vec![3, 8, 9], &input(&IMAGE)).unwrap(), [1, 3, 8, 9]);
        assert_eq!(fitted_dims(vec![1, 3, 8, 9], &input(&IMAGE)).unwrap(), [1, 3, 8, 9]);
        assert_eq!(fitted_dims(vec![], &input(&[None])).unwrap(), [1]);
    }

    #[test]
    fn a_wrong_shape_says_what_was_wanted_and_what_helps() {
        let check = |dims: &[usize], want: &[Option<usize>], message: &str, help: Option<&str>| {
            let error = fitted_dims(dims.to_vec(), &input(want)).unwrap_err();
            assert_eq!((error.code(), error.message()), (Code::Samples, message));
            let advice = error.advice().unwrap_or_default();
            assert!(help.map_or(advice.is_empty(), |h| advice.contains(h)), "{advice}");
        };
        let wants = "wrong sample shape: input `x` wants [?, 3, 8, 9], found ";
        check(&[8, 9], &IMAGE, &format!("{wants}[8, 9]"), None);
        check(&[1, 3, 8, 8], &IMAGE, &format!("{wants}[1, 3, 8, 8]"), Some("resize"));
        check(&[8, 9, 3], &IMAGE, &format!("{wants}[1, 8, 9, 3]"), Some("nchw"));
        let last = [Some(1), Some(8), Some(9), Some(3)];
        check(&[3, 8, 9], &last, "wrong sample shape: input `x` wants [1, 8, 9, 3], found [1, 3, 8, 9]", Some("nhwc"));
        let gray = [None, Some(1), Some(8), Some(9)];
        check(&[3, 8, 9], &gray, "wrong sample shape: input `x` wants [?, 1, 8, 9], found [1, 3, 8, 9]", Some("gray"));
        let sequence = "wrong sample shape: input `x` wants [1, 8], found [5, 8]";
        check(&[5, 8], &[Some(1), Some(8)], sequence, Some("as 5 rows, each a sample of its own"));
        let batch = [Some(20), Some(3), Some(8), Some(9)];
        check(
            &[3, 8, 9],
            &batch,
            "wrong sample shape: input `x` wants [20, 3, 8, 9], found [1, 3, 8, 9]",
            Some("store rows of 20 samples each"),
        );
        assert_eq!(fitted_dims(vec![20, 3, 8, 9], &input(&batch)).unwrap(), [20, 3, 8, 9]);
    }

    #[test]
    fn a_batch_that_has_a_name_is_called_by_it() {
        let named = InputSpec { symbols: vec!["unk__35".into(), String::new()], ..input(&[Some(1), Some(8)]) };
        let error = fitted_dims(vec![4, 8], &named).unwrap_err();
        assert!(error.advice().is_some_and(|advice| advice.contains("--dim unk__35=4")), "{error}");
    }

    #[test]
    fn floats_are_rounded_to_the_bits_that_an_input_takes() {
        let fit = |value, kind| {
            let array = Array::from_f32(vec![1], vec![value]);
            fitted(array, &InputSpec::new("x", &[Some(1)], kind)).map(|array| array.values)
        };
        assert_eq!(fit(0.1, DataType::FLOAT).unwrap(), Values::F32(vec![0.1]));
        assert_eq!(fit(0.1, DataType::FLOAT16).unwrap(), Values::F32(vec![0.099_975_586]));
        assert_eq!(fit(0.1, DataType::BFLOAT16).unwrap(), Values::F32(vec![0.100_097_656]));
        let error = fit(7e4, DataType::FLOAT16).unwrap_err();
        assert_eq!(error.message(), "input `x` holds inf at element 0");
        assert!(error.advice().is_some_and(|advice| advice.contains("16 bits")), "{error}");
        assert!(fit(7e4, DataType::BFLOAT16).is_ok());
    }

    #[test]
    fn nan_and_infinity_are_named() {
        for (value, name) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            let error = fitted(Array::from_f32(vec![2], vec![0.0, value]), &input(&[None, Some(2)])).unwrap_err();
            assert_eq!(error.code(), Code::NonFinite);
            assert_eq!(error.message(), format!("input `x` holds {name} at element 1"));
        }
    }
}
