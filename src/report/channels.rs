//! Fidelity by channel of an output: what its quiet parts lose, which the loud ones hide in the SQNR of the whole.

use super::Compare;
use super::format::in_db;
use crate::array::Array;
use serde::{Deserialize, Serialize};

/// Outputs with more channels than this are not looked at by channel.
const MOST_CHANNELS: usize = 4096;
/// From this many dB below the whole on, the worst channel is worth a line.
const APART_DB: f64 = 10.0;
/// A channel whose greatest element is below this share of the output's says nothing: its SQNR is that of rounding.
const HEARD: f32 = 1e-4;

/// The channel of an output that quantization spoils most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorstChannel {
    /// Name of the output.
    pub value: String,
    /// Axis that the channels run along.
    pub axis: usize,
    /// How many there are.
    pub channels: usize,
    /// Index of the worst.
    pub channel: usize,
    /// SQNR in dB of the worst.
    pub sqnr_db: f64,
    /// SQNR in dB of the whole output.
    pub whole_db: f64,
}

impl WorstChannel {
    /// The line that reports have of it.
    pub(super) fn words(&self) -> String {
        let WorstChannel { value, axis, channels, channel, sqnr_db, whole_db } = self;
        let [worst, whole] = [in_db(*sqnr_db), in_db(*whole_db)];
        format!(
            "of {channels} channels of {value} (axis {axis}) the worst, {channel}, has {worst}; all together {whole}"
        )
    }
}

/// Sums over the elements of each channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Channels {
    axis: usize,
    sums: Vec<Channel>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Channel {
    all: Compare,
    greatest: f32,
}

impl Channels {
    /// Of one output of shape `dims`; `None` where its shape has no axis of channels, or too many of them.
    pub(super) fn of(dims: &[usize], float: &[f32], quantized: &[f32]) -> Option<Self> {
        let axis = channel_axis(dims)?;
        let (extent, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>().max(1));
        if !(2..=MOST_CHANNELS).contains(&extent) {
            return None;
        }
        let mut sums = vec![Channel::default(); extent];
        for (i, (a, b)) in float.chunks(inner).zip(quantized.chunks(inner)).enumerate() {
            let channel = &mut sums[i % extent];
            channel.all.add(a, b);
            channel.greatest = a.iter().fold(channel.greatest, |most, x| most.max(x.abs()));
        }
        Some(Channels { axis, sums })
    }

    /// Over all samples; `None` where they differ in their channels.
    pub(super) fn pooled<'a>(mut each: impl Iterator<Item = Option<&'a Channels>>) -> Option<Channels> {
        let mut total = each.next()??.clone();
        for other in each {
            let other = other.filter(|o| o.axis == total.axis && o.sums.len() == total.sums.len())?;
            for (sum, more) in total.sums.iter_mut().zip(&other.sums) {
                sum.all.merge(&more.all);
                sum.greatest = sum.greatest.max(more.greatest);
            }
        }
        Some(total)
    }

    /// The channels that say anything.
    fn heard(&self) -> impl Iterator<Item = (usize, &Channel)> {
        let loudest = self.sums.iter().fold(0.0f32, |most, c| most.max(c.greatest));
        self.sums.iter().enumerate().filter(move |(_, c)| c.greatest > 0.0 && c.greatest >= HEARD * loudest)
    }

    /// The worst channel that is heard, where it is far below the whole.
    pub(super) fn worst(&self, value: &str, whole_db: f64) -> Option<WorstChannel> {
        let (channel, sqnr_db) =
            self.heard().map(|(i, c)| (i, c.all.sqnr_db())).min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let (axis, channels) = (self.axis, self.sums.len());
        let found = WorstChannel { value: value.to_owned(), axis, channels, channel, sqnr_db, whole_db };
        (sqnr_db + APART_DB <= whole_db).then_some(found)
    }
}

/// Greatest SQNR that a channel counts with, and least, in dB.
const EVEN_DB: (f64, f64) = (-20.0, 80.0);

/// Mean SQNR in dB over the channels of all outputs that are heard, each over all samples, so that what the quiet ones
/// lose counts as much as what the loud ones do. An output without channels counts as one.
///
/// `samples` holds the outputs of the float network and those that were found.
pub fn even_db(samples: &[(&[Array], &[Array])]) -> f64 {
    let outputs = samples.iter().map(|(float, _)| float.len()).max().unwrap_or(0);
    let all: Vec<f64> = (0..outputs).flat_map(|at| of_output(samples, at)).collect();
    all.iter().map(|db| db.clamp(EVEN_DB.0, EVEN_DB.1)).sum::<f64>() / all.len().max(1) as f64
}

/// Whether an output has channels that can be told apart: one of a detector or a segmentation, not of a classifier.
pub fn has_channels(outputs: &[Array]) -> bool {
    let of = |a: &Array| channel_axis(&a.dims).is_some_and(|axis| (2..=MOST_CHANNELS).contains(&a.dims[axis]));
    outputs.iter().any(|a| a.as_f32().is_some() && of(a))
}

/// SQNR in dB of each channel of one output that is heard, or of the whole; none where it has no floats.
fn of_output(samples: &[(&[Array], &[Array])], at: usize) -> Vec<f64> {
    let (mut whole, mut each) = (Compare::default(), vec![]);
    for (float, found) in samples {
        let (Some(a), Some(b)) = (float.get(at), found.get(at)) else { continue };
        let Some((x, y)) = a.as_f32().zip(b.as_f32()) else { continue };
        whole.add(x, y);
        each.push(Channels::of(&a.dims, x, y));
    }
    match Channels::pooled(each.iter().map(Option::as_ref)) {
        Some(channels) => channels.heard().map(|(_, c)| c.all.sqnr_db()).collect(),
        None if whole.is_empty() => vec![],
        None => vec![whole.sqnr_db()],
    }
}

/// Axis 1, as convolutions have it; the last of `[samples, boxes, features]` where there are more boxes than features.
fn channel_axis(dims: &[usize]) -> Option<usize> {
    match dims {
        [_, boxes, features] if features < boxes => Some(2),
        [_, _, _, ..] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two samples of 4 boxes and 3 features, features first; the last feature is small and loses most.
    fn pooled(last: f32, error: f32) -> Option<Channels> {
        let float: Vec<f32> = (0..12).map(|i| if i < 8 { 100.0 } else { last }).collect();
        let quantized: Vec<f32> = float.iter().map(|x| x + error).collect();
        let one = Channels::of(&[1, 3, 4], &float, &quantized);
        Channels::pooled([one.as_ref(), one.as_ref()].into_iter())
    }

    #[test]
    fn a_quiet_channel_is_found_behind_loud_ones() {
        let found = pooled(1.0, 0.5).unwrap().worst("y", 44.0).unwrap();
        assert_eq!((found.axis, found.channels, found.channel), (1, 3, 2));
        assert!((found.sqnr_db - 20.0 * 2f64.log10()).abs() < 1e-9, "{found:?}");
        assert_eq!(pooled(1.0, 0.5).unwrap().worst("y", 16.0), None, "not far below the whole");
        assert_eq!(pooled(0.001, 0.5).unwrap().worst("y", 44.0), None, "too quiet to say anything");
        assert_eq!(pooled(0.0, 0.0).unwrap().worst("y", 200.0), None);
    }

    #[test]
    fn quiet_and_loud_channels_count_alike() {
        let array = |values: Vec<f32>| vec![Array::from_f32(vec![1, 2, 3], values)];
        let float = array(vec![100.0, 100.0, 100.0, 1.0, 1.0, 1.0]);
        let found = array(vec![101.0, 101.0, 101.0, 1.1, 1.1, 1.1]);
        assert!((even_db(&[(&float, &found)]) - 30.0).abs() < 1e-3, "40 dB and 20 dB");
        assert_eq!(even_db(&[(&float, &float)]), EVEN_DB.1);
        assert_eq!((even_db(&[]), even_db(&[(&[], &[])])), (0.0, 0.0));
        // A channel that is silent in one sample is heard in the other.
        let silent = array(vec![100.0, 100.0, 100.0, 0.0, 0.0, 0.0]);
        let samples: [(&[Array], &[Array]); 2] = [(&silent, &silent), (&float, &found)];
        assert!((even_db(&samples) - (43.01 + 20.0) / 2.0).abs() < 0.01, "{}", even_db(&samples));
    }

    #[test]
    fn features_may_be_last() {
        let float = [100.0, 1.0, 100.0, 1.0, 100.0, 1.0];
        let quantized = [100.0, 2.0, 100.0, 2.0, 100.0, 2.0];
        let found = Channels::of(&[1, 3, 2], &float, &quantized).unwrap().worst("y", 40.0).unwrap();
        assert_eq!((found.axis, found.channels, found.channel, found.sqnr_db), (2, 2, 1, 0.0));
    }

    #[test]
    fn shapes_without_channels_have_none() {
        let of = |dims: &[usize]| {
            let values = vec![1.0; dims.iter().product()];
            Channels::of(dims, &values, &values)
        };
        assert!(of(&[1, 10]).is_none() && of(&[1, 1, 8, 8]).is_none() && of(&[]).is_none());
        assert!(of(&[1, MOST_CHANNELS + 1, MOST_CHANNELS + 2]).is_none());
        assert!(of(&[1, 0, 0]).is_none() && of(&[1, 2, 3, 0]).is_some_and(|c| c.worst("y", 200.0).is_none()));
        let (a, b) = (of(&[1, 2, 3]), of(&[1, 3, 3]));
        assert_eq!(Channels::pooled([a.as_ref(), b.as_ref()].into_iter()), None);
        assert_eq!(Channels::pooled([a.as_ref(), None].into_iter()), None);
        assert_eq!(Channels::pooled([].into_iter()), None);
    }
}
