//! Which weights of a layer share a scale.

use super::{IntFormat, QuantizedWeight, WeightRange, quantize_weight};

/// Which weights share a scale, of a layer's weight as rows of output channels by fan-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// All of them.
    Tensor,
    /// Those of one output channel.
    Channel,
    /// So many neighbours of one output channel; the last block of a channel may have fewer.
    Block(usize),
}

impl Granularity {
    /// One scale per output channel, or one for all.
    pub fn channels(per_channel: bool) -> Self {
        if per_channel { Granularity::Channel } else { Granularity::Tensor }
    }

    /// The block, where there are blocks.
    pub fn block(self) -> Option<usize> {
        match self {
            Granularity::Block(size) => Some(size),
            Granularity::Tensor | Granularity::Channel => None,
        }
    }

    /// How many scales rows of `fan_in` have.
    pub fn scales(self, channels: usize, fan_in: usize) -> usize {
        match self {
            Granularity::Tensor => 1,
            Granularity::Channel => channels,
            Granularity::Block(size) => channels * fan_in.div_ceil(size),
        }
    }

    /// Neighbours within a part of rows of `channels` that share a scale, and how long the parts are: the last run of a
    /// part may be shorter.
    fn runs(self, count: usize, channels: usize) -> (usize, usize) {
        let fan_in = (count / channels.max(1)).max(1);
        match self {
            Granularity::Tensor => (count.max(1), count.max(1)),
            Granularity::Channel => (fan_in, fan_in),
            Granularity::Block(size) => (size, fan_in),
        }
    }
}

/// Quantizes rows of `channels` in blocks of `size`; scales follow each other as the rows do. Where scales may be
/// `signed`, the wide end of the grid faces whichever extreme is better served by it.
pub fn quantize_blocks(
    rows: &[f32],
    (channels, size): (usize, usize),
    format: IntFormat,
    rule: WeightRange,
    signed: bool,
) -> QuantizedWeight {
    let fan_in = rows.len() / channels.max(1);
    let padded_fan_in = fan_in.next_multiple_of(size);
    // Zeros that fill up the last block of a row are exact at any scale, so that they do not count.
    let mut padded = Vec::with_capacity(channels * padded_fan_in);
    for row in rows.chunks(fan_in.max(1)) {
        padded.extend_from_slice(row);
        padded.resize(padded.len().next_multiple_of(size), 0.0);
    }
    let dims = [padded.len() / size, size];
    let nearest = |weights: &[f32]| quantize_weight(weights, &dims, Some(0), format, rule, false, &[]);
    let mut found = nearest(&padded);
    if signed {
        let turned = nearest(&padded.iter().map(|w| -w).collect::<Vec<_>>());
        let error = |block: usize, values: &[i32], scale: f32| -> f64 {
            let weights = &padded[block * size..(block + 1) * size];
            weights.iter().zip(values).map(|(w, q)| f64::from(*q as f32 * scale - w).powi(2)).sum()
        };
        for block in 0..dims[0] {
            let range = block * size..(block + 1) * size;
            let scale = -turned.scales[block];
            let other = error(block, &turned.values[range.clone()], scale);
            if other < error(block, &found.values[range.clone()], found.scales[block]) {
                found.values[range.clone()].copy_from_slice(&turned.values[range]);
                found.scales[block] = scale;
            }
        }
    }
    let rows = found.values.chunks(padded_fan_in.max(1));
    QuantizedWeight { values: rows.flat_map(|row| &row[..fan_in]).copied().collect(), scales: found.scales }
}

/// Multiplies integers, as rows of `channels`, with their scales, which follow each other as the rows do.
pub fn scale_rows(integers: &mut [f32], scales: &[f32], granularity: Granularity, channels: usize) {
    let (run, part) = granularity.runs(integers.len(), channels);
    let runs = integers.chunks_mut(part).flat_map(|part| part.chunks_mut(run));
    for (integers, scale) in runs.zip(scales) {
        integers.iter_mut().for_each(|q| *q *= scale);
    }
}

/// The floats that integers mean; rows as for [`scale_rows`].
pub fn dequantize_rows(quantized: &QuantizedWeight, granularity: Granularity, channels: usize) -> Vec<f32> {
    let mut floats: Vec<f32> = quantized.values.iter().map(|q| *q as f32).collect();
    scale_rows(&mut floats, &quantized.scales, granularity, channels);
    floats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::dequantize_weight;

    #[test]
    fn scales_follow_rows() {
        let of = |granularity: Granularity| -> Vec<f32> {
            let scales = (1..=granularity.scales(2, 5)).map(|s| s as f32).collect();
            dequantize_rows(&QuantizedWeight { values: vec![1; 10], scales }, granularity, 2)
        };
        assert_eq!(of(Granularity::Tensor), [1.0; 10]);
        assert_eq!(of(Granularity::Channel), [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(of(Granularity::Block(2)), [1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0]);
    }

    /// Each block is rounded as if it were a weight of its own, the smaller one at the end of a row, too.
    #[test]
    fn blocks_are_rounded_each_for_itself() {
        let rows: Vec<f32> =
            (0..3 * 21).map(|i| ((i * 37 % 23) as f32 - 9.0) * 0.01 * (1 + i / 8 % 5) as f32).collect();
        let (format, granularity) = (IntFormat::signed(4), Granularity::Block(8));
        let error = |found: &[f32]| -> f64 { found.iter().zip(&rows).map(|(a, b)| f64::from(a - b).powi(2)).sum() };
        for rule in [WeightRange::Max, WeightRange::Mse] {
            let found = quantize_blocks(&rows, (3, 8), format, rule, false);
            assert_eq!((found.values.len(), found.scales.len()), (63, 9));
            let apart: Vec<f32> = rows
                .chunks(21)
                .flat_map(|row| row.chunks(8))
                .flat_map(|block| {
                    let alone = quantize_weight(block, &[block.len()], None, format, rule, false, &[]);
                    dequantize_weight(&alone, &[block.len()], None)
                })
                .collect();
            assert_eq!(dequantize_rows(&found, granularity, 3), apart);
            let signed = quantize_blocks(&rows, (3, 8), format, rule, true);
            let better = error(&dequantize_rows(&signed, granularity, 3));
            assert!(better <= error(&apart), "{rule:?}");
            assert_eq!(rule == WeightRange::Mse, signed.scales.iter().any(|s| *s < 0.0), "{:?}", signed.scales);
        }
    }
}
