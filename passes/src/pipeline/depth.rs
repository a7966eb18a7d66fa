//! How many samples each measurement takes, by effort.

use super::options::Effort;
use tapq::stats::FOLDS;

/// How many samples and widths the measurements take, by effort.
pub struct Depth {
    /// Samples that gains of layers are measured on.
    pub gain_samples: usize,
    /// Samples that the damage of activations is measured on: finer grids than those of weights, so more of them.
    pub field_samples: usize,
    /// Widths that gains and damage are measured at.
    pub gain_bits: &'static [u32],
    /// Samples that whole configurations are compared on.
    pub compare_samples: usize,
    /// Exchanges that are measured at most.
    pub exchanges: usize,
}

impl Depth {
    /// What an effort means.
    pub fn of(effort: Effort) -> Depth {
        let [gain_samples, field_samples, compare_samples, exchanges] = match effort {
            Effort::Fast => [2, 4, 4, 0],
            // What exchanges gain on so few samples is as much chance as merit.
            Effort::Balanced => [8, 8, 16, 0],
            Effort::Best => [16, 16, 16, 200],
        };
        let gain_bits: &[u32] = if effort == Effort::Best { &[3, 4, 5] } else { &[4] };
        Depth { gain_samples, field_samples, gain_bits, compare_samples, exchanges }
    }
}

/// Halves of the samples that candidates are rounded on, by effort: one is half the work and half as sure.
pub fn halves(effort: Effort, samples: usize) -> &'static [usize] {
    match effort {
        _ if samples < 2 => &[],
        Effort::Fast => &[0],
        Effort::Balanced | Effort::Best => &[0, 1],
    }
}

/// Positions of the samples that whole choices are compared on and no other measurement has seen; none with more
/// effort, where every sample takes each part in turn, and files are compared on other samples in the end.
///
/// What has the least of many noisy costs looks better on the samples of those costs than it is.
pub fn set_apart(effort: Effort, samples: usize) -> Vec<usize> {
    let judging = samples / FOLDS;
    let count = match effort {
        Effort::Fast => Depth::of(effort).compare_samples.min(judging / 2),
        Effort::Balanced | Effort::Best => 0,
    };
    (judging - count..judging).map(|i| FOLDS * i + 1).collect()
}
