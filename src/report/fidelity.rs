//! How far a quantized network is from its float original.

use super::WorstChannel;
use crate::array::{Array, Values};
use serde::{Deserialize, Serialize};

/// SQNR in dB of a relative squared error; 200 where there is none.
pub fn decibels(error: f64) -> f64 {
    -10.0 * error.max(1e-20).log10()
}

/// Sums over elements from which SQNR and cosine follow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compare {
    signal: f64,
    noise: f64,
    other: f64,
    dot: f64,
}

impl Compare {
    /// Adds elements of the float network and the same of the quantized one.
    pub fn add(&mut self, float: &[f32], quantized: &[f32]) {
        for (a, b) in float.iter().zip(quantized) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            self.signal += a * a;
            self.other += b * b;
            self.noise += (a - b) * (a - b);
            self.dot += a * b;
        }
    }

    /// The float outputs of two networks against each other.
    pub fn of(float: &[Array], quantized: &[Array]) -> Self {
        let mut sums = Compare::default();
        for (a, b) in float.iter().zip(quantized) {
            if let (Some(a), Some(b)) = (a.as_f32(), b.as_f32()) {
                sums.add(a, b);
            }
        }
        sums
    }

    /// Whether nothing was compared, or nothing but zeros that stayed zero.
    pub fn is_empty(&self) -> bool {
        *self == Compare::default()
    }

    /// Whether nothing but zeros was compared.
    pub fn is_silent(&self) -> bool {
        self.signal == 0.0
    }

    /// Sum of squared differences over the sum of squares of the float values.
    pub fn relative_error(&self) -> f64 {
        self.noise / self.signal.max(f64::MIN_POSITIVE)
    }

    /// Adds the sums of other elements.
    pub fn merge(&mut self, other: &Compare) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.other += other.other;
        self.dot += other.dot;
    }

    /// Signal to quantization noise in dB: 10 log10(sum x^2 / sum (x - x')^2), 200 where there is no noise,
    /// -200 where an element is NaN or infinite.
    pub fn sqnr_db(&self) -> f64 {
        if !self.noise.is_finite() {
            return -200.0;
        }
        match self.noise > self.signal * 1e-20 {
            true => 10.0 * (self.signal.max(1e-300) / self.noise).log10(),
            false => 200.0,
        }
    }

    /// Cosine of the angle between the two; 1 if both are zero.
    pub fn cosine(&self) -> f64 {
        let norms = (self.signal * self.other).sqrt();
        if !self.noise.is_finite() {
            return 0.0;
        }
        if norms > 0.0 { (self.dot / norms).clamp(-1.0, 1.0) } else { f64::from(u8::from(self.signal == self.other)) }
    }
}

/// Quantized against float on samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Samples compared.
    pub samples: usize,
    /// Whether they were not used for calibration, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<bool>,
    /// SQNR in dB over all float outputs.
    pub sqnr_db: f64,
    /// Cosine over all float outputs.
    pub cosine: f64,
    /// Share of rows of the first output whose greatest element is the same, 0 to 1.
    pub agreement: f64,
    /// Float outputs, in the order of the graph.
    #[serde(default)]
    pub outputs: Vec<ValueFidelity>,
    /// Inner values, in order of definition.
    pub values: Vec<ValueFidelity>,
    /// Of outputs with channels the worst one, where it is far below the whole.
    #[serde(default)]
    pub channels: Vec<WorstChannel>,
    /// Outputs that no figure counts, because they [carry an input on](crate::graph::answers).
    #[serde(default)]
    pub caches: Vec<String>,
    /// Why the figures mean nothing on these samples; absent where they do mean something.
    #[serde(default)]
    pub says_nothing: Option<String>,
}

impl Fidelity {
    /// The outputs that no figure counts, in words.
    pub fn uncounted(&self) -> Option<String> {
        let [first, rest @ ..] = self.caches.as_slice() else { return None };
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        Some(format!("{first}{more}: a cache, an input with new positions in it, which would drown the others"))
    }

    /// The worst channels in words, worst first, of at most three outputs.
    pub fn worst_channels(&self) -> Vec<String> {
        let mut worst: Vec<&WorstChannel> = self.channels.iter().collect();
        worst.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        worst.into_iter().take(3).map(WorstChannel::words).collect()
    }
}

/// One value of the quantized network against the float one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueFidelity {
    /// Name of the value.
    pub value: String,
    /// SQNR in dB.
    pub sqnr_db: f64,
    /// Cosine.
    pub cosine: f64,
}

/// Rows of `array` (along its last axis) and where each has its greatest element.
fn top1(array: &Array) -> Vec<usize> {
    let Values::F32(values) = &array.values else { return vec![] };
    let width = array.dims.last().copied().unwrap_or(1).max(1);
    let greatest = |row: &[f32]| row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best });
    values.chunks(width).map(greatest).collect()
}

/// Rows on which two outputs agree about the greatest element, and rows compared.
pub fn top1_agreement(float: &Array, quantized: &Array) -> (usize, usize) {
    let (a, b) = (top1(float), top1(quantized));
    (a.iter().zip(&b).filter(|(x, y)| x == y).count(), a.len().min(b.len()))
}
