//! Tensors that kernels find hard.

use crate::random::SplitMix64;

/// Kinds of elements.
pub(super) const KINDS: [Kind; 8] =
    [Kind::Plain, Kind::Relu, Kind::Huge, Kind::Tiny, Kind::Mixed, Kind::Constant, Kind::Zero, Kind::Broken];

/// What elements are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// About 1, of both signs.
    Plain,
    /// Half of them zero, some of them negative zero.
    Relu,
    /// Their squares overflow f32.
    Huge,
    /// Their squares underflow f32; some are subnormal.
    Tiny,
    /// Of every magnitude that f32 has.
    Mixed,
    /// All equal.
    Constant,
    /// All zero.
    Zero,
    /// Some NaN, some infinite.
    Broken,
}

/// Elements of a kind.
pub(super) fn elements(kind: Kind, n: usize, random: &mut SplitMix64) -> Vec<f32> {
    let mut unit = |_| (random.unit() * 2.0 - 1.0) as f32;
    let plain: Vec<f32> = (0..n).map(&mut unit).collect();
    let each = |f: &dyn Fn(usize, f32) -> f32| plain.iter().enumerate().map(|(i, v)| f(i, *v)).collect();
    match kind {
        Kind::Plain => each(&|_, v| 3.0 * v + 0.25),
        Kind::Relu => each(&|i, v| if i % 7 == 3 { -0.0 } else { v.max(0.0) * 6.0 }),
        Kind::Huge => each(&|_, v| v * 3e38),
        Kind::Tiny => each(&|i, v| v * if i % 5 == 0 { 1e-41 } else { 1e-32 }),
        Kind::Mixed => each(&|i, v| v * 10f32.powi((i * 7919 % 70) as i32 - 35)),
        Kind::Constant => vec![0.7; n],
        Kind::Zero => vec![0.0; n],
        Kind::Broken => each(&|i, v| match i % 11 {
            4 => f32::NAN,
            7 => f32::INFINITY.copysign(v),
            _ => v,
        }),
    }
}

/// Whether `found` is `wanted` up to 1e-5 of `scale`.
#[track_caller]
pub(super) fn close(what: &str, found: f64, wanted: f64, scale: f64) {
    assert!((found - wanted).abs() <= 1e-5 * scale.abs(), "{what}: {found} is not {wanted}, scale {scale}");
}
