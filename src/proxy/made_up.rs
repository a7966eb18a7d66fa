//! Three made-up networks with every feature, of magnitudes as in real ones: what fingerprints are taken on.

use super::eval::evaluate;
use super::feature::{FEATURES, Family, Feature, Shape, feature};
use super::formula::Formula;
use super::table::Table;
use crate::elementary::power;
use crate::random::SplitMix64;
use std::sync::LazyLock;

/// The tables; they never change, or all fingerprints would.
pub(super) static TABLES: LazyLock<Vec<Table>> =
    LazyLock::new(|| [1, 2, 3].into_iter().filter_map(|seed| made_up(seed, 7).ok()).collect());

/// A table of `count` layers at 2 to 8 bits with every feature, the same for the same seed.
pub(super) fn made_up(seed: u64, count: usize) -> crate::Result<Table> {
    let mut random = SplitMix64(seed);
    let widths: Vec<u32> = (2..=8).collect();
    let mut table = Table::new((0..count).map(|i| format!("layer{i}")).collect(), widths.clone())?;
    for feature in FEATURES.iter().filter(|f| !table.has(f.name)).collect::<Vec<_>>() {
        let by_layer: Vec<f64> = (0..count).map(|_| one_layer(feature, &mut random)).collect();
        match feature.shape {
            Shape::Width => {
                let mut fall = |base: f64, bits: u32| base * (-2.0 * f64::from(bits)).exp2() * (0.5 + random.unit());
                let row = |base: &f64| widths.iter().map(|bits| fall(*base, *bits)).collect();
                table.set_width(feature.name, by_layer.iter().map(row).collect())?;
            }
            Shape::Layer | Shape::Constant => table.set_layer(feature.name, by_layer)?,
        }
    }
    relate(&mut table)?;
    Ok(table)
}

/// Features that are made of others by definition agree with them: `gain * out_noise` is `net_err`.
fn relate(table: &mut Table) -> crate::Result<()> {
    let layers = 0..table.layers().len();
    for (name, of) in [
        ("w_l1", "params * w_absmean"),
        ("w_l2", "sqrt(params) * w_rms"),
        ("flow", "w_l1 * a_absmean"),
        ("a_crest", "a_absmax / a_rms"),
        ("out_noise", "out_err * o_power"),
        ("net_err", "gain * out_noise"),
    ] {
        let Ok(formula) = Formula::parse(of) else { continue };
        let values = evaluate(&formula, table)?;
        match feature(name).map(|f| f.shape) {
            Some(Shape::Width) => table.set_width(name, values)?,
            _ => {
                let first = |l: usize| values.get(l).and_then(|row| row.first()).copied().unwrap_or(0.0);
                table.set_layer(name, layers.clone().map(first).collect())?;
            }
        }
    }
    Ok(())
}

/// One number of about the size that the feature has; for features by width, before the width is counted in.
fn one_layer(feature: &Feature, random: &mut SplitMix64) -> f64 {
    let mut between = |low: f64, high: f64| low * power(high / low, random.unit());
    match (feature.name, feature.family) {
        ("params" | "macs" | "outputs", _) => between(1e2, 1e7).round(),
        ("fan_in" | "channels", _) => between(3.0, 2e3).round(),
        ("kernel", _) => between(1.0, 26.0).floor(),
        ("groups", _) => between(1.0, 100.0).floor(),
        ("is_depthwise" | "is_linear", _) => between(0.5, 2.0).floor(),
        ("w_mean" | "a_mean", _) => between(1e-3, 1.0) - between(1e-3, 1.0),
        ("w_zeros" | "a_zeros" | "a_ortho", _) => between(1e-3, 1.0),
        ("w_entropy" | "a_entropy", _) => between(2.0, 8.0),
        ("w_kurt" | "a_kurt" | "w_crest" | "a_crest", _) => between(2.0, 50.0),
        ("w_spread" | "a_spread", _) => between(0.05, 2.0),
        ("w_l1" | "w_l2" | "flow", _) => between(1.0, 1e4),
        (_, Family::Weights) => between(1e-3, 1.0),
        (_, Family::Activations) => between(1e-2, 10.0),
        ("o_power" | "out_noise", _) => between(1e-2, 1e3),
        ("gain", _) => between(1e-4, 1.0),
        _ => between(0.05, 2.0),
    }
}
