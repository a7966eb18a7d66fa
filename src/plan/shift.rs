//! First-order bias correction: rounding a weight shifts the mean of the layer's output, and the bias takes it back.
//!
//! Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction" (arXiv 1906.04721),
//! section 4.2, with the input means measured on the samples.

use super::Layer;
use crate::stats::ValueObservation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One number an output channel; in YAML one line of numbers, so that a plan stays readable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shift(pub Vec<f32>);

impl Shift {
    /// Four significant digits of each number: an estimate holds no more, and a person reads the plan.
    pub fn legible(values: Vec<f64>) -> Shift {
        Shift(values.into_iter().map(four_digits).collect())
    }

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Shift {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers: Vec<String> = self.0.iter().map(|v| format!("{v:e}")).collect();
        serializer.serialize_str(&numbers.join(" "))
    }
}

impl<'de> Deserialize<'de> for Shift {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |word: &str| match word.parse::<f32>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(serde::de::Error::custom(format!("bias_shift: '{word}' is not a finite number"))),
        };
        text.split_whitespace().map(number).collect::<Result<_, _>>().map(Shift)
    }
}

/// `(W - W') E[x]` for a layer whose rows (see [`Layer::rows`]) are `float` and `stored`.
///
/// `seen` holds per-channel means of the layer's input. Empty where the means do not fit the weight.
/// Padding is not accounted for: border positions are taken to see the mean too.
pub fn rounding_shift(layer: &Layer, channels: usize, float: &[f32], stored: &[f32], seen: &ValueObservation) -> Shift {
    let means = channel_means(seen);
    let fan: usize = float.len() / channels.max(1);
    let inputs = match layer.op.as_str() {
        "ConvTranspose" => return Shift::default(),
        "Conv" => layer.dims[1],
        _ => fan,
    };
    if inputs == 0 || means.is_empty() || !means.len().is_multiple_of(inputs) || !fan.is_multiple_of(inputs) {
        return Shift::default();
    }
    let (groups, kernel) = (means.len() / inputs, fan / inputs);
    let per_group = channels.div_ceil(groups);
    let shift = |c: usize| -> f64 {
        let (float, stored) = (&float[c * fan..(c + 1) * fan], &stored[c * fan..(c + 1) * fan]);
        let mean = &means[(c / per_group).min(groups - 1) * inputs..][..inputs];
        let error = |i: usize| f64::from(float[i]) - f64::from(stored[i]);
        (0..fan).map(|i| error(i) * mean[i / kernel]).sum()
    };
    Shift::legible((0..channels).map(shift).collect())
}

fn four_digits(value: f64) -> f32 {
    format!("{value:.3e}").parse().unwrap_or(0.0)
}

fn channel_means(seen: &ValueObservation) -> Vec<f64> {
    let channels = seen.samples.iter().map(|s| s.channels.len()).min().unwrap_or(0);
    let samples = seen.weighted().map(|(_, n)| n).sum::<usize>() as f64;
    let mean = |c: usize| seen.weighted().map(|(s, n)| s.channels[c].mean * n as f64).sum::<f64>() / samples;
    (0..channels).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Cpu, Request};

    fn conv(dims: &[usize]) -> Layer {
        Layer {
            node: 0,
            name: "conv".into(),
            op: "Conv".into(),
            weight: "w".into(),
            dims: dims.to_vec(),
            axis: 0,
            input: "x".into(),
            bias: None,
            channelwise: true,
        }
    }

    /// One sample whose channel c holds c + 1 everywhere.
    fn seen(channels: usize) -> ValueObservation {
        let dims = [1, channels, 2, 2];
        let values: Vec<f32> = (0..channels * 4).map(|i| (i / 4 + 1) as f32).collect();
        let request = Request { channel_axis: Some(1), ..Default::default() };
        let stats = Cpu.tensor(&dims, &values, &request);
        ValueObservation { dims: dims.to_vec(), samples: vec![stats], count: 1 }
    }

    #[test]
    fn weights_each_input_channel_by_its_mean() {
        let (float, stored) = ([0.5, 0.25, -1.0, 2.0], [0.0, 0.25, -1.5, 1.0]);
        let shift = rounding_shift(&conv(&[2, 2, 1, 1]), 2, &float, &stored, &seen(2));
        assert_eq!(shift.0, vec![0.5, 0.5 + 2.0]);
    }

    #[test]
    fn depthwise_channels_see_their_own_mean() {
        let shift = rounding_shift(&conv(&[2, 1, 1, 2]), 2, &[1.0, 1.0, 1.0, 1.0], &[0.0, 0.5, 0.75, 1.0], &seen(2));
        assert_eq!(shift.0, vec![1.5, 0.5]);
    }

    #[test]
    fn means_that_do_not_fit_correct_nothing() {
        assert!(rounding_shift(&conv(&[2, 2, 1, 1]), 2, &[1.0; 4], &[0.0; 4], &seen(3)).is_empty());
    }

    #[test]
    fn survives_yaml() {
        let shift = Shift(vec![0.0, -1.234e-7, 5.5]);
        let text = crate::yaml::print(&shift).unwrap();
        assert_eq!(crate::yaml::parse::<Shift>(&text, "here").unwrap(), shift);
        assert!(crate::yaml::parse::<Shift>("1.0 nan", "here").is_err());
    }
}
