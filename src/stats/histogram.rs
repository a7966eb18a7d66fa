//! A histogram over a tensor's own range.

/// Bins of equal width over `lo..=hi`. Of large tensors every n-th block of elements is counted. Exact zeros are not counted: every format represents them.
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

    /// Counts the non-zero elements of `values`, all finite, whose extremes are `lo` and `hi`.
    pub fn new(values: &[f32], lo: f32, hi: f32) -> Self {
        let binning = Binning::new(lo, hi);
        let mut tables = vec![[0u32; Self::BINS]; TABLES];
        let (every, _) = Self::counted(values.len());
        for block in values.chunks(BLOCK).step_by(every) {
            let bins = binning.bins(block);
            for (i, bin) in bins[..block.len()].iter().enumerate() {
                tables[i % TABLES][usize::from(*bin) % Self::BINS] += 1;
            }
        }
        let total = |bin: usize| tables.iter().map(|t| t[bin]).sum();
        let mut counts: Vec<u32> = (0..Self::BINS).map(total).collect();
        // Counting the zeros and taking them out again is faster than a branch on each element.
        let counted = values.chunks(BLOCK).step_by(every).flatten();
        let zeros = counted.map(|v| u32::from(*v == 0.0)).sum::<u32>();
        if zeros > 0 {
            counts[usize::from(binning.bins(&[0.0])[0])] -= zeros;
        }
        Histogram { lo, hi, counts }
    }

    /// Adds another histogram, over the range of both.
    pub(super) fn pool(&mut self, other: &Histogram) {
        if other.counts.is_empty() || self.counts.is_empty() {
            if self.counts.is_empty() {
                self.clone_from(other);
            }
            return;
        }
        let (lo, hi) = (self.lo.min(other.lo), self.hi.max(other.hi));
        // What nothing was added to on either side keeps its bins.
        if (lo, hi) != (self.lo, self.hi) || self.counts.len() != Self::BINS {
            let own = std::mem::replace(self, Histogram { lo, hi, counts: vec![0; Self::BINS] });
            self.add(&own);
        }
        self.add(other);
    }

    /// Adds the counts of another histogram, whose range lies in this one's.
    fn add(&mut self, other: &Histogram) {
        let lo = f64::from(self.lo);
        let scale = Self::BINS as f64 / (f64::from(self.hi) - lo);
        for (centre, count) in other.bins() {
            let bin = if scale.is_finite() { ((centre - lo) * scale) as usize } else { 0 };
            let sum = &mut self.counts[bin.min(Self::BINS - 1)];
            *sum = sum.saturating_add(count);
        }
    }

    /// Of `n` elements, every how many-th block of 256 elements is counted, and how many blocks that makes.
    pub(super) fn counted(n: usize) -> (usize, usize) {
        let every = n.div_ceil(MOST_COUNTED).max(1);
        (every, n.div_ceil(BLOCK).div_ceil(every))
    }

    /// Centre and count of each bin that is not empty.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u32)> + '_ {
        let width = (f64::from(self.hi) - f64::from(self.lo)) / self.counts.len().max(1) as f64;
        let centre = move |i: usize| f64::from(self.lo) + (i as f64 + 0.5) * width;
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(i, n)| (centre(i), *n))
    }
}

/// About as many elements of one tensor are counted: a histogram's shape needs no more.
const MOST_COUNTED: usize = 1 << 17;
/// Elements binned at a time.
const BLOCK: usize = 256;
/// Tables that are counted into in turn: neighbours often share a bin, and one counter would wait for itself.
const TABLES: usize = 4;
/// 2^23: adding it to a small float leaves the nearest integer in the low bits, eight lanes at a time.
const MAGIC: f32 = 8_388_608.0;

/// The step from values to bins.
struct Binning {
    lo: f32,
    inverse: f32,
}

impl Binning {
    fn new(lo: f32, hi: f32) -> Self {
        let width = (f64::from(hi) - f64::from(lo)) / Histogram::BINS as f64;
        let inverse = if width > 0.0 { (1.0 / width) as f32 } else { 0.0 };
        Binning { lo, inverse: if inverse.is_finite() { inverse } else { 0.0 } }
    }

    fn bins(&self, block: &[f32]) -> [u16; BLOCK] {
        let mut bins = [0u16; BLOCK];
        for (bin, v) in bins.iter_mut().zip(block) {
            let position = (v - self.lo) * self.inverse - 0.5;
            let inside = position.max(0.0).min((Histogram::BINS - 1) as f32);
            *bin = (inside + MAGIC).to_bits() as u16;
        }
        bins
    }
}
