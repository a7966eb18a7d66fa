//! Layers that share a width, and their widths as a knapsack.

use crate::pipeline::widths::Widths;
use tapq::allocate::{Budget, Choice, Problem};
use tapq::plan::Layer;
use tapq::proxy::Sensitivity;
use tapq::quant::IntFormat;
use tapq::target::Target;

/// One width a unit; `None` is float.
pub type Configuration = Vec<Option<u32>>;

/// Layers that share one stored weight: they get one width.
#[derive(Clone)]
pub struct Unit<'a> {
    /// The layers.
    pub layers: Vec<&'a Layer>,
    /// Multiply-accumulates of each for one sample.
    pub macs: Vec<u64>,
    /// Width of the activations that each runs at.
    pub beside: Vec<u32>,
    /// Widths to choose from, ascending; `None` is float.
    pub options: Vec<Option<u32>>,
    /// Sensitivity of the unit.
    pub sensitivity: Sensitivity,
}

impl Unit<'_> {
    /// Elements of the weight.
    pub fn params(&self) -> f64 {
        self.layers[0].params() as f64
    }

    /// Bit operations for one sample at a width.
    pub fn bit_operations(&self, bits: Option<u32>, target: &Target) -> f64 {
        let float = target.float_fallback.weight_bits;
        let in_blocks = bits.is_some_and(|b| self.layers[0].block_size(target, b).is_some());
        let beside = |beside: u32| if bits.is_none() || in_blocks { float } else { beside };
        let operand = |at: u32| f64::from(bits.unwrap_or(float)) * f64::from(beside(at));
        self.macs.iter().zip(&self.beside).map(|(macs, at)| *macs as f64 * operand(*at)).sum()
    }

    /// What the proxy says that a width costs; a layer in float costs nothing.
    pub fn cost(&self, bits: Option<u32>) -> f64 {
        let at = |b: u32| self.sensitivity.bits.iter().position(|x| *x == b);
        bits.and_then(at).map_or(0.0, |i| self.sensitivity.error[i])
    }

    /// Adds the widths that the device takes beside any activations.
    pub fn offer_beside_any(&mut self, target: &Target) {
        for beside in &target.activations.bits {
            let taken = |b: &u32| self.layers.iter().all(|l| l.widths(target, *beside).contains(b));
            let choices = self.layers[0].widths(target, *beside);
            self.options.extend(choices.into_iter().filter(taken).map(Some));
        }
        // Ascending, float last.
        self.options.sort_unstable_by_key(|b| (b.is_none(), *b));
        self.options.dedup();
    }

    /// Drops widths that the device does not take beside the activations of the layers.
    pub fn keep_offered(&mut self, target: &Target) {
        let Unit { layers, beside, options, .. } = self;
        // ONNX Runtime has no kernel for blocks that several layers share; where there is another width, it is better.
        let shared = layers.len() > 1 && target.keeps_blocks_apart(&layers[0].op) && !target.variant.weight_only;
        options.retain(|o| !shared || !o.is_some_and(|b| layers[0].block_size(target, b).is_some()));
        let takes = |b: u32| layers.iter().zip(&*beside).all(|(l, at)| l.widths(target, *at).contains(&b));
        options.retain(|option| option.is_none_or(takes));
    }

    /// Position of a width among those offered.
    pub fn position(&self, bits: Option<u32>) -> usize {
        self.options.iter().position(|o| *o == bits).unwrap_or(0)
    }

    fn choice(&self, bits: Option<u32>, target: &Target, widths: &Widths) -> Choice {
        let nominal = f64::from(bits.unwrap_or(target.float_fallback.weight_bits));
        let mut weights = vec![];
        widths.average.inspect(|_| weights.push(nominal * self.params()));
        widths.max_bytes.inspect(|_| weights.push(stored_bytes(self.layers[0], bits, target) as f64));
        widths.max_bops.inspect(|_| weights.push(self.bit_operations(bits, target)));
        Choice { cost: self.cost(bits), weights }
    }
}

/// Bytes that a layer's weight and scales take in the file.
pub fn stored_bytes(layer: &Layer, bits: Option<u32>, target: &Target) -> u64 {
    let Some(bits) = bits else { return layer.params() as u64 * 4 };
    let scales = layer.granularity(target, bits).scales(layer.dims[layer.axis], layer.fan_in());
    integer_bytes(layer.params(), bits, scales as u64)
}

/// Bytes of integers and their scales.
pub fn integer_bytes(params: usize, bits: u32, scales: u64) -> u64 {
    (params as u64 * u64::from(IntFormat::signed(bits).stored_bits())).div_ceil(8) + 4 * scales
}

/// The knapsack of a choice.
pub fn problem(units: &[Unit], widths: &Widths, target: &Target) -> Problem {
    let params: f64 = units.iter().map(Unit::params).sum();
    let mut budgets = vec![];
    let mut add = |name: &str, limit: f64, over| budgets.push(Budget { name: name.to_owned(), limit, over });
    widths.average.inspect(|x| add("weight bits", x * params, params));
    widths.max_bytes.inspect(|n| add("stored weight bytes", *n as f64, 1.0));
    widths.max_bops.inspect(|n| add("bit operations", *n, 1.0));
    let choices = |u: &Unit| u.options.iter().map(|b| u.choice(*b, target, widths)).collect();
    Problem { layers: units.iter().map(choices).collect(), budgets }
}

/// Leaves layers in float out of the choice where the budgets do not even allow all of them their widest integers: bits
/// that one layer saves are for others to be finer, not for some to run in float.
pub fn integers_only(units: &mut [Unit], widths: &Widths, target: &Target) {
    let problem = problem(units, widths, target);
    let widest = |u: &Unit| u.options.iter().rposition(Option::is_some);
    let fits = problem.budgets.iter().enumerate().all(|(k, budget)| {
        let used = units.iter().zip(&problem.layers).filter_map(|(u, l)| Some(l[widest(u)?].weights[k])).sum::<f64>();
        used <= budget.limit * (1.0 + 1e-9)
    });
    if !fits {
        for unit in units.iter_mut().filter(|unit| unit.options.iter().any(Option::is_some)) {
            unit.options.retain(Option::is_some);
        }
    }
}

/// The widths of a solution.
pub fn picked(units: &[Unit], picks: &[usize]) -> Configuration {
    units.iter().zip(picks).map(|(u, p)| u.options[*p]).collect()
}

/// The widest width that every unit offers and that meets the budgets.
pub fn uniform_within(units: &[Unit], widths: &Widths, target: &Target) -> Option<Configuration> {
    let problem = problem(units, widths, target);
    let mut common: Vec<u32> = units.first()?.options.iter().flatten().copied().collect();
    common.retain(|b| units.iter().all(|u| u.options.contains(&Some(*b))));
    common.sort_unstable();
    let fits = |bits: &u32| {
        problem.budgets.iter().enumerate().all(|(k, budget)| {
            let used: f64 = units.iter().zip(&problem.layers).map(|(u, l)| l[u.position(Some(*bits))].weights[k]).sum();
            used <= budget.limit * (1.0 + 1e-9)
        })
    };
    common.into_iter().rev().find(fits).map(|bits| vec![Some(bits); units.len()])
}

/// The widths of the units that are not in float.
pub fn quantized(configuration: &Configuration) -> Vec<(usize, u32)> {
    configuration.iter().enumerate().filter_map(|(u, b)| Some((u, (*b)?))).collect()
}

/// The offered width nearest to `bits`.
pub fn nearest(offered: &[u32], bits: u32) -> u32 {
    offered.iter().copied().min_by_key(|b| (b.abs_diff(bits), *b)).unwrap_or(bits)
}
