//! Inputs that have one value for good: a sampling rate, a switch, a size.
//!
//! The value is written as text, one number or a list, and becomes a tensor of the type that the input declares.

use super::specs::open_spec;
use super::{InputSpec, check};
use crate::array::{Array, Values};
use crate::graph::Graph;
use crate::onnx::{self, DataType, Tensor, ValueInfoProto};
use crate::{Code, Error, Result};
use half::{bf16, f16};
use std::collections::BTreeMap;

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

/// Numbers as they are in the tensor, one an element.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    Whole(Vec<i128>),
    Real(Vec<f64>),
}

/// What the elements of an input may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Whole { bits: u32, signed: bool },
    Real(DataType),
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

impl Kind {
    fn of(data_type: i32) -> Option<Kind> {
        let whole = |bits, signed| Some(Kind::Whole { bits, signed });
        match onnx::data_type(data_type)? {
            DataType::BOOL => Some(Kind::Switch),
            DataType::INT8 => whole(8, true),
            DataType::INT16 => whole(16, true),
            DataType::INT32 => whole(32, true),
            DataType::INT64 => whole(64, true),
            DataType::UINT8 => whole(8, false),
            DataType::UINT16 => whole(16, false),
            DataType::UINT32 => whole(32, false),
            DataType::UINT64 => whole(64, false),
            real @ (DataType::FLOAT | DataType::DOUBLE | DataType::FLOAT16 | DataType::BFLOAT16) => {
                Some(Kind::Real(real))
            }
            _ => None,
        }
    }

    fn advice(self) -> String {
        match self {
            Kind::Switch => "say true or false".to_owned(),
            Kind::Whole { bits, signed } => {
                let (least, most) = limits(bits, signed);
                format!("say a whole number from {least} to {most}")
            }
            Kind::Real(_) => "say a number such as 0.5 or 1e-3".to_owned(),
        }
    }

    /// The numbers that the words say, one an element; the word that says none, and why.
    fn numbers<'t>(self, words: &[&'t str], count: usize) -> Result<Numbers, (&'t str, &'static str)> {
        fn all<'t, T: Clone>(
            words: &[&'t str],
            count: usize,
            read: impl Fn(&str) -> Result<T, &'static str>,
        ) -> Result<Vec<T>, (&'t str, &'static str)> {
            let found: Vec<T> = words.iter().map(|w| read(w).map_err(|why| (*w, why))).collect::<Result<_, _>>()?;
            match &found[..] {
                [one] => Ok(vec![one.clone(); count]),
                _ => Ok(found),
            }
        }
        match self {
            Kind::Switch => all(words, count, switch).map(Numbers::Whole),
            Kind::Whole { bits, signed } => all(words, count, |w| whole(w, bits, signed)).map(Numbers::Whole),
            Kind::Real(_) => all(words, count, |w| self.read(w)).map(Numbers::Real),
        }
    }

    fn read(self, word: &str) -> Result<f64, &'static str> {
        let x = word.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or("it is not a finite number")?;
        Some(self.rounded(x)).filter(|x| x.is_finite()).ok_or("it is beyond the type's range")
    }

    /// To the nearest that the type holds.
    fn rounded(self, x: f64) -> f64 {
        match self {
            Kind::Real(DataType::FLOAT) => f64::from(x as f32),
            Kind::Real(DataType::FLOAT16) => f16::from_f64(x).to_f64(),
            Kind::Real(DataType::BFLOAT16) => bf16::from_f64(x).to_f64(),
            _ => x,
        }
    }

    /// The bytes of the elements, little-endian as ONNX says.
    fn encoded(self, numbers: &Numbers) -> Vec<u8> {
        match numbers {
            Numbers::Whole(all) => {
                let bytes = if let Kind::Whole { bits, .. } = self { bits as usize / 8 } else { 1 };
                all.iter().flat_map(|x| x.to_le_bytes().into_iter().take(bytes)).collect()
            }
            Numbers::Real(all) => match self {
                Kind::Real(DataType::DOUBLE) => all.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Kind::Real(DataType::FLOAT16) => all.iter().flat_map(|x| f16::from_f64(*x).to_le_bytes()).collect(),
                Kind::Real(DataType::BFLOAT16) => all.iter().flat_map(|x| bf16::from_f64(*x).to_le_bytes()).collect(),
                _ => all.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
            },
        }
    }

    fn words(self, numbers: &Numbers) -> Vec<String> {
        match numbers {
            Numbers::Whole(all) if self == Kind::Switch => all.iter().map(|x| (*x != 0).to_string()).collect(),
            Numbers::Whole(all) => all.iter().map(i128::to_string).collect(),
            // The shortest text that the type reads as this number.
            Numbers::Real(all) => match self {
                Kind::Real(DataType::DOUBLE) => all.iter().map(f64::to_string).collect(),
                _ => all.iter().map(|x| (*x as f32).to_string()).collect(),
            },
        }
    }
}

fn switch(word: &str) -> Result<i128, &'static str> {
    match word {
        "true" | "True" | "1" => Ok(1),
        "false" | "False" | "0" => Ok(0),
        _ => Err("it is neither true nor false"),
    }
}

fn whole(word: &str, bits: u32, signed: bool) -> Result<i128, &'static str> {
    let (least, most) = limits(bits, signed);
    let x: i128 = word.parse().map_err(|_| "it is not a whole number")?;
    if (least..=most).contains(&x) { Ok(x) } else { Err("it is beyond the type's range") }
}

fn limits(bits: u32, signed: bool) -> (i128, i128) {
    let least = if signed { -(1i128 << (bits - 1)) } else { 0 };
    (least, least + (1i128 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{ExternalData, array, parse_text};
    use proptest::prelude::*;

    const INPUTS: &str = "float[N,2] x, int64 rate, bool on, float temperature, int64[2] size, int32[ids] tokens, \
                          uint8[1,3] mask, double[2] d, float16 h, string s, float[N] batch";

    fn graph(inputs: &str) -> Graph {
        let text = format!("<ir_version: 8, opset_import: [\"\" : 13]> g ({inputs}) => (y) {{ y = Relu (x) }}");
        Graph::new(parse_text(&text).unwrap(), ExternalData::none())
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn fix(pairs: &[(&str, &str)]) -> Result<Vec<FixedInput>> {
        fixed_inputs(&graph(INPUTS), &given(pairs), &BTreeMap::new())
    }

    fn one(name: &str, text: &str) -> FixedInput {
        fix(&[(name, text)]).unwrap().remove(0)
    }

    fn check(name: &str, text: &str, dims: &[usize], values: &Values, shown: &str) {
        let fixed = one(name, text);
        let found = array(&fixed.tensor, &ExternalData::none()).unwrap();
        assert_eq!(found, Array { dims: dims.to_vec(), values: values.clone() }, "{name}={text}");
        assert_eq!((fixed.name(), fixed.text.as_str()), (name, shown), "{name}={text}");
    }

    #[test]
    fn values_have_the_type_and_shape_that_the_input_declares() {
        check("rate", "16000", &[], &Values::I64(vec![16_000]), "16000");
        check("on", "false", &[], &Values::Bool(vec![false]), "false");
        check("on", "1", &[], &Values::Bool(vec![true]), "true");
        check("temperature", "1", &[], &Values::F32(vec![1.0]), "1");
        check("temperature", "-1e-3", &[], &Values::F32(vec![-0.001]), "-0.001");
        check("size", "224,320", &[2], &Values::I64(vec![224, 320]), "224,320");
        check("size", " [224, 320] ", &[2], &Values::I64(vec![224, 320]), "224,320");
        check("size", "224", &[2], &Values::I64(vec![224, 224]), "224,224");
        check("mask", "1", &[1, 3], &Values::U8(vec![1, 1, 1]), "1,1,1");
        check("d", "0.1,2", &[2], &Values::F64(vec![0.1, 2.0]), "0.1,2");
        check("h", "0.1", &[], &Values::F32(vec![0.099_975_586]), "0.099975586");
    }

    #[test]
    fn a_list_says_the_extent_of_a_row() {
        check("tokens", "[5]", &[1], &Values::I32(vec![5]), "[5]");
        check("tokens", "5,5,6", &[3], &Values::I32(vec![5, 5, 6]), "5,5,6");
        let named = fixed_inputs(&graph(INPUTS), &given(&[("tokens", "7")]), &[("ids".to_owned(), 9)].into()).unwrap();
        assert_eq!((named[0].tensor.dims.as_slice(), named[0].text.as_str()), ([9].as_slice(), "7"));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let refused = |name: &str, text: &str, wanted: &[&str]| {
            let error = fix(&[(name, text)]).unwrap_err();
            assert_eq!(error.code(), Code::Config);
            let text = error.to_string();
            wanted.iter().for_each(|want| assert!(text.contains(want), "{want} in: {text}"));
        };
        refused("sr", "1", &["no input 'sr'", "its inputs are: x, rate, on, temperature, size, tokens"]);
        refused("rate", "16k", &["fixed input 'rate': '16k' is no int64: it is not a whole number"]);
        refused("rate", "", &["'' is no int64"]);
        refused("rate", "9223372036854775808", &["beyond the type's range", "to 9223372036854775807"]);
        refused("rate", "1,2", &["2 values were given, and it is a single value"]);
        refused("mask", "256", &["'256' is no uint8", "from 0 to 255"]);
        refused("mask", "1,2", &["2 values were given, and its shape is [1, 3]"]);
        refused("on", "yes", &["'yes' is no bool", "true or false"]);
        refused("temperature", "nan", &["'nan' is no float: it is not a finite number"]);
        refused("temperature", "1e39", &["beyond the type's range"]);
        refused("h", "70000", &["'70000' is no float16: it is beyond the type's range"]);
        refused("s", "a", &["takes string, and only numbers and bool can be fixed"]);
        refused("tokens", "5", &["leaves the extent of axis 0 open", "--dim ids=N, or write a list: [VALUE]"]);
        refused("x", "0", &["leaves the extent of axis 0 open", "--dim N=N"]);
    }

    #[test]
    fn something_must_stay_open() {
        let all = graph("float[1,2] x, int64 n");
        let error = fixed_inputs(&all, &given(&[("x", "0"), ("n", "1")]), &BTreeMap::new()).unwrap_err();
        assert!(error.message().contains("every input of the model is fixed"), "{error}");
        assert_eq!(fixed_inputs(&all, &given(&[("n", "1")]), &BTreeMap::new()).unwrap().len(), 1);
    }

    #[test]
    fn absurd_shapes_are_refused() {
        for shape in ["1,9000000000,9000000000", "1048577"] {
            let graph = graph(&format!("float[1,2] x, float[{shape}] huge"));
            let error = fixed_inputs(&graph, &given(&[("huge", "0")]), &BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains("more elements than"), "{error}");
        }
    }

    #[test]
    fn a_weight_that_is_listed_as_an_input_is_none_up_to_ir_3() {
        let text = |ir: u32| {
            format!(
                "<ir_version: {ir}, opset_import: [\"\" : 7]> g (float[1] x, float[1] w) => (y)
                     <float[1] w = {{1}}> {{ y = Add (x, w) }}"
            )
        };
        let fix = |ir| {
            let graph = Graph::new(parse_text(&text(ir)).unwrap(), ExternalData::none());
            fixed_inputs(&graph, &given(&[("w", "2")]), &BTreeMap::new())
        };
        assert!(fix(3).unwrap_err().to_string().contains("its inputs are: x"));
        assert_eq!(fix(4).unwrap()[0].place, None);
        let many: String = (0..20).map(|i| format!(", float w{i}")).collect();
        let weights: Vec<String> = (0..20).map(|i| format!("float w{i} = {{1}}")).collect();
        let text = format!(
            "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1] x{many}, bool on) => (y) <{}> {{ y = Relu (x) }}",
            weights.join(", ")
        );
        let graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        let error = fixed_inputs(&graph, &given(&[("off", "1")]), &BTreeMap::new()).unwrap_err();
        assert!(
            error.to_string().ends_with("its inputs are: x, on, w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, and 10 more"),
            "{error}"
        );
    }

    #[test]
    fn samples_are_held_to_the_value_in_its_own_type() {
        let holds = |name: &str, text: &str, dims: &[usize], values: Values| {
            one(name, text).check(Array { dims: dims.to_vec(), values }).map_err(|e| e.message().to_owned())
        };
        assert_eq!(holds("rate", "8000", &[], Values::I32(vec![8000])), Ok(()));
        let differs = "input `rate` holds 16000, and it is fixed at 8000";
        assert_eq!(holds("rate", "8000", &[], Values::I64(vec![16_000])), Err(differs.to_owned()));
        assert_eq!(holds("on", "true", &[], Values::U8(vec![255])), Ok(()));
        assert_eq!(holds("d", "0.1", &[2], Values::F32(vec![0.1; 2])), Ok(()));
        assert_eq!(holds("h", "0.1", &[], Values::F32(vec![0.1])), Ok(()));
        let differs = "input `size` holds 2 at element 1, and it is fixed at 1,1";
        assert_eq!(holds("size", "1", &[2], Values::I64(vec![1, 2])), Err(differs.to_owned()));
        assert!(holds("size", "1", &[3], Values::I64(vec![1; 3])).is_err());
    }

    proptest! {
        /// What is shown is read as the same value: plans and files keep the text alone.
        #[test]
        fn the_text_says_the_whole_value(name in "rate|on|temperature|size|tokens|mask|d|h", text in "[-+.,e0-9 \\[\\]]{0,12}|true|false") {
            if let Ok(found) = fix(&[(&name, &text)]) {
                prop_assert_eq!(&found, &fix(&[(&name, &found[0].text)]).unwrap());
            }
        }

        #[test]
        fn floats_keep_every_bit(x in proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL) {
            let fixed = one("temperature", &x.to_string());
            prop_assert_eq!(&fixed.tensor.raw_data[..], &x.to_le_bytes()[..]);
            prop_assert_eq!(fixed.text, x.to_string());
        }
    }
}
