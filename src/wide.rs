//! Loops compiled for the vectors that a processor has: its baseline knows four floats at a time, most have eight or
//! sixteen.
//!
//! A loop gives the same bits whatever runs it: no product is fused with a sum, and the order of sums is the source's.

use fearless_simd::{Level, Simd, dispatch};

/// Runs a loop with the widest vectors of this machine; what it calls must be inlined into it.
#[inline(always)]
pub fn wide<R>(run: impl FnOnce() -> R) -> R {
    dispatch!(Level::new(), simd => simd.vectorize(run))
}
