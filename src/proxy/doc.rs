//! The reference page of the language, made from its tables.

use super::baselines::baselines;
use super::feature::{FEATURES, Family};
use super::function::{Function, Reach};
use super::limits;
use super::names::ALIASES;
use crate::Result;

const HEAD: &str = "# The proxy language

A proxy predicts how much each bit-width of each layer hurts the network's output: the higher, the worse.
It is one Python-style expression over the features below, for example

    gain * out_noise + 0.1 * mean(w_err) * sqrt(params)

A feature stands for a number of the network, of each layer, or of each layer at each width.
An expression over them is evaluated for all layers and widths at once.
Where it does not say what the width does, its value is multiplied by `4 ** -bits`,
since the energy of rounding noise falls by four with every bit.
";

const GRAMMAR: &str = "
## Operators

From the tightest to the loosest:

| operator | meaning |
|---|---|
| `(a)` | grouping |
| `a ** b` | power, from the right: `a ** b ** c` is `a ** (b ** c)` |
| `-a`, `+a` | sign: `-a ** 2` is `-(a ** 2)`, and `a ** -b` needs no parentheses |
| `a * b`, `a / b` | product, quotient |
| `a + b`, `a - b` | sum, difference |
| `a < b`, `a <= b`, `a > b`, `a >= b` | comparison, not chained |
| `not a` | opposite |
| `a and b` | both |
| `a or b` | one at least |
| `a if condition else b` | choice, for each layer and width by itself |

Comparisons, `not`, `and` and `or` make conditions, which stand between `if` and `else` only.
Numbers are written as `3`, `0.25` or `1e-6`.
`math.`, `np.`, `numpy.` and `torch.` may stand before a function; `pow(a, b)` is `a ** b`.
";

const RESULTS: &str = "
## Defined results

Every expression has a value; nothing fails while it is evaluated.

- A formula means what its canonical form means: constants are folded, sums and products are flattened and sorted,
  and what changes nothing is dropped. So formulas that differ in such things only have the same value, to the last bit.
- Sums and products are taken as wholes: only their results are limited, not the partial ones.
- Magnitudes above 1e30 count as 1e30, magnitudes below 1e-60 as zero.
- `x / 0` is 0, and so `x / x` is 0 where `x` is 0, and 1 elsewhere.
- `a ** b` is the power of the magnitude, with the sign of `a` where `b` is an odd integer.
  `0 ** b` is 0 for negative `b`, and `a ** 0` is 1.
- `norm`, `zscore` and `minmax` are 0 where they would divide by zero; `rank` of a single layer is 0.5.
- `clip(x, lo, hi)` is `hi` where `lo` is above `hi`.
";

/// The reference page in Markdown.
///
/// # Errors
/// Those of [`baselines`].
pub fn reference() -> Result<String> {
    let mut page = HEAD.to_string();
    page.push_str("\n## Features\n\nShapes: *constant*, one number for the network; *layer*, one a layer; ");
    page.push_str("*width*, one a layer and bit-width.\nFeatures marked `runs` are known only after runs of the ");
    page.push_str("network with quantized layers.\n");
    for family in Family::ALL {
        page.push_str(&format!("\n### {}\n\n| name | shape | what it is |\n|---|---|---|\n", family.name()));
        for f in FEATURES.iter().filter(|f| f.family == family) {
            let runs = if f.costs_runs { ", runs" } else { "" };
            page.push_str(&format!("| `{}` | {}{runs} | {} |\n", f.name, f.shape.name(), f.about.replace('|', "\\|")));
        }
    }
    page.push_str("\n## Functions\n\n| function | looks at | value |\n|---|---|---|\n");
    for function in Function::ALL {
        let spec = function.spec();
        let more = if spec.most > spec.least { ", ..." } else { "" };
        let looks = match spec.reach {
            Reach::Each => "one layer",
            Reach::Across => "all layers",
            Reach::Pool => "all layers, the same for each",
        };
        page.push_str(&format!("| `{}({}{more})` | {looks} | {} |\n", spec.name, spec.form, spec.about));
    }
    let aliases: Vec<String> = ALIASES.iter().map(|(alias, f)| format!("`{alias}` for `{}`", f.name())).collect();
    page.push_str(&format!("\nOther spellings: {}.\n", aliases.join(", ")));
    page.push_str(GRAMMAR);
    page.push_str(RESULTS);
    page.push_str(&format!(
        "\n## Limits\n\n- {} bytes of text\n- {} numbers, names, calls and operators; signs are free\n- {} levels of the \
         tree; signs are free\n- {} brackets, powers and conditionals inside each other\n- numbers that are 0 or {:e} to \
         {:e} in magnitude\n",
        limits::BYTES,
        limits::NODES,
        limits::DEPTH,
        limits::NESTING,
        limits::NUMBERS.start(),
        limits::NUMBERS.end(),
    ));
    page.push_str("\n## Baselines\n\nThe classical proxies, in the form of proxy files.\n");
    for file in baselines()? {
        page.push_str(&format!(
            "\n### {}\n\n    {}\n\n{}\n\nSource: {}\n",
            file.name, file.formula, file.thought, file.source
        ));
    }
    Ok(page)
}
