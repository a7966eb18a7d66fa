//! A histogram over a tensor's own range.

/// Bins of equal width over `lo..=hi`. Exact zeros are not counted: every format represents them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Left edge of the first bin.
    pub lo: f32,
    /// Right edge of the last bin.
    pub hi: f32,
    /// Elements in each bin.
    pub counts: Vec<u32>,
}

impl Histogram {
    /// Bins of a histogram: fine enough that a bin is a fraction of an 8-bit step.
    pub const BINS: usize = 2048;

    /// Counts the finite, non-zero elements; `lo` and `hi` are their extremes.
    pub fn new(values: &[f32], lo: f32, hi: f32) -> Self {
        let mut counts = vec![0u32; Self::BINS];
        let width = (f64::from(hi) - f64::from(lo)) / Self::BINS as f64;
        if !(width > 0.0) {
            counts[0] = values.iter().filter(|v| v.is_finite() && **v != 0.0).count() as u32;
            return Histogram { lo, hi, counts };
        }
        let inverse = (1.0 / width) as f32;
        for &v in values.iter().filter(|v| **v != 0.0) {
            let bin = ((v - lo) * inverse) as usize;
            if v.is_finite() {
                counts[bin.min(Self::BINS - 1)] += 1;
            }
        }
        Histogram { lo, hi, counts }
    }

    /// Centre and count of each bin that is not empty.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u32)> + '_ {
        let width = (f64::from(self.hi) - f64::from(self.lo)) / self.counts.len().max(1) as f64;
        let centre = move |i: usize| f64::from(self.lo) + (i as f64 + 0.5) * width;
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(i, n)| (centre(i), *n))
    }
}
