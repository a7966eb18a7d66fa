//! What formulas may know of each layer: the table of features.

use super::budget::Unit;
use super::candidates::{Candidates, layer_weight_errors};
use super::chooser::Chooser;
use super::ground::Ground;
use crate::pipeline::depth::Depth;
use crate::pipeline::progress::Progress;
use crate::pipeline::weights::weight_rows;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tapq::Result;
use tapq::graph::attr_i;
use tapq::proxy::{Feature, Shape, Table};
use tapq::stats::ValueObservation;

/// Bins of the entropies.
const BINS: usize = 256;
/// Width that the other layers have where one is measured at an operating point.
const OPERATING_POINT: u32 = 4;

/// Fills in the features that are `wanted`, and what comes with them.
///
/// One row a unit, in execution order; the widths are all that any unit offers. Where a unit does not offer a width,
/// its features there follow from the nearest width that it offers, by four a bit.
pub fn table(
    chooser: &Chooser,
    units: &[Unit],
    ground: &Ground,
    wanted: &[&'static Feature],
    depth: &Depth,
    progress: &dyn Progress,
) -> Result<Table> {
    let wants = |name: &str| wanted.iter().any(|f| f.name == name);
    let widths: BTreeSet<u32> = ground.candidates.iter().flat_map(|c| c.bits.iter().copied()).collect();
    let widths: Vec<u32> = widths.into_iter().collect();
    let names = units.iter().map(|u| u.layers[0].name.clone()).collect();
    let mut table = Table::new(names, widths.clone())?;
    // Reading every weight and histogram again is work that formulas over errors and gains do not need.
    if wanted.iter().any(|f| f.shape == Shape::Layer && f.name != "gain" && !table.has(f.name)) {
        let rows: Vec<BTreeMap<&'static str, f64>> = units
            .par_iter()
            .zip(ground.candidates)
            .enumerate()
            .map(|(i, (unit, candidates))| of_unit(unit, candidates, ground, ground.inputs[i]))
            .collect::<Result<_>>()?;
        let keys: Vec<&'static str> = rows.first().map_or(vec![], |row| row.keys().copied().collect());
        for name in keys {
            table.set_layer(name, rows.iter().map(|row| row[name]).collect())?;
        }
        table.set_layer("a_ortho", similarities(&ground.inputs))?;
    }
    let spread = |c: &Candidates, values: &[f64]| widths.iter().map(|b| at_width(&c.bits, values, *b)).collect();
    let wide = |values: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        ground.candidates.iter().zip(&values).map(|(c, v)| spread(c, v)).collect()
    };
    let noise = |c: &Candidates| c.noise.clone();
    let relative = |c: &Candidates| c.noise.iter().map(|n| n / c.power()).collect();
    table.set_width("out_noise", wide(ground.candidates.iter().map(noise).collect()))?;
    table.set_width("out_err", wide(ground.candidates.iter().map(relative).collect()))?;
    if wants("w_err") {
        let error =
            |(u, c): (&Unit, &Candidates)| layer_weight_errors(ground.graph, u.layers[0], &c.bits, ground.target);
        table.set_width("w_err", wide(units.par_iter().zip(ground.candidates).map(error).collect::<Result<_>>()?))?;
    }
    if wants("gain") || wants("net_err") {
        let gains = chooser.gains(depth, progress)?;
        let error = |(c, g): (&Candidates, &f64)| c.noise.iter().map(|n| n * g).collect();
        table.set_width("net_err", wide(ground.candidates.iter().zip(&gains).map(error).collect()))?;
        table.set_layer("gain", gains)?;
    }
    if wants("one_err") {
        table.set_width("one_err", wide(chooser.measured(None, depth, progress)?))?;
    }
    if wants("point_err") {
        table.set_width("point_err", wide(chooser.measured(Some(OPERATING_POINT), depth, progress)?))?;
    }
    Ok(table)
}

/// The value at a width, or that of the nearest offered width, moved by a factor of four for each bit between.
fn at_width(offered: &[u32], values: &[f64], bits: u32) -> f64 {
    let nearest = (0..offered.len().min(values.len())).min_by_key(|i| (offered[*i].abs_diff(bits), offered[*i]));
    nearest.map_or(0.0, |i| values[i] * 4f64.powi(offered[i] as i32 - bits as i32))
}

fn of_unit(
    unit: &Unit,
    candidates: &Candidates,
    ground: &Ground,
    input: Option<&ValueObservation>,
) -> Result<BTreeMap<&'static str, f64>> {
    let layer = unit.layers[0];
    let node = &ground.graph.nodes()[layer.node];
    let (channels, rows) = weight_rows(ground.graph, layer)?;
    let fan_in = layer.fan_in();
    let groups = attr_i(node, "group").unwrap_or(1).max(1) as f64;
    let is_convolution = layer.op.starts_with("Conv");
    let kernel = if is_convolution { layer.dims[2..].iter().product() } else { 1 };
    let is_depthwise = layer.op == "Conv" && groups > 1.0 && layer.dims[1] == 1;
    let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
    let macs = unit.macs.iter().sum::<u64>() as f64;
    let mut found = BTreeMap::from([
        ("params", layer.params() as f64),
        ("macs", macs),
        ("fan_in", fan_in as f64),
        ("channels", channels as f64),
        ("kernel", kernel as f64),
        ("groups", groups),
        ("outputs", macs / fan_in.max(1) as f64),
        ("is_depthwise", flag(is_depthwise)),
        ("is_linear", flag(!is_convolution)),
        ("o_power", candidates.power()),
    ]);
    found.extend(of_weights(&rows, fan_in));
    found.extend(of_activations(input));
    found.insert("flow", found["w_l1"] * found["a_absmean"]);
    Ok(found)
}

fn of_weights(rows: &[f32], fan_in: usize) -> [(&'static str, f64); 12] {
    let n = rows.len().max(1) as f64;
    let values = || rows.iter().map(|w| f64::from(*w));
    let mean = values().sum::<f64>() / n;
    let central = |p: i32| values().map(|w| (w - mean).powi(p)).sum::<f64>() / n;
    let (variance, l1, energy) =
        (central(2), values().map(f64::abs).sum::<f64>(), values().map(|w| w * w).sum::<f64>());
    let extremes: Vec<(f64, f64)> = rows.chunks(fan_in.max(1)).map(extreme_and_rms).collect();
    let count = extremes.len().max(1) as f64;
    let crest = extremes.iter().map(|(m, r)| ratio(*m, *r)).sum::<f64>() / count;
    let greatest: Vec<f64> = extremes.iter().map(|(m, _)| *m).collect();
    let (least, most) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), w| (a.min(w), b.max(w)));
    [
        ("w_mean", mean),
        ("w_std", variance.sqrt()),
        ("w_absmean", l1 / n),
        ("w_absmax", greatest.iter().copied().fold(0.0, f64::max)),
        ("w_l1", l1),
        ("w_l2", energy.sqrt()),
        ("w_rms", (energy / n).sqrt()),
        ("w_kurt", ratio(central(4), variance * variance)),
        ("w_zeros", values().filter(|w| *w == 0.0).count() as f64 / n),
        ("w_entropy", entropy(values().map(|w| (w, 1.0)), least, most)),
        ("w_crest", crest),
        ("w_spread", spread(&greatest)),
    ]
}

fn extreme_and_rms(row: &[f32]) -> (f64, f64) {
    let energy: f64 = row.iter().map(|w| f64::from(*w).powi(2)).sum();
    (row.iter().map(|w| f64::from(w.abs())).fold(0.0, f64::max), (energy / row.len().max(1) as f64).sqrt())
}

fn of_activations(input: Option<&ValueObservation>) -> [(&'static str, f64); 10] {
    let samples = input.map_or(&[][..], |i| &i.samples);
    let total = |of: &dyn Fn(&tapq::stats::TensorStats) -> f64| samples.iter().map(of).sum::<f64>();
    let n = total(&|s| s.count as f64).max(1.0);
    let mean = total(&|s| s.sum) / n;
    let power = total(&|s| s.sum_squares) / n;
    let variance = (power - mean * mean).max(0.0);
    let greatest = samples.iter().map(|s| f64::from(s.max.max(-s.min))).fold(0.0, f64::max);
    // Histograms leave exact zeros out, and count a part of large tensors.
    let weighted = || {
        samples.iter().flat_map(|s| {
            let counted: f64 = s.histogram.bins().map(|(_, n)| f64::from(n)).sum();
            let weight = ratio((s.count - s.zeros.min(s.count)) as f64, counted);
            s.histogram.bins().map(move |(x, n)| (x, f64::from(n) * weight)).chain([(0.0, s.zeros as f64)])
        })
    };
    let fourth = weighted().map(|(x, n)| n * (x - mean).powi(4)).sum::<f64>() / n;
    let least = samples.iter().map(|s| f64::from(s.min)).fold(0.0, f64::min);
    let most = samples.iter().map(|s| f64::from(s.max)).fold(0.0, f64::max);
    let mut channels = vec![0f64; samples.first().map_or(0, |s| s.channels.len())];
    for sample in samples {
        channels.iter_mut().zip(&sample.channels).for_each(|(m, c)| *m = m.max(f64::from(c.max.max(-c.min))));
    }
    [
        ("a_mean", mean),
        ("a_std", variance.sqrt()),
        ("a_absmean", total(&|s| s.sum_abs) / n),
        ("a_absmax", greatest),
        ("a_rms", power.sqrt()),
        ("a_kurt", ratio(fourth, variance * variance)),
        ("a_zeros", total(&|s| s.zeros as f64) / n),
        ("a_entropy", entropy(weighted(), least, most)),
        ("a_spread", spread(&channels)),
        ("a_crest", ratio(greatest, power.sqrt())),
    ]
}

/// 0 over anything is 0, as in the language.
fn ratio(above: f64, below: f64) -> f64 {
    if below > 0.0 { above / below } else { 0.0 }
}

fn spread(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    ratio((values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt(), mean)
}

/// Entropy in bits of weighted values over equal bins of their range.
fn entropy(values: impl Iterator<Item = (f64, f64)>, least: f64, most: f64) -> f64 {
    let mut bins = [0f64; BINS];
    let width = (most - least) / BINS as f64;
    for (x, weight) in values {
        let bin = if width > 0.0 { ((x - least) / width) as usize } else { 0 };
        bins[bin.min(BINS - 1)] += weight;
    }
    let total: f64 = bins.iter().sum();
    bins.iter().filter(|b| **b > 0.0).map(|b| -(b / total) * (b / total).log2()).sum()
}

/// Mean similarity of each layer's input, as channel means over the samples, to the others': with K the Gram matrix of
/// the samples, `tr(Ki Kj) / sqrt(tr(Ki Ki) tr(Kj Kj))` (OMPQ, Ma et al. 2023, equation 4).
fn similarities(inputs: &[Option<&ValueObservation>]) -> Vec<f64> {
    let kernels: Vec<Vec<f64>> = inputs.iter().map(|i| i.map_or(vec![], sample_products)).collect();
    let trace = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let norms: Vec<f64> = kernels.iter().map(|k| trace(k, k).sqrt()).collect();
    let alike = |i: usize, j: usize| ratio(trace(&kernels[i], &kernels[j]), norms[i] * norms[j]).clamp(0.0, 1.0);
    let others = (inputs.len().max(2) - 1) as f64;
    let of = |i: usize| (0..inputs.len()).filter(|j| *j != i).map(|j| alike(i, j)).sum::<f64>() / others;
    (0..inputs.len()).map(of).collect()
}

fn sample_products(input: &ValueObservation) -> Vec<f64> {
    let dot = |a: &tapq::stats::TensorStats, b: &tapq::stats::TensorStats| {
        a.channels.iter().zip(&b.channels).map(|(x, y)| x.mean * y.mean).sum::<f64>()
    };
    input.samples.iter().flat_map(|a| input.samples.iter().map(move |b| dot(a, b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy and scipy: `w.std()`, `scipy.stats.kurtosis(w, fisher=False)`, entropy of `np.histogram(w, 256)`.
    #[test]
    fn weights_as_numpy_has_them() {
        let rows: Vec<f32> = (0..12).map(|i| (i * i) as f32 * 0.25 - 3.0).collect();
        let found = BTreeMap::from(of_weights(&rows, 4));
        let near = |name: &str, want: f64| assert!((found[name] - want).abs() < 1e-6, "{name} {}", found[name]);
        near("w_mean", 7.541666667);
        near("w_kurt", 2.149988270);
        near("w_std", 9.852470785);
        near("w_entropy", 3.584962501);
        near("w_absmax", 27.25);
    }

    #[test]
    fn widths_that_are_not_offered_follow_by_four_a_bit() {
        assert_eq!(at_width(&[4, 8], &[16.0, 0.5], 4), 16.0);
        assert_eq!(at_width(&[4, 8], &[16.0, 0.5], 3), 64.0);
        assert_eq!(at_width(&[4, 8], &[16.0, 0.5], 7), 2.0);
        assert_eq!(at_width(&[], &[], 7), 0.0);
    }
}
