//! Draws a token from logits: temperature and nucleus, the same for the same seed.

use crate::random::SplitMix64;

/// Draws tokens one after another.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    random: SplitMix64,
    temperature: f64,
    top_p: f64,
}

impl Sampler {
    /// A temperature of 0 or below, or none at all, takes the most likely token each time.
    pub fn new(seed: u64, temperature: f64, top_p: f64) -> Sampler {
        let top_p = if top_p.is_nan() { 1.0 } else { top_p.clamp(0.0, 1.0) };
        Sampler { random: SplitMix64(seed), temperature, top_p }
    }

    /// A token among those that `allowed` lets through; `None` where it lets none through.
    ///
    /// Sums run in `f64`, in the order of the sorted tokens, and equals are ordered by their number.
    pub fn draw(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> Option<u32> {
        let mut left: Vec<(f64, u32)> = (0u32..)
            .zip(logits)
            .filter(|(id, l)| !l.is_nan() && allowed(*id))
            .map(|(id, l)| (f64::from(*l), id))
            .collect();
        let best = left.iter().copied().reduce(|a, b| if b.0 > a.0 { b } else { a })?;
        if !(self.temperature > 0.0 && best.0.is_finite()) {
            return Some(best.1);
        }
        for (weight, _) in &mut left {
            *weight = ((*weight - best.0) / self.temperature).exp();
        }
        let total: f64 = left.iter().map(|(w, _)| w).sum();
        // Whatever is lighter than this is outside the nucleus even if all of it is as heavy, and need not be sorted.
        let light = total * (1.0 - self.top_p) / left.len() as f64;
        left.retain(|(w, _)| *w >= light);
        left.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut sum = 0.0;
        let kept = left.iter().position(|(w, _)| {
            sum += w;
            sum >= self.top_p * total
        });
        left.truncate(kept.map_or(left.len(), |at| at + 1));
        let mut rest = self.random.unit() * left.iter().map(|(w, _)| w).sum::<f64>();
        for &(weight, id) in &left {
            rest -= weight;
            if rest < 0.0 {
                return Some(id);
            }
        }
        left.last().map(|&(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(temperature: f64, top_p: f64, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(9, temperature, top_p);
        let mut counts = vec![0; logits.len()];
        (0..20_000).for_each(|_| counts[sampler.draw(logits, |_| true).unwrap() as usize] += 1);
        counts
    }

    #[test]
    fn frequencies_are_those_of_the_softmax() {
        // exp(0), exp(-1), exp(-2) over their sum: 0.665, 0.245, 0.090.
        let counts = counts(1.0, 1.0, &[0.0, -1.0, -2.0]);
        for (count, want) in counts.iter().zip([0.665, 0.245, 0.090]) {
            assert!((*count as f64 / 20_000.0 - want).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn temperature_flattens_and_zero_takes_the_first_best() {
        let counts = counts(2.0, 1.0, &[0.0, -1.0, -2.0]);
        assert!((counts[0] as f64 / 20_000.0 - 0.506).abs() < 0.015, "{counts:?}");
        let mut cold = Sampler::new(1, 0.0, 0.95);
        assert_eq!(cold.draw(&[1.0, 3.0, 3.0, 2.0], |_| true), Some(1));
        assert_eq!(cold.draw(&[1.0, 3.0, 3.0, 2.0], |id| id != 1 && id != 2), Some(3));
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_reach_its_share() {
        let counts = counts(1.0, 0.9, &[0.0, -1.0, -2.0, -9.0]);
        assert!(counts[0] > 0 && counts[1] > 0 && counts[2] == 0 && counts[3] == 0, "{counts:?}");
        assert_eq!(self::counts(1.0, 0.0, &[0.0, -0.1])[1], 0);
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let mut sampler = Sampler::new(1, 1.0, 1.0);
        assert_eq!(sampler.draw(&[], |_| true), None);
        assert_eq!(sampler.draw(&[1.0, 2.0], |_| false), None);
        assert_eq!(sampler.draw(&[f32::NAN, -1.0, f32::NEG_INFINITY], |_| true), Some(1));
        assert_eq!(sampler.draw(&[f32::NEG_INFINITY; 2], |_| true), Some(0));
        assert_eq!(sampler.draw(&[0.0, f32::INFINITY], |_| true), Some(1));
        assert!(Sampler::new(1, f64::NAN, f64::NAN).draw(&[0.0, 1.0], |_| true).is_some());
    }

    proptest! {
        #[test]
        fn leaving_out_the_light_ones_changes_no_nucleus(
            logits in proptest::collection::vec(-8f32..8f32, 1..40), seed: u64, top_p in 0.0f64..1.0,
        ) {
            let (mut short, mut long) = (Sampler::new(seed, 0.7, top_p), SplitMix64(seed));
            let mut all: Vec<(f64, u32)> = (0..).zip(&logits).map(|(i, l)| (f64::from(*l), i)).collect();
            let best = all.iter().map(|a| a.0).fold(f64::NEG_INFINITY, f64::max);
            all.iter_mut().for_each(|a| a.0 = ((a.0 - best) / 0.7).exp());
            let total: f64 = all.iter().map(|a| a.0).sum();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let (mut sum, mut nucleus) = (0.0, vec![]);
            for a in all {
                sum += a.0;
                nucleus.push(a);
                if sum >= top_p * total { break; }
            }
            let mut rest = long.unit() * nucleus.iter().map(|a| a.0).sum::<f64>();
            let want = nucleus.iter().find(|a| { rest -= a.0; rest < 0.0 }).unwrap_or(nucleus.last().unwrap()).1;
            prop_assert_eq!(short.draw(&logits, |_| true), Some(want));
        }
    }
}
