//! What a formula can know about a layer: the list of features.

/// What a feature varies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One number for the whole network.
    Constant,
    /// One number a layer.
    Layer,
    /// One number a layer and bit-width.
    Width,
}

impl Shape {
    /// The word that the reference page uses.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Constant => "constant",
            Shape::Layer => "layer",
            Shape::Width => "width",
        }
    }
}

/// Where a feature comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The layer's dimensions.
    Structure,
    /// The layer's place in the network.
    Position,
    /// The layer's weights.
    Weights,
    /// The layer's input on the samples.
    Activations,
    /// Weights and input together.
    Both,
    /// The bit-width.
    Width,
    /// Runs of the network with some layers quantized.
    Measured,
}

impl Family {
    /// All of them, in the order of the reference page.
    pub const ALL: [Family; 7] = [
        Family::Structure,
        Family::Position,
        Family::Weights,
        Family::Activations,
        Family::Both,
        Family::Width,
        Family::Measured,
    ];

    /// The heading that the reference page uses.
    pub fn name(self) -> &'static str {
        match self {
            Family::Structure => "Structure",
            Family::Position => "Position",
            Family::Weights => "Weights",
            Family::Activations => "Activations",
            Family::Both => "Weights and activations",
            Family::Width => "Width",
            Family::Measured => "Measured",
        }
    }
}

/// One name that a formula may use.
#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// The name in a formula.
    pub name: &'static str,
    /// What it varies with.
    pub shape: Shape,
    /// Where it comes from.
    pub family: Family,
    /// Whether the network must be run with quantized layers to know it.
    pub costs_runs: bool,
    /// One line: what it is, in which unit.
    pub about: &'static str,
}

const fn of(family: Family, name: &'static str, about: &'static str) -> Feature {
    Feature { name, shape: Shape::Layer, family, costs_runs: matches!(family, Family::Measured), about }
}

const fn wide(family: Family, name: &'static str, about: &'static str) -> Feature {
    Feature { shape: Shape::Width, ..of(family, name, about) }
}

use Family::{Activations, Both, Measured, Position, Structure, Weights, Width};

/// Every feature, by family.
pub const FEATURES: &[Feature] = &[
    of(Structure, "params", "weights in the layer, without the bias (count)"),
    of(Structure, "macs", "multiplications for one sample (count)"),
    of(Structure, "fan_in", "weights that one output element sums over (count)"),
    of(Structure, "channels", "output channels (count)"),
    of(Structure, "kernel", "spatial taps of the kernel: 9 for 3x3, 1 for a linear layer (count)"),
    of(Structure, "groups", "groups of the convolution, 1 where it is not grouped (count)"),
    of(Structure, "outputs", "elements of the output for one sample (count)"),
    of(Structure, "is_depthwise", "1 where every input channel has its own kernels, else 0"),
    of(Structure, "is_linear", "1 for Gemm and MatMul, 0 for convolutions"),
    Feature { shape: Shape::Constant, ..of(Structure, "n_layers", "layers that take part in the choice (count)") },
    of(Position, "index", "place in execution order, from 0 (count)"),
    of(Position, "depth", "index / (n_layers - 1): 0 for the first layer, 1 for the last"),
    of(Position, "is_first", "1 for the first layer, else 0"),
    of(Position, "is_last", "1 for the last layer, else 0"),
    of(Weights, "w_mean", "mean of the weights (weight units)"),
    of(Weights, "w_std", "standard deviation of the weights (weight units)"),
    of(Weights, "w_absmean", "mean magnitude of the weights (weight units)"),
    of(Weights, "w_absmax", "largest magnitude among the weights (weight units)"),
    of(Weights, "w_l1", "sum of the weights' magnitudes (weight units)"),
    of(Weights, "w_l2", "square root of the sum of squared weights (weight units)"),
    of(Weights, "w_rms", "square root of the mean squared weight (weight units)"),
    of(Weights, "w_kurt", "fourth central moment of the weights over their squared variance (3 for a Gaussian)"),
    of(Weights, "w_zeros", "share of weights that are zero (0 to 1)"),
    of(Weights, "w_entropy", "entropy of a 256-bin histogram of the whole weight tensor (bits, 0 to 8)"),
    of(Weights, "w_crest", "largest magnitude over root mean square, mean over output channels (ratio)"),
    of(Weights, "w_spread", "standard deviation over mean of the output channels' largest magnitudes (ratio)"),
    of(Activations, "a_mean", "mean of the layer's input over the samples (activation units)"),
    of(Activations, "a_std", "standard deviation of the input (activation units)"),
    of(Activations, "a_absmean", "mean magnitude of the input (activation units)"),
    of(Activations, "a_absmax", "largest magnitude in the input (activation units)"),
    of(Activations, "a_rms", "square root of the mean squared input (activation units)"),
    of(Activations, "a_kurt", "fourth central moment of the input over its squared variance (3 for a Gaussian)"),
    of(Activations, "a_zeros", "share of input elements that are zero (0 to 1)"),
    of(Activations, "a_entropy", "entropy of a 256-bin histogram of the input (bits, 0 to 8)"),
    of(Activations, "a_spread", "standard deviation over mean of the input channels' largest magnitudes (ratio)"),
    of(Activations, "a_crest", "a_absmax / a_rms (ratio)"),
    of(
        Activations,
        "a_ortho",
        "mean similarity of this layer's input to the other layers' inputs, each as channel means over the samples \
         (0 to 1; ORM of OMPQ, arXiv 2109.07865)",
    ),
    of(
        Both,
        "o_power",
        "mean squared output, mean removed where a bias takes it, summed over channels (squared output units)",
    ),
    of(Both, "flow", "w_l1 * a_absmean (weight units times activation units)"),
    wide(Both, "w_err", "squared error of the weights over their energy, rounded to nearest at this width (ratio)"),
    wide(
        Both,
        "out_err",
        "squared error of the layer's output over its energy at this width, on samples that the rounding has not seen \
         (ratio)",
    ),
    wide(Both, "out_noise", "the same error, not relative: out_err * o_power (squared output units)"),
    wide(Width, "bits", "the bit-width itself (bits)"),
    wide(Width, "step", "2 ** -bits: how the rounding step falls with the width"),
    wide(Width, "quarter", "4 ** -bits: how the energy of rounding noise falls with the width"),
    of(
        Measured,
        "gain",
        "relative squared error of the network's output for one unit of this layer's output noise, from a few runs \
         (1 / squared output units)",
    ),
    wide(Measured, "net_err", "gain * out_noise: predicted relative squared error of the network's output (ratio)"),
    wide(
        Measured,
        "one_err",
        "measured relative squared error of the network's output with this layer alone at this width (ratio)",
    ),
    wide(Measured, "point_err", "the same with every other layer at 4 bits (ratio)"),
];

/// The feature of that name.
pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|f| f.name == name)
}
