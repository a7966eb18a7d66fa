//! What each operation gives for single numbers: always a number, see [`limited`].

use super::function::Function;
use super::limits::limited;

/// Magnitudes below this are not told apart by logarithms.
const LOG_FLOOR: f64 = 1e-30;

/// The exponential is taken of at most this.
const EXP_LIMIT: f64 = 60.0;

/// Integer exponents up to this are taken by multiplication, which is several times faster.
const SMALL_EXPONENT: f64 = 16.0;

/// A function of one argument that looks at one layer only; other functions give their argument back.
pub(super) fn unary(function: Function, x: f64) -> f64 {
    limited(match function {
        Function::Abs => x.abs(),
        Function::Sqrt => x.abs().sqrt(),
        Function::Log => x.abs().max(LOG_FLOOR).ln(),
        Function::Log1p => x.abs().ln_1p().copysign(x),
        Function::Log2 => x.abs().max(LOG_FLOOR).log2(),
        Function::Exp => exp(x),
        Function::Square => x * x,
        Function::Tanh => tanh(x),
        Function::Sigmoid => 1.0 / (1.0 + exp(-x)),
        _ => x,
    })
}

fn exp(x: f64) -> f64 {
    x.clamp(-EXP_LIMIT, EXP_LIMIT).exp()
}

/// Below this magnitude the series is taken.
const SMALL_TANH: f64 = 0.25;

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

/// Half as dear as the C library's, and within a few of its last bits.
fn tanh(x: f64) -> f64 {
    let size = x.abs();
    if size < SMALL_TANH {
        let square = x * x;
        return x * TANH.iter().rev().fold(0.0, |sum, term| sum * square + term);
    }
    (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x)
}

/// `base ** exponent` of the base's magnitude, with the base's sign where the exponent is an odd integer.
/// Zero to a negative power is zero; anything to the power of zero is one.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    if base == 0.0 && exponent < 0.0 {
        return 0.0;
    }
    let size = base.abs();
    let raised = if exponent.abs() <= SMALL_EXPONENT && exponent.fract() == 0.0 {
        size.powi(exponent as i32)
    } else {
        size.powf(exponent)
    };
    limited(if base < 0.0 && is_odd(exponent) { -raised } else { raised })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_that_of_the_c_library() {
        for i in -4000..4000 {
            for x in [f64::from(i) * 1e-2, f64::from(i) * 1e-4, f64::from(i) * 1e-9] {
                assert!((tanh(x) - x.tanh()).abs() <= 1e-15 * x.tanh().abs(), "{x}: {} {}", tanh(x), x.tanh());
            }
        }
        assert_eq!((tanh(0.0), tanh(1e30), tanh(-1e30)), (0.0, 1.0, -1.0));
    }
}
