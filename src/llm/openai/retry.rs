//! How long to wait before asking a server again.

use crate::random::SplitMix64;
use std::time::Duration;

/// Longest wait that a server can demand.
const LONGEST_DEMAND: Duration = Duration::from_secs(60);

/// Longest wait of the backoff itself.
const LONGEST: Duration = Duration::from_secs(30);

/// How often and how slowly a question is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Repetitions after the first try.
    pub count: u32,
    /// First wait; each next one is twice as long, up to 30 seconds.
    pub first: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { count: 4, first: Duration::from_millis(500) }
    }
}

impl Retry {
    /// The wait before repetition `attempt`, counted from 0: exponential, with a jitter of up to a half that depends
    /// on `seed` alone, so that runs started together part and one run repeats itself. A server's own demand counts
    /// instead, up to a minute.
    pub(super) fn wait(&self, attempt: u32, seed: u64, demand: Option<Duration>) -> Duration {
        if let Some(demand) = demand {
            return demand.min(LONGEST_DEMAND);
        }
        let exact = self.first.saturating_mul(2u32.saturating_pow(attempt)).min(LONGEST);
        let jitter = SplitMix64(seed ^ u64::from(attempt).wrapping_mul(0x9E37_79B9)).unit();
        exact.mul_f64(1.0 - jitter / 2.0)
    }
}

/// Seconds of a Retry-After header. Its other form, a date, would need a clock and is passed over.
pub(super) fn demand(header: Option<&str>) -> Option<Duration> {
    let seconds: f64 = header?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)))
}

/// Whether a status is one that may pass by itself.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500 | 502 | 503 | 504 | 529)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_jitter_and_repeat_themselves() {
        let retry = Retry::default();
        for seed in 0..50 {
            for attempt in 0..10 {
                let exact = Duration::from_millis(500 << attempt).min(LONGEST);
                let wait = retry.wait(attempt, seed, None);
                assert!(wait <= exact && wait >= exact / 2, "{attempt}: {wait:?}");
                assert_eq!(wait, retry.wait(attempt, seed, None));
            }
        }
        assert_ne!(retry.wait(0, 1, None), retry.wait(0, 2, None));
        assert!(retry.wait(u32::MAX, 1, None) <= LONGEST);
    }

    #[test]
    fn a_servers_demand_counts_up_to_a_minute() {
        let of = |header| demand(Some(header)).map(|d| Retry::default().wait(3, 1, Some(d)));
        assert_eq!(of("2"), Some(Duration::from_secs(2)));
        assert_eq!(of(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(of("86400"), Some(Duration::from_secs(60)));
        assert_eq!(of("1e300"), Some(Duration::from_secs(60)));
        for other in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "NaN", "inf", ""] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(demand(None), None);
    }
}
