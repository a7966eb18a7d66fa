//! Limits that keep a formula small, and numbers finite.

/// Bytes of source text.
pub(super) const BYTES: usize = 2000;

/// Numbers, names, calls and operators in a formula; signs are free.
pub(super) const NODES: usize = 64;

/// Levels of the tree; signs are free.
pub(super) const DEPTH: usize = 16;

/// Brackets, powers and conditionals inside each other while a text is read.
pub(super) const NESTING: usize = 32;

/// Magnitudes that a written number may have, besides zero.
pub(super) const NUMBERS: std::ops::RangeInclusive<f64> = 1e-12..=1e12;

/// Whether a number may stand in a formula.
pub(super) fn writable(number: f64) -> bool {
    number == 0.0 || NUMBERS.contains(&number.abs())
}

/// Larger magnitudes count as this.
pub(super) const LARGEST: f64 = 1e30;

/// Smaller magnitudes count as zero.
pub(super) const SMALLEST: f64 = 1e-60;

/// The value that a result counts as: never NaN, never infinite, never minus zero.
#[inline(always)]
pub(super) fn limited(x: f64) -> f64 {
    // NaN fails the comparison, too; no defined operation makes one.
    if x.abs() >= SMALLEST { x.clamp(-LARGEST, LARGEST) } else { 0.0 }
}
