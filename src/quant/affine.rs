//! Scale and zero point of one tensor, and the step from a range to them.

use super::{IntFormat, round_half_even};

/// Per-tensor quantization: scale and zero point on an integer grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Step between neighbouring values; positive and finite.
    pub scale: f32,
    /// The integer that means 0.0.
    pub zero_point: i32,
    /// The grid.
    pub format: IntFormat,
}

impl Affine {
    /// The integer that stores `x`; NaN becomes the zero point.
    pub fn quantize(&self, x: f32) -> i32 {
        let steps = round_half_even(x / self.scale);
        let clamped = (f64::from(steps) + f64::from(self.zero_point))
            .clamp(f64::from(self.format.min()), f64::from(self.format.max()));
        if clamped.is_nan() { self.zero_point } else { clamped as i32 }
    }

    /// The value that `q` means.
    pub fn dequantize(&self, q: i32) -> f32 {
        (q - self.zero_point) as f32 * self.scale
    }

    /// Least and greatest value that can be represented.
    pub fn range(&self) -> (f32, f32) {
        (self.dequantize(self.format.min()), self.dequantize(self.format.max()))
    }

    /// The grid of `bits` that holds every value of this one exactly: its step is smaller by a power of two.
    ///
    /// A grid that already has as many bits is returned as it is.
    pub fn refined(&self, bits: u32) -> Affine {
        let finer = bits.saturating_sub(self.format.bits);
        Affine {
            scale: self.scale / (finer as f32).exp2(),
            zero_point: self.zero_point << finer,
            format: IntFormat { bits: self.format.bits + finer, narrow: false, ..self.format },
        }
    }
}

/// The scale and zero point that cover `lo..=hi`, both finite; the range is widened to hold 0.
///
/// A range that starts (ends) at exactly 0 keeps its zero point at the grid's end and never reaches past
/// `hi` (`lo`), so that runtimes can drop a Relu or Clip that the range already implies.
pub fn affine_for_range(lo: f32, hi: f32, format: IntFormat, symmetric: bool, power_of_two: bool) -> Affine {
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let affine = match symmetric {
        true => symmetric_affine(lo.abs().max(hi), format, power_of_two),
        false => asymmetric_affine(lo, hi, format, power_of_two),
    };
    debug_assert!(affine.scale > 0.0 && affine.scale.is_finite());
    affine
}

fn symmetric_affine(magnitude: f32, format: IntFormat, power_of_two: bool) -> Affine {
    let steps = format.max().max(-format.min()).min(format.max().max(1)) as f32;
    let zero_point = if format.signed { 0 } else { (format.max() + 1) / 2 };
    let steps = if format.signed { steps } else { (format.max() - zero_point).max(1) as f32 };
    Affine { scale: usable(magnitude / steps, power_of_two), zero_point, format }
}

fn asymmetric_affine(lo: f32, hi: f32, format: IntFormat, power_of_two: bool) -> Affine {
    let (min, max) = (format.min() as f32, format.max() as f32);
    let mut scale = usable(((f64::from(hi) - f64::from(lo)) / f64::from(max - min)) as f32, power_of_two);
    let width = hi - lo;
    let one_sided = (lo == 0.0) != (hi == 0.0);
    // Rounding of the quotient is at most one unit in the last place, of the product another.
    for _ in 0..2 {
        if !power_of_two && one_sided && scale * (max - min) > width && scale > f32::MIN_POSITIVE {
            scale = scale.next_down();
        }
    }
    let zero_point = (min - lo / scale).round_ties_even().clamp(min, max) as i32;
    Affine { scale, zero_point, format }
}

/// A positive normal scale; all-zero tensors get 1, so that they stay exact.
fn usable(scale: f32, power_of_two: bool) -> f32 {
    let scale = match scale {
        0.0 => 1.0,
        s if s.is_finite() => s.max(f32::MIN_POSITIVE),
        _ => f32::MAX / 65536.0,
    };
    match power_of_two {
        true => scale.log2().ceil().clamp(-126.0, 127.0).exp2(),
        false => scale,
    }
}
