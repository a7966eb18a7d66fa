//! What each operation gives for single numbers: always a number, see [`limited`].

use super::function::Function;
use super::limits::limited;
use crate::elementary;
use crate::wide::wide;

/// Magnitudes below this are not told apart by logarithms.
const LOG_FLOOR: f64 = 1e-30;

/// The exponential is taken of at most this.
const EXP_LIMIT: f64 = 60.0;

/// A function of one argument that looks at one layer only; other functions leave their argument.
pub(super) fn unary(function: Function, x: f64) -> f64 {
    let mut value = [x];
    unary_each(function, &mut value);
    value[0]
}

/// [`unary`] of each number.
pub(super) fn unary_each(function: Function, values: &mut [f64]) {
    match function {
        Function::Abs => each(values, f64::abs),
        Function::Sqrt => each(values, |x| x.abs().sqrt()),
        Function::Log => each(values, |x| elementary::ln(x.abs().max(LOG_FLOOR))),
        Function::Log1p => each(values, |x| elementary::ln_1p(x.abs()).copysign(x)),
        Function::Log2 => each(values, |x| elementary::log2(x.abs().max(LOG_FLOOR))),
        Function::Exp => each(values, exp),
        Function::Square => each(values, |x| x * x),
        Function::Tanh => each(values, elementary::tanh),
        Function::Sigmoid => each(values, |x| 1.0 / (1.0 + exp(-x))),
        _ => each(values, |x| x),
    }
}

#[inline(always)]
fn each(values: &mut [f64], f: impl Fn(f64) -> f64) {
    wide(
        #[inline(always)]
        || {
            for x in values {
                *x = limited(f(*x));
            }
        },
    );
}

#[inline(always)]
fn exp(x: f64) -> f64 {
    elementary::exp(x.clamp(-EXP_LIMIT, EXP_LIMIT))
}

/// `base ** exponent` of the base's magnitude, with the base's sign where the exponent is an odd integer.
/// Zero to a negative power is zero; anything to the power of zero is one.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    let mut value = [base];
    powers(&mut value, &[exponent]);
    value[0]
}

/// [`power`] of each base.
pub(super) fn powers(bases: &mut [f64], exponents: &[f64]) {
    let signs: Vec<bool> = bases.iter().zip(exponents).map(|(b, e)| *b < 0.0 && is_odd(*e)).collect();
    let nothing: Vec<bool> = bases.iter().zip(exponents).map(|(b, e)| *b == 0.0 && *e < 0.0).collect();
    bases.iter_mut().for_each(|base| *base = base.abs());
    elementary::powers(bases, exponents);
    for ((raised, negative), nothing) in bases.iter_mut().zip(signs).zip(nothing) {
        let signed = if negative { -*raised } else { *raised };
        *raised = if nothing { 0.0 } else { limited(signed) };
    }
}

/// Whether a number is an odd integer.
pub(super) fn is_odd(x: f64) -> bool {
    x.fract() == 0.0 && (x % 2.0).abs() == 1.0
}

/// `min(max(x, lo), hi)`.
pub(super) fn clip(x: f64, lo: f64, hi: f64) -> f64 {
    x.max(lo).min(hi)
}

/// A sum that does not depend on the order of its terms but in its last bit: Knuth's two-sum, with what each addition
/// loses added up beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    pub fn add(&mut self, x: f64) {
        let sum = self.high + x;
        let part = sum - self.high;
        self.low += (self.high - (sum - part)) + (x - part);
        self.high = sum;
    }

    pub fn value(self) -> f64 {
        self.over(1.0)
    }

    /// The sum divided by `count`, which is limited after the division only.
    pub fn over(self, count: f64) -> f64 {
        limited((self.high + self.low) / count)
    }
}

/// A product whose partial results are not limited, with its exponent counted beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    part: f64,
    /// In units of 500 binary places.
    scale: i32,
}

/// 2 to the power of 500.
const SCALE: f64 = f64::from_bits((1023 + 500) << 52);

impl Default for Product {
    fn default() -> Self {
        Product { part: 1.0, scale: 0 }
    }
}

impl Product {
    pub fn multiply(&mut self, x: f64) {
        self.part *= x;
        self.rescale();
    }

    /// Anything over zero is zero.
    pub fn divide(&mut self, x: f64) {
        self.part = if x == 0.0 { 0.0 } else { self.part / x };
        self.rescale();
    }

    fn rescale(&mut self) {
        let size = self.part.abs();
        if size > SCALE {
            (self.part, self.scale) = (self.part / SCALE, self.scale + 1);
        } else if size < 1.0 / SCALE && size > 0.0 {
            (self.part, self.scale) = (self.part * SCALE, self.scale - 1);
        }
    }

    pub fn value(self) -> f64 {
        limited(match self.scale {
            0 => self.part,
            1 => self.part * SCALE,
            -1 => self.part / SCALE,
            2.. => self.part.signum() * f64::INFINITY,
            ..=-2 => 0.0,
        })
    }
}
