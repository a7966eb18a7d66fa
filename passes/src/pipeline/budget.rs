//! What weight widths are asked for, as a knapsack.

use tapq::allocate::{Budget, Choice, Problem};
use tapq::plan::Layer;
use tapq::proxy::Sensitivity;
use tapq::quant::IntFormat;
use tapq::target::Target;
use tapq::{Code, Error, Result};

/// What weight widths are asked for. Several budgets hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Widths {
    /// Every layer at this width.
    pub uniform: Option<u32>,
    /// At most this many nominal bits on average over the weights.
    pub average: Option<f64>,
    /// At most this many bytes of stored weights and scales.
    pub max_bytes: Option<u64>,
    /// At most this many bit operations (multiply-accumulates x weight bits x activation bits) for one sample.
    pub max_bops: Option<f64>,
}

impl Widths {
    /// Whether a choice between widths is asked for.
    pub fn is_choice(&self) -> bool {
        self.average.is_some() || self.max_bytes.is_some() || self.max_bops.is_some()
    }

    /// Refuses requests that contradict each other or mean nothing.
    pub fn check(&self) -> Result<()> {
        if self.uniform.is_some() && self.is_choice() {
            let what = "--weight-bits asks for one width, and a budget asks for a choice of widths";
            return Err(Error::new(Code::Config, what).help("give one or the other"));
        }
        let meaningless = |v: f64| v <= 0.0 || v.is_nan();
        match self.average.is_some_and(meaningless) || self.max_bops.is_some_and(meaningless) {
            true => Err(Error::new(Code::Config, "a budget must be a positive number")),
            false => Ok(()),
        }
    }
}

/// Layers that share one stored weight: they get one width.
pub struct Unit<'a> {
    /// The layers.
    pub layers: Vec<&'a Layer>,
    /// Multiply-accumulates of all of them for one sample.
    pub macs: u64,
    /// Widths to choose from, ascending; `None` is float.
    pub options: Vec<Option<u32>>,
    /// Sensitivity of the unit.
    pub sensitivity: Sensitivity,
}

impl Unit<'_> {
    fn params(&self) -> f64 {
        self.layers[0].params() as f64
    }

    fn choice(&self, bits: Option<u32>, target: &Target, activation_bits: u32, widths: &Widths) -> Choice {
        let error = |b: u32| self.sensitivity.bits.iter().position(|x| *x == b).map(|i| self.sensitivity.error[i]);
        let nominal = f64::from(bits.unwrap_or(target.float_fallback.weight_bits));
        let activation = bits.map_or(target.float_fallback.weight_bits, |_| activation_bits);
        let mut weights = vec![];
        widths.average.inspect(|_| weights.push(nominal * self.params()));
        widths.max_bytes.inspect(|_| weights.push(stored_bytes(self.layers[0], bits, target) as f64));
        widths.max_bops.inspect(|_| weights.push(self.macs as f64 * nominal * f64::from(activation)));
        Choice { cost: bits.map_or(0.0, |b| error(b).unwrap_or(0.0)), weights }
    }
}

/// Bytes that a layer's weight and scales take in the file.
pub fn stored_bytes(layer: &Layer, bits: Option<u32>, target: &Target) -> u64 {
    let params = layer.params() as u64;
    let Some(bits) = bits else { return params * 4 };
    let scales = if target.per_channel(&layer.op) { layer.dims[layer.axis] as u64 } else { 1 };
    (params * u64::from(IntFormat::signed(bits).stored_bits())).div_ceil(8) + 4 * scales
}

/// The knapsack of a choice.
pub fn problem(units: &[Unit], widths: &Widths, target: &Target, activation_bits: u32) -> Problem {
    let params: f64 = units.iter().map(Unit::params).sum();
    let mut budgets = vec![];
    let mut add = |name: &str, limit: f64| budgets.push(Budget { name: name.to_owned(), limit });
    widths.average.inspect(|x| add("weight bits", x * params));
    widths.max_bytes.inspect(|n| add("stored weight bytes", *n as f64));
    widths.max_bops.inspect(|n| add("bit operations", *n));
    let choices = |u: &Unit| u.options.iter().map(|b| u.choice(*b, target, activation_bits, widths)).collect();
    Problem { layers: units.iter().map(choices).collect(), budgets }
}
