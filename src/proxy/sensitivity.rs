//! Sensitivities: what each width costs each layer.
//!
//! A proxy turns weights and activation statistics into one number per layer and width, higher is worse.
//! Allocation sees nothing else.

use crate::quant::WeightRange;
use serde::{Deserialize, Serialize};

/// Sensitivity of one layer at each width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Widths, ascending.
    pub bits: Vec<u32>,
    /// What each width is expected to cost: for proxies that run the network, on the scale of its relative squared
    /// output error.
    pub error: Vec<f64>,
}

/// The factor that brings costs to the scale of `damage`: what the step from width `low` to width `high` saves over all
/// layers is the same in both. 1 where that says nothing.
///
/// Formulas choose the same at any scale; what is compared with other damage, such as that of activations, needs its
/// own. Both arguments are by layer and width.
pub fn scale_to(damage: &[Vec<f64>], costs: &[Vec<f64>], low: usize, high: usize) -> f64 {
    let at = |row: &Vec<f64>, width: usize| row.get(width).copied().unwrap_or(0.0);
    let saved = |rows: &[Vec<f64>]| rows.iter().map(|row| at(row, low) - at(row, high)).sum::<f64>();
    let scale = saved(damage) / saved(costs);
    if scale.is_finite() && scale > 0.0 { scale } else { 1.0 }
}

/// The range rule that a width gets: nothing saturates at 8 bits and above, least squared error below.
pub fn range_rule(bits: u32) -> WeightRange {
    if bits >= 8 { WeightRange::Max } else { WeightRange::Mse }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_undoes_factors_and_what_is_the_same_at_every_width() {
        let damage = vec![vec![4.0, 1.0, 0.25], vec![8.0, 2.0, 0.5]];
        let other: Vec<Vec<f64>> = damage.iter().map(|row| row.iter().map(|x| 3.0 * x + 7.0).collect()).collect();
        assert_eq!(scale_to(&damage, &damage, 0, 2), 1.0);
        assert!((scale_to(&damage, &other, 0, 2) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn where_nothing_can_be_said_the_scale_stays() {
        let damage = vec![vec![4.0, 1.0]];
        for costs in [vec![vec![1.0, 1.0]], vec![vec![1.0, 2.0]], vec![vec![f64::NAN, 1.0]], vec![]] {
            assert_eq!(scale_to(&damage, &costs, 0, 1), 1.0, "{costs:?}");
        }
    }
}
