//! Whether the float network says anything on the samples: a comparison with silence means nothing.

use crate::array::Array;

/// The sums that stand for one output hold at most this many parts.
const PARTS: usize = 4096;
/// Below this every element is rounding of values of order 1.
const SILENCE: f32 = 1e-6;
/// Outputs that vary by less than this share of their energy are the same on all samples.
const SAME: f64 = 1e-10;

/// What the float outputs on one sample are, in little memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    elements: usize,
    greatest: f32,
    parts: Vec<f64>,
}

impl Answer {
    pub(super) fn of(outputs: &[Array]) -> Self {
        let mut answer = Answer::default();
        for values in outputs.iter().filter_map(Array::as_f32) {
            answer.add(values);
        }
        answer
    }

    fn add(&mut self, values: &[f32]) {
        self.elements += values.len();
        for part in values.chunks(values.len().div_ceil(PARTS).max(1)) {
            // Each element has a weight of its own, so that elements that change places do not keep the sum.
            let weighted = part.iter().enumerate().map(|(i, x)| f64::from(*x) * (1.0 + (i as f64 * 0.618).fract()));
            self.parts.push(weighted.sum());
        }
        let size = |x: &f32| if x.is_finite() { x.abs() } else { f32::INFINITY };
        self.greatest = values.iter().map(size).fold(self.greatest, f32::max);
    }
}

/// Why a comparison on these samples means nothing; `None` where it does.
pub(super) fn why_nothing<'a>(answers: impl Iterator<Item = &'a Answer>) -> Option<String> {
    let answers: Vec<&Answer> = answers.collect();
    let (first, others) = answers.split_first()?;
    if answers.iter().all(|a| a.elements == 0) {
        return Some("no output holds floats to compare".to_owned());
    }
    if answers.iter().all(|a| a.greatest < SILENCE) {
        let what = "every float output stays below 1e-6, which is rounding; give samples that the network answers to";
        return Some(what.to_owned());
    }
    let same = !others.is_empty() && others.iter().all(|other| is_same(first, other));
    same.then(|| "the float outputs are the same on all of them; give samples that differ".to_owned())
}

fn is_same(a: &Answer, b: &Answer) -> bool {
    let apart: f64 = a.parts.iter().zip(&b.parts).map(|(x, y)| (x - y) * (x - y)).sum();
    let energy: f64 = a.parts.iter().map(|x| x * x).sum();
    a.parts.len() == b.parts.len() && a.elements == b.elements && apart <= SAME * energy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Values;

    fn why(outputs: &[Vec<f32>]) -> Option<String> {
        let answer = |values: &Vec<f32>| Answer::of(&[Array::from_f32(vec![1, values.len()], values.clone())]);
        why_nothing(outputs.iter().map(answer).collect::<Vec<_>>().iter())
    }

    #[test]
    fn outputs_that_differ_say_something() {
        assert_eq!(why(&[vec![0.0, 1.0], vec![1.0, 0.0]]), None);
        assert_eq!(why(&[vec![5.0, 1.0]]), None, "one sample cannot differ");
        assert_eq!(why(&[vec![1.0, 1.0], vec![1.0, 1.001]]), None);
        let spike = |at: usize| (0..100_000).map(|i| f32::from(u8::from(i == at))).collect();
        assert_eq!(why(&[spike(7), spike(8)]), None, "within one part");
        assert_eq!(why(&[vec![1.0], vec![1.0, 1.0]]), None, "other shapes");
        assert_eq!(why(&[vec![f32::NAN], vec![f32::NAN]]), None, "that is another complaint");
    }

    #[test]
    fn silence_and_sameness_are_said() {
        assert!(why(&[vec![0.0, 4.5e-7], vec![0.0, 1e-9]]).unwrap().contains("below 1e-6"));
        assert!(why(&[vec![0.0], vec![0.0]]).unwrap().contains("below 1e-6"));
        assert!(why(&[vec![3.0, 1.0], vec![3.0, 1.000_001]]).unwrap().contains("the same on all"));
        let integers = Answer::of(&[Array { dims: vec![1], values: Values::I64(vec![3]) }]);
        assert_eq!(why_nothing([&integers].into_iter()).unwrap(), "no output holds floats to compare");
        assert_eq!(why_nothing([].into_iter()), None);
    }
}
