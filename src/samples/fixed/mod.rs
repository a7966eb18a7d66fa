//! Inputs that have one value for good: a sampling rate, a switch, a size.
//!
//! The value is written as text, one number or a list, and becomes a tensor of the type that the input declares.

#[cfg(test)]
mod tests;
mod words;

use super::specs::open_spec;
use super::{InputSpec, check};
use crate::array::{Array, Values};
use crate::graph::Graph;
use crate::onnx::{self, DataType, Tensor, ValueInfoProto};
use crate::{Code, Error, Result};
use std::collections::BTreeMap;
use words::{Kind, Numbers};

/// More elements than this are refused: a value that is said on a command line is a setting, not data.
const MOST_ELEMENTS: usize = 1 << 20;

/// An error lists at most as many inputs.
const MOST_LISTED: usize = 12;

/// Lists of up to this many elements are shown whole even where all are the same.
const SHOWN: usize = 8;

/// An input of a model that has one value for good.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedInput {
    /// Its value, named like the input.
    pub tensor: Tensor,
    /// The value as people write it, the same for the same value.
    pub text: String,
    /// Its place among the inputs that samples of the whole model feed; `None` for one that has a default.
    pub(super) place: Option<usize>,
    pub(super) spec: InputSpec,
    kind: Kind,
    numbers: Numbers,
}

impl FixedInput {
    /// Name of the input.
    pub fn name(&self) -> &str {
        &self.tensor.name
    }

    /// Checks what a sample holds for this input, where it holds anything.
    pub(super) fn check(&self, array: Array) -> Result<()> {
        let array = check::fitted(array, &self.spec)?;
        let differs = |at: usize| match &self.numbers {
            Numbers::Whole(wanted) => self.whole(&array.values, at).is_none_or(|x| Some(&x) != wanted.get(at)),
            Numbers::Real(wanted) => {
                let same = |x: f64, wanted: f64| match self.kind {
                    Kind::Real(DataType::DOUBLE) => x as f32 == wanted as f32,
                    _ => x == wanted,
                };
                !self.real(&array.values, at).zip(wanted.get(at)).is_some_and(|(x, wanted)| same(x, *wanted))
            }
        };
        let Some(at) = (0..array.values.len()).find(|at| differs(*at)) else { return Ok(()) };
        let found = self.whole(&array.values, at).map(|x| x.to_string());
        let found = found.or_else(|| self.real(&array.values, at).map(|x| x.to_string())).unwrap_or_default();
        let alone = array.values.len() == 1;
        let place = if alone { String::new() } else { format!(" at element {at}") };
        let message = format!("input `{}` holds {found}{place}, and it is fixed at {}", self.name(), self.text);
        Err(Error::new(Code::Samples, message)
            .help("leave out the samples that differ: the network never sees such a value again"))
    }

    fn whole(&self, values: &Values, at: usize) -> Option<i128> {
        let x = match values {
            Values::I64(v) => i128::from(*v.get(at)?),
            Values::I32(v) => i128::from(*v.get(at)?),
            Values::U8(v) => i128::from(*v.get(at)?),
            Values::I8(v) => i128::from(*v.get(at)?),
            Values::Bool(v) => i128::from(*v.get(at)?),
            Values::F32(_) | Values::F64(_) => return None,
        };
        Some(if self.kind == Kind::Switch { i128::from(x != 0) } else { x })
    }

    /// As the input's own type holds it; samples of double are kept in float32.
    fn real(&self, values: &Values, at: usize) -> Option<f64> {
        let x = match values {
            Values::F32(v) => f64::from(*v.get(at)?),
            Values::F64(v) => *v.get(at)?,
            _ => return None,
        };
        Some(self.kind.rounded(x))
    }
}

/// What these texts make of the inputs that they name, in the order of the inputs; `dims` names extents of symbolic
/// dimensions. In a list, elements are in row-major order; one number alone goes for every element.
///
/// # Errors
/// [`Code::Config`] where an input does not exist, the text is no value of its type and shape, or none is left open.
pub fn fixed_inputs(
    graph: &Graph,
    given: &BTreeMap<String, String>,
    dims: &BTreeMap<String, usize>,
) -> Result<Vec<FixedInput>> {
    let has_default = |v: &&ValueInfoProto| graph.index().initializer(&v.name).is_some();
    let fed: Vec<&ValueInfoProto> = graph.proto().input.iter().filter(|v| !has_default(v)).collect();
    // Up to IR 3 every weight is listed as an input.
    let open = |v: &&ValueInfoProto| !has_default(v) || graph.model().ir_version >= 4;
    let known: Vec<&ValueInfoProto> = graph.proto().input.iter().filter(open).collect();
    if let Some(name) = given.keys().find(|name| known.iter().all(|v| v.name != **name)) {
        // Those with a default last: they may be all the weights of the model.
        let (with, without): (Vec<&str>, Vec<&str>) =
            known.iter().map(|v| v.name.as_str()).partition(|name| graph.index().initializer(name).is_some());
        let mut names: Vec<String> = without.iter().chain(&with).take(MOST_LISTED).map(|n| (*n).to_owned()).collect();
        if known.len() > names.len() {
            names.push(format!("and {} more", known.len() - names.len()));
        }
        return Err(Error::new(Code::Config, format!("the model has no input '{name}' that could be fixed"))
            .help(format!("its inputs are: {}", names.join(", "))));
    }
    if !fed.is_empty() && fed.iter().all(|v| given.contains_key(&v.name)) {
        return Err(Error::new(
            Code::Config,
            "every input of the model is fixed, which leaves nothing to compute from",
        )
        .help("leave the inputs open that differ from sample to sample"));
    }
    let one = |value: &&ValueInfoProto| {
        let text = given.get(&value.name)?;
        let place = fed.iter().position(|v| v.name == value.name);
        Some(fixed(value, place, text, dims).map_err(|e| e.at(format!("fixed input '{}'", value.name))))
    };
    known.iter().filter_map(one).collect()
}

/// The inputs among `specs` that stay open.
pub fn open_inputs(specs: Vec<InputSpec>, fixed: &[FixedInput]) -> Vec<InputSpec> {
    specs.into_iter().filter(|spec| fixed.iter().all(|f| f.name() != spec.name)).collect()
}

/// Names and values, as plans and reports keep them.
pub fn fixed_texts(fixed: &[FixedInput]) -> BTreeMap<String, String> {
    fixed.iter().map(|f| (f.name().to_owned(), f.text.clone())).collect()
}

fn fixed(
    value: &ValueInfoProto,
    place: Option<usize>,
    text: &str,
    dims: &BTreeMap<String, usize>,
) -> Result<FixedInput> {
    let bad = |what: String| Error::new(Code::Config, what);
    let mut spec = open_spec(value, dims).ok_or_else(|| {
        bad("the model does not declare its type and rank".to_owned()).help("export the model with its input shapes")
    })?;
    let type_name = onnx::type_name(spec.data_type).unwrap_or("an unknown type");
    let kind = Kind::of(spec.data_type)
        .ok_or_else(|| bad(format!("takes {type_name}, and only numbers and bool can be fixed")))?;
    let (is_list, parts) = spelled(text);
    // Only a list can say an extent, and only where there is one.
    let says_extent = is_list && spec.dims == [None];
    if says_extent {
        spec.dims = vec![Some(parts.len())];
    }
    let count = elements(&spec)?;
    if parts.len() != count && (is_list || parts.len() != 1) {
        let shape: Vec<String> = spec.dims.iter().flatten().map(usize::to_string).collect();
        let (what, help) = match spec.dims.len() {
            0 => ("it is a single value".to_owned(), "say one"),
            _ => (format!("its shape is [{}]", shape.join(", ")), "say one value for all elements, or one for each"),
        };
        return Err(bad(format!("{} values were given, and {what}", parts.len())).help(help));
    }
    let numbers = kind
        .numbers(&parts, count)
        .map_err(|(part, why)| bad(format!("'{part}' is no {type_name}: {why}")).help(kind.advice()))?;
    let dims: Vec<i64> = spec.dims.iter().flatten().map(|d| *d as i64).collect();
    let raw_data = kind.encoded(&numbers);
    let tensor = Tensor { name: value.name.clone(), data_type: spec.data_type, dims, raw_data, ..Default::default() };
    let text = shown(&kind.words(&numbers), says_extent);
    Ok(FixedInput { tensor, text, place, spec, kind, numbers })
}

/// Whether a text is a list, and its parts: `0.5`, `224,224`, `[5]`.
fn spelled(text: &str) -> (bool, Vec<&str>) {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let parts: Vec<&str> = inner.unwrap_or(text).split(',').map(str::trim).collect();
    (inner.is_some() || parts.len() > 1, parts)
}

/// One word where all are the same and many; with brackets where a list of one says an extent.
fn shown(words: &[String], says_extent: bool) -> String {
    match words {
        [one] if says_extent => format!("[{one}]"),
        [first, rest @ ..] if !says_extent && rest.len() >= SHOWN && rest.iter().all(|w| w == first) => first.clone(),
        words => words.join(","),
    }
}

/// How many elements the shape has, all of whose extents must be known.
fn elements(spec: &InputSpec) -> Result<usize> {
    if let Some(axis) = spec.dims.iter().position(Option::is_none) {
        let list = if spec.dims.len() == 1 { ", or write a list: [VALUE]" } else { "" };
        let help = match spec.symbol(axis) {
            Some(name) => format!("say it with --dim {name}=N{list}"),
            None if list.is_empty() => {
                "it has no name that --dim could give a value: export the model with it".to_owned()
            }
            None => "write a list, which says it: [VALUE]".to_owned(),
        };
        return Err(Error::new(Code::Config, format!("the model leaves the extent of axis {axis} open")).help(help));
    }
    let count = spec.dims.iter().flatten().try_fold(1usize, |n, d| n.checked_mul(*d));
    count.filter(|n| *n <= MOST_ELEMENTS).ok_or_else(|| {
        Error::new(Code::Config, format!("has more elements than the {MOST_ELEMENTS} that can be fixed"))
    })
}
