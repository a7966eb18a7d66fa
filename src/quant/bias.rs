//! int32 biases: scale = input scale x weight scale, without overflow.
//!
//! A channel whose weights are tiny beside its bias would need a bias beyond int32. Peers wrap or saturate
//! there and lose the network; here the channel's weight scale is raised first, which costs nothing that
//! the output could show: such a channel's output *is* its bias.

/// Largest magnitude of a bias in an accumulator of `bits`: half of it, so that the products have room.
pub fn bias_limit(bits: u32) -> f64 {
    f64::from(1u32 << (bits.clamp(8, 32) - 2))
}

/// A bias on the accumulator's grid.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedBias {
    /// One integer a channel.
    pub values: Vec<i32>,
    /// input scale x weight scale of each channel (f32 product, as runtimes compute it).
    pub scales: Vec<f32>,
}

/// The least weight scale with which `bias` fits an accumulator of `bits`.
pub fn least_weight_scale(bias: f32, input_scale: f32, bits: u32) -> f32 {
    let least = f64::from(bias.abs()) / (f64::from(input_scale) * bias_limit(bits));
    (least as f32).next_up().max(f32::MIN_POSITIVE)
}

/// Quantizes a bias for an accumulator of `bits`; `weight_scales` has one entry, or one a channel.
pub fn quantize_bias(bias: &[f32], input_scale: f32, weight_scales: &[f32], bits: u32) -> QuantizedBias {
    let scale_of = |c: usize| input_scale * weight_scales[if weight_scales.len() == 1 { 0 } else { c }];
    let values = bias.iter().enumerate().map(|(c, &b)| quantize_one(b, scale_of(c), bias_limit(bits))).collect();
    QuantizedBias { values, scales: (0..weight_scales.len()).map(scale_of).collect() }
}

fn quantize_one(bias: f32, scale: f32, limit: f64) -> i32 {
    let steps = (f64::from(bias) / f64::from(scale)).round_ties_even();
    if steps.is_finite() { steps.clamp(-limit, limit) as i32 } else { 0 }
}
