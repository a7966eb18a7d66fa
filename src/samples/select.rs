//! Which samples of a source are taken, the same on every machine.

use crate::random::SplitMix64;
use crate::{Code, Error, Result};

/// Which samples are taken: `count` after the first `skip`, in file order or shuffled by `seed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// How many are passed over first.
    pub skip: usize,
    /// How many are taken at most; fewer where the source ends.
    pub count: usize,
    /// With a seed, the order is shuffled before `skip` and `count` apply.
    pub seed: Option<u64>,
}

/// More samples than this in one source are refused, since an array's header can claim any number.
const MOST: usize = 1 << 24;

impl Selection {
    /// Indices of the selected samples among `total`.
    pub(super) fn pick(&self, total: usize) -> Result<Vec<usize>> {
        if total > MOST {
            return Err(Error::new(Code::Samples, format!("claims {total} samples, more than the limit of {MOST}")));
        }
        let end = self.skip.saturating_add(self.count).min(total);
        if self.skip >= end {
            let message = format!("no samples left: {total} there, {} skipped, {} wanted", self.skip, self.count);
            return Err(Error::new(Code::Samples, message));
        }
        let Some(seed) = self.seed else {
            return Ok((self.skip..end).collect());
        };
        Ok(shuffled(total, seed).drain(self.skip..end).collect())
    }
}

fn shuffled(total: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..total).collect();
    let mut random = SplitMix64(seed);
    for i in (1..total).rev() {
        order.swap(i, random.below(i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_order_without_a_seed() {
        let pick = |skip, count| Selection { skip, count, seed: None }.pick(10).unwrap();
        assert_eq!(pick(0, 3), [0, 1, 2]);
        assert_eq!(pick(8, 5), [8, 9]);
        assert_eq!(pick(1, usize::MAX).len(), 9);
    }

    #[test]
    fn the_shuffle_never_changes() {
        assert_eq!(Selection { skip: 0, count: 10, seed: Some(7) }.pick(10).unwrap(), SEED_7);
    }

    /// The same steps in Python.
    const SEED_7: [usize; 10] = [9, 5, 8, 6, 1, 2, 4, 7, 0, 3];

    #[test]
    fn an_empty_selection_and_an_absurd_total_are_errors() {
        let message =
            |skip, count, total| Selection { skip, count, seed: Some(1) }.pick(total).unwrap_err().to_string();
        assert_eq!(message(4, 16, 4), "no samples left: 4 there, 4 skipped, 16 wanted [TQ301]");
        assert!(message(0, 0, 4).starts_with("no samples left"));
        assert!(message(0, 1, usize::MAX).starts_with("claims"));
    }

    proptest! {
        #[test]
        fn parts_of_one_shuffle_never_overlap(total in 1usize..200, cut in 0usize..200, seed: u64) {
            let cut = cut % total;
            let mut all = Selection { skip: cut, count: total, seed: Some(seed) }.pick(total).unwrap();
            if cut > 0 {
                all.extend(Selection { skip: 0, count: cut, seed: Some(seed) }.pick(total).unwrap());
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
}
