//! Activation ranges from few samples.
//!
//! Sixteen samples do not show the extremes of the next one, and the greatest value seen need not be worth
//! its share of the grid. Both are one question: which range has the least expected squared error on a
//! sample that was not seen? The unseen sample is modelled as one of those seen, louder or softer: its
//! amplitude is multiplied by a log-normal gain of width [`GAIN_WIDTH`], integrated by three-point
//! Gauss-Hermite quadrature. Rounding and clipping errors of every candidate range follow from the samples'
//! histograms alone, so no further run of the network is needed.

use super::{Affine, round_half_even_f64};
use crate::stats::TensorStats;

/// Standard deviation of the logarithm of an unseen sample's amplitude against a seen one's.
pub const GAIN_WIDTH: f64 = 0.15;
/// Candidate ends of the range, as factors of the extremes seen: 0.3, 0.34, .. 1.98.
const FACTORS: usize = 43;
/// Bins of the pooled histogram.
const BINS: usize = 2048;
/// Scales at which the rounding error is measured when both ends are free; between them it is interpolated.
const STEPS: usize = 80;

/// Bounds that hold for every input, where they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// No value is less.
    pub lo: Option<f32>,
    /// No value is greater.
    pub hi: Option<f32>,
    /// Whether values reach both bounds, so that the range needs no estimate.
    pub attained: bool,
}

impl Bound {
    /// Bounds of values that obey either.
    #[must_use]
    pub fn hull(self, other: Bound) -> Bound {
        let both = |a: Option<f32>, b: Option<f32>, f: fn(f32, f32) -> f32| a.zip(b).map(|(a, b)| f(a, b));
        Bound {
            lo: both(self.lo, other.lo, f32::min),
            hi: both(self.hi, other.hi, f32::max),
            attained: self.attained && other.attained,
        }
    }

    fn clamp(&self, value: f64) -> f64 {
        let value = self.lo.map_or(value, |lo| value.max(f64::from(lo)));
        self.hi.map_or(value, |hi| value.min(f64::from(hi)))
    }
}

/// How the range of an activation is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeRule {
    /// The range of least expected error on an unseen sample; it may clip what is rare.
    #[default]
    LeastError,
    /// Everything that was seen: where rare values are what a network is there for, as the scores of a detector are.
    Extremes,
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

/// Chooses a range from per-sample statistics; a sample may hold several tensors that share a scale.
///
/// `below_zero` is the share of an error below zero that arrives at what reads the value: the slope of a LeakyRelu, or 1.
/// `to_affine` is the target's step from a range to scale and zero point.
pub fn choose_range(
    samples: &[Vec<&TensorStats>],
    bound: Bound,
    rule: RangeRule,
    symmetric: bool,
    below_zero: f64,
    to_affine: &dyn Fn(f32, f32) -> Affine,
) -> ChosenRange {
    if let (Some(lo), Some(hi), true) = (bound.lo, bound.hi, bound.attained) {
        return ChosenRange { lo, hi, because: "bounds that preprocessing implies".to_owned() };
    }
    let all = || samples.iter().flatten();
    let seen_lo = all().fold(0f32, |m, s| m.min(s.min));
    let seen_hi = all().fold(0f32, |m, s| m.max(s.max));
    if rule == RangeRule::Extremes {
        return ChosenRange {
            lo: seen_lo,
            hi: seen_hi,
            because: "extremes seen, since the output is better for it".to_owned(),
        };
    }
    let Some(points) = Points::pool(samples, bound, below_zero) else {
        return ChosenRange { lo: seen_lo, hi: seen_hi, because: "all zero".to_owned() };
    };
    let free = Free { points: &points, bound, seen: (seen_lo, seen_hi), to_affine };
    let (lo, hi) = match symmetric || seen_lo == 0.0 || seen_hi == 0.0 {
        true => free.one_end(symmetric),
        false => free.two_ends(),
    };
    // An end at 0 stays there and says nothing.
    let ends = [(hi, seen_hi), (lo, seen_lo)].into_iter().filter(|(_, seen)| *seen != 0.0);
    let factor = ends.map(|(chosen, seen)| chosen / seen).reduce(f32::max).unwrap_or(1.0);
    let place = if below_zero < 1.0 { " behind the activation" } else { "" };
    ChosenRange { lo, hi, because: format!("least expected error{place} on an unseen sample; {factor:.2} x seen") }
}

/// What is known of the values of an unseen sample: positions and weights, ascending.
struct Points {
    at: Vec<f64>,
    weight: Vec<f64>,
}

impl Points {
    /// Pools the samples' histograms under the gain model; `None` if every element is zero.
    fn pool(samples: &[Vec<&TensorStats>], bound: Bound, below_zero: f64) -> Option<Points> {
        let spread = 3f64.sqrt() * GAIN_WIDTH;
        let gains = [((-spread).exp(), 1.0 / 6.0), (1.0, 2.0 / 3.0), (spread.exp(), 1.0 / 6.0)];
        let all = || samples.iter().flatten();
        let reach = |v: f32| bound.clamp(f64::from(v) * gains[2].0);
        let lo = all().map(|s| reach(s.min)).fold(0.0, f64::min);
        let hi = all().map(|s| reach(s.max)).fold(0.0, f64::max);
        let width = (hi - lo) / BINS as f64;
        if width <= 0.0 || width.is_nan() {
            return None;
        }
        let mut mass = vec![(0.0, 0.0); BINS];
        for (centre, count) in all().flat_map(|s| s.histogram.bins()) {
            for (gain, share) in gains {
                let at = bound.clamp(centre * gain);
                let bin = (((at - lo) / width) as usize).min(BINS - 1);
                let weight = f64::from(count) * share;
                mass[bin] = (mass[bin].0 + weight, mass[bin].1 + weight * at);
            }
        }
        mass.retain(|(weight, _)| *weight > 0.0);
        let point = |(weight, sum): (f64, f64)| {
            let at = sum / weight;
            (if at < 0.0 { weight * below_zero * below_zero } else { weight }, at)
        };
        let (weight, at) = mass.into_iter().map(point).unzip();
        Some(Points { at, weight })
    }

    /// Weighted squared error over a part of the points.
    fn sum(&self, part: std::ops::Range<usize>, error: impl Fn(f64) -> f64) -> f64 {
        let points = self.at[part.clone()].iter().zip(&self.weight[part]);
        points.map(|(x, w)| w * error(*x).powi(2)).sum()
    }

    fn rounding(&self, scale: f64) -> f64 {
        let inverse = 1.0 / scale;
        self.sum(0..self.at.len(), |x| round_half_even_f64(x * inverse) * scale - x)
    }

    fn above(&self, hi: f64) -> f64 {
        self.sum(self.at.partition_point(|x| *x <= hi)..self.at.len(), |x| x - hi)
    }

    fn below(&self, lo: f64) -> f64 {
        self.sum(0..self.at.partition_point(|x| *x < lo), |x| lo - x)
    }
}

/// The search over candidate ranges.
struct Free<'a> {
    points: &'a Points,
    bound: Bound,
    seen: (f32, f32),
    to_affine: &'a dyn Fn(f32, f32) -> Affine,
}

impl Free<'_> {
    fn factors() -> impl Iterator<Item = f32> {
        (0..FACTORS).map(|i| 0.3 + 0.04 * i as f32)
    }

    /// An end of the range, never past the known bound.
    fn end(&self, seen: f32, factor: f32) -> f32 {
        self.bound.clamp(f64::from(seen * factor)) as f32
    }

    /// One free number: the magnitude of a symmetric range, or the far end of a one-sided one.
    fn one_end(&self, symmetric: bool) -> (f32, f32) {
        let (lo, hi) = self.seen;
        let magnitude = hi.max(-lo);
        let one_sided = lo == 0.0 || hi == 0.0;
        let candidate = |factor: f32| match symmetric && !one_sided {
            true => (-magnitude * factor, magnitude * factor),
            false => (self.end(lo, factor), self.end(hi, factor)),
        };
        let mut measured: Vec<(f32, f64)> = vec![];
        let mut error = |(lo, hi): (f32, f32)| {
            let affine = (self.to_affine)(lo, hi);
            let (least, greatest) = affine.range();
            let known = measured.iter().find(|(scale, _)| *scale == affine.scale).map(|(_, e)| *e);
            let rounding = known.unwrap_or_else(|| self.points.rounding(f64::from(affine.scale)));
            measured.push((affine.scale, rounding));
            rounding + self.points.above(f64::from(greatest)) + self.points.below(f64::from(least))
        };
        least(Self::factors().map(candidate).map(|range| (error(range), range))).unwrap_or(self.seen)
    }

    /// Two free ends: clipping costs add up, and rounding depends on the width alone.
    fn two_ends(&self) -> (f32, f32) {
        let (lo, hi) = self.seen;
        let lows: Vec<f32> = Self::factors().map(|f| self.end(lo, f)).collect();
        let highs: Vec<f32> = Self::factors().map(|f| self.end(hi, f)).collect();
        let below: Vec<f64> = lows.iter().map(|l| self.points.below(f64::from(*l))).collect();
        let above: Vec<f64> = highs.iter().map(|h| self.points.above(f64::from(*h))).collect();
        let scale = |lo: f32, hi: f32| f64::from((self.to_affine)(lo, hi).scale);
        let rounding =
            Rounding::new(self.points, scale(lows[0], highs[0]), scale(lows[FACTORS - 1], highs[FACTORS - 1]));
        let pairs = (0..FACTORS).flat_map(|i| (0..FACTORS).map(move |j| (i, j)));
        let error = |(i, j): (usize, usize)| {
            let width = scale(lows[i], highs[j]);
            (rounding.at(width) + below[i] + above[j], (lows[i], highs[j]))
        };
        least(pairs.map(error)).unwrap_or(self.seen)
    }
}

/// The first range of least error.
fn least(candidates: impl Iterator<Item = (f64, (f32, f32))>) -> Option<(f32, f32)> {
    candidates.reduce(|best, next| if next.0 < best.0 { next } else { best }).map(|(_, range)| range)
}

/// Rounding error over scale, measured on a geometric grid.
struct Rounding {
    first: f64,
    ratio: f64,
    errors: Vec<f64>,
}

impl Rounding {
    fn new(points: &Points, first: f64, last: f64) -> Self {
        let ratio = (last / first).max(1.0).powf(1.0 / (STEPS - 1) as f64);
        let errors = (0..STEPS).map(|i| points.rounding(first * ratio.powi(i as i32))).collect();
        Rounding { first, ratio, errors }
    }

    fn at(&self, scale: f64) -> f64 {
        if self.ratio <= 1.0 {
            return self.errors[0];
        }
        let position = ((scale / self.first).ln() / self.ratio.ln()).clamp(0.0, (STEPS - 1) as f64);
        let (below, share) = (position as usize, position.fract());
        let above = (below + 1).min(STEPS - 1);
        self.errors[below] * (1.0 - share) + self.errors[above] * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{IntFormat, affine_for_range};
    use crate::stats::{Cpu, Request};

    fn stats(values: &[f32]) -> TensorStats {
        Cpu.tensor(&[values.len()], values, &Request::default())
    }

    fn choose(samples: &[Vec<f32>], bound: Bound, symmetric: bool) -> ChosenRange {
        let stats: Vec<TensorStats> = samples.iter().map(|s| stats(s)).collect();
        let format = if symmetric { IntFormat::signed(8) } else { IntFormat::unsigned(8) };
        let to_affine = |lo: f32, hi: f32| affine_for_range(lo, hi, format, symmetric, false);
        choose_range(
            &stats.iter().map(|s| vec![s]).collect::<Vec<_>>(),
            bound,
            RangeRule::LeastError,
            symmetric,
            1.0,
            &to_affine,
        )
    }

    #[test]
    fn what_a_leaky_activation_makes_small_gets_less_of_the_grid() {
        let mut values: Vec<f32> = ramp(0.0, 1.0).repeat(100);
        values.extend(ramp(-100.0, 0.0));
        let stats = stats(&values);
        let to_affine = |lo: f32, hi: f32| affine_for_range(lo, hi, IntFormat::unsigned(8), false, false);
        let choose =
            |slope| choose_range(&[vec![&stats]], Bound::default(), RangeRule::LeastError, false, slope, &to_affine);
        let (plain, leaky) = (choose(1.0), choose(0.01));
        assert!(plain.lo < -70.0 && leaky.lo > -50.0, "{plain:?} {leaky:?}");
        assert!(leaky.because.contains("behind the activation"), "{leaky:?}");
    }

    /// Evenly spread values in `lo..hi`.
    fn ramp(lo: f32, hi: f32) -> Vec<f32> {
        (0..1000).map(|i| lo + (hi - lo) * i as f32 / 999.0).collect()
    }

    #[test]
    fn leaves_room_above_what_was_seen() {
        let range = choose(&[ramp(0.0, 4.0), ramp(0.0, 5.0)], Bound { lo: Some(0.0), ..Bound::default() }, false);
        assert_eq!(range.lo, 0.0);
        assert!((5.0..7.0).contains(&range.hi), "{range:?}");
    }

    #[test]
    fn says_how_much_it_clips_where_one_end_is_zero() {
        let mut values: Vec<f32> = ramp(0.0, 1.0).repeat(1000);
        values.push(60.0);
        let range = choose(&[values], Bound { lo: Some(0.0), ..Bound::default() }, false);
        let factor: f32 = range.because.rsplit("; ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(range.hi < 40.0 && (factor - range.hi / 60.0).abs() < 0.01, "{range:?}");
    }

    #[test]
    fn one_outlier_among_many_values_is_clipped() {
        let mut values: Vec<f32> = ramp(-1.0, 1.0).repeat(1000);
        values.push(60.0);
        let range = choose(&[values], Bound::default(), true);
        assert!(range.hi < 40.0 && range.lo == -range.hi, "{range:?}");
    }

    #[test]
    fn extremes_are_kept_where_they_are_asked_for() {
        let mut values: Vec<f32> = ramp(-1.0, 1.0).repeat(1000);
        values.push(60.0);
        let stats = stats(&values);
        let to_affine = |lo: f32, hi: f32| affine_for_range(lo, hi, IntFormat::signed(8), true, false);
        let range = choose_range(&[vec![&stats]], Bound::default(), RangeRule::Extremes, true, 1.0, &to_affine);
        assert_eq!((range.lo, range.hi), (-1.0, 60.0));
    }

    #[test]
    fn never_reaches_past_a_known_bound() {
        let range = choose(&[ramp(0.0, 6.0)], Bound { lo: Some(0.0), hi: Some(6.0), attained: false }, false);
        assert!(range.lo == 0.0 && range.hi <= 6.0, "{range:?}");
    }

    #[test]
    fn attained_bounds_and_zeros_need_no_estimate() {
        let bound = Bound { lo: Some(-2.0), hi: Some(3.0), attained: true };
        let range = choose(&[ramp(0.0, 1.0)], bound, false);
        assert_eq!((range.lo, range.hi), (-2.0, 3.0));
        assert_eq!(
            (choose(&[vec![0.0; 9]], Bound::default(), false).lo, choose(&[], Bound::default(), true).hi),
            (0.0, 0.0)
        );
    }

    #[test]
    fn two_sided_ranges_cover_both_sides() {
        let range = choose(&[ramp(-1.0, 9.0)], Bound::default(), false);
        assert!(range.lo <= -1.0 && range.hi >= 9.0 && range.hi < 14.0, "{range:?}");
    }
}
