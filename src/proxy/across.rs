//! Functions that look at all layers at once, at one width.

use super::function::Function;
use super::limits::limited;
use super::scalar::Sum;
use crate::wide::wide;

/// Spreads below this share of the largest magnitude are rounding noise.
const NOISE: f64 = 1e-12;

/// The number that [`Reach::Pool`](super::function::Reach::Pool) functions give to all layers.
pub(super) fn pool(function: Function, row: &[f64]) -> f64 {
    match function {
        Function::Total => total(row),
        Function::Largest => row.iter().copied().reduce(f64::max).unwrap_or(0.0),
        _ => mean(row),
    }
}

/// What [`Reach::Across`](super::function::Reach::Across) functions give each layer. `order` is the order of layers that
/// was found last at this width, and is kept up to date.
pub(super) fn spread(function: Function, row: &[f64], order: &mut Vec<u32>) -> Vec<f64> {
    match function {
        Function::Rank => rank(row, order),
        Function::Norm => {
            let whole = total(&row.iter().map(|x| x.abs()).collect::<Vec<_>>());
            scaled(row, 0.0, whole)
        }
        Function::Zscore => {
            let mean = mean(row);
            let squares: Vec<f64> = row.iter().map(|x| (x - mean) * (x - mean)).collect();
            let deviation = (squares.iter().sum::<f64>() / row.len().max(1) as f64).sqrt();
            scaled(row, mean, significant(deviation, row))
        }
        Function::Minmax => {
            let least = row.iter().copied().reduce(f64::min).unwrap_or(0.0);
            let range = row.iter().copied().reduce(f64::max).unwrap_or(0.0) - least;
            scaled(row, least, significant(range, row))
        }
        Function::After => {
            let mut sums = earlier(row.iter().rev());
            sums.reverse();
            sums
        }
        _ => earlier(row.iter()),
    }
}

fn total(row: &[f64]) -> f64 {
    let mut sum = Sum::default();
    row.iter().for_each(|x| sum.add(*x));
    sum.value()
}

fn mean(row: &[f64]) -> f64 {
    let mut sum = Sum::default();
    row.iter().for_each(|x| sum.add(*x));
    sum.over(row.len().max(1) as f64)
}

fn significant(spread: f64, row: &[f64]) -> f64 {
    // As integers, positive numbers are in the same order, and their maximum may be taken in any.
    let largest = wide(
        #[inline(always)]
        || f64::from_bits(row.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0)),
    );
    if spread > NOISE * largest { spread } else { 0.0 }
}

/// `(x - from) / size`, zero where `size` is.
fn scaled(row: &[f64], from: f64, size: f64) -> Vec<f64> {
    let mut out = vec![0.0; row.len()];
    if size == 0.0 {
        return out;
    }
    wide(
        #[inline(always)]
        || {
            for (out, x) in out.iter_mut().zip(row) {
                *out = limited((x - from) / size);
            }
        },
    );
    out
}

/// For each value the sum of those before it.
fn earlier<'a>(row: impl Iterator<Item = &'a f64>) -> Vec<f64> {
    let mut sum = Sum::default();
    row.map(|x| {
        let before = sum.value();
        sum.add(*x);
        before
    })
    .collect()
}

/// Places from 0 to 1, ties at the mean of their places; a layer alone is in the middle.
fn rank(row: &[f64], order: &mut Vec<u32>) -> Vec<f64> {
    let sorted = sort(row, order);
    let mut places = vec![0.5; row.len()];
    if row.len() < 2 {
        return places;
    }
    let last = row.len() as f64 - 1.0;
    let mut give = |layers: &[u32], place: f64| {
        for layer in layers {
            if let Some(slot) = places.get_mut(*layer as usize) {
                *slot = place / last;
            }
        }
    };
    if sorted.is_sorted_by(|a, b| a < b) {
        order.iter().zip(0u32..).for_each(|(layer, place)| give(&[*layer], f64::from(place)));
        return places;
    }
    let mut first = 0;
    for alike in sorted.chunk_by(|a, b| a == b) {
        let next = first + alike.len();
        give(order.get(first..next).unwrap_or(&[]), (first + next - 1) as f64 / 2.0);
        first = next;
    }
    places
}

/// Makes `order` the order of layers by ascending value, layers of equal value in any order, and gives the values in it.
///
/// Most columns of a formula have the order of one before them, or its reverse, so that one is tried first.
fn sort(row: &[f64], order: &mut Vec<u32>) -> Vec<f64> {
    if order.len() != row.len() {
        *order = (0u32..).take(row.len()).collect();
    }
    let value = |layer: &u32| row.get(*layer as usize).copied().unwrap_or(0.0);
    let mut sorted: Vec<f64> = order.iter().map(value).collect();
    if sorted.is_sorted() {
        return sorted;
    }
    if sorted.is_sorted_by(|a, b| a >= b) {
        order.reverse();
        sorted.reverse();
        return sorted;
    }
    let exact = |a: &u32, b: &u32| value(a).total_cmp(&value(b));
    if row.len() > MOST_SHORT {
        order.sort_unstable_by(exact);
        return order.iter().map(value).collect();
    }
    // Machine words sort several times faster than anything else; what they cannot tell apart is sorted once more.
    let mut keys: Vec<u64> = row.iter().zip(0..).map(|(x, layer)| sortable(*x) & !SHORT | layer).collect();
    keys.sort_unstable();
    order.iter_mut().zip(&keys).for_each(|(layer, key)| *layer = (key & SHORT) as u32);
    let mut rest = order.as_mut_slice();
    for alike in keys.chunk_by(|a, b| a & !SHORT == b & !SHORT) {
        let (run, after) = rest.split_at_mut(alike.len());
        if run.len() > 1 {
            run.sort_unstable_by(exact);
        }
        rest = after;
    }
    order.iter().map(value).collect()
}

/// Bits of a key that hold the layer.
const SHORT: u64 = 0xFFFF;

/// Layers that fit into them.
const MOST_SHORT: usize = 1 << 16;

/// An integer that sorts as the number does.
fn sortable(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}
