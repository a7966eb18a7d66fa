//! Which weights of a layer share a scale.

use super::QuantizedWeight;

/// Which weights share a scale, of a layer's weight as rows of output channels by fan-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// All of them.
    Tensor,
    /// Those of one output channel.
    Channel,
    /// So many neighbours of one output channel; they divide its fan-in.
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

    /// Neighbours in rows of `fan_in` that share a scale; at least 1.
    pub fn run(self, channels: usize, fan_in: usize) -> usize {
        let run = match self {
            Granularity::Tensor => channels * fan_in,
            Granularity::Channel => fan_in,
            Granularity::Block(size) => size,
        };
        run.max(1)
    }

    /// How many scales there are.
    pub fn scales(self, channels: usize, fan_in: usize) -> usize {
        (channels * fan_in).div_ceil(self.run(channels, fan_in))
    }
}

/// The floats that integers mean, where these are rows and their scales follow each other as the rows do.
pub fn dequantize_rows(quantized: &QuantizedWeight) -> Vec<f32> {
    let run = (quantized.values.len() / quantized.scales.len().max(1)).max(1);
    let mut floats = Vec::with_capacity(quantized.values.len());
    for (values, scale) in quantized.values.chunks(run).zip(&quantized.scales) {
        floats.extend(values.iter().map(|q| *q as f32 * scale));
    }
    floats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_follow_rows() {
        for (granularity, scales) in [(Granularity::Tensor, 1), (Granularity::Channel, 2), (Granularity::Block(2), 4)] {
            assert_eq!(granularity.scales(2, 4), scales);
            let scales: Vec<f32> = (1..=scales).map(|s| s as f32).collect();
            let expected: Vec<f32> = (0..8).map(|i| scales[i / granularity.run(2, 4)]).collect();
            assert_eq!(dequantize_rows(&QuantizedWeight { values: vec![1; 8], scales }), expected);
        }
    }
}
