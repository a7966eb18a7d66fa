//! Padding of token sequences: what the mask says does not count is cut off.
//!
//! Tokenizers fill sequences up to one length, and often most of a sample is filling. No output that anyone reads depends
//! on it, but every range and every moment would.

use super::{InputSpec, Sample, SampleSet, follow};
use crate::array::{Array, Values};

/// The input that says which tokens count.
const MASK: &str = "attention_mask";

/// How many tokens were given, and how many of them count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Tokens of all samples.
    pub given: usize,
    /// Those that were kept.
    pub kept: usize,
}

/// Cuts filling off the ends of sequences, where the graph takes sequences of any length.
pub(super) fn cut(set: &mut SampleSet, inputs: &[InputSpec]) {
    let mut padding = Padding::default();
    for sample in &mut set.samples {
        let Some((given, kept)) = lengths(sample) else { continue };
        let along = if kept < given { along_tokens(sample, inputs, given) } else { None };
        padding.given += given;
        padding.kept += if along.is_some() { kept } else { given };
        for at in along.unwrap_or_default() {
            shorten(&mut sample.inputs[at].1, kept);
        }
    }
    set.padding = (padding.kept < padding.given).then_some(padding);
}

/// A network is prepared for each length of its samples: they are left as quarters of what was given, four lengths at most.
const LENGTHS: usize = 4;

/// Tokens of a sample, and how many of them are left without most of the filling at their end.
fn lengths(sample: &Sample) -> Option<(usize, usize)> {
    let (_, mask) = sample.inputs.iter().find(|(name, _)| name == MASK)?;
    let [1, given] = mask.dims[..] else { return None };
    let last = match &mask.values {
        Values::I64(v) => v.iter().rposition(|v| *v != 0),
        Values::I32(v) => v.iter().rposition(|v| *v != 0),
        Values::F32(v) => v.iter().rposition(|v| *v != 0.0),
        Values::F64(v) => v.iter().rposition(|v| *v != 0.0),
        Values::U8(v) => v.iter().rposition(|v| *v != 0),
        Values::I8(v) => v.iter().rposition(|v| *v != 0),
        Values::Bool(v) => v.iter().rposition(|v| *v),
    };
    let step = given.div_ceil(LENGTHS).max(1);
    last.map(|last| (given, (last + 1).next_multiple_of(step).min(given)))
}

/// Positions of the inputs whose second axis counts tokens; `None` where that is not sure, or an extent is fixed.
fn along_tokens(sample: &Sample, inputs: &[InputSpec], given: usize) -> Option<Vec<usize>> {
    let spec = |name: &str| inputs.iter().find(|spec| spec.name == name);
    let holders = follow::tokens(inputs);
    let tokens = spec(holders.first()?)?;
    let mut found = vec![];
    for (at, (name, array)) in sample.inputs.iter().enumerate() {
        let spec = spec(name)?;
        let known = name == MASK || holders.contains(name) || follow::is_followed(spec);
        let named_alike = spec.symbol(1).is_some() && spec.symbol(1) == tokens.symbol(1);
        match array.dims.get(1) {
            Some(extent) if *extent == given => {
                let is_open = spec.dims.get(1).is_some_and(Option::is_none);
                if !is_open || !(known || named_alike) {
                    return None;
                }
                found.push(at);
            }
            // A mask or tokens of another length: part of what the mask counts is in a cache.
            _ if name == MASK || holders.contains(name) => return None,
            _ => {}
        }
    }
    Some(found)
}

/// Keeps the first `kept` of the second axis.
fn shorten(array: &mut Array, kept: usize) {
    let (given, inner) = (array.dims[1], array.dims[2..].iter().product::<usize>());
    fn part<T: Clone>(values: &[T], (given, kept, inner): (usize, usize, usize)) -> Vec<T> {
        values.chunks(given * inner).flat_map(|row| row[..kept * inner].iter().cloned()).collect()
    }
    if inner > 0 {
        let cut = (given, kept, inner);
        match &mut array.values {
            Values::F32(v) => *v = part(v, cut),
            Values::F64(v) => *v = part(v, cut),
            Values::I64(v) => *v = part(v, cut),
            Values::I32(v) => *v = part(v, cut),
            Values::U8(v) => *v = part(v, cut),
            Values::I8(v) => *v = part(v, cut),
            Values::Bool(v) => *v = part(v, cut),
        }
    }
    array.dims[1] = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::DataType;

    fn inputs(extent: Option<usize>) -> Vec<InputSpec> {
        let of = |name: &str, tail: &[usize], data_type| {
            let dims: Vec<_> = [Some(1), extent].into_iter().chain(tail.iter().map(|n| Some(*n))).collect();
            let mut spec = InputSpec::new(name, &dims, data_type);
            spec.symbols[1] = "sequence".to_owned();
            spec
        };
        vec![
            of("input_ids", &[], DataType::INT64),
            of("attention_mask", &[], DataType::INT64),
            of("bbox", &[2], DataType::FLOAT),
            InputSpec::new("other", &[Some(1), None], DataType::FLOAT),
        ]
    }

    fn set(mask: &[i64], other: usize) -> SampleSet {
        let count = mask.len();
        let whole = |values: Vec<i64>| Array { dims: vec![1, count], values: Values::I64(values) };
        let boxes = Array::from_f32(vec![1, count, 2], (0..2 * count).map(|v| v as f32).collect());
        let named = [
            ("input_ids", whole((7..7 + count as i64).collect())),
            ("attention_mask", whole(mask.to_vec())),
            ("bbox", boxes),
            ("other", Array::from_f32(vec![1, other], vec![0.5; other])),
        ];
        let inputs = named.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
        SampleSet { samples: vec![Sample { inputs }], ..Default::default() }
    }

    #[test]
    fn filling_at_the_end_is_cut_off() {
        let mut padded = set(&[1, 0, 1, 0, 0], 4);
        cut(&mut padded, &inputs(None));
        assert_eq!(padded.padding, Some(Padding { given: 5, kept: 4 }));
        let arrays: Vec<&Array> = padded.samples[0].inputs.iter().map(|(_, array)| array).collect();
        assert_eq!(arrays[0].values, Values::I64(vec![7, 8, 9, 10]), "up to a multiple of a quarter");
        assert_eq!(arrays[1].values, Values::I64(vec![1, 0, 1, 0]), "what does not count between others stays");
        let boxes: Vec<f32> = (0..8).map(|v| v as f32).collect();
        assert_eq!((&arrays[2].dims, arrays[2].as_f32().unwrap()), (&vec![1, 4, 2], &boxes[..]));
        assert_eq!(arrays[3].dims, [1, 4], "another axis that happens to have the length of what is kept");
    }

    #[test]
    fn what_is_not_sure_is_left() {
        for (mask, extent, other) in [
            (&[1, 1, 0][..], Some(3), 2), // The graph takes three tokens.
            (&[1, 1, 0], None, 3),        // An input that may count tokens, too.
            (&[0, 0, 0], None, 2),        // Nothing counts.
            (&[0, 1, 1], None, 2),        // Filling in front moves positions.
        ] {
            let mut given = set(mask, other);
            let before = given.clone();
            cut(&mut given, &inputs(extent));
            assert_eq!(given, before, "{mask:?} {extent:?} {other}");
        }
        let mut cached = set(&[1, 1, 0], 2);
        cached.samples[0].inputs[0].1 = Array { dims: vec![1, 1], values: Values::I64(vec![4]) };
        let before = cached.clone();
        cut(&mut cached, &inputs(None));
        assert_eq!(cached, before, "the mask counts a cache, too");
    }
}
