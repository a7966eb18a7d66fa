//! Calibration samples that are unlike the others.
//!
//! Ranges, second moments and measured damage are sums of squares, so that one broken sample among sixteen (a hot
//! pixel, a click, a missed normalisation) outweighs all the others. What makes a sample suspicious is its greatest
//! magnitude against that of the median sample; being louder throughout is natural (speech, exposure) and is forgiven
//! within wide bounds, having a few elements far from all its others is not.

use super::{Sample, SampleSet};
use crate::array::Values;
use serde::{Deserialize, Serialize};

/// A sample with a few extreme elements is left out past so many times the median sample's extreme.
const SPIKE: f64 = 4.0;
/// A spike stands out against its own sample: extreme over mean magnitude, in times of the median sample's.
const CREST: f64 = 2.0;
/// A sample that is greater throughout is left out past so many times the median sample's extreme.
const LOUD: f64 = 16.0;
/// At most one in so many samples is an outlier; more are a part of what the network is for.
const RARE: usize = 4;

/// A calibration sample that statistics are not made from, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// File name or row number of the sample.
    pub id: String,
    /// The input that stands out.
    pub input: String,
    /// Its greatest magnitude.
    pub extreme: f32,
    /// That of the median sample.
    pub median: f32,
}

impl SampleSet {
    /// Takes outliers out of `samples` and remembers them in `left_out`.
    ///
    /// `bounds` hold for every proper input, where preprocessing implies them: a sample within them is never an outlier.
    pub fn leave_out_outliers(&mut self, bounds: Option<(f32, f32)>) {
        let found = outliers(&self.samples, bounds);
        let out: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
        let name = |(at, left_out): (usize, LeftOut)| LeftOut {
            id: self.ids.get(at).cloned().unwrap_or_else(|| at.to_string()),
            ..left_out
        };
        self.left_out = found.into_iter().map(name).collect();
        keep(&mut self.samples, &out);
        keep(&mut self.ids, &out);
        self.labels.iter_mut().for_each(|labels| keep(labels, &out));
    }
}

fn keep<T>(items: &mut Vec<T>, out: &[usize]) {
    let mut at = 0..;
    items.retain(|_| at.next().is_none_or(|i| !out.contains(&i)));
}

/// Magnitudes of one input of one sample.
struct Magnitude {
    sample: usize,
    greatest: f64,
    mean: f64,
}

impl Magnitude {
    fn of(sample: usize, values: &[f32]) -> Self {
        let greatest = values.iter().fold(0f32, |m, x| m.max(x.abs()));
        let sum: f64 = values.iter().map(|x| f64::from(x.abs())).sum();
        Magnitude { sample, greatest: f64::from(greatest), mean: sum / values.len().max(1) as f64 }
    }

    fn crest(&self) -> f64 {
        if self.mean > 0.0 { self.greatest / self.mean } else { 1.0 }
    }
}

/// Outliers by the index of their sample, ascending; none if they are too many to be exceptions.
fn outliers(samples: &[Sample], bounds: Option<(f32, f32)>) -> Vec<(usize, LeftOut)> {
    let inputs = samples.first().map_or(0, |s| s.inputs.len());
    let mut found: Vec<(usize, LeftOut)> = (0..inputs).flat_map(|input| of_input(samples, input, bounds)).collect();
    found.sort_by_key(|(sample, _)| *sample);
    found.dedup_by_key(|(sample, _)| *sample);
    if found.len() > samples.len() / RARE { vec![] } else { found }
}

fn of_input(samples: &[Sample], input: usize, bounds: Option<(f32, f32)>) -> Vec<(usize, LeftOut)> {
    let floats = samples.iter().enumerate().filter_map(|(i, sample)| {
        let (name, array) = sample.inputs.get(input)?;
        match &array.values {
            Values::F32(values) => Some((i, name, values)),
            _ => None,
        }
    });
    let inside = |values: &[f32]| bounds.is_some_and(|(lo, hi)| values.iter().all(|x| (lo..=hi).contains(x)));
    let seen: Vec<(Magnitude, &String, bool)> =
        floats.map(|(i, name, values)| (Magnitude::of(i, values), name, inside(values))).collect();
    let extreme = median(seen.iter().map(|(m, ..)| m.greatest).collect());
    let crest = median(seen.iter().map(|(m, ..)| m.crest()).collect());
    let stands_out = |m: &Magnitude| {
        extreme > 0.0 && (m.greatest > LOUD * extreme || m.greatest > SPIKE * extreme && m.crest() > CREST * crest)
    };
    let odd = seen.iter().filter(|(m, _, inside)| !inside && stands_out(m));
    odd.map(|(m, name, _)| {
        let left_out =
            LeftOut { id: String::new(), input: (*name).clone(), extreme: m.greatest as f32, median: extreme as f32 };
        (m.sample, left_out)
    })
    .collect()
}

/// The lower of the two middle ones where the count is even; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    /// Samples of a ramp, each times its factor, with `spike` as the last element of some.
    fn set(factors: &[f32], spikes: &[(usize, f32)]) -> SampleSet {
        let sample = |(i, factor): (usize, &f32)| {
            let mut values: Vec<f32> = (0..400).map(|k| (k as f32 / 200.0 - 1.0) * factor).collect();
            if let Some((_, spike)) = spikes.iter().find(|(at, _)| *at == i) {
                values[399] = *spike;
            }
            Sample { inputs: vec![("x".to_owned(), Array { dims: vec![1, 400], values: Values::F32(values) })] }
        };
        SampleSet {
            samples: factors.iter().enumerate().map(sample).collect(),
            labels: Some((0..factors.len() as i64).collect()),
            source: "made here".to_owned(),
            ids: (0..factors.len()).map(|i| format!("s{i}")).collect(),
            ..Default::default()
        }
    }

    fn left_out(mut set: SampleSet, bounds: Option<(f32, f32)>) -> Vec<String> {
        let all = set.samples.len();
        set.leave_out_outliers(bounds);
        assert_eq!(set.samples.len() + set.left_out.len(), all);
        assert_eq!(set.samples.len(), set.ids.len());
        assert_eq!(set.samples.len(), set.labels.map_or(0, |l| l.len()));
        set.left_out.into_iter().map(|l| l.id).collect()
    }

    #[test]
    fn a_spike_is_left_out_and_said_so() {
        let mut set = set(&[1.0; 8], &[(3, -9.0)]);
        set.leave_out_outliers(None);
        let found = LeftOut { id: "s3".to_owned(), input: "x".to_owned(), extreme: 9.0, median: 1.0 };
        assert_eq!(set.left_out, [found]);
        assert_eq!(set.ids, ["s0", "s1", "s2", "s4", "s5", "s6", "s7"]);
        assert_eq!(set.labels, Some(vec![0, 1, 2, 4, 5, 6, 7]));
    }

    #[test]
    fn loud_samples_are_natural_within_reason() {
        assert!(left_out(set(&[1.0, 0.3, 1.0, 12.0, 1.0, 0.1, 2.0, 1.0], &[]), None).is_empty());
        assert_eq!(left_out(set(&[1.0, 0.3, 1.0, 255.0, 1.0, 0.1, 2.0, 1.0], &[]), None), ["s3"]);
    }

    #[test]
    fn more_than_a_quarter_are_no_exceptions() {
        let factors = [1.0; 8];
        assert_eq!(left_out(set(&factors, &[(1, 9.0), (4, 9.0)]), None), ["s1", "s4"]);
        assert!(left_out(set(&factors, &[(1, 9.0), (4, 9.0), (5, 9.0)]), None).is_empty());
        assert!(left_out(set(&[1.0; 3], &[(1, 9.0)]), None).is_empty(), "three samples say little");
    }

    #[test]
    fn what_preprocessing_allows_is_no_outlier() {
        assert!(left_out(set(&[1.0; 8], &[(3, 9.0)]), Some((-1.0, 9.0))).is_empty());
        assert_eq!(left_out(set(&[1.0; 8], &[(3, 9.0)]), Some((-1.0, 8.0))), ["s3"]);
    }

    #[test]
    fn empty_and_all_zero_sets_stay() {
        assert!(left_out(set(&[], &[]), None).is_empty());
        assert!(left_out(set(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0], &[]), None).is_empty());
    }
}
