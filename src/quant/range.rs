//! Activation ranges from few samples.

use super::Affine;
use crate::stats::TensorStats;

/// Bounds that hold for every input, where they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// No value is less.
    pub lo: Option<f32>,
    /// No value is greater.
    pub hi: Option<f32>,
}

impl Bound {
    /// Bounds of values that obey either.
    #[must_use]
    pub fn hull(self, other: Bound) -> Bound {
        let both = |a: Option<f32>, b: Option<f32>, f: fn(f32, f32) -> f32| a.zip(b).map(|(a, b)| f(a, b));
        Bound { lo: both(self.lo, other.lo, f32::min), hi: both(self.hi, other.hi, f32::max) }
    }
}

/// A range and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenRange {
    /// Least value that must be represented.
    pub lo: f32,
    /// Greatest value that must be represented.
    pub hi: f32,
    /// How it was found, for reports.
    pub because: String,
}

/// Chooses a range from per-sample statistics (each sample may hold several tensors that share a scale).
pub fn choose_range(
    samples: &[Vec<&TensorStats>],
    bound: Bound,
    _to_affine: &dyn Fn(f32, f32) -> Affine,
) -> ChosenRange {
    let all = || samples.iter().flatten();
    let lo = all().fold(0f32, |m, s| m.min(s.min));
    let hi = all().fold(0f32, |m, s| m.max(s.max));
    let lo = bound.lo.map_or(lo, |b| lo.max(b));
    let hi = bound.hi.map_or(hi, |b| hi.min(b));
    ChosenRange { lo, hi, because: "min-max".to_owned() }
}
