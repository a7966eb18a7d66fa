//! Made-up samples, for models that come without any.

use super::pixels::Pixels;
use super::preprocess::{Kind, Layout};
use super::{InputSpec, Preprocess, Sample, SampleSet};
use crate::array::{Array, Values};
use crate::onnx::{self, DataType};
use crate::random::SplitMix64;
use crate::{Code, Error, Result};

/// More elements than this in all made-up samples together are refused: 4 GiB of floats.
const MOST_ELEMENTS: usize = 1 << 30;

/// More made-up samples than this are refused, however small.
const MOST_SAMPLES: usize = 1 << 20;

/// `count` samples of smooth noise, the same for the same `seed` on every machine.
///
/// Where the preprocessing is one of pictures, an input of rank 4 gets noise of 0..255 through mean and std; other float
/// inputs get noise of -1..1. Integer inputs are all 1 of their own type, which is a valid token and a valid mask; what
/// follows from the tokens of a language model follows.
///
/// # Errors
/// [`Code::Samples`] where an axis other than the first is symbolic, an input is absurdly large, or it takes what
/// arrays cannot hold.
pub fn synthetic(inputs: &[InputSpec], preprocess: &Preprocess, count: usize, seed: u64) -> Result<SampleSet> {
    let wanted = inputs;
    let inputs = &super::follow::held(wanted, &super::follow::tokens(wanted))[..];
    check_size(inputs, count)?;
    let mut random = SplitMix64(seed);
    let mut sample = || {
        let input = |input: &InputSpec| Ok((input.name.clone(), made_up(input, preprocess, &mut random)?));
        inputs.iter().map(input).collect::<Result<_>>().map(|inputs| Sample { inputs })
    };
    let samples = (0..count).map(|_| sample()).collect::<Result<_>>()?;
    let ids = (0..count).map(|i| i.to_string()).collect();
    let source = "synthetic".to_owned();
    let mut set = SampleSet { samples, source, synthetic: true, ids, ..Default::default() };
    super::follow::complete(&mut set, wanted)?;
    Ok(set)
}

fn made_up(input: &InputSpec, preprocess: &Preprocess, random: &mut SplitMix64) -> Result<Array> {
    let dims = fixed_dims(input)?;
    if !input.is_float() {
        let values = ones(input, dims.iter().product())?;
        return Ok(Array { dims, values });
    }
    if let (&[1, a, b, c], Kind::Image) = (&dims[..], preprocess.kind) {
        let [channels, height, width] = if preprocess.layout == Layout::Nchw { [a, b, c] } else { [c, a, b] };
        if channels == preprocess.channels.count() {
            return Ok(picture(height, width, channels, random).normalized(preprocess));
        }
    }
    Ok(noise(dims, random))
}

/// Ones of the input's own type.
fn ones(input: &InputSpec, count: usize) -> Result<Values> {
    Ok(match onnx::data_type(input.data_type) {
        Some(DataType::INT64) => Values::I64(vec![1; count]),
        Some(DataType::INT32) => Values::I32(vec![1; count]),
        Some(DataType::UINT8) => Values::U8(vec![1; count]),
        Some(DataType::INT8) => Values::I8(vec![1; count]),
        Some(DataType::BOOL) => Values::Bool(vec![true; count]),
        other => {
            let name = other.map_or_else(|| format!("data type {}", input.data_type), |t| format!("{t:?}"));
            let message = format!("input `{}` takes {name}, of which no samples can be made", input.name);
            return Err(Error::new(Code::Samples, message)
                .help("export the model with float32, int64, int32, uint8, int8 or bool inputs"));
        }
    })
}

fn picture(height: usize, width: usize, channels: usize, random: &mut SplitMix64) -> Pixels {
    let planes: Vec<Vec<f32>> = (0..channels).map(|_| plane(height, width, random)).collect();
    let byte = |unit: f32| (unit * 256.0).min(255.0) as u8;
    let data = (0..height * width).flat_map(|i| planes.iter().map(move |plane| byte(plane[i]))).collect();
    Pixels { height, width, channels, data }
}

fn noise(dims: Vec<usize>, random: &mut SplitMix64) -> Array {
    let (height, width) = match dims[..] {
        [.., height, width] if dims.len() > 2 => (height, width),
        [.., width] => (1, width),
        [] => (1, 1),
    };
    let planes = dims.iter().product::<usize>().checked_div(height * width).unwrap_or(0);
    let values = (0..planes).flat_map(|_| plane(height, width, random)).map(|unit| 2.0 * unit - 1.0).collect();
    Array::from_f32(dims, values)
}

/// Noise in `[0, 1)` whose energy falls with frequency, as that of photographs does: octaves of interpolated grids.
fn plane(height: usize, width: usize, random: &mut SplitMix64) -> Vec<f32> {
    let mut values = vec![0.0; height * width];
    for (cells, weight) in [(2, 0.5), (6, 0.3), (24, 0.15)] {
        add_octave(&mut values, [height, width], cells, weight, random);
    }
    values.iter_mut().for_each(|value| *value += 0.05 * random.unit_f32());
    values
}

fn add_octave(values: &mut [f32], [height, width]: [usize; 2], cells: usize, weight: f32, random: &mut SplitMix64) {
    let grid: Vec<f32> = (0..(cells + 1) * (cells + 1)).map(|_| random.unit_f32()).collect();
    let columns: Vec<_> = (0..width).map(|x| cell(x, width, cells)).collect();
    for (y, row) in values.chunks_exact_mut(width.max(1)).enumerate() {
        let (top, down) = cell(y, height, cells);
        for (value, &(left, right)) in row.iter_mut().zip(&columns) {
            let at = |y: usize, x: usize| grid[y * (cells + 1) + x];
            let upper = at(top, left) * (1.0 - right) + at(top, left + 1) * right;
            let lower = at(top + 1, left) * (1.0 - right) + at(top + 1, left + 1) * right;
            *value += weight * (upper * (1.0 - down) + lower * down);
        }
    }
}

/// The grid cell of a pixel, and how far into it the pixel lies.
fn cell(pixel: usize, pixels: usize, cells: usize) -> (usize, f32) {
    let place = (pixel as f32 + 0.5) / pixels as f32 * cells as f32;
    let start = (place as usize).min(cells - 1);
    (start, place - start as f32)
}

fn fixed_dims(input: &InputSpec) -> Result<Vec<usize>> {
    let fixed = |(axis, dim): (usize, &Option<usize>)| match (dim, axis) {
        (Some(n), _) => Ok(*n),
        (None, 0) => Ok(1),
        (None, _) => Err(open_extent(input, axis)),
    };
    input.dims.iter().enumerate().map(fixed).collect()
}

/// Refuses samples that no memory holds.
fn check_size(inputs: &[InputSpec], count: usize) -> Result<()> {
    if count > MOST_SAMPLES {
        let message = format!("{count} made-up samples were asked for, at most {MOST_SAMPLES} are made");
        return Err(Error::new(Code::Samples, message).help("lower --samples, or give samples with --calib"));
    }
    let mut left = MOST_ELEMENTS;
    for input in inputs {
        let dims = fixed_dims(input)?;
        let elements = dims.iter().try_fold(count, |n, &d| n.checked_mul(d));
        left = elements.and_then(|n| left.checked_sub(n)).ok_or_else(|| {
            let message = format!("{count} samples of input `{}` of shape {dims:?} are too large", input.name);
            Error::new(Code::Samples, message).help("make up fewer with --samples, or give samples with --calib")
        })?;
    }
    Ok(())
}

/// Only an extent with a name can be given; one without can only be seen in samples.
fn open_extent(input: &InputSpec, axis: usize) -> Error {
    let help = match input.symbol(axis) {
        Some(name) => format!("give samples with --calib, or the extent with --dim {name}=VALUE"),
        None => "give samples with --calib: the extent has no name that --dim could give a value".to_owned(),
    };
    Error::new(Code::Samples, format!("input `{}` has no fixed extent on axis {axis}", input.name)).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(dims: &[Option<usize>], is_float: bool) -> InputSpec {
        InputSpec::new("x", dims, if is_float { DataType::FLOAT } else { DataType::INT64 })
    }

    fn one(input: &InputSpec, preprocess: &Preprocess) -> Array {
        let set = synthetic(std::slice::from_ref(input), preprocess, 1, 3).unwrap();
        assert!(set.synthetic);
        set.samples[0].inputs[0].1.clone()
    }

    #[test]
    fn pictures_fill_the_preprocessed_range_smoothly() {
        let preprocess = Preprocess::preset("tf").unwrap();
        let array = one(&input(&[None, Some(3), Some(32), Some(32)], true), &preprocess);
        assert_eq!(array.dims, [1, 3, 32, 32]);
        let values = array.as_f32().unwrap();
        let (lo, hi) = values.iter().fold((1.0f32, -1.0f32), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        assert!(lo >= -1.0 && hi <= 1.0 && hi - lo > 0.8, "{lo} {hi}");
        let step = values.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f32>() / values.len() as f32;
        assert!(step < 0.1 * (hi - lo), "{step}");
    }

    #[test]
    fn other_inputs_have_their_shape() {
        let none = Preprocess::default();
        assert_eq!(one(&input(&[None, Some(7)], true), &none).dims, [1, 7]);
        assert_eq!(one(&input(&[], true), &none).as_f32().unwrap().len(), 1);
        assert_eq!(one(&input(&[Some(2), Some(0), Some(3)], true), &none).values.len(), 0);
        assert_eq!(one(&input(&[None, Some(2)], false), &none).values, Values::I64(vec![1, 1]));
        let last = Preprocess { layout: Layout::Nhwc, ..Preprocess::preset("unit").unwrap() };
        assert_eq!(one(&input(&[None, Some(4), Some(5), Some(3)], true), &last).dims, [1, 4, 5, 3]);
    }

    #[test]
    fn integers_have_the_type_that_the_input_takes() {
        let of = |data_type| {
            let input = InputSpec::new("x", &[None, Some(2)], data_type);
            synthetic(&[input], &Preprocess::default(), 1, 0).map(|mut set| set.samples.remove(0).inputs.remove(0).1)
        };
        let wanted = [
            (DataType::INT64, Values::I64(vec![1, 1])),
            (DataType::INT32, Values::I32(vec![1, 1])),
            (DataType::UINT8, Values::U8(vec![1, 1])),
            (DataType::INT8, Values::I8(vec![1, 1])),
            (DataType::BOOL, Values::Bool(vec![true, true])),
        ];
        for (data_type, values) in wanted {
            assert_eq!(of(data_type).unwrap(), Array { dims: vec![1, 2], values });
        }
        let refused = of(DataType::STRING).unwrap_err();
        assert_eq!(refused.message(), "input `x` takes STRING, of which no samples can be made");
    }

    #[test]
    fn seeds_decide() {
        let inputs = [input(&[None, Some(50)], true)];
        let set = |seed| synthetic(&inputs, &Preprocess::default(), 2, seed).unwrap();
        assert_eq!(set(1), set(1));
        assert_ne!(set(1).samples, set(2).samples);
        assert_ne!(set(1).samples[0], set(1).samples[1]);
    }

    #[test]
    fn symbolic_and_absurd_extents_are_errors() {
        let message =
            |dims: &[_]| synthetic(&[input(dims, true)], &Preprocess::default(), 1, 0).unwrap_err().to_string();
        let symbolic = message(&[None, None]);
        assert!(symbolic.contains("no fixed extent on axis 1") && symbolic.contains("has no name"), "{symbolic}");
        let named = InputSpec { symbols: vec!["batch".into(), "image_width".into()], ..input(&[None, None], true) };
        let named = synthetic(&[named], &Preprocess::default(), 1, 0).unwrap_err().to_string();
        assert!(named.contains("--dim image_width=VALUE"), "{named}");
        assert!(message(&[Some(usize::MAX), Some(2)]).contains("too large"));
        assert!(synthetic(&[], &Preprocess::default(), usize::MAX, 0).is_err());
        let large = [input(&[None, Some(1 << 27)], true)];
        let error = synthetic(&large, &Preprocess::default(), 16, 0).unwrap_err().to_string();
        assert!(error.contains("16 samples of input `x` of shape [1, 134217728] are too large"), "{error}");
    }
}
