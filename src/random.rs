//! A small generator of random numbers.

/// SplitMix64 (Steele, Lea, Flood 2014): a small generator whose numbers never change with a library's version.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// A generator for one place of a computation: equal `parts` of equal seeds give equal numbers,
    /// however many were drawn elsewhere.
    pub fn at(seed: u64, parts: &[u64]) -> Self {
        let fold = |state: u64, part: &u64| SplitMix64(state ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93)).next();
        SplitMix64(parts.iter().fold(SplitMix64(seed).next(), fold))
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait, reason = "it never ends, and an iterator's `next` may")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number in `[0, 1)`, a multiple of 2^-24.
    pub(crate) fn unit_f32(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_never_changes() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn places_are_independent_and_repeatable() {
        let number = |parts: &[u64]| SplitMix64::at(7, parts).next();
        assert_eq!(number(&[1, 2]), number(&[1, 2]));
        assert_ne!(number(&[1, 2]), number(&[2, 1]));
        assert_ne!(number(&[1]), number(&[1, 0]));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut random = SplitMix64(3);
        assert!((0..1000).all(|_| random.below(7) < 7 && (0.0..1.0).contains(&random.unit())));
        assert_eq!(random.below(0), 0);
    }
}
