//! Which of several measured choices is taken.

use crate::pipeline::options::Effort;
use tapq::allocate::Allocation;
use tapq::report::Compare;

/// What is taken for better than the uniform width on so few samples, and by nothing else: half a decibel.
const CLEARLY: f64 = 0.89;

/// Which choice is taken. The knapsack's own comes first among those that were measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Position of the choice.
    pub taken: usize,
    /// Relative output error that what a search arrives at must not exceed.
    pub bar: f64,
    /// Whether anything could be measured.
    pub measured: bool,
    /// Whether something measured better than the uniform width that is taken, but not by the margin.
    pub close: bool,
}

impl Verdict {
    /// The choice of least error, or the uniform one where no other is better or nothing was measured. With `Fast` it
    /// must be better by a margin; with more effort files are compared before it is taken.
    pub fn of(errors: &[Compare], uniform: Option<usize>, effort: Effort) -> Verdict {
        let error = |i: usize| errors[i].relative_error();
        let measured = errors.iter().any(|e| !e.is_silent());
        let bar = uniform.map_or(f64::INFINITY, |u| error(u) * CLEARLY);
        let best = (0..errors.len()).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0);
        let clear = |uniform: usize| error(best) <= if effort == Effort::Fast { bar } else { error(uniform) };
        let taken = match uniform {
            Some(uniform) if !measured || !clear(uniform) => uniform,
            None if !measured => 0,
            _ => best,
        };
        let close = uniform.is_some_and(|u| measured && taken == u && error(best) < error(u));
        Verdict { taken, bar, measured, close }
    }

    /// What is proven of the choice; `own` if it is the knapsack's.
    pub fn proof(&self, own: bool, solution: &Allocation) -> String {
        match (self.measured, own) {
            (false, _) => "no choice could be measured on so few samples".to_owned(),
            (true, true) => solution.proof.to_string(),
            (true, false) if self.close => {
                "taken by measurement; no choice measured better by half a decibel, and less may be chance".to_owned()
            }
            (true, false) => "taken by measurement; the knapsack's own choice measured worse".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::array::{Array, Values};

    /// Relative errors of one output each.
    fn errors(errors: &[f32]) -> Vec<Compare> {
        let array = |x: f32| vec![Array { dims: vec![1], values: Values::F32(vec![x]) }];
        errors.iter().map(|e| Compare::of(&array(1.0), &array(1.0 + e.sqrt()))).collect()
    }

    #[test]
    fn one_width_for_all_is_left_for_a_clear_gain_only() {
        assert_eq!(Verdict::of(&errors(&[0.91, 1.0, 2.0]), Some(1), Effort::Fast).taken, 1);
        assert!(Verdict::of(&errors(&[0.91, 1.0, 2.0]), Some(1), Effort::Fast).close);
        assert!(!Verdict::of(&errors(&[1.01, 1.0, 2.0]), Some(1), Effort::Fast).close);
        assert_eq!(Verdict::of(&errors(&[0.88, 1.0, 2.0]), Some(1), Effort::Fast).taken, 0);
        assert_eq!(Verdict::of(&errors(&[0.90, 1.0, 0.5]), Some(1), Effort::Fast).taken, 2);
        assert_eq!(Verdict::of(&errors(&[0.95, 0.99]), None, Effort::Fast).taken, 0);
    }

    #[test]
    fn what_is_compared_again_as_a_file_needs_no_margin() {
        assert_eq!(Verdict::of(&errors(&[0.97, 1.0]), Some(1), Effort::Balanced).taken, 0);
        assert_eq!(Verdict::of(&errors(&[1.03, 1.0]), Some(1), Effort::Balanced).taken, 1);
    }

    #[test]
    fn without_measurements_nothing_speaks_for_a_choice() {
        let silent = vec![Compare::default(); 2];
        let verdict = Verdict::of(&silent, Some(1), Effort::Balanced);
        assert_eq!((verdict.taken, verdict.measured), (1, false));
        assert_eq!(Verdict::of(&silent, None, Effort::Fast).taken, 0);
    }
}
