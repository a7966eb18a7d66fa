//! Exponential, logarithm and powers in additions, multiplications and divisions alone.
//!
//! A C library rounds these as it likes, and another version of it in another way; here the same number gives the same
//! bits on every machine. Nothing branches, so that a loop over numbers is compiled for [vectors](crate::wide).

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// Added to a number below 2^51, leaves the nearest integer in its low bits: 1.5 * 2^52.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// ln 2 without its last 20 bits, so that integers below 2^20 times this are exact, and what that lacks.
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0xF_FFFF);
const LN_2_LOW: f64 = 7.440_617_110_012_397e-11;

const MANTISSA: u64 = (1 << 52) - 1;
const ONE: u64 = 1.0f64.to_bits();

/// 1 / n! from n = 0: the remainder is at most ln(2) / 2, where the next term is below 1e-17.
const EXP: [f64; 14] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// `exp(x)`, within 1e-15 of it relatively. Below -700 as at -700, above 700 as at 700.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let shifted = x * LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let part = horner(rest, &EXP);
    // 2 to the power of `whole`: its low bits, moved to the exponent.
    part * f64::from_bits((shifted.to_bits() << 52).wrapping_add(ONE))
}

/// Twice 1 / (2 n + 1) from n = 1: of the series of ln((1 + s) / (1 - s)) in s * s. |s| is at most 0.172, where the
/// next term is below 1e-18.
const LN: [f64; 10] = [2. / 3., 2. / 5., 2. / 7., 2. / 9., 2. / 11., 2. / 13., 2. / 15., 2. / 17., 2. / 19., 2. / 21.];

/// The exponent of a positive normal number, and the natural logarithm of what is left, which is from 1/sqrt(2) to
/// sqrt(2).
#[inline(always)]
fn parts(x: f64) -> (f64, f64) {
    const LEAST: u64 = (SQRT_2 / 2.0).to_bits();
    let moved = x.to_bits().wrapping_add(ONE - LEAST);
    // An integer below 2^52 in the low bits of 2^52 is a number above it.
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    let exponent = f64::from_bits(TWO_52.to_bits() | (moved >> 52)) - (TWO_52 + 1023.0);
    let rest = f64::from_bits((moved & MANTISSA) + LEAST) - 1.0;
    let s = rest / (2.0 + rest);
    let square = s * s;
    // 2 s is `rest` less s times it, exactly; so that only the small terms are rounded.
    let half = 0.5 * rest * rest;
    let series = square * horner(square, &LN);
    (exponent, rest - (half - s * (half + series)))
}

/// `ln(x)` of a positive normal number, within 1e-15 of it relatively. Any other number gives some number or infinity.
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    let (exponent, rest) = parts(x);
    exponent * LN_2_HIGH + (rest + exponent * LN_2_LOW)
}

/// `log2(x)` of a positive normal number, exact for powers of two. Any other number gives some number or infinity.
#[inline(always)]
pub fn log2(x: f64) -> f64 {
    let (exponent, rest) = parts(x);
    exponent + rest * LOG2_E
}

/// `ln(1 + x)` of a number that is not negative.
#[inline(always)]
pub fn ln_1p(x: f64) -> f64 {
    let whole = 1.0 + x;
    let kept = whole - 1.0;
    // What the sum lost of a small number is given back in proportion.
    if kept == 0.0 { x } else { ln(whole) * (x / kept) }
}

/// Below this magnitude the series of tanh is taken.
const SMALL: f64 = 0.25;

/// Terms of the Taylor series of `tanh(x) / x` in `x * x`.
const TANH: [f64; 10] = [
    1.0,
    -1.0 / 3.0,
    2.0 / 15.0,
    -17.0 / 315.0,
    62.0 / 2835.0,
    -1382.0 / 155_925.0,
    21_844.0 / 6_081_075.0,
    -929_569.0 / 638_512_875.0,
    6_404_582.0 / 10_854_718_875.0,
    -443_861_162.0 / 1_856_156_927_625.0,
];

/// `tanh(x)`, within 1e-15 of it relatively.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let size = x.abs();
    let small = size * horner(size * size, &TANH);
    let large = 1.0 - 2.0 / (exp(2.0 * size.min(30.0)) + 1.0);
    (if size < SMALL { small } else { large }).copysign(x)
}

/// Exponents whose quadruple is an integer, up to this, are taken by multiplication and square roots.
const QUARTERS: f64 = 16.0;

/// `size ** exponent` of a number that is zero or positive and normal. Zero to a negative power is infinity, anything to
/// the power of zero is one.
///
/// Within 1e-15 relatively where the exponent is an integer, a half or a quarter, up to 16; within 1e-16 times the
/// logarithm of the result where not. At most about 1e304, and zero where it would be below 1e-304.
pub fn power(size: f64, exponent: f64) -> f64 {
    let mut value = [size];
    powers(&mut value, &[exponent]);
    value[0]
}

/// [`power`] of each number.
pub fn powers(sizes: &mut [f64], exponents: &[f64]) {
    crate::wide::wide(
        #[inline(always)]
        || {
            for (size, exponent) in sizes.iter_mut().zip(exponents) {
                *size = if quarters(*exponent) { *size } else { general(*size, *exponent) };
            }
        },
    );
    for (size, exponent) in sizes.iter_mut().zip(exponents).filter(|(_, e)| quarters(**e)) {
        *size = rooted(*size, *exponent);
    }
}

#[inline(always)]
fn quarters(exponent: f64) -> bool {
    let four = exponent * 4.0;
    exponent.abs() <= QUARTERS && (four + ROUNDER) - ROUNDER == four
}

#[inline(always)]
fn general(size: f64, exponent: f64) -> f64 {
    let raised = exp(exponent * ln(size));
    let (zero, small) = (if exponent < 0.0 { f64::INFINITY } else { 0.0 }, raised < 1e-304);
    if size == 0.0 {
        zero
    } else if small {
        0.0
    } else {
        raised
    }
}

fn rooted(size: f64, exponent: f64) -> f64 {
    let quarters = (exponent.abs() * 4.0) as u32;
    let root = size.sqrt();
    let part = match quarters % 4 {
        0 => 1.0,
        1 => root.sqrt(),
        2 => root,
        _ => root * root.sqrt(),
    };
    let (mut whole, mut square, mut left) = (1.0, size, quarters / 4);
    while left > 0 {
        whole *= if left % 2 == 1 { square } else { 1.0 };
        square *= square;
        left /= 2;
    }
    if exponent < 0.0 { 1.0 / (whole * part) } else { whole * part }
}

#[inline(always)]
fn horner<const N: usize>(x: f64, terms: &[f64; N]) -> f64 {
    terms.iter().rev().fold(0.0, |sum, term| sum * x + term)
}

#[cfg(test)]
mod tests;
