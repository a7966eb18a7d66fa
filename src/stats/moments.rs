//! Moments of some columns of X, sample by sample: what says how far a sum over few samples can be trusted.

/// Moments sample by sample; past [`MOST_SAMPLES`], further ones are pooled with the first, the second and so on, which
/// says as much about their spread in bounded memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    pub(super) kept: Vec<SampleMoments>,
    count: usize,
}

/// Samples whose moments are kept apart.
const MOST_SAMPLES: usize = 32;

impl Samples {
    /// Adds the next sample.
    pub(super) fn note(&mut self, sample: SampleMoments) {
        match self.kept.get_mut(self.count % MOST_SAMPLES) {
            Some(pooled) => pooled.pool(&sample),
            None => self.kept.push(sample),
        }
        self.count += 1;
    }

    pub(super) fn note_all(&mut self, other: &Samples) {
        if self.count == 0 {
            return self.clone_from(other);
        }
        other.kept.iter().for_each(|sample| self.note(sample.clone()));
        self.count += other.count - other.kept.len();
    }

    /// Samples that were added.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Sums of products and sums of a few columns of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleMoments {
    /// Rows seen, of one group.
    pub(super) rows: u64,
    /// By group: the pairs of kept columns, row by row of the triangle below the diagonal.
    pub(super) products: Vec<f32>,
    /// By group: one a column.
    pub(super) sums: Vec<f64>,
}

impl SampleMoments {
    fn pool(&mut self, other: &SampleMoments) {
        self.rows += other.rows;
        self.products.iter_mut().zip(&other.products).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
    }

    /// Moments that were measured elsewhere: by group, the square matrix of products of `kept` columns, row-major, and
    /// their sums.
    pub(super) fn measured(rows: u64, squares: &[f32], kept: usize, sums: Vec<f64>) -> SampleMoments {
        let mut products = Vec::with_capacity(squares.len() / 2);
        for square in squares.chunks_exact((kept * kept).max(1)) {
            (0..kept).for_each(|i| products.extend_from_slice(&square[i * kept..i * kept + i]));
        }
        SampleMoments { rows, products, sums }
    }
}

/// Columns of each group whose moments are kept sample by sample.
const KEPT: usize = 128;

/// How many columns of `size` have their moments kept sample by sample, and their distance.
pub(super) fn kept_columns(size: usize) -> (usize, usize) {
    let kept = size.min(KEPT);
    (kept, size / kept.max(1))
}

/// Pairs of so many columns.
pub(super) fn pairs(columns: usize) -> usize {
    columns * columns.saturating_sub(1) / 2
}
