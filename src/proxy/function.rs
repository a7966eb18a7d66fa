//! The functions of the language.

/// A function that a formula may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Function {
    Abs,
    Sqrt,
    Log,
    Log1p,
    Log2,
    Exp,
    Square,
    Tanh,
    Sigmoid,
    Min,
    Max,
    Clip,
    Rank,
    Norm,
    Zscore,
    Minmax,
    Mean,
    Total,
    Largest,
    Before,
    After,
}

/// How a function combines layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Each layer by itself.
    Each,
    /// One number a layer, which depends on all layers.
    Across,
    /// The same number for all layers.
    Pool,
}

/// What is known about a function.
pub(super) struct Spec {
    pub name: &'static str,
    /// The arguments as a person would write them.
    pub form: &'static str,
    pub least: usize,
    pub most: usize,
    pub reach: Reach,
    pub about: &'static str,
}

/// No call has more arguments than a formula may have nodes.
const ANY: usize = super::limits::NODES;

impl Function {
    pub const ALL: [Function; 21] = [
        Function::Abs,
        Function::Sqrt,
        Function::Log,
        Function::Log1p,
        Function::Log2,
        Function::Exp,
        Function::Square,
        Function::Tanh,
        Function::Sigmoid,
        Function::Min,
        Function::Max,
        Function::Clip,
        Function::Rank,
        Function::Norm,
        Function::Zscore,
        Function::Minmax,
        Function::Mean,
        Function::Total,
        Function::Largest,
        Function::Before,
        Function::After,
    ];

    pub fn spec(self) -> Spec {
        use Reach::{Across, Each, Pool};
        let one = |name, about, reach| Spec { name, form: "x", least: 1, most: 1, reach, about };
        match self {
            Function::Abs => one("abs", "magnitude", Each),
            Function::Sqrt => one("sqrt", "square root of the magnitude", Each),
            Function::Log => one("log", "natural logarithm of the magnitude, which counts as at least 1e-30", Each),
            Function::Log1p => one("log1p", "log(1 + abs(x)) with the sign of x", Each),
            Function::Log2 => one("log2", "binary logarithm of the magnitude, which counts as at least 1e-30", Each),
            Function::Exp => one("exp", "exponential; x counts as at least -60 and at most 60", Each),
            Function::Square => one("square", "x * x", Each),
            Function::Tanh => one("tanh", "hyperbolic tangent, -1 to 1", Each),
            Function::Sigmoid => one("sigmoid", "1 / (1 + exp(-x)), 0 to 1", Each),
            Function::Min => Spec { form: "a, b", least: 2, most: ANY, ..one("min", "the smallest argument", Each) },
            Function::Max => Spec { form: "a, b", least: 2, most: ANY, ..one("max", "the largest argument", Each) },
            Function::Clip => Spec { form: "x, lo, hi", least: 3, most: 3, ..one("clip", "min(max(x, lo), hi)", Each) },
            Function::Rank => {
                one("rank", "place among the layers, 0 (smallest) to 1; ties share their mean place", Across)
            }
            Function::Norm => one("norm", "x over the sum of abs(x)", Across),
            Function::Zscore => one("zscore", "x less its mean, over its standard deviation", Across),
            Function::Minmax => one("minmax", "x less the smallest, over the largest less the smallest", Across),
            Function::Mean => one("mean", "mean over the layers", Pool),
            Function::Total => one("total", "sum over the layers", Pool),
            Function::Largest => one("largest", "largest over the layers", Pool),
            Function::Before => one("before", "sum over the layers that run earlier", Across),
            Function::After => one("after", "sum over the layers that run later", Across),
        }
    }

    pub fn name(self) -> &'static str {
        self.spec().name
    }

    pub fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Whether the result is never below zero.
    pub fn is_nonnegative(self) -> bool {
        use Function::{Abs, Exp, Minmax, Rank, Sigmoid, Sqrt, Square};
        matches!(self, Abs | Sqrt | Square | Exp | Sigmoid | Rank | Minmax)
    }

    /// Whether the sign of the argument makes no difference.
    pub fn is_even(self) -> bool {
        matches!(self, Function::Abs | Function::Sqrt | Function::Square | Function::Log | Function::Log2)
    }

    /// Whether the sign of the argument is only passed on.
    pub fn is_odd(self) -> bool {
        matches!(self, Function::Log1p | Function::Tanh)
    }
}
